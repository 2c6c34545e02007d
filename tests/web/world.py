"""A server for the tests of the web: the real site, on a real store, with two merchants.

It takes LTC (without a node) and the simulator's coin, and has fixed rates in three currencies.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

import httpx2
import sqlalchemy as sa

from counterfoil.chains.litecoin import litecoin
from counterfoil.chains.simulator import SimulatorChain
from counterfoil.core.access import Scope, digest, make_key
from counterfoil.core.ports import Block, Mode
from counterfoil.db import loops
from counterfoil.db.engine import Database, unavailable
from counterfoil.db.merchants import insert_key
from counterfoil.db.schema import (
    audit,
    event,
    idempotency,
    inbox,
    invoice,
    payment,
    quote,
    refund,
    wallet,
)
from counterfoil.db.simulator import Ledger
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import merchants, rates, watching
from counterfoil.services.context import Context, Methods
from counterfoil.services.keys import Keyring
from counterfoil.web.endpoints import Deps
from counterfoil.web.site import build_site
from tests.conftest import FakeClock, FakeEntropy

T = TypeVar("T")

PRICES = {("LTC", currency): Decimal(100) for currency in ("USD", "JPY", "KWD")}
# An address on the main network that is nobody's.
ADDRESS = "ltc1qqypqxpq9qcrsszg2pvxq6rs0zqg3yyc5dyg36p"
CHECKOUT = "https://pay.example.com"


class Switch:
    """A store that can be made to fail, in the words of the real ones."""

    def __init__(self, store: Database) -> None:
        self._store = store
        self.is_down = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read(self, fn: Callable[[Any], T]) -> T:
        self._check()
        return await self._store.read(fn)

    async def write(self, fn: Callable[[Any], T]) -> T:
        self._check()
        return await self._store.write(fn)

    async def insert_invoice(self, row: Any) -> int:
        self._check()
        return await self._store.insert_invoice(row)

    async def find_key(self, digest: str) -> Any:
        self._check()
        return await self._store.find_key(digest)

    async def find_invoice(self, *arguments: Any) -> Any:
        self._check()
        return await self._store.find_invoice(*arguments)

    async def is_ready(self) -> bool:
        return not self.is_down and await self._store.is_ready()

    def _check(self) -> None:
        if self.is_down:
            raise unavailable()


@dataclass
class World:
    """The server, and who asks."""

    store: Any
    clock: FakeClock
    context: Context
    deps: Deps
    app: Any
    client: httpx2.AsyncClient
    merchants: dict[str, int] = field(default_factory=dict)
    keys: dict[tuple[str, Mode, Scope], str] = field(default_factory=dict)

    def key(self, merchant: str = "Shop", mode: Mode = Mode.LIVE, scope: Scope = Scope.FULL) -> str:
        return self.keys[merchant, mode, scope]

    async def request(
        self, method: str, path: str, *, key: str | None = "", **rest: Any
    ) -> httpx2.Response:
        """Send a request, with the shop's full live key if no other is given (None: with none)."""
        headers = dict(rest.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = key or self.key()
        return await self.client.request(method, path, headers=headers, **rest)

    async def post(self, body: Any = None, *, key: str | None = "", **rest: Any) -> httpx2.Response:
        """Ask for an invoice; text and bytes are sent as they are."""
        if isinstance(body, str | bytes):
            return await self.request("POST", "/api/invoice", key=key, content=body, **rest)
        wanted = {"amount": 25.00, "fiat_currency": "USD"} if body is None else body
        return await self.request("POST", "/api/invoice", key=key, json=wanted, **rest)

    async def invoice(self, *, key: str = "", **fields: Any) -> int:
        """Make an invoice and return its id."""
        body = {"amount": 25.00, "fiat_currency": "USD"} | fields
        answer = await self.post(body, key=key)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["invoice"]["id"])

    async def wallet(self, *, key: str = "") -> int:
        """Add an LTC wallet and return its id."""
        body = {"method": "LTC", "address": ADDRESS}
        answer = await self.request("POST", "/api/wallets", key=key, json=body)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["wallet"]["id"])

    async def look(self, chain: str = "simulator") -> None:
        """Let the watcher read a chain."""
        watch = watching.Watch(self.context, self.context.methods.chains[chain], "test")
        while await watch.look(self.clock.now()):
            pass

    async def stored(self) -> tuple[int, ...]:
        """Return how many rows there are of all that a request could add."""
        tables = (invoice, idempotency, quote, event, wallet, payment, inbox, refund, audit)

        def count(connection: sa.Connection) -> tuple[int, ...]:
            totals = (sa.select(sa.func.count()).select_from(table) for table in tables)
            return tuple(connection.execute(total).scalar_one() for total in totals)

        found: tuple[int, ...] = await self.store.read(count)
        return found

    async def see_litecoin(self, trouble: str | None = None) -> None:
        """Write down that the watcher has looked at Litecoin, without a node."""
        now = self.clock.now()

        def write(connection: sa.Connection) -> None:
            if loops.get_cursor(connection, "litecoin") is None:
                loops.add_header(connection, "litecoin", Block(100, "aa" * 32, "bb" * 32, now, ()))
            loops.save_node(connection, "litecoin", trouble=trouble, height=103, now=now)
            loops.save_watched(connection, "litecoin", now, 30_000)

        await self.store.write(write)

    async def close(self) -> None:
        await self.client.aclose()


def client_of(app: Any, address: str = "203.0.113.7") -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, client=(address, 4242), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="https://api.example.com")


async def cut_keys(world: World, name: str) -> None:
    """Make a merchant a key of every mode and scope, all in one commit."""
    for mode in Mode:
        for scope in Scope:
            world.keys[name, mode, scope] = make_key(mode, world.context.entropy.below)

    def write(connection: sa.Connection) -> None:
        for (owner, mode, scope), key in world.keys.items():
            if owner == name:
                insert_key(
                    connection,
                    merchant_id=world.merchants[name],
                    mode=mode,
                    scope=scope,
                    digest=digest(key),
                    hint=key[:12],
                    now=world.clock.now(),
                )

    await world.store.write(write)


async def open_world(
    database: Database,
    clock: FakeClock,
    *,
    is_fresh: bool = False,
    node: str = "http://user:password@127.0.0.1:9",
    **options: Any,
) -> World:
    """Start a server whose chains have been looked at, unless it is a fresh one.

    No `node` answers, if none is given.
    """
    store: Any = Switch(database)
    entropy = FakeEntropy()
    chains = (
        litecoin("mainnet", node),
        SimulatorChain(Ledger(store), clock),
    )
    context = Context(
        store=store,
        methods=Methods(chains),
        currencies=frozenset({"USD", "JPY", "KWD"}),
        entropy=entropy,
        checkout_url=CHECKOUT,
    )
    deps = Deps(
        context=context,
        keyring=Keyring(store),
        clock=clock,
        is_ready=store.is_ready,
        **options,
    )
    app = build_site(deps)
    world = World(store, clock, context, deps, app, client_of(app))
    for name in ("Shop", "Other"):
        world.merchants[name] = await merchants.create(context, name, "USD", clock.now())
        await cut_keys(world, name)
    await watching.ensure_chains(context)
    if not is_fresh:
        await rates.refresh(store, [FixedRates(PRICES)], clock.now())
        await world.see_litecoin()
        await world.look()
    return world
