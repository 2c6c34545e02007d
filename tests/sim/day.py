"""A day of a shop with one static address, made from one number.

Customers pay in time, late, after taking a second price, a wrong amount, or not at all; what each
pays is written down, and afterwards every payment is compared with what became of it. The services,
the store and the watcher are the real ones.
"""

import heapq
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa

from counterfoil.core.access import Principal, Scope
from counterfoil.core.errors import ConflictError, UnavailableError
from counterfoil.core.ports import Mode
from counterfoil.core.quote import LOCK_MS
from counterfoil.db import invoices, merchants
from counterfoil.db.quotes import Quote, list_of_invoice
from counterfoil.db.schema import chain_transaction, inbox, payment, transfer
from counterfoil.db.sqlite import Sqlite
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import rates, upkeep, wallets, watching
from counterfoil.services.context import Context, Methods
from counterfoil.services.invoices import Draft, create
from counterfoil.services.quotes import choose
from tests.conftest import FakeClock, FakeEntropy
from tests.sim.chain import COIN, WorldChain
from tests.sim.server import empty_database, share_compiled_statements

SECOND = 1_000
MINUTE = 60_000
HOUR = 60 * MINUTE
PRICE = Decimal("250.00")
# How often the watcher looks while something happens, and while nothing does: in truth it looks
# every second. A gap as long as the second one must count as watched then.
LOOK_MS = 20 * SECOND
IDLE_MS = 15 * MINUTE
BLOCK_MS = 15 * MINUTE
OUTAGE_MS = 25 * MINUTE


@dataclass(frozen=True)
class Scene:
    """What kind of day it is: the coin's price, and who comes.

    `open_invoices` are open when the day begins, and whenever one is closed another customer comes;
    with `orders_per_hour` they come at that pace instead. The shares are per cent of all customers.
    """

    coin_price: int
    open_invoices: int = 0
    orders_per_hour: int = 0
    hours: int = 24
    late: int = 5
    # Of those that are late: how many come after the quarantine.
    very_late: int = 20
    wrong: int = 5
    refreshing: int = 10
    leaving: int = 45
    # How often the rate moves, and the node cannot be asked for a while.
    moves: int = 3
    outages: int = 2


@dataclass(frozen=True)
class Paid:
    """A payment as its payer knows it."""

    invoice_id: int
    is_exact: bool
    at: int
    lock_until: int


@dataclass
class Verdict:
    """What became of all the payments of a day."""

    orders: int = 0
    most_held: int = 0
    turned_away: Counter[str] = field(default_factory=Counter)
    became: Counter[str] = field(default_factory=Counter)
    # The orders that got an amount, by the hour of the day.
    served: Counter[int] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = sorted((self.became + self.turned_away).items())
        return f"{self.orders} orders: {', '.join(f'{count} {name}' for name, count in counts)}"


