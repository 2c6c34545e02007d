"""A world made from one number: a shop, its payers, a chain, a network, and all that goes wrong.

The services, the store and the watcher are the real ones; the clock, the chain and the receiver are
this world's. One seed makes one world, always the same. Crashes happen at any SQL statement, also
right after a commit, and what follows is a restart on the same database.
"""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa

from counterfoil.core.access import Principal, Scope
from counterfoil.core.confirmations import Confirmations
from counterfoil.core.errors import CounterfoilError
from counterfoil.core.invoice import EventType
from counterfoil.core.ports import Mode, Transaction
from counterfoil.db import deliveries, invoices, merchants, outbox, quotes
from counterfoil.db.schema import metadata
from counterfoil.db.sqlite import Sqlite
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import rates, upkeep, wallets, watching
from counterfoil.services.context import Context, Methods
from counterfoil.services.invoices import Draft, cancel, create
from counterfoil.services.quotes import choose
from counterfoil.workers.courier import Courier
from tests.conftest import FakeClock, FakeEntropy
from tests.sim.chain import COIN, WorldChain
from tests.sim.receiver import Receiver

STEPS = 60
SECOND = 1_000
MINUTE = 60_000


_engines: list[sa.Engine] = []


def share_compiled_statements(engine: sa.Engine) -> None:
    """Let every process of every world use the statements that the first one compiled."""
    if not _engines:
        _engines.append(engine)
    engine.dialect = _engines[0].dialect
    engine._compiled_cache = _engines[0]._compiled_cache


# The database itself writes down every change of a status, whoever makes it.
_WITNESS = (
    "CREATE TABLE witness (id INTEGER PRIMARY KEY, invoice_id INTEGER, old TEXT, new TEXT)",
    """
    CREATE TRIGGER witness AFTER UPDATE OF status ON invoice WHEN OLD.status <> NEW.status BEGIN
        INSERT INTO witness (invoice_id, old, new) VALUES (NEW.id, OLD.status, NEW.status);
    END
    """,
)


