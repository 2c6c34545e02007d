"""Receivers of webhooks on loopback: real sockets, every kind of answer, and the ways to them.

async with Receiver() as receiver:
    receiver.answer = reply(503, retry_after="7")
    ... something posts to receiver.url ...
    headers, body = receiver.requests[0]
"""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import httpcore2
import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from counterfoil.channels.guard import Guard, Resolve
from counterfoil.channels.webhook import WebhookChannel
from counterfoil.core.ports import Attempt, Message
from counterfoil.core.signing import make_secret


class Received(NamedTuple):
    """A request: its headers under their names in small letters, and the exact bytes."""

    headers: dict[str, str]
    body: bytes


# What is sent back: bytes as they are, or a behaviour that has the connection for itself.
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Reply = bytes | Behaviour


def reply(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """Return a well-formed answer; `retry_after="7"` becomes the header `retry-after: 7`."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if status != HTTPStatus.NO_CONTENT:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def drip(head: bytes, drop: bytes = b"x", every_s: float = 0.02) -> Behaviour:
    """Send `head`, then one drop after another without end."""

    async def behaviour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            await writer.drain()
            await asyncio.sleep(every_s)
            writer.write(drop)

    return behaviour


def flood(head: bytes, chunk: bytes, sent: list[int]) -> Behaviour:
    """Send `head`, then chunks as fast as they are read; `sent` counts the bytes."""

    async def behaviour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(chunk)
            await writer.drain()
            sent.append(len(chunk))

    return behaviour


def break_off(said: bytes = b"") -> Behaviour:
    """Say something and close the connection, however unfinished it is."""

    async def behaviour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        writer.close()

    return behaviour


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing until the other side gives up."""
    await reader.read()


class Receiver:
    """An HTTP server on 127.0.0.1 that keeps what it is sent and answers with `answer`.

    `requests` are the requests in the order in which they came, `connections` counts the
    connections that were opened. With `tls` it speaks HTTPS under the name localhost.
    """

    def __init__(self, answer: Reply | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.answer: Reply = reply() if answer is None else answer
        self.requests: list[Received] = []
        self.connections = 0
        self.port = 0
        self._tls = tls
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self._arrived = asyncio.Condition()

    @property
    def url(self) -> str:
        """Where to post to."""
        where = f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"
        return f"{where}/webhook"

    async def wait_for(self, count: int, timeout_s: float = 10.0) -> None:
        """Return when `count` requests have come in."""
        async with asyncio.timeout(timeout_s), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*(task for task in self._open.values() if task))
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open[writer] = asyncio.current_task()
        try:
            while not writer.is_closing():
                self.requests.append(await _read(reader))
                async with self._arrived:
                    self._arrived.notify_all()
                if isinstance(self.answer, bytes):
                    writer.write(self.answer)
                    await writer.drain()
                else:
                    await self.answer(reader, writer)
                    writer.close()
        except (OSError, asyncio.IncompleteReadError):
            pass  # The sender went away, as senders do.
        finally:
            del self._open[writer]
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
    headers = {name.lower(): value.strip() for name, _, value in lines}
    return Received(headers, await reader.readexactly(int(headers.get("content-length", "0"))))


# --- the ways to them -------------------------------------------------------------------------

# Reading the system's certificates takes longer than most tests.
TLS = httpx2.create_ssl_context()


def guarded(
    *allow_hosts: str,
    resolve: Resolve | None = None,
    network: httpcore2.AsyncNetworkBackend | None = None,
    tls: ssl.SSLContext = TLS,
) -> Guard:
    """Return a guard that lets these hosts through."""
    return Guard(allow_hosts, resolve=resolve, network=network, tls=tls)


class Names:
    """A resolver that knows what it is told, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


class Wire(httpcore2.AsyncNetworkBackend):
    """A network that records where it is asked to connect, and goes to a receiver instead.

    `dead` addresses refuse, `silent` ones never answer.
    """

    def __init__(self, port: int, *, dead: Iterable[str] = (), silent: Iterable[str] = ()) -> None:
        self._port = port
        self._dead = set(dead)
        self._silent = set(silent)
        self._real = httpcore2.AnyIOBackend()
        self.connected: list[str] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.connected.append(host)
        if host in self._dead:
            raise httpcore2.ConnectError
        if host in self._silent:
            await asyncio.sleep(60 if timeout is None else timeout / 100)
            raise httpcore2.ConnectTimeout
        return await self._real.connect_tcp("127.0.0.1", self._port)


def certify(folder: Path, name: str) -> Path:
    """Write a key and a certificate of its own for `name` into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


# --- what is sent to them ---------------------------------------------------------------------

SENT_AT = 1_700_000_000_123
SECRET = make_secret(bytes(range(32)))
BODY = b'{"event":"payment_confirmed","invoice_id":"12345","status":"Paid","payment_id":"6789"}'

# What has a receiver answer in some way, and sends it one message.
Send = Callable[[Reply], Awaitable[Attempt]]


def message(
    target: str, *, secret: str = SECRET, content: bytes = BODY, sent_at: int = SENT_AT
) -> Message:
    """Return an event on its way to `target`."""
    return Message(
        event_id=f"{SENT_AT}-0", body=content, target=target, secret=secret, sent_at=sent_at
    )


@asynccontextmanager
async def opened(guard: Guard, timeout_s: float = 10.0) -> AsyncIterator[WebhookChannel]:
    """Yield a channel and close it."""
    channel = WebhookChannel(guard, timeout_s=timeout_s)
    try:
        yield channel
    finally:
        await channel.close()
