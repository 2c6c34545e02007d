"""What a look at a chain writes down: what came when, where it is, and what is told of it."""

import time
from collections.abc import Collection, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from counterfoil.core.errors import NodeError
from counterfoil.core.events import iso
from counterfoil.core.invoice import EventType, Status
from counterfoil.core.ports import Block, Mempool
from counterfoil.db.engine import Database
from counterfoil.db.schema import chain_transaction, header, invoice
from counterfoil.services import inbox
from counterfoil.services.context import Methods
from counterfoil.services.watching import Watch
from tests.conftest import FakeClock
from tests.services import moves
from tests.services.shop import MINUTE, Shop, open_shop
from tests.sim.chain import WorldChain


async def known(shop: Shop) -> list[tuple[Any, ...]]:
    """Return the transactions that are known: when each came, and its block."""
    statement = sa.select(chain_transaction.c.first_seen_at, chain_transaction.c.block_height)
    return await shop.store.read(lambda c: [tuple(row) for row in c.execute(statement)])


async def headers(shop: Shop) -> list[str]:
    """Return the hashes of the headers that are kept, the lowest first."""
    statement = sa.select(header.c.hash).order_by(header.c.height)
    return await shop.store.read(lambda c: list(c.execute(statement).scalars()))


def trouble_of(logs: Sequence[MutableMapping[str, Any]]) -> list[tuple[str, str]]:
    """Return of which chains trouble was told, and which."""
    return [(line["chain"], line["trouble"]) for line in logs if line["event"] == "chain_trouble"]


# --- what came, and when ----------------------------------------------------------------------


@pytest.mark.parametrize(("amount", "count"), [(0, 0), (1, 1)])
async def test_only_what_moves_money_is_kept(shop: Shop, amount: int, count: int) -> None:
    quote = await shop.quote(await shop.invoice())
    shop.chain.pay(quote.address, amount)
    await shop.look()
    assert len(await known(shop)) == count


async def test_a_miner_whose_clock_is_behind_makes_nothing_older(shop: Shop) -> None:
    """What a block shows first came after the last look, whatever the block says."""
    quote = await shop.quote(await shop.invoice())
    await shop.look(10)
    last_look_at = shop.clock.now()
    shop.chain.now -= 60 * MINUTE
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine()
    await shop.look(10)
    assert await known(shop) == [(last_look_at, 1)]


# --- where it is ------------------------------------------------------------------------------


async def test_what_is_mined_stays_so_while_a_mempool_lists_it(shop: Shop) -> None:
    """A second node may be behind the first; the block that was read counts."""
    made = await shop.invoice()
    quote = await shop.quote(made)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    shop.chain.receive(payment)
    await shop.look()
    assert await shop.status(made) is Status.PAID
    assert [height for _, height in await known(shop)] == [1]


@dataclass
class Quiet(WorldChain):
    """A chain whose node may be silent about its mempool alone."""

    is_quiet: bool = False

    async def mempool(self, *asked: Any) -> Mempool:
        if self.is_quiet:
            raise NodeError("The node does not answer.")
        return await super().mempool(*asked)


async def test_what_was_displaced_for_a_moment_counts_again(
    database: Database, clock: FakeClock
) -> None:
    """Its rival's block is gone before the mempool has been looked at once more."""
    chain = Quiet()
    shop = await open_shop(database, clock, chain=chain)
    made = await shop.invoice()
    quote = await shop.quote(made)
    payment = chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    chain.is_quiet = True
    rival = chain.pay("w1elsewhere", 1_000, payment.spends)
    chain.mine()
    await shop.look()
    assert await shop.status(made) is Status.UNPAID
    chain.is_quiet = False
    chain.reorg(1, keep=False)
    chain.drop(rival)
    chain.receive(payment)
    # Nothing is new in the mempool, so it is looked through in detail a little later.
    await shop.look(10)
    assert await shop.status(made) is Status.CONFIRMING


class Terse(WorldChain):
    """A node that says what a transaction moves only once, and then lists its txid alone."""

    told: frozenset[str] = frozenset()

    async def mempool(self, known: Collection[str], pending: Collection[str]) -> Mempool:
        listed = await super().mempool(known, pending)
        fresh = tuple(seen for seen in listed.fresh if seen.txid not in self.told)
        self.told |= listed.txids
        return replace(listed, fresh=fresh)


async def test_what_is_listed_again_is_missed_anew(database: Database, clock: FakeClock) -> None:
    shop = await open_shop(database, clock, chain=Terse())
    made = await shop.invoice()
    quote = await shop.quote(made)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    for _ in range(3):
        shop.chain.drop(payment)
        await shop.look()
        await shop.look(29 * 60)
        shop.chain.receive(payment)
        # Nothing is new in the mempool, so it is looked through in detail a little later.
        await shop.look(10)
        assert await shop.status(made) is Status.CONFIRMING


