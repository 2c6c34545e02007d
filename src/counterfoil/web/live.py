"""Keeps open pages fresh: one loop for all of them, and a stream to each.

Once a second, or sooner when something has changed, one query compares the revisions of all open
pages' invoices with those that were shown. A page that is behind is made anew once, however many
look at it, and goes out whole: status, amount and buttons never disagree with each other.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from counterfoil.core.errors import LimitedError
from counterfoil.core.ports import Bell, Clock
from counterfoil.services import checkout
from counterfoil.services.checkout_view import Basis, Look, View
from counterfoil.services.context import Context
from counterfoil.web.pages import HTML_HEADERS

STREAMS_MAX = 10_000
STREAMS_PER_ADDRESS_MAX = 20

_POLL_S = 1.0
# What changes within this time is looked at together.
_PAUSE_S = 0.05
# A proxy that hears nothing for a minute hangs up; a page that hears nothing for less asks anew.
_BEAT_AFTER_MS = 10_000
_RECONNECT_MS = 2_000
_TRY_LATER_S = 30

# An event without data would be no event; a comment would not be heard by the page.
_BEAT = b"event: beat\ndata: 1\n\n"
_VERSION = re.compile(r"[0-9]{1,18}-[0-9a-f]{8}")

Render = Callable[[View, int], str]


@dataclass(eq=False, slots=True)
class _Stream:
    """One browser that listens; `bell` rings when there is something for it."""

    bell: asyncio.Event = field(default_factory=asyncio.Event)
    heard_at: int = 0
    is_beat_due: bool = False
    is_over: bool = False


@dataclass(eq=False, slots=True)
class _Page:
    """A page that is open somewhere: what it was made of, and what a stream sends of it."""

    share_token: str
    basis: Basis
    version: str
    frame: bytes
    streams: set[_Stream] = field(default_factory=set)


class Live:
    """The open pages of this process."""

    def __init__(
        self,
        context: Context,
        clock: Clock,
        render: Render,
        streams_max: int = STREAMS_MAX,
        streams_per_address_max: int = STREAMS_PER_ADDRESS_MAX,
    ) -> None:
        """Take what makes a page's `<main>` of a view and the time."""
        self._context = context
        self._clock = clock
        self._render = render
        self.streams_max = streams_max
        self._streams_per_address_max = streams_per_address_max
        self._pages: dict[str, _Page] = {}
        self._per_address: Counter[str] = Counter()
        self._count = 0
        self._is_closed = False

    @property
    def count(self) -> int:
        """How many streams are open."""
        return self._count

    async def run(self, bell: Bell) -> None:
        """Keep the open pages fresh for ever; `bell` rings when something may have changed."""
        while True:
            await bell.wait(_POLL_S)
            await self.look()
            await self._clock.sleep(_PAUSE_S)

    async def look(self) -> None:
        """Make anew what is no longer true, and give a sign of life to who waits for one."""
        now = self._clock.now()
        pages = list(self._pages.values())
        # First of all, so that a database that does not answer makes no page hang up.
        for page in pages:
            for stream in page.streams:
                if now - stream.heard_at >= _BEAT_AFTER_MS:
                    stream.is_beat_due = True
                    stream.bell.set()
        if pages:
            ids = {page.basis.invoice_id for page in pages}
            pulse = await checkout.take_pulse(self._context, ids, now)
            stale = [page for page in pages if not page.basis.holds(pulse, now)]
            # What happened to an invoice goes before a block that only adds a confirmation.
            stale.sort(key=lambda page: page.basis.rev == pulse.revs.get(page.basis.invoice_id))
            for page in stale:
                await self._renew(page)

    async def _renew(self, page: _Page) -> None:
        now = self._clock.now()
        made = await checkout.look(self._context, page.share_token, now)
        if made.basis.rev < page.basis.rev:
            # Another look at the same page was faster.
            return
        page.basis = made.basis
        if made.view.version != page.version:
            page.version, page.frame = made.view.version, self._frame(made, now)
            for stream in page.streams:
                stream.bell.set()

    def _frame(self, made: Look, now: int) -> bytes:
        lines = self._render(made.view, now).splitlines()
        data = "".join(f"data: {line}\n" for line in lines)
        return f"id: {made.view.version}\nevent: main\n{data}\n".encode()

    async def stream(
        self, scope: Scope, receive: Receive, send: Send, share_token: str, address: str
    ) -> None:
        """Answer with the changes of a page for as long as the browser listens.

        Raises LimitedError, and NotFoundError for a share token that opens nothing, both before
        anything was sent.
        """
        if self._is_closed or self._count >= self.streams_max:
            message = "Too many pages are open on this server; this one asks again by itself."
            raise LimitedError("too_many_streams", message, retry_after_s=_TRY_LATER_S)
        if self._per_address[address] >= self._streams_per_address_max:
            message = "Too many pages are open at your address; this one asks again by itself."
            raise LimitedError("too_many_streams", message, retry_after_s=_TRY_LATER_S)
        self._count += 1
        self._per_address[address] += 1
        try:
            page = await self._open(share_token, _known_version(scope))
            await self._send(page, receive, send, _known_version(scope))
        finally:
            self._count -= 1
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]

    async def _open(self, share_token: str, known: str) -> _Page:
        """Return the page, and see that it is not older than what the browser knows."""
        page = self._pages.get(share_token)
        if page is not None and page.version != known:
            await self._renew(page)
        if page is None:
            now = self._clock.now()
            made = await checkout.look(self._context, share_token, now)
            page = _Page(share_token, made.basis, made.view.version, self._frame(made, now))
        # While the database answered, the last stream may have gone, or another one have come.
        return self._pages.setdefault(share_token, page)

    async def _send(self, page: _Page, receive: Receive, send: Send, known: str) -> None:
        stream = _Stream(heard_at=self._clock.now())
        page.streams.add(stream)
        listener = asyncio.ensure_future(_until_gone(receive, stream))
        try:
            headers = HTML_HEADERS | {
                "Content-Type": "text/event-stream",
                "X-Accel-Buffering": "no",
            }
            raw = Headers(headers).raw
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            hello = f"retry: {_RECONNECT_MS}\nid: {known or page.version}\n".encode() + _BEAT
            await send({"type": "http.response.body", "body": hello, "more_body": True})
            sent = known
            while not (stream.is_over or self._is_closed):
                if page.version != sent:
                    sent = page.version
                    await send(
                        {"type": "http.response.body", "body": page.frame, "more_body": True}
                    )
                elif stream.is_beat_due:
                    await send({"type": "http.response.body", "body": _BEAT, "more_body": True})
                stream.heard_at, stream.is_beat_due = self._clock.now(), False
                await stream.bell.wait()
                stream.bell.clear()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            listener.cancel()
            page.streams.discard(stream)
            if not page.streams and self._pages.get(page.share_token) is page:
                del self._pages[page.share_token]

    def close(self) -> None:
        """End all streams, so that a server that shuts down need not wait for them."""
        self._is_closed = True
        for page in self._pages.values():
            for stream in page.streams:
                stream.bell.set()


def _known_version(scope: Scope) -> str:
    """Return the version that the browser shows: of the last event that it got, or of the page."""
    of_page = QueryParams(scope["query_string"]).get("version", "")
    known = Headers(scope=scope).get("last-event-id", of_page)
    return known if _VERSION.fullmatch(known) else ""


async def _until_gone(receive: Receive, stream: _Stream) -> None:
    """Notice that the browser has hung up, and end its stream."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.is_over = True
    stream.bell.set()
