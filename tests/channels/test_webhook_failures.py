import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpcore2
import pytest

from counterfoil.channels.guard import ALLOW_HOSTS_SETTING, Guard
from counterfoil.channels.webhook import TIMEOUT_S, WebhookChannel
from counterfoil.core.ports import Answer
from tests.channels.receivers import (
    SECRET,
    Names,
    Receiver,
    Reply,
    Send,
    Wire,
    break_off,
    certify,
    drip,
    guarded,
    hang,
    message,
    opened,
    reply,
)

SHORT_S = 0.3


@pytest.fixture
async def hasty() -> AsyncIterator[WebhookChannel]:
    """A channel whose time limit is over soon."""
    async with opened(guarded("127.0.0.1"), SHORT_S) as running:
        yield running


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x00\x00\x00\x00",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 20000 OK\r\n\r\n",
        b"",
    ],
)
async def test_garbage_is_tried_again(send: Send, answer: bytes) -> None:
    attempt = await send(break_off(answer))
    assert (attempt.answer, attempt.status, attempt.excerpt) == (Answer.RETRY, None, "")
    assert attempt.error is not None
    assert "HTTP" in attempt.error
    assert "garbage" not in attempt.error


async def test_an_answer_that_breaks_off_after_its_head_has_answered(send: Send) -> None:
    for said in (
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
    ):
        attempt = await send(break_off(said))
        assert (attempt.answer, attempt.status) == (Answer.DELIVERED, 200)
        assert (attempt.excerpt, attempt.error) == ("half", None)


