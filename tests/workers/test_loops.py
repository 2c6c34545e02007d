"""The small loops: each does its one thing, again and again, until it is stopped."""

import asyncio
from collections.abc import Coroutine, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from structlog.testing import capture_logs

from counterfoil.core.access import Scope
from counterfoil.core.errors import UnavailableError
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Mode, Tick
from counterfoil.db.schema import idempotency, lease
from counterfoil.services import keys, rates
from counterfoil.services.invoices import Draft, create
from counterfoil.services.keys import Keyring
from counterfoil.services.upkeep import DueDates
from counterfoil.workers import clock as expiry
from counterfoil.workers import lookout, quoter, sweeper, watcher
from tests.conftest import FakeClock, FakeEntropy
from tests.services.shop import MINUTE, Shop, keyed

DAY_MS = 24 * 60 * MINUTE


async def run_until(loop: Coroutine[Any, Any, None], done: Any) -> None:
    """Let a loop run until `done()` comes true, then stop it."""
    task = asyncio.create_task(loop)
    async with asyncio.timeout(10):
        while not await done():
            await asyncio.wait([task], timeout=0.01)
            assert not task.done(), task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_watcher_looks_when_the_bell_rings_and_gives_the_lease_back(shop: Shop) -> None:
    await shop.watch.release()
    bell = shop.store.listen("chains")
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)

    async def is_seen() -> bool:
        shop.store.wake("chains")
        return await shop.status(invoice) is Status.CONFIRMING

    await run_until(watcher.follow(shop.watch, shop.clock, bell), is_seen)
    until = sa.select(lease.c.until)
    assert await shop.store.read(lambda c: c.execute(until).scalar_one()) == 0


async def test_the_watcher_outlives_the_loss_of_its_lease(shop: Shop) -> None:
    fence = sa.update(lease).values(holder="another", until=0, fence=lease.c.fence + 1)
    await shop.store.write(lambda c: c.execute(fence))
    shop.chain.mine()
    bell = shop.store.listen("chains")

    async def is_ours_again() -> bool:
        shop.store.wake("chains")
        holder = sa.select(lease.c.holder)
        return bool(await shop.store.read(lambda c: c.execute(holder).scalar_one() == "Shop"))

    await run_until(watcher.follow(shop.watch, shop.clock, bell), is_ours_again)


async def test_the_lease_is_kept_while_a_look_lasts(shop: Shop) -> None:
    await shop.store.write(lambda c: c.execute(sa.update(lease).values(until=1)))

    async def is_kept() -> bool:
        until = sa.select(lease.c.until)
        return bool(await shop.store.read(lambda c: c.execute(until).scalar_one()) > 1)

    await run_until(watcher.keep_lease(shop.watch, shop.clock), is_kept)


async def test_the_clock_expires_what_is_due(shop: Shop) -> None:
    invoice = await shop.read(await shop.order(due_at=shop.clock.now() + MINUTE))
    assert await shop.status(invoice) is Status.UNPAID

    async def is_expired() -> bool:
        return await shop.status(invoice) is Status.EXPIRED

    # Its sleeps move the clock on.
    await run_until(expiry.expire(DueDates(shop.context), shop.clock), is_expired)
    assert shop.clock.now() >= (invoice.due_at or 0)


class Quiet:
    """A source that fails at first; implements `core.ports.RateSource`."""

    name = "quiet"
    currencies = frozenset({"USD"})
    every_s = 30
    asked = 0

    async def fetch(self, now: int) -> Sequence[Tick]:
        self.asked += 1
        if self.asked == 1:
            raise UnavailableError("rate_unavailable", "Nothing today.")
        return [Tick(self.name, "COIN", "USD", Decimal(7), now)]


async def test_the_quoter_asks_again_after_a_failure(shop: Shop) -> None:
    source, before = Quiet(), shop.clock.now()

    async def has_answered() -> bool:
        return source.asked >= 3

    await run_until(quoter.ask(shop.store, source, shop.clock), has_answered)
    assert shop.clock.now() - before >= 60_000
    (state,) = [each for each in await rates.list_sources(shop.store) if each.name == "quiet"]
    assert (state.good_at or 0) > before
    assert state.trouble is None


async def test_the_sweeper_drops_what_is_old_and_notes_what_was_used(shop: Shop) -> None:
    now = shop.clock.now()
    who = shop.principal.merchant_id
    key = await keys.create(shop.store, FakeEntropy(), who, Mode.LIVE, Scope.FULL, now)
    keyring = Keyring(shop.store)
    await keyring.authenticate(key, now)
    draft = Draft(Decimal(1), "USD")
    old, new = (keyed(shop.principal, name) for name in ("old", "new"))
    await create(shop.context, shop.principal, draft, now - DAY_MS - 1, old)
    await create(shop.context, shop.principal, draft, now, new)

    async def is_noted() -> bool:
        return (await keys.list_all(shop.store, who))[0].last_used_at is not None

    await run_until(sweeper.sweep_up(shop.context, keyring, shop.clock), is_noted)
    left = sa.select(idempotency.c.key)
    assert await shop.store.read(lambda c: list(c.execute(left).scalars())) == ["new"]


class SteppedClock(FakeClock):
    """A clock on which a loop sleeps until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asleep = asyncio.Event()
        self.wakes = asyncio.Semaphore(0)

    async def sleep(self, seconds: float) -> None:
        self.is_asleep.set()
        await self.wakes.acquire()

    async def step(self) -> None:
        """Return when the loop has gone round once more."""
        self.is_asleep.clear()
        self.wakes.release()
        async with asyncio.timeout(10):
            await self.is_asleep.wait()


async def test_the_lookout_tells_of_a_gap_again_only_when_it_has_grown(shop: Shop) -> None:
    clock = SteppedClock()
    with capture_logs() as lines:
        task = asyncio.create_task(lookout.look_out(shop.store, clock))
        for count in (14, 1, 34, 1):
            for _ in range(count):
                await shop.invoice()
            await clock.step()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    gaps = [each for each in lines if each["event"] == "wallet_gap"]
    assert [each["log_level"] for each in gaps] == ["warning"] * 2
    assert "15 addresses in a row" in gaps[0]["advice"]
    assert "50 addresses in a row" in gaps[1]["advice"]
