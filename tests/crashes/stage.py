"""A shop whose server may die at any moment, and all around it that lives on.

What happens in the world happens once. What the server is asked to do, it is asked again where it
died over it, as its own loops, a client with an idempotency key or an operator would.
"""

import asyncio
import pickle
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from counterfoil.core.errors import CounterfoilError
from counterfoil.core.ports import Answer, Attempt, Message, Method, Transaction
from counterfoil.db.invoices import Invoice
from counterfoil.db.quotes import Quote
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import quotes, rates, upkeep
from counterfoil.services.context import Context, Methods
from counterfoil.services.invoices import Created, Draft, create
from counterfoil.services.watching import LeaseLostError, Watch
from counterfoil.workers.courier import Courier
from tests.conftest import FakeClock, FakeEntropy
from tests.crashes.ground import Ground
from tests.crashes.picture import take_picture
from tests.services.shop import PRICES, SECOND, Shop, keyed, open_shop
from tests.sim.chain import COIN, TOKEN, WorldChain
from tests.sim.process import CrashError
from tests.sim.receiver import Receiver

T = TypeVar("T")

# What comes of an act in which the server dies.
_DEATHS = (CrashError, CounterfoilError, LeaseLostError)
# Long enough that what has failed once is tried again.
_ROUNDS_TO_THE_END, _ROUND_S = 2, 60


def _nothing(_: str) -> None:
    return


@dataclass
class Ear(Receiver):
    """A receiver that answers what it is told to, one answer after another, and then with 200."""

    answers: list[Attempt] = field(default_factory=list)
    on_first: Callable[[str], None] = _nothing

    async def send(self, message: Message) -> Attempt:
        if not self.answers:
            return await super().send(message)
        attempt = self.answers.pop(0)
        if attempt.answer is Answer.DELIVERED:
            self._hear(message)
        return attempt


@dataclass
class Outside:
    """All that the death of the server does not touch."""

    clock: FakeClock = field(default_factory=FakeClock)
    chain: WorldChain = field(default_factory=lambda: WorldChain(methods=(COIN, TOKEN)))
    entropy: FakeEntropy = field(default_factory=FakeEntropy)
    ear: Ear = field(default_factory=lambda: Ear(random.Random(0)))
    # What the shop's customers hold: the invoices that were acknowledged, by the shop's own name.
    orders: dict[str, Created] = field(default_factory=dict)
    sent: dict[str, Transaction] = field(default_factory=dict)
    # Whether so much time has passed that events were swept.
    is_swept: bool = False
    # How far the scenario is.
    acts: int = 0


class KnownError(Exception):
    """From here on all is as it was after another crash."""


