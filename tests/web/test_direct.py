"""The short way of hot requests, over real connections: the same answers as the usual way's."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
import uvicorn

from counterfoil.core.access import Scope
from counterfoil.web.bodies import SIZE_MAX
from counterfoil.web.direct import DirectHttp, read
from counterfoil.web.site import Site
from tests.web.world import World

BODY = b'{"amount": 25.00, "fiat_currency": "USD"}'
WAIT_S = 10.0
KEEP_ALIVE_S = 1


@dataclass(slots=True)
class Answer:
    """What came back on a connection."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Connection:
    """A connection of which the bytes can be chosen."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> Answer:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), WAIT_S)).decode()
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = 0 if first.split()[1] == "100" else int(headers["content-length"])
        body = await self.reader.readexactly(length)
        return Answer(int(first.split()[1]), headers, body)

    async def ask(self, *pieces: bytes) -> Answer:
        """Send the pieces one after the other and return the answer."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.01)
        return await self.answer()


@dataclass(slots=True)
class Served:
    """A server, and how many requests it has answered the short way."""

    world: World
    server: uvicorn.Server
    port: int
    direct: list[str] = field(default_factory=list)
    connections: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.connections.append(writer)
        return Connection(reader, writer)

    async def acquainted(self) -> Connection:
        """Return a connection, after the server has come to know the key."""
        connection = await self.connect()
        await connection.ask(get(self.world, "/api/invoice/1"))
        self.direct.clear()
        return connection


def request(
    world: World,
    line: str,
    body: bytes = b"",
    *,
    key: str | None = None,
    extra: str = "",
    version: str = "1.1",
) -> bytes:
    headers = f"Host: a.example\r\nAuthorization: {key or world.key()}\r\n{extra}"
    if body:
        headers += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{line} HTTP/{version}\r\n{headers}\r\n".encode() + body


def post(world: World, body: bytes = BODY, **options: Any) -> bytes:
    return request(world, "POST /api/invoice", body, **options)


def get(world: World, path: str, **options: Any) -> bytes:
    return request(world, f"GET {path}", **options)


@pytest.fixture
async def served(small_world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        small_world.app,
        http=DirectHttp,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    found = Served(small_world, server, listener.getsockname()[1])
    usual = Site.direct

    def direct(site: Site, request: Any) -> Any:
        answering = usual(site, request)
        if answering is not None:
            found.direct.append(f"{request.method} {request.path}")
        return answering

    monkeypatch.setattr(Site, "direct", direct)
    monkeypatch.setattr(uvicorn.Server, "capture_signals", lambda _self: nullcontext())
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110  # uvicorn offers nothing to wait for
        await asyncio.sleep(0.01)
    yield found
    for writer in found.connections:
        writer.close()
    server.should_exit = True
    await asyncio.wait_for(serving, WAIT_S)


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (post, 200),
        (lambda world: get(world, "/api/invoice/1"), 200),
        (lambda world: get(world, "/api/invoice/999"), 404),
        (lambda world: get(world, "/api/invoice/x"), 404),
        (lambda world: post(world, b'{"amount": 0}'), 422),
        (lambda world: post(world, b"nonsense"), 400),
        (lambda world: post(world, extra="Idempotency-Key: a\r\n"), 200),
        (lambda world: post(world, extra="Idempotency-Key: a\r\nIdempotency-Key: b\r\n"), 422),
    ],
)
async def test_both_ways_give_the_same_answer(
    served: Served, make: Callable[[World], bytes], status: int
) -> None:
    await served.world.invoice()
    whole = make(served.world)
    connection = await served.acquainted()
    short = await connection.ask(whole)
    assert len(served.direct) == 1
    # What comes in two pieces goes the usual way.
    usual = await connection.ask(whole[:20], whole[20:])
    assert len(served.direct) == 1
    assert short.status == usual.status == status
    assert short.headers.keys() == usual.headers.keys()
    differs = {"x-request-id", "date"}
    for name in short.headers.keys() - differs:
        assert short.headers[name] == usual.headers[name]
    assert short.headers["x-request-id"] != usual.headers["x-request-id"]
    if b'"id"' not in short.body:
        assert short.body == usual.body
    # And back again, on the same connection.
    assert (await connection.ask(whole)).status == status
    assert len(served.direct) == 2


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda world: get(world, "/api/invoice/1", key="cf_live_nonsense"), 401),
        (lambda world: post(world, key=world.key(scope=Scope.READ)), 403),
        (lambda world: get(world, "/api/invoice/1?x=1"), 200),
        (lambda world: get(world, "/api/invoice/%31"), 200),
        (lambda world: get(world, "/api/invoice/1#x"), 200),
        (lambda world: get(world, "/api/invoice/1/payments"), 200),
        (lambda world: get(world, "/api/invoice/1", version="1.0"), 200),
        (lambda world: get(world, "/api/invoice/1", extra="Connection: close\r\n"), 200),
        (lambda world: post(world, b" " * SIZE_MAX + BODY), 413),
        (lambda _: b"GET /api/invoice/1 HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (lambda _: b"GET /api/invoice/1 HTTP/1.1\r\nHost: a.example\r\n\r\n", 401),
        (lambda world: post(world, extra="Expect: 100-continue\r\n"), 100),
        (lambda world: request(world, "POST /api/invoice/"), 404),
    ],
)
async def test_what_is_not_just_so_goes_the_usual_way(
    served: Served, make: Callable[[World], bytes], status: int
) -> None:
    await served.world.invoice()
    connection = await served.acquainted()
    answer = await connection.ask(make(served.world))
    assert answer.status == status
    assert not served.direct