class Day:
    """One day and what is left of it on the next one."""

    def __init__(self, seed: int, scene: Scene) -> None:
        self.scene = scene
        self.verdict = Verdict()
        self.chance = random.Random(seed)
        self.clock = FakeClock()
        self.chain = WorldChain()
        self.entropy = FakeEntropy(seed)
        self.paid: dict[str, Paid] = {}
        self._starts_at = self.clock.now()
        self._looked_at = 0
        self._agenda: list[tuple[int, int, Callable[[], Awaitable[None]]]] = []
        self._planned = 0
        shared_memory = Path("/dev/shm")  # noqa: S108  # a place for speed, in a folder of our own
        self._folder = TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None)

    # --- the server ---

    async def _start(self) -> None:
        path = Path(self._folder.name) / "day.db"
        path.write_bytes(empty_database())
        self.store = Sqlite(path, inline=True)
        share_compiled_statements(self.store._engine)
        await self.store.start()
        self.context = Context(
            self.store, Methods([self.chain]), frozenset({"USD"}), self.entropy, "https://pay"
        )
        self.watch = watching.Watch(self.context, self.chain, "day")
        await watching.ensure_chains(self.context)
        now = self.clock.now()
        merchant_id = await self.store.write(lambda c: merchants.insert(c, "Shop", "USD", now))
        assert merchant_id is not None
        self.principal = Principal(1, merchant_id, Mode.LIVE, Scope.FULL)
        await wallets.add(self.context, merchant_id, COIN.id, address="w1static", now=now)
        await self._set_price(Decimal(self.scene.coin_price))
        await self._look()

    async def _set_price(self, price: Decimal) -> None:
        source = FixedRates({("COIN", "USD"): price})
        await rates.refresh(self.store, [source], self.clock.now())

    async def _look(self) -> None:
        self.chain.now = self._looked_at = self.clock.now()
        while await self.watch.look(self.clock.now()):
            pass

    async def _upkeep(self) -> None:
        await upkeep.sweep(self.context, self.clock.now())
        due_dates = upkeep.DueDates(self.context)
        while await due_dates.assess(self.clock.now()):
            pass

    # --- the day ---

    def _plan(self, at: int, act: Callable[[], Awaitable[None]]) -> None:
        self._planned += 1
        heapq.heappush(self._agenda, (at, self._planned, act))

    async def live(self) -> Verdict:
        """Live through the day, until the last late payer has paid, and judge it."""
        await self._start()
        end = self._starts_at + self.scene.hours * HOUR
        for _ in range(self.scene.open_invoices):
            self._plan(self._starts_at + self.chance.randrange(15 * MINUTE), self._order)
        for at in range(self._starts_at, end, HOUR):
            for _ in range(self.scene.orders_per_hour):
                self._plan(at + self.chance.randrange(HOUR), self._order)
        for _ in range(self.scene.moves):
            self._plan(self.chance.randrange(self._starts_at, end), self._move_rate)
        for _ in range(self.scene.outages):
            self._plan(self.chance.randrange(self._starts_at, end), self._break)
        self._plan(self._starts_at + BLOCK_MS, self._tick)
        while self._agenda:
            at, _, act = heapq.heappop(self._agenda)
            while self.clock.now() + IDLE_MS < at:
                self.clock.advance(IDLE_MS)
                await self._look()
            self.clock.at = at
            if at - self._looked_at >= LOOK_MS:
                await self._look()
            await act()
        self.chain.mine(self.chain.confirmations.base)
        await self._look()
        await self._judge()
        await self.store.close()
        self._folder.cleanup()
        return self.verdict

    async def _tick(self) -> None:
        """Find a block, let the server do what is due, and go on while anything is planned."""
        self.chain.mine()
        await self._upkeep()
        held = await self.store.read(lambda c: c.execute(_HELD).scalar_one())
        self.verdict.most_held = max(self.verdict.most_held, held)
        if self._agenda:
            self._plan(self.clock.now() + BLOCK_MS, self._tick)

    async def _move_rate(self) -> None:
        moved = self.chance.choice(("0.991", "0.995", "1", "1.006", "1.011"))
        await self._set_price(self.scene.coin_price * Decimal(moved))

    async def _break(self) -> None:
        """Let nobody ask the node for a while, in which the chain goes on."""
        self.chain.is_away = True

        async def mend() -> None:
            self.chain.is_away = False

        self._plan(self.clock.now() + OUTAGE_MS, mend)

    async def _order(self) -> None:
        """Let a customer order, look at the price, and decide what to do."""
        now, chance, scene = self.clock.now(), self.chance, self.scene
        if now >= self._starts_at + scene.hours * HOUR:
            return
        # What is open when the day begins was ordered at some time of the day before.
        is_first = self.verdict.orders < scene.open_invoices
        life = chance.randrange(HOUR, 24 * HOUR) if is_first else 24 * HOUR
        draft = Draft(PRICE, "USD", due_at=now + life)
        made = await create(self.context, self.principal, draft, now)
        self.verdict.orders += 1
        quote = await self._see(made.share_token)
        if quote is None:
            closes_at = now + MINUTE
        else:
            self.verdict.served[(now - self._starts_at) // HOUR] += 1
            closes_at = self._decide(made.share_token, quote, now + life)
        if scene.open_invoices:
            self._plan(min(closes_at, now + life) + chance.randrange(MINUTE), self._order)

    def _decide(self, token: str, quote: Quote, due_at: int) -> int:
        """Plan what a customer does, and return when the invoice is closed by it."""
        now, chance, scene = self.clock.now(), self.chance, self.scene
        drawn = chance.randrange(100)
        shares = (scene.late, scene.wrong, scene.refreshing, scene.leaving)
        late, wrong, refreshing, leaving = (sum(shares[: n + 1]) for n in range(4))
        if drawn < late:
            is_very = chance.randrange(100) < scene.very_late
            wait = chance.randrange(25 * HOUR, 30 * HOUR) if is_very else self._hours(8)
            return self._pay_at(quote.lock_until + wait, quote, quote.amount_atomic)
        if drawn < wrong:
            self._pay_at(now + self._in_time(), quote, self._spoilt(quote.amount_atomic))
            return due_at
        if drawn < refreshing:
            comes_back_at = quote.lock_until + self._hours(4)
            self._plan(comes_back_at, lambda: self._pay_anew(token))
            return comes_back_at
        if drawn < leaving:
            return due_at
        return self._pay_at(now + self._in_time(), quote, quote.amount_atomic)

    def _in_time(self) -> int:
        return self.chance.randrange(20 * SECOND, LOCK_MS - MINUTE)

    def _hours(self, most: int) -> int:
        return self.chance.randrange(2 * MINUTE, most * HOUR)

    def _spoilt(self, amount: int) -> int:
        """Return what arrives where an exchange takes its fee off, or a person types too little."""
        ways = [
            amount - self.chance.choice((10_000, 20_000, 50_000, 100_000, 200_000)),
            amount // 1_000 * 1_000,
            amount // 1_000_000 * 1_000_000,
            amount * self.chance.randrange(90, 99) // 100 // 10 * 10,
        ]
        return max(self.chance.choice(ways), 1)

    async def _see(self, token: str) -> Quote | None:
        """Open the pay page, and return what it asks for; None if it cannot ask for anything."""
        try:
            await choose(self.context, token, COIN.id, self.clock.now())
        except (ConflictError, UnavailableError) as error:
            self.verdict.turned_away[error.code] += 1
            return None
        found = await self.store.read(lambda c: invoices.by_share_token(c, token))
        assert found is not None
        return (await self.store.read(lambda c: list_of_invoice(c, found.id)))[-1]

    async def _pay_anew(self, token: str) -> None:
        """Come back after the price has ended, take a fresh one and pay it."""
        quote = await self._see(token)
        if quote is not None:
            self._pay_at(self.clock.now() + self._in_time(), quote, quote.amount_atomic)

    def _pay_at(self, at: int, quote: Quote, amount: int) -> int:
        async def pay() -> None:
            sent = self.chain.pay(quote.address, amount)
            is_exact = amount == quote.amount_atomic
            self.paid[sent.txid] = Paid(quote.invoice_id, is_exact, at, quote.lock_until)

        self._plan(at, pay)
        return at

    # --- what became of it ---

    async def _judge(self) -> None:
        rows = await self.store.read(lambda c: c.execute(_BECAME).all())
        known = {row.txid: row for row in rows}
        for txid, paid in self.paid.items():
            row = known.get(txid)
            self.verdict.became[self._fate(paid, row)] += 1

    def _fate(self, paid: Paid, row: sa.Row[Any, Any, Any] | None) -> str:
        if row is None or (row.invoice_id is None) == (row.inbox_id is None):
            return "lost"
        if row.inbox_id is None:
            return "own" if row.invoice_id == paid.invoice_id else "a stranger's"
        if not paid.is_exact:
            return "wrong, in the inbox"
        # Held for a day of watching after the lock, however that is counted.
        is_held = paid.at < paid.lock_until + 24 * HOUR
        return "exact and held, in the inbox" if is_held else "very late, in the inbox"


_HELD = sa.text("SELECT count(*) FROM amount_hold")
_BECAME = (
    sa.select(
        chain_transaction.c.txid,
        payment.c.invoice_id,
        inbox.c.id.label("inbox_id"),
    )
    .join(transfer, transfer.c.transaction_id == chain_transaction.c.id)
    .outerjoin(payment, payment.c.transfer_id == transfer.c.id)
    .outerjoin(inbox, inbox.c.transfer_id == transfer.c.id)
)
