"""A load of HTTP/1.1 requests on kept connections, each sent when the one before was answered."""

import asyncio
import math
import time
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True, slots=True)
class Load:
    """What a load came to: answers a second, and how long they took."""

    per_s: float
    p50_ms: float
    p99_ms: float
    answers: int


class _Client(asyncio.Protocol):
    """One connection; the answers it counts must have a length and the status 200."""

    def __init__(
        self, request: bytes, until: float, answers_max: float, times: list[float]
    ) -> None:
        self.request = request
        self.answers_max = answers_max
        self.until = until
        self.times = times
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: the transports of uvloop are none of asyncio's classes.
        self.transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        assert self.transport is not None
        self.sent_at = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(rest) < length:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._end(RuntimeError(self.buffer.decode(errors="replace")))
            return
        now = time.perf_counter()
        self.times.append(now - self.sent_at)
        self.buffer = b""
        if now < self.until and len(self.times) < self.answers_max:
            self._send()
        else:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the server hung up"))

    def _end(self, error: Exception | None) -> None:
        if self.transport is not None:
            self.transport.abort()
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


async def run(
    port: int, request: bytes, clients: int, seconds: float, answers_max: float = math.inf
) -> Load:
    """Load a server on this machine with so many clients for so long, or until so many answers."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    began = time.perf_counter()
    connections = [
        await loop.create_connection(
            lambda: _Client(request, began + seconds, answers_max, times), "127.0.0.1", port
        )
        for _ in range(clients)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in connections))
    took = time.perf_counter() - began
    times.sort()
    return Load(
        per_s=len(times) / took,
        p50_ms=times[len(times) // 2] * 1000,
        p99_ms=times[len(times) * 99 // 100] * 1000,
        answers=len(times),
    )


def post(path: str, key: str, body: bytes) -> bytes:
    """Return the bytes of a POST."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def get(path: str, key: str) -> bytes:
    """Return the bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {key}\r\n\r\n".encode()
