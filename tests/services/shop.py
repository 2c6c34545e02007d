"""A shop on a small chain, for the tests of the services: real store, real services, real watch."""

import asyncio
import json
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from counterfoil.core.access import Principal, Scope
from counterfoil.core.events import EventID, Happening
from counterfoil.core.events import body as event_body
from counterfoil.core.invoice import EventType, Status
from counterfoil.core.ports import Mode, Store
from counterfoil.core.quote import Pair
from counterfoil.db import invoices, merchants, outbox
from counterfoil.db.invoices import Invoice
from counterfoil.db.quotes import Quote, list_of_invoice
from counterfoil.db.schema import event, inbox, lease
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import rates, upkeep, wallets, watching
from counterfoil.services.context import Context, Methods
from counterfoil.services.invoices import Draft, create
from counterfoil.services.quotes import choose
from counterfoil.services.repeats import Request
from tests.conftest import FakeClock, FakeEntropy
from tests.sim.chain import COIN, WorldChain

SECOND = 1_000
MINUTE = 60_000
PRICES: dict[Pair, Decimal] = {("COIN", "USD"): Decimal(100)}


@dataclass
class Shop:
    """A merchant with one wallet, and the world around."""

    store: Store
    clock: FakeClock
    chain: WorldChain
    context: Context
    principal: Principal
    watch: watching.Watch
    due_dates: upkeep.DueDates = field(init=False)

    def __post_init__(self) -> None:
        self.due_dates = upkeep.DueDates(self.context)

    async def invoice(self, amount: str = "25.00", **fields: Any) -> Invoice:
        """Make an invoice and open its first quote."""
        made = await create(
            self.context,
            self.principal,
            Draft(Decimal(amount), fields.pop("currency", "USD"), **fields),
            self.clock.now(),
        )
        await choose(self.context, made.share_token, COIN.id, self.clock.now())
        return await self.read(made.id)

    async def order(self, amount: str = "25.00", **fields: Any) -> int:
        """Make an invoice that nobody has opened, and return its id."""
        draft = Draft(Decimal(amount), "USD", **fields)
        return (await create(self.context, self.principal, draft, self.clock.now())).id

    async def tell(self, invoice_id: int, kind: EventType = EventType.DETECTED) -> EventID:
        """Write an event of an invoice and return its id."""
        who = self.principal
        status = Status.CONFIRMING

        def body(place: outbox.Place) -> bytes:
            happening = Happening(kind, status, None)
            return event_body(happening, invoice_id, {"id": str(place.id), "seq": str(place.seq)})

        new = outbox.NewEvent(who.merchant_id, who.mode, invoice_id, kind, status, None, body)
        now = self.clock.now()
        return (await self.store.write(lambda c: outbox.append(c, new, now))).id

    async def read(self, invoice_id: int) -> Invoice:
        who = self.principal
        found = await self.store.read(
            lambda c: invoices.get(c, invoice_id, who.merchant_id, who.mode)
        )
        assert found is not None
        return found

    async def status(self, invoice: Invoice) -> Status:
        return (await self.read(invoice.id)).standing.status

    async def conditions(self, invoice: Invoice) -> list[str]:
        return [c.value for c in (await self.read(invoice.id)).standing.conditions]

    async def quotes(self, invoice: Invoice) -> list[Quote]:
        return await self.store.read(lambda c: list_of_invoice(c, invoice.id))

    async def quote(self, invoice: Invoice) -> Quote:
        return (await self.quotes(invoice))[-1]

    async def look(self, seconds: float = 1) -> None:
        """Let time pass, and the watcher read all there is."""
        self.chain.now = self.clock.advance(round(seconds * SECOND))
        while await self.watch.look(self.clock.now()):
            pass

    async def tick(self) -> None:
        """Let the clock worker look at what is due."""
        self.due_dates.context = self.context
        await self.due_dates.assess(self.clock.now())

    async def events(self, invoice: Invoice | None = None) -> list[str]:
        """Return the types of what has been told, in order."""
        return [told["event"] for told in await self.bodies(invoice)]

    async def bodies(self, invoice: Invoice | None = None) -> list[dict[str, Any]]:
        """Return what has been told, in order."""
        statement = sa.select(event.c.body).order_by(event.c.id)
        if invoice is not None:
            statement = statement.where(event.c.invoice_id == invoice.id)
        bodies = await self.store.read(lambda c: list(c.execute(statement).scalars()))
        return [json.loads(bytes(body)) for body in bodies]

    async def inbox(self) -> list[str]:
        """Return the reasons of what lies in the inbox."""
        statement = sa.select(inbox.c.reason).order_by(inbox.c.id)
        return await self.store.read(lambda c: list(c.execute(statement).scalars()))

    async def listen(self, *wanted: EventType) -> int:
        """Add a channel for some events."""
        return await self.store.write(
            lambda c: outbox.insert_channel(
                c,
                merchant_id=self.principal.merchant_id,
                kind="webhook",
                target="https://shop.example/hook",
                secret="sealed",
                wanted=wanted or tuple(EventType),
                modes=tuple(Mode),
                now=self.clock.now(),
            )
        )


@contextmanager
def counted(store: Store) -> Iterator[list[str]]:
    """Collect the statements that run meanwhile."""
    engine: Any = store._engine  # type: ignore[attr-defined]  # noqa: SLF001  # where all of them pass
    engine = getattr(engine, "sync_engine", engine)
    seen: list[str] = []

    def note(*arguments: Any) -> None:
        seen.append(arguments[2])

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def keyed(who: Principal, key: str | None, body: bytes = b"") -> Request | None:
    """Return a request for an invoice with an idempotency key, None without one."""
    if key is None:
        return None
    return Request.of(who.merchant_id, who.mode, "POST /api/invoice", key, body)


async def end_lease(shop: Shop) -> None:
    """Let the watcher's lease run out, whichever clock it is judged by."""
    await shop.store.write(lambda c: c.execute(sa.update(lease).values(until=0)))


async def at_once(store: Store, *acts: Awaitable[Any]) -> list[Any]:
    """Do things at the same time and return what became of each, errors included."""
    # A connection that must first be made comes too late for the race.
    await asyncio.gather(*(store.read(lambda c: c.execute(sa.text("SELECT 1"))) for _ in acts))
    return await asyncio.gather(*acts, return_exceptions=True)


async def open_shop(
    store: Store,
    clock: FakeClock,
    *,
    wallet: str | None = "xpub",
    name: str = "Shop",
    chain: WorldChain | None = None,
) -> Shop:
    """Make a server with one merchant, and start to watch.

    The wallet is an extended key, one address ("w1..."), or none.
    """
    chain = chain or WorldChain()
    context = Context(
        store=store,
        methods=Methods([chain]),
        currencies=frozenset({"USD"}),
        entropy=FakeEntropy(),
        checkout_url="https://pay.example",
    )
    await watching.ensure_chains(context)
    await rates.refresh(store, [FixedRates(PRICES)], clock.now())
    merchant_id = await store.write(lambda c: merchants.insert(c, name, "USD", clock.now()))
    assert merchant_id is not None
    if wallet is not None:
        is_address = wallet.startswith("w1")
        await wallets.add(
            context,
            merchant_id,
            COIN.id,
            xpub=None if is_address else wallet,
            address=wallet if is_address else None,
            now=clock.now(),
        )
    principal = Principal(1, merchant_id, Mode.LIVE, Scope.FULL)
    shop = Shop(store, clock, chain, context, principal, watching.Watch(context, chain, name))
    await shop.look()
    return shop
