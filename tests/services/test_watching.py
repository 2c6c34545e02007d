"""Reading a chain: what has been seen, crashes, and two processes, on both databases."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core.invoice import Status
from counterfoil.core.ports import Mempool
from counterfoil.db import invoices, loops
from counterfoil.db.engine import Database
from counterfoil.db.postgres import Postgres
from counterfoil.db.schema import due_reassess, header
from counterfoil.services import upkeep, watching
from counterfoil.services.context import Context
from counterfoil.services.watching import LeaseLostError, Watch
from tests.conftest import FakeClock
from tests.services.shop import MINUTE, SECOND, Shop, end_lease, open_shop
from tests.services.watches import confirming, cursor, trouble
from tests.sim.chain import WorldChain


class CrashError(Exception):
    """The process ends here."""


async def test_what_one_chain_clears_another_has_still_to_do(shop: Shop) -> None:
    """An invoice may be paid on two chains, whose watchers know nothing of each other."""
    order = await shop.order()

    def write(connection: sa.Connection) -> list[int]:
        for chain in ("world", "other", "world"):
            invoices.mark_due_reassess(connection, [order, order], chain)
        invoices.clear_due_reassess(connection, [order], "world")
        return invoices.list_due_reassess(connection, "other", 10)

    assert await shop.store.write(write) == [order]


# --- what has been seen ------------------------------------------------------------------------


class RacingChain(WorldChain):
    """A node that finds a block just before it is asked for its mempool."""

    is_racing = False

    async def mempool(self, *asked: Any) -> Mempool:
        if self.is_racing:
            self.is_racing = False
            self.mine()
        return await super().mempool(*asked)


async def test_a_block_that_comes_before_the_mempool_is_read(
    database: Database, clock: FakeClock
) -> None:
    """The payment has left the mempool for a block: no look that saw neither may call it unpaid."""
    chain = RacingChain()
    shop = await open_shop(database, clock, chain=chain)
    await shop.listen()
    due_at = clock.now() + 10 * MINUTE
    invoice = await shop.invoice(due_at=due_at)
    quote = await shop.quote(invoice)
    chain.pay(quote.address, quote.amount_atomic)
    clock.at = due_at + SECOND
    chain.is_racing = True
    await shop.watch.look(clock.now())
    await shop.tick()
    assert await shop.status(invoice) is Status.UNPAID
    chain.mine()
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == []
    assert await shop.events(invoice) == ["payment_detected", "payment_confirmed"]


async def test_nothing_expires_unseen_where_the_clock_was_set_back(shop: Shop) -> None:
    """What had been seen up to 12:00 is not what happens from 11:51 on."""
    invoice = await shop.invoice(due_at=shop.clock.now() + 16 * MINUTE)
    await shop.look(20 * 60 - 5 * 60)
    shop.clock.at -= 9 * MINUTE
    await shop.tick()
    shop.chain.is_away = True
    await shop.look()
    await shop.look(11 * 60)
    await shop.tick()
    assert await shop.status(invoice) is Status.UNPAID
    shop.chain.is_away = False
    await shop.look()
    await shop.tick()
    assert await shop.status(invoice) is Status.EXPIRED


async def test_nothing_expires_unseen_by_a_look_that_began_before(shop: Shop) -> None:
    """It is written down when the clock has been set back already; then the node goes away."""
    invoice = await shop.invoice(due_at=shop.clock.now() + 16 * MINUTE)
    await shop.look(15 * 60)
    began_at = shop.clock.now()
    shop.clock.at -= 9 * MINUTE
    await shop.tick()
    name = shop.chain.name
    await shop.store.write(lambda c: loops.save_watched(c, name, began_at + 5 * MINUTE, MINUTE))
    shop.chain.is_away = True
    await shop.look()
    await shop.tick()
    await shop.look(11 * 60)
    await shop.tick()
    assert await shop.status(invoice) is Status.UNPAID


async def test_clocks_that_differ_a_little_keep_nothing_from_expiring(shop: Shop) -> None:
    """The machine that watches is ten seconds ahead of the one that looks at due dates."""
    invoice = await shop.invoice(due_at=shop.clock.now() + 5 * MINUTE)
    await shop.tick()
    await shop.look(5 * 60 + 11)
    shop.due_dates.context = shop.context
    await shop.due_dates.assess(shop.clock.now() - 10 * SECOND)
    assert await shop.status(invoice) is Status.EXPIRED


async def test_a_worker_whose_clock_is_behind_takes_nothing_from_what_is_watched(
    shop: Shop,
) -> None:
    """Amounts come free, and invoices expire, after so much time of watching."""
    other = upkeep.DueDates(shop.context)
    await other.assess(shop.clock.now() - 10 * MINUTE)
    await shop.look(6)
    (before,) = await watching.list_states(shop.context)
    for _ in range(10):
        await shop.look(6)
        await other.assess(shop.clock.now() - 10 * MINUTE)
    (after,) = await watching.list_states(shop.context)
    assert after.watched_ms - before.watched_ms == MINUTE
    assert after.watched_at == shop.clock.now()


async def test_a_clock_that_was_set_back_is_followed_at_once(shop: Shop) -> None:
    """Nothing happens on the chain, and what was seen is written down all the same."""
    shop.clock.at -= 9 * MINUTE
    for _ in range(2):
        await shop.look(6)
        (state,) = await watching.list_states(shop.context)
        assert (state.watched_at, state.checked_at) == (shop.clock.now(), shop.clock.now())


@pytest.mark.parametrize("kind", ["deaf", "awaits a block"])
async def test_a_node_that_may_not_know_all_lets_nothing_expire(shop: Shop, kind: str) -> None:
    """It was down, and is back before it has heard of the block in which the payer is in time."""
    invoice = await shop.invoice(due_at=shop.clock.now() + 10 * MINUTE)
    quote = await shop.quote(invoice)
    await shop.look(60)
    shop.chain.is_away = True
    await shop.look(120)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.now = shop.clock.now()
    shop.chain.mine(2)
    shop.chain.is_away, shop.chain.lag = False, 2
    shop.chain.trouble = "The node was started a moment ago." if kind == "deaf" else None
    shop.chain.may_lag = kind != "deaf"
    await shop.look(15 * 60)
    await shop.tick()
    (state,) = await watching.list_states(shop.context)
    assert state.trouble == shop.chain.trouble
    assert await shop.status(invoice) is Status.UNPAID
    shop.chain.lag, shop.chain.trouble, shop.chain.may_lag = 0, None, False
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.conditions(invoice) == []


async def test_the_blocks_of_a_node_that_is_syncing_are_read(shop: Shop) -> None:
    """One that is pruned may keep them no more when it is done; when all is seen, it is not."""
    invoice = await shop.invoice(due_at=shop.clock.now() + 5 * MINUTE)
    other = await shop.invoice(due_at=shop.clock.now() + 5 * MINUTE)
    quote = await shop.quote(invoice)
    await shop.quote(other)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.now = shop.clock.now() + MINUTE
    shop.chain.mine(3)
    shop.chain.is_synced = False
    await shop.look(10 * 60)
    await shop.tick()
    (state,) = await watching.list_states(shop.context)
    assert (state.height, state.trouble) == (3, "The node is still syncing.")
    assert await shop.status(invoice) is Status.PAID
    assert await shop.status(other) is Status.UNPAID
    shop.chain.is_synced = True
    await shop.look()
    await shop.tick()
    assert await shop.status(other) is Status.EXPIRED


class CrowdedChain(WorldChain):
    """A node with more new transactions than a look takes: for now none is decoded."""

    is_crowded = False

    async def mempool(self, *asked: Any) -> Mempool:
        answer = await super().mempool(*asked)
        if self.is_crowded and answer.fresh:
            return replace(answer, fresh=(), is_complete=False)
        return answer


async def test_nothing_expires_before_a_crowd_is_looked_through(
    database: Database, clock: FakeClock
) -> None:
    chain = CrowdedChain()
    shop = await open_shop(database, clock, chain=chain)
    due_at = clock.now() + 10 * MINUTE
    invoice = await shop.invoice(due_at=due_at)
    quote = await shop.quote(invoice)
    chain.pay(quote.address, quote.amount_atomic)
    chain.is_crowded = True
    clock.at = due_at + SECOND
    assert await shop.watch.look(clock.now()), "there is more to look at"
    await shop.tick()
    assert await shop.status(invoice) is Status.UNPAID
    chain.is_crowded = False
    await shop.look()
    await shop.tick()
    assert await shop.status(invoice) is Status.CONFIRMING
    chain.mine(2)
    await shop.look()
    assert await shop.conditions(invoice) == [], "the node has had it all the time"


async def test_in_a_crowd_nothing_is_unknown(database: Database, clock: FakeClock) -> None:
    chain = CrowdedChain()
    shop = await open_shop(database, clock, chain=chain)
    invoice = await confirming(shop)
    (payment,) = chain.pool.values()
    chain.drop(payment)
    chain.pay("w1else", 1_000)
    chain.is_crowded = True
    for _ in range(3):
        await shop.watch.look(clock.advance(40 * MINUTE))
    assert await shop.status(invoice) is Status.CONFIRMING


async def test_a_transaction_is_unknown_for_half_an_hour_before_it_is_gone(shop: Shop) -> None:
    invoice = await confirming(shop)
    (payment,) = shop.chain.pool.values()
    shop.chain.drop(payment)
    shop.chain.node_up_s = 60
    for _ in range(3):
        await shop.look(20 * 60)
    assert await shop.status(invoice) is Status.CONFIRMING, "a node that has just started"
    shop.chain.receive(payment)
    shop.chain.node_up_s = 100_000
    await shop.look(10)
    shop.chain.drop(payment)
    await shop.look(10)
    await shop.look(29 * 60)
    assert await shop.status(invoice) is Status.CONFIRMING
    await shop.look(2 * 60)
    assert await shop.status(invoice) is Status.UNPAID
    shop.chain.receive(payment)
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING


# --- crashes -----------------------------------------------------------------------------------


async def test_a_crash_between_facts_and_meaning_is_made_good(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoice = await confirming(shop)

    def crash(*_: Any) -> set[int]:
        raise CrashError

    shop.chain.mine(2)
    with monkeypatch.context() as patch:
        patch.setattr(watching, "reassess_all", crash)
        for _ in range(2):
            with pytest.raises(CrashError):
                await shop.look()
    # The cursor waits until the list is empty.
    assert (await cursor(shop)).height == 1
    listed = sa.select(due_reassess.c.invoice_id)
    assert await shop.store.read(lambda c: list(c.execute(listed).scalars())) == [invoice.id]
    shop.watch = Watch(shop.context, shop.chain, shop.watch.holder)
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await shop.events(invoice) == ["payment_detected", "payment_confirmed"]
    assert await shop.store.read(lambda c: list(c.execute(listed).scalars())) == []


# --- two processes at once ---------------------------------------------------------------------


async def _look_or_lose(watch: Watch, now: int) -> None:
    try:
        await watch.look(now)
    except LeaseLostError:
        return


@pytest.mark.parametrize("part", range(2))
async def test_two_watches_come_to_the_same_end_as_one(
    part: int, postgres_url: str, clock: FakeClock
) -> None:
    """Ten worlds each, in which the lease runs out whenever it hurts."""
    stores = [Postgres(postgres_url), Postgres(postgres_url)]
    for store in stores:
        await store.start()
    shop = await open_shop(stores[0], clock)
    await shop.listen()
    other = Context(
        stores[1], shop.context.methods, frozenset({"USD"}), shop.context.entropy, "https://pay"
    )
    chance = random.Random(part)
    watches = [Watch(shop.context, shop.chain, "one"), Watch(other, shop.chain, "two")]
    for _ in range(10):
        invoice = await shop.invoice()
        quote = await shop.quote(invoice)
        shop.chain.pay(quote.address, quote.amount_atomic)
        for step in range(4):
            now = clock.advance(SECOND)
            looks = [_look_or_lose(watch, now) for watch in watches]
            await asyncio.gather(*looks, *([end_lease(shop)] if chance.randrange(2) else []))
            if step == 1:
                shop.chain.mine()
                shop.chain.reorg(1, keep=chance.randrange(2) == 0)
        shop.chain.mine(3)
        await end_lease(shop)
        await shop.look(20)
        assert await shop.status(invoice) is Status.PAID
        told = [kind for kind in await shop.events(invoice) if kind != "payment_reversed"]
        assert told[-1] == "payment_confirmed"
        assert told == ["payment_detected", "payment_confirmed"]
        await shop.watch.release()
    statement = sa.select(header.c.height, header.c.hash).order_by(header.c.height)
    kept = await shop.store.read(lambda c: c.execute(statement).all())
    assert [tuple(row) for row in kept] == [(b.height, b.hash) for b in shop.chain.blocks]
    for store in stores:
        await store.close()


async def test_a_chain_that_stands_still_lets_nothing_expire(
    database: Database, clock: FakeClock
) -> None:
    """The newest block of a node that is stuck is ten block times old, and it has no trouble."""
    shop = await open_shop(database, clock, chain=WorldChain(block_interval_s=600))
    invoice = await shop.invoice(due_at=clock.now() + 30 * MINUTE)
    await shop.look(101 * 60)
    await shop.tick()
    assert (await trouble(shop) or "").startswith("The newest block is 101 minutes old")
    assert await shop.status(invoice) is Status.UNPAID
    shop.chain.mine()
    await shop.look(60)
    await shop.tick()
    assert await shop.status(invoice) is Status.EXPIRED