async def test_requests_in_one_piece_are_answered_one_by_one(served: Served) -> None:
    await served.world.invoice()
    connection = await served.acquainted()
    answer = await connection.ask(
        post(served.world)
        + get(served.world, "/api/invoice/1")
        + get(served.world, "/api/invoice/x")
    )
    assert answer.status == 200
    assert [(await connection.answer()).status for _ in range(2)] == [200, 404]
    assert not served.direct


async def test_who_does_not_wait_is_answered_in_order(served: Served) -> None:
    await served.world.invoice()
    connection = await served.acquainted()
    for n in range(30):
        made = n % 3 == 0
        connection.writer.write(
            post(served.world) if made else get(served.world, f"/api/invoice/{n % 3}")
        )
        await connection.writer.drain()
        await asyncio.sleep(0)
    found = [await connection.answer() for _ in range(30)]
    assert [answer.status for answer in found] == [200] * 30
    assert [b"pay_url" in answer.body and b"fiat_amount" in answer.body for answer in found] == [
        False,
        True,
        True,
    ] * 10


async def test_who_hangs_up_has_made_an_invoice_all_the_same(served: Served) -> None:
    connection = await served.acquainted()
    before = await served.world.stored()
    connection.writer.write(post(served.world))
    await connection.writer.drain()
    connection.writer.transport.abort()
    for _ in range(100):
        if served.direct and await served.world.stored() != before:
            break
        await asyncio.sleep(0.02)
    assert await served.world.stored() != before
    assert (await (await served.connect()).ask(post(served.world))).status == 200


