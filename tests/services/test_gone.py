"""What is gone costs nothing more, and counts again at once where a node lists it again."""

from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core.errors import NodeError
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Mempool
from counterfoil.db import payments
from counterfoil.db.engine import Database
from counterfoil.db.invoices import Invoice
from counterfoil.db.schema import chain_transaction
from counterfoil.services.watching import Watch
from tests.conftest import FakeClock
from tests.services.shop import Shop, end_lease, open_shop
from tests.sim.chain import WorldChain


class MumChain(WorldChain):
    """A node that may show its blocks and not its mempool."""

    is_mum = False

    async def mempool(self, *asked: Any) -> Mempool:
        if self.is_mum:
            raise NodeError("The node does not answer.")
        return await super().mempool(*asked)


async def replace_in_a_block(shop: Shop, chain: WorldChain) -> Invoice:
    """Return an invoice whose payment has lost its place to another one in a block."""
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING
    chain.pay("w1else", 1, spends=payment.spends)
    chain.mine()
    return invoice


def bring_back(chain: WorldChain) -> None:
    """Take the last block back, and let the node list the payment that it has replaced."""
    chain.reorg(1, keep=False)
    chain.receive(next(iter(chain.made.values())))


async def test_what_a_block_replaced_counts_when_the_block_is_replaced(
    database: Database, clock: FakeClock
) -> None:
    """Nobody has asked for the mempool meanwhile: it has been in sight all the time."""
    chain = MumChain()
    shop = await open_shop(database, clock, chain=chain)
    invoice = await replace_in_a_block(shop, chain)
    chain.is_mum = True
    await shop.look()
    assert await shop.status(invoice) is Status.UNPAID
    bring_back(chain)
    chain.is_mum = False
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING


async def test_what_another_watcher_took_for_gone_counts_again(shop: Shop) -> None:
    invoice = await replace_in_a_block(shop, shop.chain)
    await end_lease(shop)
    await Watch(shop.context, shop.chain, "another").look(shop.clock.now())
    assert await shop.status(invoice) is Status.UNPAID
    bring_back(shop.chain)
    await end_lease(shop)
    await shop.look(10)
    assert await shop.status(invoice) is Status.CONFIRMING


async def test_of_a_thousand_raised_fees_few_are_read_again(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    for _ in range(20):
        payment = shop.chain.raise_fee(payment)
        await shop.look()
    # As many may be gone at once, where a node has dropped them all.
    at_once = sa.update(chain_transaction).where(chain_transaction.c.gone_at.is_not(None))
    await shop.store.write(lambda c: c.execute(at_once.values(gone_at=shop.clock.now())))
    telling = await shop.store.read(lambda c: payments.list_deciding(c, [invoice.id]))
    known = await shop.store.read(lambda c: payments.list_credited(c, invoice.id))
    assert (len(telling[invoice.id]), len(known)) == (2, 21)
    # The last one that is gone is the cause, should the one that is left go too.
    assert [each.payment.gone_at is None for each in telling[invoice.id]] == [False, True]
    assert {each.payment.id for each in known[-2:]} == {
        each.payment.id for each in telling[invoice.id]
    }


async def test_what_was_final_is_read_though_it_is_gone(shop: Shop) -> None:
    """A reorg replaces a payment that had been deep enough: the invoice is reversed."""
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    shop.chain.reorg(2, keep=False)
    shop.chain.pay("w1else", 1, spends=payment.spends)
    shop.chain.mine()
    await shop.look()
    part = shop.chain.pay(quote.address, 1_000)
    await shop.look()
    shop.chain.pay("w1else", 1, spends=part.spends)
    await shop.look()
    assert await shop.conditions(invoice) == ["reversed"]


async def test_what_a_node_has_lost_at_its_restart_is_waited_for_a_day(shop: Shop) -> None:
    """It was killed, and its mempool is that of an earlier stop: all other nodes have it still."""
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    shop.chain.drop(payment)
    await shop.look(2 * 3_600)
    shop.chain.node_up_s = 3_600 + 1
    await shop.look(3_600)
    assert await shop.status(invoice) is Status.CONFIRMING
    shop.chain.node_up_s += 22 * 3_600
    await shop.look(22 * 3_600)
    assert await shop.status(invoice) is Status.CONFIRMING
    shop.chain.node_up_s += 2 * 3_600
    await shop.look(2 * 3_600)
    assert await shop.status(invoice) is Status.UNPAID


@pytest.mark.parametrize("lacks", ["a block", "peers"])
async def test_a_node_that_may_not_know_all_gives_nothing_up(shop: Shop, lacks: str) -> None:
    """It has heard of a block that it does not have, or of nothing: the payment may be in there."""
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    shop.chain.drop(payment)
    shop.chain.may_lag = lacks == "a block"
    shop.chain.trouble = "The node hears nothing." if lacks == "peers" else None
    for _ in range(2):
        await shop.look(40 * 60)
    assert await shop.status(invoice) is Status.CONFIRMING
    # Once it knows all again it is asked for half an hour, as ever.
    shop.chain.may_lag, shop.chain.trouble = False, None
    await shop.look()
    await shop.look(29 * 60)
    assert await shop.status(invoice) is Status.CONFIRMING
    await shop.look(60)
    assert await shop.status(invoice) is Status.UNPAID
