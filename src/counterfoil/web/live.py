"""Keeps open pages fresh: one loop for all of them, and a stream to each.

Once a second, or sooner when something has changed, one query compares the revisions of all open
pages' invoices with those that were shown. A page that is behind is made anew once, however many
look at it, and goes out whole: status, amount and buttons never disagree with each other.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
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
# The same list for all streams: a copy for each would be the largest part of it.
_HEADERS = Headers(
    HTML_HEADERS | {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
).raw
_VERSION = re.compile(r"[0-9]{1,18}-[0-9a-f]{8}")

Render = Callable[[View, int], str]


@dataclass(eq=False, slots=True)
class _Stream:
    """One browser that listens: what it was sent last, and when it heard from us."""

    send: Send
    sent: str
    heard_at: int
    # One message at a time; whoever is at it goes on until there is nothing left to say.
    is_busy: bool = True
    is_beat_due: bool = False


@dataclass(eq=False, slots=True)
class _Page:
    """A page that is open somewhere: what it was made of, and what a stream sends of it.

    `frame` is kept for as long as somebody has not got it.
    """

    share_token: str
    basis: Basis
    version: str
    frame: bytes = b""
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
        self._sending: set[asyncio.Task[None]] = set()

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
            self._beat(page, now)
        if pages:
            ids = {page.basis.invoice_id for page in pages}
            pulse = await checkout.take_pulse(self._context, ids, now)
            stale = [page for page in pages if not page.basis.holds(pulse, now)]
            # What happened to an invoice goes before a block that only adds a confirmation.
            stale.sort(key=lambda page: page.basis.rev == pulse.revs.get(page.basis.invoice_id))
            for page in stale:
                await self._renew(page)

    def _beat(self, page: _Page, now: int) -> None:
        """Let streams beat that were silent for long, and forget what all have got."""
        for stream in page.streams:
            if now - stream.heard_at >= _BEAT_AFTER_MS:
                stream.is_beat_due = True
                self._push(page, stream)
        if all(stream.sent == page.version and not stream.is_busy for stream in page.streams):
            page.frame = b""

    async def _renew(self, page: _Page, *, is_wanted: bool = False) -> None:
        """Make a page anew, and bring it to who listens; `is_wanted` even if it is as it was."""
        now = self._clock.now()
        made = await checkout.look(self._context, page.share_token, now)
        if made.basis.rev < page.basis.rev and not is_wanted:
            # Another look at the same page was faster.
            return
        page.basis = made.basis
        if made.view.version != page.version or is_wanted:
            page.version, page.frame = made.view.version, self._frame(made, now)
            for stream in page.streams:
                if stream.sent != page.version:
                    self._push(page, stream)

    def _frame(self, made: Look, now: int) -> bytes:
        lines = self._render(made.view, now).splitlines()
        data = "".join(f"data: {line}\n" for line in lines)
        return f"id: {made.view.version}\nevent: main\n{data}\n".encode()

    # --- streams ---

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
            known = _known_version(scope)
            page = await self._open(share_token, known)
            await self._listen(page, _Stream(send, known, self._clock.now()), receive)
        finally:
            self._count -= 1
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]

    async def _open(self, share_token: str, known: str) -> _Page:
        """Return the page as it is now, where the browser knows another one."""
        page = self._pages.get(share_token)
        if page is None:
            now = self._clock.now()
            made = await checkout.look(self._context, share_token, now)
            page = _Page(share_token, made.basis, made.view.version)
            if page.version != known:
                page.frame = self._frame(made, now)
        elif page.version != known and (not page.frame or _rev(known) > page.basis.rev):
            await self._renew(page, is_wanted=True)
        # While the database answered, the last stream may have gone, or another one have come.
        return self._pages.setdefault(share_token, page)

    async def _listen(self, page: _Page, stream: _Stream, receive: Receive) -> None:
        """Say hello, then wait for the browser to hang up; what changes is brought by `_push`."""
        page.streams.add(stream)
        try:
            await stream.send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            hello = f"retry: {_RECONNECT_MS}\nid: {stream.sent or page.version}\n".encode() + _BEAT
            await stream.send({"type": "http.response.body", "body": hello, "more_body": True})
            await self._bring(page, stream)
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            page.streams.discard(stream)
            if not page.streams and self._pages.get(page.share_token) is page:
                del self._pages[page.share_token]

    def _push(self, page: _Page, stream: _Stream) -> None:
        """Bring a stream what is new, without waiting for slow ones."""
        if not stream.is_busy:
            stream.is_busy = True
            task = asyncio.ensure_future(self._bring(page, stream))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _bring(self, page: _Page, stream: _Stream) -> None:
        """Send what is new until nothing is; a browser that has hung up is not our trouble."""
        body = "http.response.body"
        with suppress(OSError):
            while stream.sent != page.version or stream.is_beat_due:
                # What is sent is also a sign of life.
                message = _BEAT if stream.sent == page.version else page.frame
                stream.sent, stream.is_beat_due = page.version, False
                await stream.send({"type": body, "body": message, "more_body": True})
                stream.heard_at = self._clock.now()
            if self._is_closed:
                await stream.send({"type": body, "body": b"", "more_body": False})
        stream.is_busy = False

    def close(self) -> None:
        """End all streams, so that a server that shuts down need not wait for them."""
        self._is_closed = True
        for page in self._pages.values():
            for stream in page.streams:
                self._push(page, stream)


def _known_version(scope: Scope) -> str:
    """Return the version that the browser shows: of the last event that it got, or of the page."""
    of_page = QueryParams(scope["query_string"]).get("version", "")
    known = Headers(scope=scope).get("last-event-id", of_page)
    return known if _VERSION.fullmatch(known) else ""


def _rev(version: str) -> int:
    return int(version.partition("-")[0] or 0)
