import asyncio
import json
import shutil
import string
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.channels.webhook import (
    ANSWER_BYTES_MAX,
    WebhookChannel,
    parse_retry_after,
)
from counterfoil.core.events import Happening, body
from counterfoil.core.invoice import EventType, Status
from counterfoil.core.ports import Answer, Channel
from counterfoil.core.signing import make_secret, sign_body
from tests.channels.receivers import (
    BODY,
    SECRET,
    SENT_AT,
    Receiver,
    Send,
    flood,
    message,
    reply,
)

PUBLISHED_SIGNATURE = (
    "779e0bce85b25f413295f7ce06345f4b8c991529b6674889db70b7e8d24fbd2a"
    "e3c467f634818c37da48774918deea1c598e15e2eba0714a9c8c19a31dfcb3be"
)


def test_it_is_a_channel(channel: Channel) -> None:
    assert channel.kind == "webhook"


# --- what is sent -----------------------------------------------------------------------------


async def test_the_exact_bytes_arrive_with_both_signatures(
    channel: WebhookChannel, receiver: Receiver
) -> None:
    attempt = await channel.send(message(receiver.url))
    assert attempt.answer is Answer.DELIVERED
    headers, arrived = receiver.requests[0]
    assert arrived == BODY
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"].startswith("Counterfoil/0.")
    assert headers["signature"] == sign_body(SECRET, BODY)
    assert headers["webhook-id"] == f"{SENT_AT}-0"
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"].startswith("v1,")
    assert not {"authorization", "cookie", "transfer-encoding"} & headers.keys()


async def test_the_published_vector_goes_over_the_wire(
    channel: WebhookChannel, receiver: Receiver
) -> None:
    await channel.send(message(receiver.url, secret="SHARED_SECRET"))
    headers, arrived = receiver.requests[0]
    assert arrived == BODY
    assert headers["signature"] == PUBLISHED_SIGNATURE


async def test_the_reference_verifier_of_standard_webhooks_agrees(
    channel: WebhookChannel, receiver: Receiver
) -> None:
    now = int(time.time() * 1000)  # the verifier refuses what is older than five minutes
    await channel.send(message(receiver.url, sent_at=now))
    headers, arrived = receiver.requests[0]
    verifier = standardwebhooks.Webhook(SECRET)
    assert verifier.verify(arrived, headers) == json.loads(BODY)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier.verify(arrived.replace(b"Paid", b"paid"), headers)


async def test_connections_are_kept(channel: WebhookChannel, receiver: Receiver) -> None:
    for _ in range(3):
        assert (await channel.send(message(receiver.url))).answer is Answer.DELIVERED
    assert (len(receiver.requests), receiver.connections) == (3, 1)


# --- what comes back --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, Answer.DELIVERED),
        (201, Answer.DELIVERED),
        (204, Answer.DELIVERED),
        (299, Answer.DELIVERED),
        (300, Answer.RETRY),
        (304, Answer.RETRY),
        (400, Answer.REFUSED),
        (401, Answer.REFUSED),
        (404, Answer.REFUSED),
        (408, Answer.RETRY),
        (409, Answer.REFUSED),
        (410, Answer.GONE),
        (425, Answer.RETRY),
        (429, Answer.RETRY),
        (499, Answer.REFUSED),
        (500, Answer.RETRY),
        (503, Answer.RETRY),
        (599, Answer.RETRY),
    ],
)
async def test_the_status_decides(send: Send, status: int, answer: Answer) -> None:
    attempt = await send(f"HTTP/1.1 {status} So\r\ncontent-length: 2\r\n\r\nhi".encode())
    assert (attempt.answer, attempt.status) == (answer, status)
    assert (attempt.error is None) == (answer is Answer.DELIVERED)
    assert attempt.excerpt == ("" if status in (204, 304) else "hi")
    assert attempt.retry_after_s is None
    assert 0 <= attempt.duration_ms < 10_000


async def test_a_redirect_is_not_followed(send: Send, receiver: Receiver) -> None:
    async with Receiver() as elsewhere:
        attempt = await send(reply(301, b"moved", location=elsewhere.url))
        assert elsewhere.connections == 0
    assert (attempt.answer, attempt.status, attempt.excerpt) == (Answer.RETRY, 301, "moved")
    assert attempt.error is not None
    assert "redirect" in attempt.error
    assert len(receiver.requests) == 1