class Held:
    """Holds back what the handler does until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, world: World) -> None:
        self.has_come, self.may_go = asyncio.Event(), asyncio.Event()
        usual = world.store.find_invoice

        async def find(*arguments: Any) -> Any:
            self.has_come.set()
            await self.may_go.wait()
            return await usual(*arguments)

        monkeypatch.setattr(world.store, "find_invoice", find)


async def stopped_while_answering(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> tuple[Connection, Held]:
    await served.world.invoice()
    connection = await served.acquainted()
    held = Held(monkeypatch, served.world)
    connection.writer.write(get(served.world, "/api/invoice/1"))
    await asyncio.wait_for(held.has_come.wait(), WAIT_S)
    served.server.should_exit = True
    return connection, held


async def test_a_stop_waits_for_the_answer_and_says_that_it_is_the_last(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, held = await stopped_while_answering(served, monkeypatch)
    await asyncio.sleep(0.3)
    held.may_go.set()
    answer = await connection.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await connection.reader.read() == b""


async def test_a_stop_does_not_wait_for_ever(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, _ = await stopped_while_answering(served, monkeypatch)
    assert await asyncio.wait_for(connection.reader.read(), WAIT_S) == b""


async def test_a_connection_that_is_silent_is_closed(served: Served) -> None:
    await served.world.invoice()
    connection = await served.acquainted()
    await connection.ask(get(served.world, "/api/invoice/1"))
    assert served.direct
    # It stays open for as long as it is used, and a while longer.
    for _ in range(4):
        await asyncio.sleep(KEEP_ALIVE_S * 0.6)
        assert (await connection.ask(get(served.world, "/api/invoice/1"))).status == 200
    began = asyncio.get_running_loop().time()
    assert await asyncio.wait_for(connection.reader.read(), WAIT_S) == b""
    assert asyncio.get_running_loop().time() - began > KEEP_ALIVE_S / 2


async def test_an_accident_is_told_by_its_number_and_written_down(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the password is 12345")

    connection = await served.acquainted()
    monkeypatch.setattr("counterfoil.services.invoices.pay_url", fail)
    with structlog.testing.capture_logs() as lines:
        answer = await connection.ask(post(served.world))
    assert answer.status == 500
    assert b"12345" not in answer.body
    failed, asked = lines
    assert (failed["event"], failed["path"]) == ("request_failed", "/api/invoice")
    assert (asked["event"], asked["method"], asked["path"]) == ("request", "POST", "/api/invoice")
    assert failed["request_id"] == asked["request_id"] == answer.headers["x-request-id"]
    assert (asked["status"], asked["duration_ms"]) == (500, 0)


async def test_who_does_not_read_the_answers_gets_no_more_of_them(served: Served) -> None:
    await served.world.invoice()
    await served.acquainted()
    loop, known = asyncio.get_running_loop(), set(served.server.server_state.connections)
    with socket.socket() as client:
        client.setblocking(False)  # noqa: FBT003  # it has no name
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await loop.sock_connect(client, ("127.0.0.1", served.port))
        held = 0
        for _ in range(800):
            with suppress(TimeoutError):
                whole = get(served.world, "/api/invoice/1")
                await asyncio.wait_for(loop.sock_sendall(client, whole), 0.1)
            # Each comes by itself, as the short way wants it.
            await asyncio.sleep(0.001)
            for protocol in set(served.server.server_state.connections) - known:
                transport: Any = protocol.transport
                held = max(held, transport.get_write_buffer_size())
                if held == 0:
                    # The system's own buffer is to be full soon.
                    own = transport.get_extra_info("socket")
                    own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            if held > 256 * 1024:
                break
    # A connection holds 64 KB before it asks for a pause; the answer that filled it is the last.
    assert 64 * 1024 < held < 68 * 1024


async def test_what_breaks_beyond_the_handler_ends_the_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await served.acquainted()

    def fail(*_: object) -> None:
        raise RuntimeError("the log is full")

    monkeypatch.setattr(Site, "_write_down", fail)
    connection.writer.write(get(served.world, "/api/invoice/1"))
    assert await asyncio.wait_for(connection.reader.read(), WAIT_S) == b""


def test_only_one_whole_request_is_read() -> None:
    whole = b"POST /api/invoice HTTP/1.1\r\nA: b\r\nContent-Length: 2\r\n\r\n{}"
    found = read(whole)
    assert found is not None
    assert (found.method, found.path, found.body) == ("POST", "/api/invoice", b"{}")
    assert found.headers == [(b"a", b"b"), (b"content-length", b"2")]
    for end in range(len(whole)):
        assert read(whole[:end]) is None
    assert read(whole + b"G") is None
    assert read(whole + whole) is None
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    assert (found := read(chunked)) is not None
    assert found.body == b"{}"
    assert read(b"GET / HTTP/1.1\r\nConnection: Keep-Alive\r\n\r\n") is not None
    assert read(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n") is None
