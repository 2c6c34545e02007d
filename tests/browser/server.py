"""A server for the browser tests: the real pay page on loopback, in a thread with its own loop.

Test invoices are paid on the simulator. Live ones can be paid in LTC, whose chain has no node and
always looks fine, and in COIN, whose chain does what the test asks of it. The clock is the
machine's, and can be moved on.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import uvicorn
from starlette.applications import Starlette

from counterfoil.chains.litecoin import litecoin
from counterfoil.chains.simulator import SimulatorChain
from counterfoil.core.access import Principal, Scope
from counterfoil.core.ports import Block, Mode, Outcome
from counterfoil.db import loops
from counterfoil.db.schema import merchant
from counterfoil.db.simulator import Ledger
from counterfoil.db.sqlite import Sqlite
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import checkout, rates, wallets, watching
from counterfoil.services.context import Context, Methods
from counterfoil.services.invoices import Draft, create
from counterfoil.services.merchants import ensure_default
from counterfoil.services.upkeep import DueDates
from counterfoil.web.checkout import CheckoutPage, checkout_routes
from counterfoil.web.live import Live
from counterfoil.web.pages import Assets
from counterfoil.workers.clock import expire
from tests.conftest import FakeEntropy
from tests.sim.chain import WorldChain

T = TypeVar("T")

BLOCK_INTERVAL_S = 0.5
_START_TIMEOUT_S = 20
LTC_WALLET = (
    "zpub6rPo5mF47z5coVm5rvWv7fv181awb7Vckn5Cf3xQXBVKu18kuBHDhNi1Jrb4br6vVD3ZbrnXemEsWJoR18mZwkUdzwD8"
    "TQnHDUCGxqZ6swA"
)
PRICES = {("LTC", "USD"): Decimal("84.12"), ("COIN", "USD"): Decimal(100)}


def token_of(url: str) -> str:
    return url.partition("share_token=")[2]


class MovableClock:
    """The machine's clock, and how far a test has moved it on; see `core.ports.Clock`."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Server:
    """The server and its world."""

    def __init__(self, path: Path) -> None:
        self.clock = MovableClock()
        self.world = WorldChain(block_interval_s=None)
        self.store = Sqlite(path)
        ltc = litecoin("mainnet", "http://user:password@127.0.0.1:9")
        simulator = SimulatorChain(Ledger(self.store), self.clock, 2, BLOCK_INTERVAL_S)
        self.context = Context(
            store=self.store,
            methods=Methods([simulator, ltc, self.world]),
            currencies=frozenset({"USD"}),
            entropy=FakeEntropy(),
            checkout_url="",
        )
        assets = Assets()
        page = CheckoutPage("", assets)
        self.live = Live(self.context, self.clock, page.main)
        # All the pages of a test run come from one address.
        routes = checkout_routes(
            self.context, self.clock, page, self.live, assets, visits_per_minute=100_000
        )
        self._watches = [
            watching.Watch(self.context, chain, "browser") for chain in (simulator, self.world)
        ]
        self._app = Starlette(routes=routes)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: list[asyncio.Task[Any]] = []
        self._server: uvicorn.Server | None = None

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the server's loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_TIMEOUT_S)

    def start(self) -> None:
        self._thread.start()
        self.do(self._start())

    async def _start(self) -> None:
        await self.store.start()
        await self.store.migrate()
        now = self.clock.now()
        await ensure_default(self.context, now)
        named = sa.update(merchant).values(name="Blue Door Books")
        await self.store.write(lambda connection: connection.execute(named))
        await watching.ensure_chains(self.context)
        await rates.refresh(self.store, [FixedRates(PRICES)], now)
        await wallets.add(self.context, 1, "LTC", xpub=LTC_WALLET, next_index=0, now=now)
        await wallets.add(self.context, 1, "COIN", xpub="xpub", now=now)
        await self.look()
        self._server = uvicorn.Server(
            uvicorn.Config(self._app, log_config=None, lifespan="off", timeout_graceful_shutdown=5)
        )
        self._tasks = [
            asyncio.create_task(work)
            for work in (
                self._watch(),
                self.live.run(self.store.listen("pages")),
                expire(DueDates(self.context), self.clock),
                self._server.serve(sockets=[self._socket]),
            )
        ]
        for _ in range(round(_START_TIMEOUT_S / 0.01)):
            if self._server.started:
                return
            await asyncio.sleep(0.01)

    async def look(self) -> None:
        """Read the chains, as the watchers would."""
        await self._see_litecoin()
        for watch in self._watches:
            while await watch.look(self.clock.now()):
                pass

    async def _see_litecoin(self) -> None:
        now = self.clock.now()

        def write(connection: sa.Connection) -> None:
            if loops.get_cursor(connection, "litecoin") is None:
                block = Block(2_900_000, "aa" * 32, "bb" * 32, now, ())
                loops.add_header(connection, "litecoin", block)
            loops.save_watched(connection, "litecoin", now, 30_000)

        await self.store.write(write)

    async def _watch(self) -> None:
        bell = self.store.listen("chains")
        while True:
            self.world.now = self.clock.now()
            await self.look()
            await bell.wait(0.1)

    def stop(self) -> None:
        self.do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_TIMEOUT_S)
        self._loop.close()

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self.live.close()
        *loops_, serving = self._tasks
        await serving
        for task in loops_:
            task.cancel()
        await asyncio.gather(*loops_, return_exceptions=True)
        await self.store.close()

    # --- what a test asks for ---

    def invoice(self, amount: str = "25.00", *, is_live: bool = False, **fields: Any) -> str:
        """Make an invoice and return the address of its page."""
        mode = Mode.LIVE if is_live else Mode.TEST
        who = Principal(1, 1, mode, Scope.FULL)
        draft = Draft(Decimal(amount), "USD", **fields)
        made = self.do(create(self.context, who, draft, self.clock.now()))
        return f"{self.url}/pay-invoice?share_token={made.share_token}"

    def chosen(self, url: str, method: str) -> str:
        """Choose how to pay; return the address of the page."""
        self.do(checkout.choose(self.context, token_of(url), method, self.clock.now()))
        return url

    def after(self, url: str, outcome: Outcome, state: str) -> str:
        """Pay with test coins and wait for a state; return the address of the page."""
        self.do(checkout.simulate(self.context, token_of(url), outcome, self.clock.now()))
        return self.reach(url, state)

    def pay_world(self, url: str, percent: int = 100) -> None:
        """Pay what the page asks for in COIN, or a part of it."""
        price = self.do(checkout.view(self.context, token_of(url), self.clock.now())).price
        assert price is not None
        self.world.pay(price.address, int(Decimal(price.amount) * 10**6) * percent)

    def reach(self, url: str, state: str) -> str:
        """Wait until the page is in a state, or says a note; return its address."""
        self.do(self._reach(token_of(url), state))
        return url

    async def _reach(self, token: str, state: str) -> None:
        while True:
            view = (await checkout.look(self.context, token, self.clock.now())).view
            if state in (view.state, *view.notes):
                return
            await asyncio.sleep(0.05)

    def drop_streams(self) -> None:
        """Cut every connection, as a bad network does."""

        async def cut() -> None:
            assert self._server is not None
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()

        self.do(cut())
