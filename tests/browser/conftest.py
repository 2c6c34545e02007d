"""Chromium, and the server whose pages it looks at."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.server import Server

_FLAGS = [
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--metrics-recording-only",
    "--mute-audio",
    # Nothing but this machine can be found: a foreign request fails, and a test sees it.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]
PHONE = {"width": 360, "height": 740}
_TIMEOUT_MS = 15_000


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=program, headless=True, chromium_sandbox=False, args=_FLAGS
        )
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("browser") / "counterfoil.db")
    started.start()
    yield started
    started.stop()


Open = Callable[..., Page]


class Watched:
    """What a page has said and asked for, which a test ends by looking at."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.console: list[str] = []
        self.foreign: list[str] = []

    def follow(self, page: Page) -> None:
        page.on("console", lambda message: self.console.append(message.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith((self._server.url, "data:")):
            self.foreign.append(url)


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[Open]:
    """Open a page in a browser of its own; nothing in it may complain or ask strangers."""
    contexts: list[BrowserContext] = []
    watched = Watched(server)

    def opened(url: str, *, record: str = "", may_complain: bool = False, **options: Any) -> Page:
        """Open a page; `record` runs before its own script, `may_complain` expects complaints."""
        context = browser.new_context(**{"viewport": PHONE, "device_scale_factor": 2, **options})
        context.set_default_timeout(_TIMEOUT_MS)
        contexts.append(context)
        page = context.new_page()
        if record:
            page.add_init_script(record)
        if not may_complain:
            watched.follow(page)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert watched.console == []
    assert watched.foreign == []


@pytest.fixture
def shots(pytestconfig: pytest.Config) -> Path:
    """Where pictures are left for people to look at."""
    folder = pytestconfig.rootpath / ".cache" / "shots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def state(page: Page, wanted: str) -> None:
    """Wait until the page is in a state."""
    expect(page.locator("main")).to_have_attribute("data-state", wanted, timeout=15_000)