@cache
def empty_database() -> bytes:
    """Return a file with all tables and no rows."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        engine = sa.create_engine(f"sqlite:///{path}")
        metadata.create_all(engine)
        with engine.begin() as connection:
            for statement in _WITNESS:
                connection.execute(sa.text(statement))
        engine.dispose()
        return path.read_bytes()


class CrashError(Exception):
    """The process ends here."""


@dataclass
class Tally:
    """What happened in one or many worlds."""

    worlds: int = 0
    payments: int = 0
    reorgs: int = 0
    crashes: int = 0
    posts: int = 0
    lost: int = 0
    credited_twice: int = 0
    events_lost: int = 0
    out_of_order: int = 0

    def add(self, other: "Tally") -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def __str__(self) -> str:
        return (
            f"{self.worlds} worlds, {self.payments} payments, {self.reorgs} reorgs, "
            f"{self.crashes} crashes, {self.posts} posts: {self.lost} lost, "
            f"{self.credited_twice} credited twice, {self.events_lost} events lost, "
            f"{self.out_of_order} out of order"
        )


@dataclass
class World:
    """One world and its state."""

    seed: int
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.clock = FakeClock()
        self.chain = WorldChain(confirmations=Confirmations(self.chance.choice([1, 2, 3, 6])))
        self.receiver = Receiver(random.Random(self.seed + 1))
        # On a RAM disk where there is one: the power is never cut here, so no sync need be real.
        shared_memory = Path("/dev/shm")  # noqa: S108  # a place for speed, in a folder of our own
        self._folder = TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None)
        self.entropy = FakeEntropy(self.seed)
        self.tokens: list[str] = []
        self.shown: list[quotes.Quote] = []
        self.paid: list[Transaction] = []
        self._fuse: int | None = None

    # --- the server ---

    async def begin(self) -> None:
        """Start the server for the first time."""
        (Path(self._folder.name) / "world.db").write_bytes(empty_database())
        await self._start()
        now = self.clock.now()
        merchant_id = await self.store.write(lambda c: merchants.insert(c, "Shop", "USD", now))
        assert merchant_id is not None
        self.principal = Principal(1, merchant_id, Mode.LIVE, Scope.FULL)
        await watching.ensure_chains(self.context)
        await rates.refresh(self.store, [FixedRates({("COIN", "USD"): Decimal(100)})], now)
        is_shared = self.chance.randrange(3) == 0
        await wallets.add(
            self.context,
            merchant_id,
            COIN.id,
            xpub=None if is_shared else "xpub",
            address="w1shared" if is_shared else None,
            now=now,
        )
        await self.store.write(self._listen)
        await self._look()

    def _listen(self, connection: sa.Connection) -> int:
        return outbox.insert_channel(
            connection,
            merchant_id=self.principal.merchant_id,
            kind="webhook",
            target="https://shop.example/hook",
            secret="sealed",
            wanted=tuple(EventType),
            modes=tuple(Mode),
            now=self.clock.now(),
        )

    async def _start(self) -> None:
        """Start a process: whatever was not in the database is not there any more."""
        self.store = Sqlite(Path(self._folder.name) / "world.db", inline=True)
        share_compiled_statements(self.store._engine)
        await self.store.start()
        sa.event.listen(self.store._engine, "before_cursor_execute", self._burn)
        sa.event.listen(self.store._engine, "after_cursor_execute", self._burn)
        self.context = Context(
            self.store, Methods([self.chain]), frozenset({"USD"}), self.entropy, "https://pay"
        )
        self.watch = watching.Watch(self.context, self.chain, f"process-{self.tally.crashes}")
        self.courier = Courier(
            self.store, {"webhook": self.receiver}, str, self.clock, self.entropy
        )

    async def _crash(self) -> None:
        """End the process and start another one on what the disk holds."""
        self.tally.crashes += 1
        for task in list(self.courier._sending):
            task.cancel()
        with suppress(sa.exc.SQLAlchemyError):
            await self.store.close()
        await self._start()
        # The lease of the dead process must run out first.
        self.clock.advance(16 * SECOND)

    def _burn(self, *_: Any) -> None:
        """Count SQL statements, and crash at the one that was drawn."""
        if self._fuse is None:
            return
        self._fuse -= 1
        if self._fuse <= 0:
            self._fuse = None
            raise CrashError

    async def _risk(self, act: Callable[[], Awaitable[Any]]) -> None:
        """Do something that may be cut off at any statement."""
        if self.chance.randrange(4) == 0:
            self._fuse = self.chance.randrange(1, self.chance.choice([20, 80, 240]))
        try:
            await act()
        except CounterfoilError:
            pass
        except CrashError:
            await self._crash()
        finally:
            self._fuse = None

    async def _look(self) -> None:
        self.chain.now = self.clock.now()
        for _ in range(20):
            if not await self.watch.look(self.clock.now()):
                return

    async def _deliver(self) -> None:
        await self.courier.send_due()
        await self.courier.finish()

    async def end(self) -> None:
        """Let go of the database."""
        await self.store.close()
        self._folder.cleanup()

    # --- what happens ---

    async def live(self) -> None:
        """Let the world run, then let everything that was broken be mended."""
        self.tally.worlds = 1
        await self.begin()
        acts: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (10, self._order),
            (14, self._pay),
            (4, self._rival),
            (3, self._drop),
            (12, self._mine),
            (6, self._reorg),
            (8, self._pass_time),
            (4, self._break_node),
            (2, self._cancel),
            (2, self._break_receiver),
        ]
        weights = [weight for weight, _ in acts]
        for _ in range(STEPS):
            ((_, act),) = self.chance.choices(acts, weights)
            await act()
            await self._work()
        await self._heal()
        self.tally.posts = self.receiver.posts

    async def _work(self) -> None:
        """Let the loops of the server run once each, in any order, or not at all."""
        loops = [
            self._look,
            self._deliver,
            lambda: upkeep.assess_due(self.context, self.clock.now(), 0),
        ]
        self.chance.shuffle(loops)
        for loop in loops:
            if self.chance.randrange(4):
                await self._risk(loop)
        self.clock.advance(self.chance.randrange(1, 5 * SECOND))

    async def _order(self) -> None:
        due_in = self.chance.choice([None, None, 10 * MINUTE, 60 * MINUTE])
        amount = Decimal(self.chance.choice(["5.00", "25.00", "25.00", "99.99"]))

        async def order() -> None:
            now = self.clock.now()
            draft = Draft(amount, "USD", due_at=None if due_in is None else now + due_in)
            made = await create(self.context, self.principal, draft, now)
            self.tokens.append(made.share_token)

        await self._risk(order)
        await self._show()

    async def _show(self) -> None:
        """Open the pay page of some invoice, so that a payer sees an amount."""
        if not self.tokens:
            return
        token = self.chance.choice(self.tokens[-4:])
        await self._risk(lambda: choose(self.context, token, COIN.id, self.clock.now()))
        found = await self.store.read(lambda c: invoices.by_share_token(c, token))
        if found is not None:
            self.shown = [
                *self.shown,
                *(await self.store.read(lambda c: quotes.list_of_invoice(c, found.id)))[-1:],
            ]

    async def _pay(self) -> None:
        if not self.shown:
            return
        count = self.chance.choice([1, 1, 1, 2])
        outputs = []
        for _ in range(count):
            quote = self.chance.choice(self.shown[-6:] if self.chance.randrange(4) else self.shown)
            share = self.chance.choice([100, 100, 100, 100, 50, 150, 99])
            outputs.append((quote.address, max(quote.amount_atomic * share // 100, 1)))
        self.paid.append(self.chain.broadcast(*outputs))
        self.tally.payments += count

    async def _rival(self) -> None:
        """Spend the coins of an unconfirmed payment again, back to its payer or to us."""
        waiting = [t for t in self.paid if t.txid in self.chain.pool]
        if not waiting:
            return
        victim = self.chance.choice(waiting)
        target = self.chance.choice(self.shown)
        elsewhere = ("w1elsewhere", 1_000)
        output = elsewhere if self.chance.randrange(2) else (target.address, target.amount_atomic)
        self.paid.append(self.chain.broadcast(output, spends=victim.spends))

    async def _drop(self) -> None:
        waiting = [t for t in self.paid if t.txid in self.chain.pool]
        if waiting:
            dropped = self.chance.choice(waiting)
            self.chain.drop(dropped)
            if self.chance.randrange(2):
                self.clock.advance(40 * MINUTE)
                await self._risk(self._look)
                self.clock.advance(40 * MINUTE)
                await self._risk(self._look)

    async def _mine(self) -> None:
        self.chain.now = self.clock.now()
        self.chain.mine(self.chance.choice([1, 1, 2, 3]), empty=self.chance.randrange(6) == 0)

    async def _reorg(self) -> None:
        deepest = min(self.chain.height, self.chance.choice([1, 1, 2, 3, 6, 12, 300]))
        if deepest < 1:
            return
        self.chain.now = self.clock.now()
        self.chain.reorg(
            self.chance.randint(1, deepest),
            keep=self.chance.randrange(2) == 0,
            extra=self.chance.choice([0, 1, 1, 2]),
        )
        self.tally.reorgs += 1

    async def _pass_time(self) -> None:
        self.clock.advance(self.chance.choice([SECOND, MINUTE, 5 * MINUTE, 20 * MINUTE]))

    async def _break_node(self) -> None:
        self.chain.is_away = self.chance.randrange(3) == 0
        self.chain.is_synced = self.chance.randrange(6) > 0
        self.chain.lag = min(self.chance.choice([0, 0, 1, 3]), self.chain.height)

    async def _break_receiver(self) -> None:
        self.receiver.trouble_percent = self.chance.choice([0, 30, 100])

    async def _cancel(self) -> None:
        if not self.tokens:
            return
        token = self.chance.choice(self.tokens)
        found = await self.store.read(lambda c: invoices.by_share_token(c, token))
        if found is not None:
            await self._risk(
                lambda: cancel(self.context, self.principal, found.id, self.clock.now())
            )

    async def _heal(self) -> None:
        """Mend the node, the network and the receiver, and let all that waits be done."""
        self.chain.is_away, self.chain.is_synced, self.chain.lag = False, True, 0
        self.receiver.trouble_percent = 0
        self.clock.advance(16 * SECOND)
        self.chain.now = self.clock.now()
        self.chain.mine(self.chain.confirmations.base + 2)
        for _ in range(6):
            await self._look()
            await upkeep.assess_due(self.context, self.clock.now(), 0)
            self.clock.advance(40 * MINUTE)
        now = self.clock.now()
        await self.store.write(lambda c: deliveries.resume_channel(c, 1, now))
        while await self.courier.send_due():
            await self.courier.finish()
