"""The web of an installation: the API, the pay pages, and the server that both are behind."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from counterfoil.app.descriptors import open_pages_max
from counterfoil.app.parts import Installation
from counterfoil.web.checkout import CheckoutPage, checkout_routes
from counterfoil.web.direct import DirectHttp
from counterfoil.web.endpoints import Answer, Deps
from counterfoil.web.live import Live
from counterfoil.web.pages import HTML_HEADERS, Assets
from counterfoil.web.site import build_site

# How long requests that were begun may take to finish after a stop.
_GRACE_S = 5


class _Server(uvicorn.Server):
    """uvicorn, but for the signals: who started us decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def answering(here: Installation, listener: socket.socket) -> AsyncIterator[Live]:
    """Answer requests on `listener` until the block is left, and then finish those begun.

    Yields the open pages, which somebody has to keep fresh.
    """
    assets = Assets()
    page = CheckoutPage(here.context.checkout_url, assets)
    live = Live(here.context, here.clock, page.main, open_pages_max())

    def error_page(status: int, message: str, request_id: str) -> Answer:
        text = message if status < 500 else f"{message} ({request_id})"
        headers = tuple((name.encode(), value.encode()) for name, value in HTML_HEADERS.items())
        html = page.error(status, text).encode()
        return Answer(status, html, headers, b"text/html; charset=utf-8")

    site = build_site(
        Deps(here.context, here.keyring, here.clock, here.database.is_ready),
        checkout_routes(here.context, here.clock, page, live, assets),
        error_page=error_page,
    )
    async with http_server(site, listener, here.settings.trusted_proxies, DirectHttp):
        try:
            yield live
        finally:
            # A stream would last as long as its page is open.
            live.close()


@asynccontextmanager
async def http_server(
    app: ASGIApp,
    listener: socket.socket,
    trusted_proxies: Sequence[str] = (),
    protocol: type[asyncio.Protocol] = HttpToolsProtocol,
) -> AsyncIterator[None]:
    """Serve an app until the block is left; then nothing more is accepted."""
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Without it nothing looks for a proxy's headers in every request.
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="web")
    try:
        yield
    finally:
        server.should_exit = True
        await serving