@pytest.mark.parametrize("asked", range(1, 9))
async def test_the_chain_changes_between_two_questions(shop: Shop, asked: int) -> None:
    """Whenever that is: the headers that are kept are always of one chain."""
    shop.chain.mine(3)
    await shop.look()
    shop.chain.mine(2)
    questions = 0

    async def change() -> None:
        nonlocal questions
        questions += 1
        if questions == asked:
            shop.chain.reorg(4, keep=True)

    shop.chain.meanwhile = change
    await shop.look()
    assert questions >= asked
    shop.chain.meanwhile = None
    for _ in range(2):
        kept = await headers(shop)
        assert [shop.chain.parents[above] for above in kept[1:]] == kept[:-1]
        await shop.look()
    assert (await headers(shop))[-1] == shop.chain.blocks[-1].hash


async def test_a_block_that_confirms_a_payment_changes_its_page(shop: Shop) -> None:
    made = await shop.invoice()
    quote = await shop.quote(made)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    statement = sa.select(invoice.c.rev, invoice.c.status)
    before = await shop.store.read(lambda c: c.execute(statement).one())
    shop.chain.mine()
    await shop.look()
    after = await shop.store.read(lambda c: c.execute(statement).one())
    assert before.status == after.status == "Confirming"
    assert after.rev > before.rev


# --- what is told of it -----------------------------------------------------------------------


async def test_what_an_event_says_of_a_transfer_in_the_inbox(stall: Shop) -> None:
    await stall.listen(EventType.INBOX)
    payment = stall.chain.pay("w1stall", 12_345)
    await stall.look()
    (told,) = await stall.bodies()
    assert told == {
        "event": "inbox_received",
        "invoice_id": "",
        "status": "",
        "payment_id": "",
        "id": f"{stall.clock.now()}-0",
        "seq": "1",
        "created_at": iso(stall.clock.now()),
        "reason": "no_quote",
        "payment": {
            "coin": "COIN",
            "network": "world",
            "txid": payment.txid,
            "amount": "0.00012345",
        },
        "test": False,
    }


async def test_money_in_a_coin_that_is_switched_off_lies_in_the_inbox(shop: Shop) -> None:
    made = await shop.invoice()
    quote = await shop.quote(made)
    shop.context = replace(shop.context, methods=Methods([]))
    shop.watch = Watch(shop.context, shop.chain, shop.watch.holder)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    assert await shop.status(made) is Status.UNPAID
    assert await shop.inbox() == ["other_method"]
    (told,) = await shop.bodies()
    assert (told["payment"], told["reason"]) == (None, "other_method")
    (kept,) = await moves.listed(shop)
    assert inbox.describe(shop.context, kept)["amount"] is None


async def test_the_log_says_where_watching_began_and_what_was_replaced(
    database: Database, clock: FakeClock
) -> None:
    with capture_logs() as logs:
        shop = await open_shop(database, clock)
        shop.chain.mine(3)
        await shop.look()
        shop.chain.reorg(2, keep=True)
        await shop.look()
    wanted = [
        {"event": "chain_started", "log_level": "info", "chain": "world", "height": 0},
        {"event": "reorg", "log_level": "warning", "chain": "world", "ancestor": 1, "height": 3},
    ]
    assert [line for line in logs if line["event"] in {"chain_started", "reorg"}] == wanted


class Forgetful(WorldChain):
    """A chain whose node knows no block, not even its tip."""

    async def block(self, block_hash: str) -> Block | None:
        return None


async def test_a_node_that_does_not_know_its_tip_is_in_trouble(
    database: Database, clock: FakeClock
) -> None:
    with capture_logs() as logs:
        await open_shop(database, clock, chain=Forgetful())
    assert trouble_of(logs) == [("world", "The node does not know its own tip.")]


async def test_a_node_that_has_not_caught_up_is_in_trouble(shop: Shop) -> None:
    shop.chain.is_synced = False
    with capture_logs() as logs:
        await shop.look()
    assert trouble_of(logs) == [("world", "The node is still syncing.")]


@pytest.mark.parametrize(("age_s", "trouble"), [(600, []), (601, ["10 minutes"])])
async def test_a_chain_on_which_no_block_comes_is_in_trouble(
    database: Database, clock: FakeClock, age_s: int, trouble: list[str]
) -> None:
    """As soon as more than ten blocks should have come."""
    shop = await open_shop(database, clock, chain=WorldChain(block_interval_s=60))
    shop.chain.mine()
    await shop.look()
    with capture_logs() as logs:
        await shop.look(age_s - 1)
    told = [text for _, text in trouble_of(logs)]
    assert told == [
        f"The newest block is {age} old: the node or the chain stands still." for age in trouble
    ]


@pytest.mark.parametrize("topic", ["outbox", "pages"])
async def test_who_waits_for_news_is_woken_by_an_assessment(shop: Shop, topic: str) -> None:
    quote = await shop.quote(await shop.invoice())
    await shop.look()
    shop.chain.pay(quote.address, quote.amount_atomic)
    bell = shop.store.listen(topic)
    await shop.look()
    began = time.monotonic()
    await bell.wait(30)
    assert time.monotonic() - began < 15