DATE = format_datetime(datetime.fromtimestamp(SENT_AT // 1000 + 90, UTC), usegmt=True)
PAST = format_datetime(datetime.fromtimestamp(SENT_AT // 1000 - 90, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (429, "7", 7),
        (502, "0", 0),
        (503, " 120 ", 120),
        (504, "999999999", 999_999_999),
        (429, DATE, 90),
        (503, PAST, 0),
        (503, "Tue, 14 Nov 2023 22:14:50", 90),
        (503, "Tue, 14 Nov 2023 23:14:50 +0100", 90),
        (500, "7", None),
        (200, "7", None),
        (400, "7", None),
        (429, "-7", None),
        (429, "7.5", None),
        (429, "9999999999", None),
        (429, "soon", None),
        (429, "", None),
        (429, "Tue, 99 Nov 2023 22:14:50 GMT", None),
        (429, "Tue, 14 Nov 9999999 22:14:50 GMT", None),
        (429, "Tue, 14 Nov 2023 22:14:50 +99999999999999999999", None),
        (429, "x" * 10_000, None),
    ],
)
async def test_retry_after(send: Send, status: int, value: str, seconds: int | None) -> None:
    attempt = await send(reply(status, retry_after=value))
    assert attempt.retry_after_s == seconds


async def test_a_repeated_retry_after_is_no_number(send: Send) -> None:
    head = b"HTTP/1.1 429 So\r\nretry-after: 1\r\nRetry-After: 2\r\ncontent-length: 0\r\n\r\n"
    attempt = await send(head)
    assert (attempt.answer, attempt.retry_after_s) == (Answer.RETRY, None)


@given(st.text(string.ascii_letters + string.digits + ' ,:+-()"\\;.', max_size=70))
def test_any_retry_after_is_read_or_left(text: str) -> None:
    seconds = parse_retry_after(text, SENT_AT)
    assert seconds is None or seconds >= 0


async def test_the_excerpt_is_short_and_harmless(send: Send) -> None:
    said = b"a\r\nb\tc\x00\x1b[31m\x7f\xff" + "\u202e\u2028ü".encode() + b"z" * 5000
    attempt = await send(reply(500, said))
    start = "a\nb\tc\ufffd\ufffd[31m\ufffd\ufffd\ufffd\ufffdü"
    assert attempt.excerpt.startswith(start + "z")
    assert set(attempt.excerpt.removeprefix(start)) == {"z"}
    assert len(attempt.excerpt) <= 1024


async def test_a_packed_answer_is_not_unpacked(send: Send) -> None:
    attempt = await send(reply(200, b"not gzip", content_encoding="gzip"))
    assert (attempt.answer, attempt.excerpt) == (Answer.DELIVERED, "not gzip")


async def test_a_huge_answer_is_read_no_further_than_the_limit(send: Send) -> None:
    sent: list[int] = []
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"
    attempt = await send(flood(head, b"y" * 65_536, sent))
    assert (attempt.answer, attempt.excerpt) == (Answer.DELIVERED, "y" * 1024)
    # Beyond what is read, the sockets of both sides take a few megabytes before the sender stalls.
    assert ANSWER_BYTES_MAX <= sum(sent) < 32 * 1024 * 1024
    assert attempt.duration_ms < 5_000


async def test_headers_without_end_are_cut_off(send: Send) -> None:
    sent: list[int] = []
    attempt = await send(flood(b"HTTP/1.1 200 OK\r\n", b"a: " + b"b" * 4096 + b"\r\n", sent))
    assert (attempt.answer, attempt.status) == (Answer.RETRY, None)


# --- a receiver written by a merchant ---------------------------------------------------------

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")


@asynccontextmanager
async def merchant(secret: str) -> AsyncIterator[str]:
    """Run the contract's own verifier in Node and yield its URL."""
    process = await asyncio.create_subprocess_exec(
        "node",
        Path(__file__).with_name("receiver.js"),
        secret,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        await process.communicate()


def full_body() -> bytes:
    happening = Happening(EventType.CONFIRMED, Status.PAID, 6789)
    extra = {
        "id": f"{SENT_AT}-0",
        "exception": None,
        "test": False,
        "note": 'Grüße, "€5" \\ / <é> \u2028\u2029 😀 \x00\x7f \ud800',
        "payment": {"coin": "LTC", "amount": "0.12345678", "txid": None},
    }
    return body(happening, 12345, extra)


@needs_node
@pytest.mark.parametrize(
    ("secret", "content"),
    [("SHARED_SECRET", BODY), (SECRET, BODY), (SECRET, full_body())],
    ids=["published", "own secret", "all of unicode"],
)
async def test_a_merchants_verifier_says_yes(
    channel: WebhookChannel, secret: str, content: bytes
) -> None:
    async with merchant(secret) as url:
        good = await channel.send(message(url, secret=secret, content=content))
        forged = await channel.send(message(url, secret=make_secret(bytes(32)), content=content))
        spaced = await channel.send(
            message(url, secret=secret, content=content.replace(b":", b": ", 1))
        )
    assert good.answer is Answer.DELIVERED
    assert good.excerpt == "yes: payment_confirmed of 12345"
    for attempt in (forged, spaced):
        assert (attempt.answer, attempt.status, attempt.excerpt) == (Answer.REFUSED, 401, "no")
