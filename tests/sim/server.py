"""The server of a world: its processes, one after another on one disk, and what stands around it.

The services, the store, the watcher and the courier are the real ones; the clock, the chain and the
receiver are this world's. Crashes happen at any SQL statement, power cuts in any commit, and what
follows is a restart on what the disk holds.
"""

import asyncio
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
from counterfoil.core.payment import LateMoney
from counterfoil.core.ports import Mode
from counterfoil.db import merchants, outbox
from counterfoil.db.schema import metadata
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import rates, upkeep, wallets, watching
from counterfoil.services.audit import with_key
from counterfoil.services.context import Context, Methods
from counterfoil.workers.courier import Courier
from tests.conftest import FakeClock, FakeEntropy
from tests.sim.chain import COIN, OTHER_TOKEN, TOKEN, Shape, WorldChain
from tests.sim.process import CrashError, Disk, Fuse, FusedStore, read_files
from tests.sim.receiver import Receiver
from tests.sim.steps import Intent, Steps
from tests.sim.tally import Tally

SECOND = 1_000


_engines: dict[str, sa.Engine] = {}


def share_compiled_statements(engine: sa.Engine) -> None:
    """Let every process of every world use the statements that the first one compiled."""
    first = _engines.setdefault(engine.dialect.name, engine)
    engine.dialect = first.dialect
    engine._compiled_cache = first._compiled_cache


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


@dataclass
class Server:
    """What a world begins with."""

    seed: int
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.clock = FakeClock()
        # How far the miners' clocks are from ours.
        self.skew = 0
        self.is_shared = False
        self.shape = self.chance.choice([Shape.OUTPUTS, Shape.OUTPUTS, Shape.LOGS, Shape.TAGS])
        is_logs = self.shape is Shape.LOGS
        self.chain = WorldChain(
            shape=self.shape,
            methods=(TOKEN, OTHER_TOKEN) if is_logs else (COIN,),
            confirmations=Confirmations(self.chance.choice([1, 2, 3, 6])),
            block_interval_s=self.chance.choice([None, 600]),
            chance=random.Random(self.seed + 2),
            fail_percent=10 if is_logs else 0,
        )
        self.method = self.chain.methods[0]
        self.receiver = Receiver(random.Random(self.seed + 1))
        self.entropy = FakeEntropy(self.seed)
        self.disk = Disk()
        self.fuse = Fuse(random.Random(self.seed + 3))
        self.intents: dict[tuple[str, int], Intent] = {}
        # What was paid once more with a higher fee, by the transaction that did it.
        self.first_of: dict[str, str] = {}
        self.steps = Steps(self)
        self.receiver.on_first = self.steps.hear

    # --- the server ---

    async def begin(self) -> None:
        """Start the server for the first time."""
        self.disk.path.write_bytes(empty_database())
        await self._start()
        now = self.clock.now()
        merchant_id = await self.store.write(lambda c: merchants.insert(c, "Shop", "USD", now))
        assert merchant_id is not None
        if self.chance.randrange(5) == 0:
            await self.store.write(
                lambda c: merchants.set_late_money(c, merchant_id, LateMoney.HOLD)
            )
        tolerance = Decimal(self.chance.choice([0, 0, 1]))
        self.principal = Principal(1, merchant_id, Mode.LIVE, Scope.FULL, tolerance)
        self.merchant = with_key(self.principal)
        await watching.ensure_chains(self.context)
        await self._set_price(Decimal(100))
        # Where a tag tells who paid, all pay to one account.
        self.is_shared = is_shared = self.shape is Shape.TAGS or self.chance.randrange(3) == 0
        await wallets.add(
            self.context,
            merchant_id,
            self.method.id,
            xpub=None if is_shared else "xpub",
            address="w1shared" if is_shared else None,
            now=now,
        )
        await self.store.write(self._listen)
        await self._look()

    async def _set_price(self, price: Decimal) -> None:
        prices = {(method.symbol, "USD"): price for method in self.chain.methods}
        await rates.refresh(self.store, [FixedRates(prices)], self.clock.now())

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
        self.store = FusedStore(self.disk.path, self.fuse)
        share_compiled_statements(self.store._engine)
        await self.store.start()
        self.steps.open(self.disk.path)
        self.context = Context(
            self.store, Methods([self.chain]), frozenset({"USD"}), self.entropy, "https://pay"
        )
        number = self.tally.crashes
        self.watches = [
            watching.Watch(self.context, self.chain, f"process-{number}-{name}") for name in "ab"
        ]
        self.due_dates = upkeep.DueDates(self.context)
        self.courier = Courier(
            self.store, {"webhook": self.receiver}, str, self.clock, self.entropy
        )

    async def _crash(self) -> None:
        """End the process and start another one on what the disk holds."""
        self.tally.crashes += 1
        files = read_files(self.disk.path)
        if self.fuse.is_power_cut:
            self.tally.power_cuts += 1
            files = files if self.fuse.torn is None else (files[0], self.fuse.torn)
        for task in list(self.courier._sending):
            task.cancel()
        await asyncio.sleep(0)
        await self.store.close()
        self.steps.close()
        self.fuse.renew()
        self.disk.restart(files)
        await self._start()
        # The lease of the dead process must run out first.
        self.clock.advance(16 * SECOND)

    async def _risk(self, act: Callable[[], Awaitable[Any]]) -> None:
        """Do something that may be cut off at any statement."""
        if self.chance.randrange(7) < 2:
            statements = self.chance.randrange(1, self.chance.choice([20, 60, 200]))
            self.fuse.light(statements, is_power_cut=self.chance.randrange(4) == 0)
        # What ends in a task of the courier's is noticed by the fuse alone.
        with suppress(CounterfoilError, CrashError):
            await act()
        if self.fuse.is_blown:
            await self._crash()
        self.fuse.put_out()

    async def _look(self) -> None:
        self.chain.now = self.clock.now() + self.skew
        watch = self.watches[self.chance.randrange(8) == 0]
        # One who has lost the lease goes on with the next look.
        with suppress(watching.LeaseLostError):
            for _ in range(20):
                # No two looks are of one moment: what happens in the same one happened at once.
                self.clock.advance(1)
                self.steps.note_look()
                if not await watch.look(self.clock.now()):
                    return

    async def _deliver(self) -> None:
        """Let the courier send what is due; what hangs goes on hanging."""
        await self.courier.send_due()
        for _ in range(3):
            await asyncio.sleep(0)

    async def end(self) -> None:
        """Let go of the database."""
        self.steps.close()
        await self.store.close()
        self.disk.throw_away()
