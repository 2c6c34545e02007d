"""Two watchers credit one invoice at the same time, on PostgreSQL: always the same end.

A world on SQLite has one writer, so it cannot show what two transactions do to each other. Here the
watchers of two chains take turns by the statement: after the 4th, 10th, ... 58th of the one all of
the other's are run, as far as no lock is in their way.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

from counterfoil.core.invoice import Status
from counterfoil.db.postgres import Postgres
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import rates, wallets, watching
from counterfoil.services.context import Context, Methods
from counterfoil.services.quotes import choose
from counterfoil.services.watching import Watch
from tests.conftest import FakeClock
from tests.services.shop import PRICES, SECOND, Shop, open_shop
from tests.sim import faults
from tests.sim.chain import COIN, WorldChain

pytestmark = pytest.mark.sim

INTERLEAVINGS = 20
# Where nothing happens for so long, the one whose turn it is waits for a row of the other's.
_TURN_S = 0.05


class Turns:
    """Whose statements are the next ones: a few of the one's, all of the other's, the others."""

    def __init__(self, number: int) -> None:
        self._waiting = ["ab", "ba"][number % 2]
        self._left = 4 + number // 2 * 6
        self._moved = asyncio.Event()
        self.taken = ""

    async def wait(self, name: str) -> None:
        """Return when it is this one's turn, or when the other one cannot take its own."""
        with suppress(TimeoutError):
            while self._waiting[0] != name:
                async with asyncio.timeout(_TURN_S):
                    await self._moved.wait()
        self.taken += name
        self._left -= 1
        if self._left == 0 and len(self._waiting) > 1:
            self._waiting = self._waiting[::-1]
        self._move()

    def leave(self, name: str) -> None:
        """Leave all further turns to the other."""
        self._waiting = self._waiting.replace(name, "")
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


@dataclass
class Pair:
    """A shop that takes two coins, and a server process for each of their chains."""

    shop: Shop
    stores: list[Postgres]
    watches: list[Watch]
    turns: Turns | None = None

    def take_turns(self, place: int) -> None:
        """Let a process's statements wait for their turn."""

        def wait(*_: Any) -> None:
            if self.turns is not None:
                await_only(self.turns.wait("ab"[place]))

        engine = self.stores[place]._engine.sync_engine
        sa.event.listen(engine, "before_cursor_execute", wait)

    async def look_at_once(self, number: int) -> str:
        """Let both watchers look; return in which order their statements ran."""
        now = self.shop.clock.advance(SECOND)
        turns = self.turns = Turns(number)

        async def look(place: int) -> None:
            try:
                await self.watches[place].look(now)
            finally:
                turns.leave("ab"[place])

        await asyncio.gather(look(0), look(1))
        self.turns = None
        return turns.taken


@pytest.fixture
async def pair(postgres_url: str, clock: FakeClock) -> AsyncIterator[Pair]:
    stores = [Postgres(postgres_url), Postgres(postgres_url)]
    for store in stores:
        await store.start()
    shop = await open_shop(stores[0], clock)
    coin = replace(COIN, id="COIN-OTHER", chain="other")
    other = WorldChain(name="other", network="test:other", methods=(coin,))
    contexts = [
        Context(store, Methods([shop.chain, other]), frozenset({"USD"}), shop.context.entropy, "")
        for store in stores
    ]
    shop.context = contexts[0]
    await watching.ensure_chains(contexts[1])
    await rates.refresh(stores[0], [FixedRates(PRICES)], clock.now())
    await wallets.add(
        contexts[0], shop.principal.merchant_id, coin.id, xpub="zpub", now=clock.now()
    )
    watches = [shop.watch, Watch(contexts[1], other, "other")]
    made = Pair(shop, stores, watches)
    for place in range(2):
        await watches[place].look(clock.now())
        made.take_turns(place)
    yield made
    for store in stores:
        await store.close()


async def pay_halves(pair: Pair, number: int) -> tuple[Any, ...]:
    """Let an invoice be paid half on each chain, and return what it and its shop come to."""
    shop = pair.shop
    invoice = await shop.invoice()
    await choose(shop.context, invoice.share_token, "COIN-OTHER", shop.clock.now())
    for quote, watch in zip(await shop.quotes(invoice), pair.watches, strict=True):
        watch.chain.pay(quote.address, quote.amount_atomic // 2)  # type: ignore[attr-defined]  # this world's chain
    orders = [await pair.look_at_once(number)]
    for watch in pair.watches:
        watch.chain.mine(2)  # type: ignore[attr-defined]  # see above
    orders.append(await pair.look_at_once(number))
    print(f"{number}: {orders}")
    end = (await shop.read(invoice.id)).standing
    return end.status, end.seen, end.final, await shop.events(invoice)


@pytest.mark.timeout(300)
async def test_twenty_interleavings_come_to_one_end(pair: Pair) -> None:
    for number in range(INTERLEAVINGS):
        status, seen, final, told = await pay_halves(pair, number)
        assert (status, seen, final) == (Status.PAID, 25, 25)
        assert told == ["payment_detected", "payment_confirmed"]


async def test_without_the_row_lock_the_ends_differ(pair: Pair) -> None:
    with faults.reassess_without_row_lock(*(store._engine.sync_engine for store in pair.stores)):
        ends = [str(await pay_halves(pair, number)) for number in range(INTERLEAVINGS)]
    print("\n".join(ends))
    assert len(set(ends)) > 1, "who writes what they read a while ago overwrites the other's"