class Stage:
    """A ground, the shop on it, and the outside."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.outside = Outside()
        self._saved = b""
        # States in which another process has begun already: the rest is the same each time.
        self._known: set[tuple[int, int, int, str]] = set()
        self.deaths = 0
        self.shop: Shop
        self.courier: Courier

    async def build(self) -> None:
        """Open the shop: two coins, and somebody who listens."""
        store, out = await self.ground.start(), self.outside
        self.shop = await open_shop(store, out.clock, chain=out.chain)
        prices = {**PRICES, (TOKEN.symbol, "USD"): PRICES[COIN.symbol, "USD"]}
        await rates.refresh(store, [FixedRates(prices)], out.clock.now())
        await self.shop.listen()
        await self.ground.end()
        await self._begin(await self.ground.start())

    async def _begin(self, store: Any) -> None:
        """Let a process begin: what was not in the database is not there."""
        out = self.outside
        context = Context(
            store, Methods([out.chain]), frozenset({"USD"}), out.entropy, "https://pay.example"
        )
        watch = Watch(context, out.chain, f"process-{out.acts}")
        self.shop = Shop(store, out.clock, out.chain, context, self.shop.principal, watch)
        self.courier = Courier(store, {"webhook": out.ear}, str, out.clock, out.entropy)

    async def save(self) -> None:
        """End the server, and keep all as it is then for every run of the scenario."""
        await self.ground.end()
        await self.ground.save()
        self._saved = pickle.dumps(self.outside)

    async def reset(self) -> None:
        """Begin another run."""
        await self.ground.reset()
        self.outside = pickle.loads(self._saved)  # noqa: S301  # our own
        await self._begin(await self.ground.start())

    # --- what the server does ------------------------------------------------------------------

    async def do(self, act: Callable[[Shop], Awaitable[T]]) -> T:
        """Let the server do something, and another one if it dies over it."""
        while True:
            try:
                result = await act(self.shop)
            except _DEATHS:
                if not self.ground.is_dead:
                    raise
            else:
                if not self.ground.is_dead:
                    self.outside.acts += 1
                    return result
            await self._start_anew()

    async def _start_anew(self) -> None:
        """Start another server on what the dead one has left; raises KnownError."""
        self.deaths += 1
        await self._stop_sending()
        await self.ground.end()
        out = self.outside
        state = (
            out.acts,
            len(out.ear.heard),
            len(out.ear.answers),
            await self.ground.fingerprint(),
        )
        if state in self._known:
            raise KnownError
        self._known.add(state)
        await self._begin(await self.ground.start())

    async def _stop_sending(self) -> None:
        """End what the courier of a dead server had on its way."""
        sending = list(self.courier._sending)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)

    async def order(
        self, name: str, amount: str = "25.00", key: str | None = None, **fields: Any
    ) -> Created:
        """Order something, and keep what was answered."""
        draft = Draft(Decimal(amount), "USD", order_id=name, **fields)
        now = self.outside.clock.now()
        made = await self.do(
            lambda shop: create(
                shop.context, shop.principal, draft, now, keyed(shop.principal, key)
            )
        )
        self.outside.orders[name] = made
        return made

    async def show(self, name: str, method: Method = COIN) -> None:
        """Ask for a price, as the page does."""
        token, now = self.outside.orders[name].share_token, self.outside.clock.now()
        await self.do(lambda shop: quotes.choose(shop.context, token, method.id, now))

    async def read(self, name: str) -> Invoice:
        return await self.do(lambda shop: shop.read(self.outside.orders[name].id))

    async def asked(self, name: str) -> Quote:
        """Return what the page asks for."""
        invoice = await self.read(name)
        return await self.do(lambda shop: shop.quote(invoice))

    async def look(self, seconds: float = 1) -> None:
        """Let the watcher read all there is."""
        self.pass_time(seconds)
        await self.do(lambda shop: shop.look(0))

    async def tick(self) -> None:
        """Let the clock worker look at what is due."""
        await self.do(lambda shop: shop.tick())

    async def sweep(self) -> None:
        await self.do(lambda shop: upkeep.sweep(shop.context, shop.clock.now()))

    async def deliver(self) -> None:
        """Let the courier send all that is due."""

        async def send(_: Shop) -> None:
            while await self.courier.send_due():
                while self.courier._sending:
                    await asyncio.gather(*self.courier._sending, return_exceptions=True)

        await self.do(send)

    # --- what the world does -------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        self.outside.chain.now = self.outside.clock.advance(round(seconds * SECOND))

    async def pay(self, name: str, percent: int = 100, spends: tuple[str, ...] = ()) -> None:
        """Pay a share of what the page asks for."""
        shown = await self.asked(name)
        amount = shown.amount_atomic * percent // 100
        self.outside.sent[name] = self.outside.chain.pay(shown.address, amount, spends)

    def mine(self, count: int = 1) -> None:
        self.outside.chain.mine(count)

    async def settle(self) -> None:
        """Let all loops run until nothing more comes of it."""
        for _ in range(_ROUNDS_TO_THE_END):
            await self.look(_ROUND_S)
            await self.tick()
            await self.deliver()

    async def picture(self) -> dict[str, Any]:
        """Return what has become of it all, and what is half there."""
        names = {made.id: name for name, made in self.outside.orders.items()}
        is_swept = self.outside.is_swept
        pictured = await self.shop.store.read(lambda c: take_picture(c, names, is_swept=is_swept))
        heard = [
            (told["event"], names.get(int(told["invoice_id"] or 0), ""))
            for _, told in self.outside.ear.heard
        ]
        return pictured | {"heard": sorted(set(heard))}
