"""A shop at work on the real SQLite store, as the process whose writes are recorded.

`python -m tests.crashes.recorded_shop DATABASE SEED STEPS [SYNCHRONOUS]`, under the recorder. The
store is the server's: its thread that shares commits, its log, its settings. What the server would
answer, or has let others see, is noted in the record at that moment. The same seed does the same.

All that happens at once comes to the writer in one list, so that what shares a commit is not a
question of timing: more than sixteen jobs would go over in two.
"""

import asyncio
import ctypes
import json
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from counterfoil.core.errors import CounterfoilError
from counterfoil.db import sqlite
from counterfoil.db.schema import delivery, event, header, inbox, invoice, payment
from counterfoil.db.sqlite import Sqlite
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import rates, upkeep
from counterfoil.services.invoices import Draft, cancel, create
from counterfoil.services.quotes import choose
from counterfoil.services.watching import Watch
from counterfoil.workers.courier import Courier
from tests.conftest import FakeClock
from tests.services.shop import MINUTE, PRICES, SECOND, Shop, keyed, open_shop
from tests.sim.chain import COIN
from tests.sim.receiver import Receiver

AT_ONCE_MAX = 16
# As on a busy day: most of what is written are orders.
_ACTS = {
    "order": 10,
    "show": 8,
    "pay": 8,
    "mine": 5,
    "reorg": 1,
    "look": 8,
    "deliver": 8,
    "cancel": 2,
    "upkeep": 2,
    "restart": 0.4,
}


class RecordedShop:
    """The shop, and what its customers know of it."""

    def __init__(
        self, shop: Shop, path: Path, chance: random.Random, note: Callable[..., None]
    ) -> None:
        self.shop = shop
        self._path = path
        self._chance = chance
        self._note = note
        self._receiver = Receiver(random.Random(chance.random()), trouble_percent=20)
        self._orders: list[tuple[int, str]] = []
        self._asked: list[tuple[str, int]] = []
        self._ordered = 0
        self._courier = self._new_courier()

    def _new_courier(self) -> Courier:
        shop, channels = self.shop, {"webhook": self._receiver}
        return Courier(shop.store, channels, str, shop.clock, shop.context.entropy)

    async def work(self, steps: int) -> None:
        """Do what a day brings, and note after each step what all can see of it."""
        acts = {name: getattr(self, f"_{name}") for name in _ACTS}
        await self.shop.listen()
        for name in self._chance.choices(list(_ACTS), list(_ACTS.values()), k=steps):
            self.shop.clock.advance(self._chance.randrange(1, 5 * SECOND))
            await acts[name]()
            self._note("seen", await self.shop.store.read(visible))

    async def _order(self) -> None:
        count = self._chance.randint(1, AT_ONCE_MAX)
        await asyncio.gather(*(self._order_one() for _ in range(count)))

    async def _order_one(self) -> None:
        self._ordered += 1
        amount = self._chance.choice(["5.00", "25.00", "99.99"])
        key = f"key-{self._ordered}" if self._chance.randrange(4) == 0 else None
        shop, draft = self.shop, Draft(Decimal(amount), "USD", order_id=f"order-{self._ordered}")
        request = keyed(shop.principal, key)
        made = await create(shop.context, shop.principal, draft, shop.clock.now(), request)
        self._note("invoice", [made.id, made.share_token, draft.order_id, amount])
        self._orders.append((made.id, made.share_token))

    async def _show(self) -> None:
        if not self._orders:
            return
        invoice_id, token = self._chance.choice(self._orders[-30:])
        try:
            await choose(self.shop.context, token, COIN.id, self.shop.clock.now())
        except CounterfoilError:
            return
        shown = await self.shop.quote(await self.shop.read(invoice_id))
        self._note("shown", [shown.id, invoice_id, str(shown.amount_atomic)])
        self._asked.append((shown.address, shown.amount_atomic))

    async def _pay(self) -> None:
        if self._asked:
            address, amount = self._chance.choice(self._asked[-20:])
            self.shop.chain.pay(address, amount * self._chance.choice([50, 100, 100, 110]) // 100)

    async def _mine(self) -> None:
        self.shop.chain.mine(self._chance.randint(1, 3))

    async def _reorg(self) -> None:
        if self.shop.chain.height > 3:
            self.shop.chain.reorg(self._chance.randint(1, 3), keep=self._chance.randrange(2) == 0)

    async def _look(self) -> None:
        await self.shop.look()

    async def _deliver(self) -> None:
        await self._courier.send_due()
        self._receiver.release()
        while self._courier._sending:
            self._receiver.release()
            await asyncio.sleep(0)

    async def _cancel(self) -> None:
        if not self._orders:
            return
        invoice_id, _ = self._chance.choice(self._orders[-30:])
        shop = self.shop
        try:
            await cancel(shop.context, shop.principal, invoice_id, shop.clock.now())
        except CounterfoilError:
            return
        self._note("cancelled", [invoice_id])

    async def _upkeep(self) -> None:
        self.shop.clock.advance(self._chance.choice([SECOND, MINUTE]))
        await rates.refresh(self.shop.store, [FixedRates(PRICES)], self.shop.clock.now())
        await self.shop.tick()
        await upkeep.sweep(self.shop.context, self.shop.clock.now())

    async def _restart(self) -> None:
        """Stop as an operator stops a server, and start on what is there."""
        shop = self.shop
        await shop.store.close()  # type: ignore[attr-defined]  # it is a Sqlite
        shop.store = await opened(self._path)
        shop.context = replace(shop.context, store=shop.store)
        shop.watch = Watch(shop.context, shop.chain, shop.watch.holder)
        self._courier = self._new_courier()


def visible(connection: sa.Connection) -> dict[str, int]:
    """Return figures that only ever grow: what is seen once must never be less again."""
    count = sa.func.count
    figures = {
        "log": sa.select(sa.func.max(event.c.seq)),
        "height": sa.select(sa.func.max(header.c.height)),
        "payments": sa.select(count()).select_from(payment),
        "inbox": sa.select(count()).select_from(inbox),
        "delivered": sa.select(count()).where(delivery.c.state == "delivered"),
        "revisions": sa.select(sa.func.sum(invoice.c.rev)),
    }
    return {name: connection.execute(each).scalar_one() or 0 for name, each in figures.items()}


async def opened(path: Path) -> Sqlite:
    """Return a store, started and migrated as a server does at its start."""
    store = Sqlite(path)
    await store.start()
    await store.migrate()
    return store


async def main(path: Path, seed: int, steps: int) -> None:
    library = ctypes.CDLL(None)

    def note(kind: str, what: Any) -> None:
        library.recorder_note(json.dumps([kind, what]).encode())

    chance = random.Random(seed)
    store = await opened(path)
    shop = await open_shop(store, FakeClock())
    note("merchant", [shop.principal.merchant_id])
    recorded = RecordedShop(shop, path, chance, note)
    await recorded.work(steps)
    await shop.store.close()  # type: ignore[attr-defined]  # it is a Sqlite
    note("closed", [])


if __name__ == "__main__":
    database, seed, steps, *synchronous = sys.argv[1:]
    if synchronous:
        sqlite._PRAGMAS = tuple(  # type: ignore[assignment]  # the planted fault
            f"synchronous={synchronous[0]}" if each.startswith("synchronous") else each
            for each in sqlite._PRAGMAS
        )
    asyncio.run(main(Path(database), int(seed), int(steps)))
