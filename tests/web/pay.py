"""The pay page for the tests: the real site with it, invoices to show, and who looks at them."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import httpx2
import sqlalchemy as sa

from counterfoil.core.access import Principal, Scope
from counterfoil.core.ports import Mode
from counterfoil.db.invoices import Invoice, by_share_token
from counterfoil.services.invoices import Created, Draft, create
from counterfoil.web.checkout import CheckoutPage, checkout_routes
from counterfoil.web.live import Live
from counterfoil.web.pages import Assets
from counterfoil.web.site import build_site
from tests.web.world import World, client_of

PATH = "/pay-invoice"


@dataclass
class Till:
    """A server with the pay page; the client is a browser without cookies or JavaScript."""

    world: World
    app: Any
    live: Live
    page: CheckoutPage
    client: httpx2.AsyncClient

    async def invoice(self, mode: Mode = Mode.TEST, amount: str = "25.00", **fields: Any) -> str:
        """Make an invoice and return its share token."""
        return (await self.create(mode, amount, **fields)).share_token

    async def create(self, mode: Mode, amount: str = "25.00", **fields: Any) -> Created:
        who = Principal(1, self.world.merchants["Shop"], mode, Scope.FULL)
        draft = Draft(Decimal(amount), fields.pop("currency", "USD"), **fields)
        return await create(self.world.context, who, draft, self.world.clock.now())

    async def read(self, token: str) -> Invoice:
        found: Invoice | None = await self.world.store.read(lambda c: by_share_token(c, token))
        assert found is not None
        return found

    async def get(self, token: str, path: str = "", **query: str) -> httpx2.Response:
        return await self.client.get(PATH + path, params={"share_token": token, **query})

    async def post(self, token: str, path: str, **fields: str) -> httpx2.Response:
        """Send a form, and do not follow where it leads."""
        return await self.client.post(PATH + path, data={"share_token": token, **fields})

    async def main(self, token: str) -> str:
        """Return the `<main>` of a page."""
        return main_of((await self.get(token)).text)

    async def pass_time(self, seconds: float = 1, *, blocks: bool = True) -> None:
        """Let time pass, and the watcher look at the simulator."""
        self.world.clock.advance(round(seconds * 1_000))
        await self.world.see_litecoin()
        if blocks:
            await self.world.look()

    async def pay(self, token: str, outcome: str = "exact") -> httpx2.Response:
        """Press a button of the simulator."""
        return await self.post(token, "/simulate", outcome=outcome)

    async def count(self, table: sa.Table) -> int:
        statement = sa.select(sa.func.count()).select_from(table)
        found: int = await self.world.store.read(lambda c: c.execute(statement).scalar_one())
        return found


def main_of(html: str) -> str:
    match = re.search(r"<main.*</main>", html, re.DOTALL)
    assert match, html
    return match[0]


def text_of(html: str) -> str:
    """Return what a person reads of it."""
    text = re.sub(r"<[^>]*>", " ", html)
    return re.sub(r"\s+", " ", text)


class _Tags(HTMLParser):
    """Collects the elements of a page and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> _Tags:
    parser = _Tags()
    parser.feed(html)
    return parser


def tags_of(html: str) -> list[tuple[str, dict[str, str | None]]]:
    return parsed(html).tags


def state_of(html: str) -> str:
    match = re.search(r'data-state="(\w+)"', html)
    assert match, html
    return match[1]


def till_of(world: World, **options: Any) -> Till:
    """Open the pay page on a server."""
    assets = Assets()
    page = CheckoutPage(world.context.checkout_url, assets)
    live = Live(world.context, world.clock, page.main, **options.pop("live", {}))
    routes = checkout_routes(world.context, world.clock, page, live, assets, **options)
    app = build_site(world.deps, routes)
    return Till(world, app, live, page, client_of(app))


# --- streams -----------------------------------------------------------------------------------


class Listener:
    """A browser that listens to a stream, at the level of ASGI."""

    def __init__(self, app: Any, query: str, headers: dict[str, str], address: str) -> None:
        self._app = app
        self._scope = {
            "type": "http",
            "method": "GET",
            "path": f"{PATH}/events",
            "raw_path": f"{PATH}/events".encode(),
            "root_path": "",
            "scheme": "https",
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
            "client": (address, 4242),
            "server": ("pay.example.com", 443),
            "http_version": "1.1",
        }
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._has_asked = False
        self._text = ""
        self.task: asyncio.Task[None] | None = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_over = False

    async def _receive(self) -> dict[str, Any]:
        if not self._has_asked:
            self._has_asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self._messages.put_nowait(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._gone.set()

    async def start(self) -> None:
        """Connect, and read the head of the answer."""
        self.task = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        first = await asyncio.wait_for(self._messages.get(), 5)
        self.status = first["status"]
        self.headers = {k.decode(): v.decode() for k, v in first["headers"]}

    async def event(self, *, but: str = "beat") -> dict[str, str]:
        """Return the next event that is not `but`: its fields, lines of data joined."""
        while True:
            block = await self._block()
            fields: dict[str, str] = {}
            for line in block.splitlines():
                name, _, value = line.partition(": ")
                fields[name] = f"{fields[name]}\n{value}" if name in fields else value
            if fields.get("event") != but:
                return fields

    async def _block(self) -> str:
        while "\n\n" not in self._text:
            message = await asyncio.wait_for(self._messages.get(), 5)
            self.is_over = not message.get("more_body", False)
            self._text += message["body"].decode()
            if self.is_over:
                raise EOFError
        block, _, self._text = self._text.partition("\n\n")
        return block

    async def hears_nothing(self) -> bool:
        """Tell whether nothing has come that was not read."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self._messages.empty() and not self._text

    async def hang_up(self) -> None:
        self._gone.set()
        if self.task:
            await asyncio.wait_for(self.task, 5)


@asynccontextmanager
async def listening(
    till: Till,
    token: str,
    version: str = "",
    *,
    last: str | None = None,
    address: str = "203.0.113.7",
) -> AsyncIterator[Listener]:
    """Listen to the stream of a page."""
    headers = {} if last is None else {"last-event-id": last}
    query = f"share_token={token}&version={version}"
    listener = Listener(till.app, query, headers, address)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.hang_up()


def version_of(html: str) -> str:
    match = re.search(r'data-version="([^"]+)"', html)
    assert match, html
    return match[1]