@pytest.mark.parametrize(
    "answer",
    [
        hang,
        drip(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
        drip(b"", b"H"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
async def test_a_slow_answer_ends_at_the_limit(
    hasty: WebhookChannel, receiver: Receiver, answer: Reply
) -> None:
    receiver.answer = answer
    attempt = await hasty.send(message(receiver.url))
    assert (attempt.answer, attempt.status) == (Answer.RETRY, None)
    assert attempt.error == "The endpoint did not answer within 0.3 seconds."
    assert 250 <= attempt.duration_ms < 5_000


async def test_a_slow_body_does_not_undo_a_status(
    hasty: WebhookChannel, receiver: Receiver
) -> None:
    receiver.answer = drip(b"HTTP/1.1 202 Accepted\r\ncontent-length: 9999\r\n\r\n", b"d")
    attempt = await hasty.send(message(receiver.url))
    assert (attempt.answer, attempt.status, attempt.error) == (Answer.DELIVERED, 202, None)
    assert set(attempt.excerpt) == {"d"}
    assert 250 <= attempt.duration_ms < 5_000
    receiver.answer = reply(200)
    assert (await hasty.send(message(receiver.url))).answer is Answer.DELIVERED


async def test_the_limit_is_twenty_seconds_unless_told() -> None:
    assert TIMEOUT_S == 20


async def test_a_slow_name_and_a_slow_connection_end_at_the_limit() -> None:
    guard = guarded(resolve=Names(["8.8.8.8"]), network=Wire(9, silent=["8.8.8.8"]))
    async with opened(guard, SHORT_S) as channel:
        attempt = await channel.send(message("https://shop.example/"))
    assert (attempt.answer, attempt.error) == (
        Answer.RETRY,
        "The endpoint did not answer within 0.3 seconds.",
    )


async def test_nobody_listens(channel: WebhookChannel) -> None:
    async with Receiver() as closed:
        url = closed.url
    attempt = await channel.send(message(url))
    assert (attempt.answer, attempt.status) == (Answer.RETRY, None)
    assert attempt.error is not None
    assert "Connection refused" in attempt.error


async def test_a_name_that_leads_nowhere() -> None:
    async with opened(guarded(resolve=Names([]))) as channel:
        attempt = await channel.send(message("https://shop.example/"))
    assert attempt.answer is Answer.RETRY
    assert attempt.error == "No address could be found for the host shop.example."


@pytest.mark.parametrize(
    "target", ["https://db.internal/", "http://127.0.0.1:9000/", "http://localhost/"]
)
async def test_what_the_guard_blocks_is_tried_again_and_says_why(target: str) -> None:
    wire = Wire(9)
    async with opened(guarded(resolve=Names(["10.0.0.9"]), network=wire)) as channel:
        attempt = await channel.send(message(target))
    assert (attempt.answer, attempt.status) == (Answer.RETRY, None)
    assert attempt.error is not None
    assert ALLOW_HOSTS_SETTING in attempt.error
    assert wire.connected == []


@pytest.mark.parametrize("target", ["", "nonsense", "https://shop.example:99999/", "file:///x"])
async def test_a_target_that_is_no_url_is_an_attempt_too(
    channel: WebhookChannel, target: str
) -> None:
    attempt = await channel.send(message(target))
    assert (attempt.answer, attempt.status) == (Answer.RETRY, None)
    assert attempt.error is not None
    assert "URL" in attempt.error


async def test_an_unknown_certificate(tmp_path: Path) -> None:
    """With the certificates of the system, as it runs."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certify(tmp_path, "shop.example"))
    async with Receiver(tls=server) as receiver, opened(Guard(["127.0.0.1"])) as channel:
        attempt = await channel.send(message(receiver.url))
        assert receiver.requests == []
    assert attempt.answer is Answer.RETRY
    assert attempt.error is not None
    assert "self-signed certificate" in attempt.error


async def test_https_to_a_server_of_plain_http(channel: WebhookChannel) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        attempt = await channel.send(message(f"https://127.0.0.1:{port}/"))
    assert attempt.answer is Answer.RETRY
    assert attempt.error is not None
    assert "TLS" in attempt.error


class BrokenTLS(httpcore2.AsyncMockStream):
    """A connection on which TLS fails when the answer is read, as bare as the library raises it."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # the signature is httpcore's
        raise ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] certificate required")


class BrokenNetwork(httpcore2.AsyncMockBackend):
    """Connects to a `BrokenTLS`, wherever it is told to."""

    async def connect_tcp(self, *_: object, **__: object) -> httpcore2.AsyncNetworkStream:
        return BrokenTLS([])


async def test_tls_that_breaks_after_the_handshake() -> None:
    """A server may ask for a certificate of ours, which only shows when its answer is read."""
    guard = guarded(resolve=Names(["8.8.8.8"]), network=BrokenNetwork([]))
    async with opened(guard) as channel:
        attempt = await channel.send(message("https://shop.example/"))
    assert (attempt.answer, attempt.status) == (Answer.RETRY, None)
    assert attempt.error == "No connection to the endpoint could be made."


async def test_a_server_that_wants_a_certificate_of_ours(tmp_path: Path) -> None:
    path = certify(tmp_path, "shop.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    server.load_verify_locations(path)
    server.verify_mode = ssl.CERT_REQUIRED
    async with Receiver(tls=server) as receiver:
        guard = guarded(
            resolve=Names(["8.8.8.8"]),
            network=Wire(receiver.port),
            tls=ssl.create_default_context(cafile=path),
        )
        async with opened(guard) as channel:
            attempt = await channel.send(message("https://shop.example/"))
    # Which words it gets depends on how the bytes and the end of the connection fall.
    assert (attempt.answer, attempt.status) == (Answer.RETRY, None)
    assert attempt.error is not None


async def test_who_waits_for_one_does_not_hold_up_another(receiver: Receiver) -> None:
    async with opened(guarded("127.0.0.1")) as channel, Receiver(hang) as stuck:
        waiting = [asyncio.ensure_future(channel.send(message(stuck.url))) for _ in range(150)]
        await stuck.wait_for(150)
        attempt = await channel.send(message(receiver.url))
        assert attempt.answer is Answer.DELIVERED
        for task in waiting:
            task.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    # Whoever shuts the courier down is obeyed: a cancelled attempt is no attempt.
    assert all(isinstance(result, asyncio.CancelledError) for result in results)


async def test_the_secret_is_in_no_log_and_no_attempt(
    channel: WebhookChannel, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    receiver.answer = reply(500, b"no")
    attempts = [
        await channel.send(message(receiver.url)),
        await channel.send(message("http://127.0.0.1:1/")),
        await channel.send(message("http://10.0.0.1/")),
    ]
    assert SECRET not in caplog.text + repr(attempts)
