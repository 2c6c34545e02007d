"""The short way of a hot request: from its bytes to the answer's, on the connection itself.

uvicorn makes a scope, an event and two functions of a request, takes its answer as two messages,
and writes it in two pieces. HTTP may need that; for a small request it is half of what it costs. A
request that came whole, to a hot endpoint, with a key that is known, needs none of it. Whatever is
not just so goes uvicorn's way, which can do all that this one can: none is ever taken halfway.
"""

from collections.abc import Coroutine
from functools import lru_cache
from typing import Any, Protocol, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from counterfoil.web.bodies import SIZE_MAX
from counterfoil.web.endpoints import Answer, Header, headers_of

# A body as large as may be, and a head. What is larger need not be hurried.
_SIZE_MAX = SIZE_MAX + 16 * 1024


class Whole:
    """A request, as the parser tells of it piece by piece."""

    __slots__ = ("begun", "body", "ended", "headers", "method", "path", "url")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.method = self.path = ""
        self.url = b""
        self.headers: list[Header] = []
        self.body = b""
        self.begun = self.ended = 0

    def on_message_begin(self) -> None:
        """Count requests: a second one among the bytes is too much."""
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """Count what has come to its end."""
        self.ended += 1


def read(data: bytes) -> Whole | None:
    """Return the one request that `data` is; None where it is anything else or asks for more."""
    if len(data) > _SIZE_MAX:
        return None
    found = Whole()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    is_one = found.begun == found.ended == 1 and len(found.body) <= SIZE_MAX
    if not is_one or parser.get_http_version() != "1.1":
        return None
    for name, value in found.headers:
        if name == b"expect" or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
    found.method, found.path = parser.get_method().decode(), found.url.decode("latin-1")
    return found


@lru_cache(maxsize=64)
def _head(status: int, content_type: bytes, headers: tuple[Header, ...]) -> bytes:
    """Return what comes before the body, but for what no two answers share."""
    found = headers_of(Answer(status, b"", headers, content_type))
    return b"".join((STATUS_LINE[status], *(b"%b: %b\r\n" % each for each in found)))


class Answering(Protocol):
    """What answers requests directly: the site."""

    @property
    def openings(self) -> tuple[bytes, ...]:
        """With which bytes a request for a hot endpoint begins."""

    def direct(self, request: Whole) -> Coroutine[Any, Any, tuple[Answer, str]] | None:
        """Return the work of answering a request, None where it must go the usual way.

        What comes of it is the answer, and the id under which the request was written down.
        """


class DirectHttp(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what uvicorn gives; the app in its configuration is the site."""
        super().__init__(*arguments, **options)
        self._site = cast("Answering", self.config.app)
        self._openings = self._site.openings
        # Whether uvicorn has a part of a request, and whether one is being answered here.
        self._is_reading = self._is_answering = self._is_last = False
        self._waiting = b""
        self._answered_at_s = 0.0

    def data_received(self, data: bytes) -> None:
        """Answer a request that came whole, or let uvicorn take what came."""
        if self._is_answering:
            # Who sends the next request before the answer to this one waits for it.
            self._waiting += data
            self.flow.pause_reading()
            return
        if data.startswith(self._openings) and self._is_idle():
            request = read(data)
            answering = None if request is None else self._site.direct(request)
            if answering is not None:
                self._is_answering = True
                task = self.loop.create_task(self._answer(answering))
                task.add_done_callback(self.tasks.discard)
                self.tasks.add(task)
                return
        super().data_received(data)

    def _is_idle(self) -> bool:
        # The cycle is uvicorn's last request; before the first there is none. Who does not read the
        # answers gets no more of them: uvicorn waits until they are gone.
        is_ready = getattr(self.cycle, "response_complete", True) and not self.flow.write_paused
        return not self._is_reading and is_ready

    def on_message_begin(self) -> None:
        """Note that uvicorn has begun to read a request."""
        self._is_reading = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Note that uvicorn has read a request."""
        self._is_reading = False
        super().on_message_complete()

    async def _answer(self, answering: Coroutine[Any, Any, tuple[Answer, str]]) -> None:
        is_answered = False
        try:
            answer, request_id = await answering
            if not self.transport.is_closing():
                self.transport.write(self._bytes_of(answer, request_id))
                is_answered = True
        finally:
            self._is_answering = False
            # There is no answer where the server has waited long enough for it, and stops.
            if self._is_last or not is_answered:
                self.transport.close()
        if self.transport.is_closing():
            return
        self._answered_at_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._close_if_silent_for(self.timeout_keep_alive)
        if self._waiting:
            self.flow.resume_reading()
            waiting, self._waiting = self._waiting, b""
            self.data_received(waiting)

    def _bytes_of(self, answer: Answer, request_id: str) -> bytes:
        # The first of these is the date, which uvicorn keeps.
        more = [b"%b: %b\r\n" % each for each in self.server_state.default_headers]
        if self._is_last:
            more.append(b"connection: close\r\n")
        return b"%b%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b" % (
            _head(answer.status, answer.content_type, answer.headers),
            b"".join(more),
            len(answer.body),
            request_id.encode(),
            answer.body,
        )

    def _close_if_silent_for(self, seconds: float) -> None:
        handler = self.timeout_keep_alive_handler
        self.timeout_keep_alive_task = self.loop.call_later(seconds, handler)

    def timeout_keep_alive_handler(self) -> None:
        """Hang up on a client who has been silent; look again later where it has not been.

        So a busy connection has one timer now and then, and not one for each answer.
        """
        left_s = self._answered_at_s + self.timeout_keep_alive - self.loop.time()
        if self._is_answering or left_s > 0:
            self._close_if_silent_for(max(left_s, 1.0))
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """Hang up, after the answer that is being made."""
        if self._is_answering:
            self._is_last = True
        else:
            super().shutdown()
