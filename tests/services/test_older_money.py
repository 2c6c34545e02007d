"""Money that was in sight before its address was shown to anybody.

The merchant gave the address away in another wallet of the same keys: what is known to have come of
that pays nobody's invoice, however soon afterwards the address is shown. What is not known counts.
"""

import pytest
import sqlalchemy as sa

from counterfoil.core.invoice import Status
from counterfoil.db.engine import Database
from counterfoil.db.schema import chain_transaction, payment, transfer
from counterfoil.services.claims import claim
from counterfoil.services.watching import Watch
from tests.conftest import FakeClock
from tests.services.shop import Shop, open_shop


@pytest.fixture
async def shop(database: Database, clock: FakeClock) -> Shop:
    return await open_shop(database, clock)


def next_address(shop: Shop, index: int) -> str:
    """Return an address of the shop's wallet that may not have been shown yet."""
    return shop.chain.derive("xpub", index).address


async def test_what_waited_for_a_block_meanwhile_pays_nobody(shop: Shop) -> None:
    older = shop.chain.pay(next_address(shop, 0), 25_000_000)
    await shop.look()
    seen_at = shop.clock.now()
    await shop.look(10)
    invoice = await shop.invoice()
    assert (await shop.quote(invoice)).address == next_address(shop, 0)
    await shop.look(10)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.UNPAID
    assert await shop.inbox() == ["before_quote"]
    came = sa.select(chain_transaction.c.txid, chain_transaction.c.first_seen_at)
    rows = await shop.store.read(lambda c: c.execute(came).all())
    assert rows == [(older.txid, seen_at)]


async def test_a_block_of_a_new_branch_changes_nothing_about_that(shop: Shop) -> None:
    shop.chain.mine(2)
    await shop.look()
    shop.chain.pay(next_address(shop, 0), 25_000_000)
    await shop.look()
    invoice = await shop.invoice()
    shop.chain.blocks.pop()
    shop.chain.mine(3)
    await shop.look()
    assert await shop.status(invoice) is Status.UNPAID
    assert await shop.inbox() == ["before_quote"]


async def test_another_output_of_a_transaction_that_is_known(shop: Shop) -> None:
    """One transaction pays an invoice, and an address that is shown to the next customer."""
    first = await shop.invoice()
    asked = await shop.quote(first)
    outputs = ((asked.address, asked.amount_atomic), (next_address(shop, 1), 25_000_000))
    shop.chain.broadcast(*outputs)
    await shop.look()
    # A new process knows by its database alone what was in sight.
    shop.watch = Watch(shop.context, shop.chain, shop.watch.holder)
    second = await shop.invoice()
    assert (await shop.quote(second)).address == next_address(shop, 1)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(first) is Status.PAID
    assert await shop.status(second) is Status.UNPAID
    assert await shop.inbox() == ["before_quote"]


async def test_what_left_the_mempool_and_came_back_counts(shop: Shop) -> None:
    """Only what has been in sight without a break is certainly older."""
    older = shop.chain.pay(next_address(shop, 0), 25_000_000)
    await shop.look()
    shop.chain.drop(older)
    await shop.look()
    invoice = await shop.invoice()
    shop.chain.receive(older)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.inbox() == []


async def test_what_a_failover_has_made_the_database_forget_is_not_older(shop: Shop) -> None:
    invoice = await shop.invoice()
    asked = await shop.quote(invoice)
    await shop.look()
    shop.chain.pay(asked.address, asked.amount_atomic)
    await shop.look()

    def forget(connection: sa.Connection) -> None:
        for table in (payment, transfer, chain_transaction):
            connection.execute(sa.delete(table))

    await shop.store.write(forget)
    shop.chain.mine(2)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID


@pytest.mark.parametrize(("minutes", "inbox"), [(1, []), (3, ["before_quote"])])
async def test_a_payer_names_what_was_mined_before(
    shop: Shop, minutes: int, inbox: list[str]
) -> None:
    """Blocks' times and ours may differ by two minutes."""
    older = shop.chain.pay(next_address(shop, 0), 25_000_000)
    shop.chain.mine(2)
    await shop.look(60 * minutes)
    invoice = await shop.invoice()
    await claim(shop.context, invoice.share_token, older.txid, shop.clock.now())
    await shop.look()
    assert await shop.inbox() == inbox
    assert await shop.status(invoice) is (Status.UNPAID if inbox else Status.PAID)
