"""The webhook: a signed POST of an event to a URL of the merchant's (wire contract, section 5)."""

import asyncio
import os
import re
import ssl
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import version

import httpx2

from counterfoil.channels.guard import BlockedError, Guard, UnresolvedError, parse_host
from counterfoil.core.errors import InvalidError, Problem
from counterfoil.core.ports import Answer, Attempt, Message
from counterfoil.core.signing import sign_body, sign_standard

TIMEOUT_S = 20.0
URL_CHARACTERS_MAX = 2_000
ANSWER_BYTES_MAX = 64 * 1024
EXCERPT_BYTES_MAX = 1_024
PORTS = 1 << 16

# Refusals that a repetition may mend.
_PASSING = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
# The answers whose Retry-After is taken at its word.
_BUSY = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_SECONDS = re.compile(r"[0-9]{1,9}")
_DATE_CHARACTERS_MAX = 64


@dataclass(slots=True)
class _Heard:
    """What has come back so far."""

    status: int | None = None
    retry_after: str = ""
    body: bytearray = field(default_factory=bytearray)


class WebhookChannel:
    """Tells merchants' systems by POST; implements the port Channel."""

    def __init__(self, guard: Guard, *, timeout_s: float = TIMEOUT_S) -> None:
        self._guard = guard
        self._timeout_s = timeout_s
        self._agent = f"Counterfoil/{version('counterfoil')}"
        # The one time limit stands in `send`, over all that a request does.
        self._client = guard.client(timeout_s=None)

    @property
    def kind(self) -> str:
        """The channel's name in the database."""
        return "webhook"

    def parse_target(self, text: str) -> str:
        """Return the URL in canonical form; raises InvalidError that says what is wrong."""
        stripped = text.strip()
        if len(stripped) > URL_CHARACTERS_MAX:
            raise _too_long()
        url = _parse_url(stripped)
        if url.scheme not in ("http", "https"):
            raise _invalid("A webhook URL must begin with https:// or http://.")
        if url.userinfo:
            raise _invalid(
                "A webhook URL must not hold a user name or password; put a token in its path or "
                "query, or check the signature."
            )
        if "#" in stripped:
            raise _invalid("A webhook URL must not hold a fragment (#...): it would not be sent.")
        host = parse_host(url.raw_host.decode("ascii"))
        if host is None:
            raise _invalid("The host of the webhook URL is missing or is not a host name.")
        if url.port is not None and not 0 < url.port < PORTS:
            raise _invalid("The port of the webhook URL must be between 1 and 65535.")
        try:
            self._guard.check(host)
        except BlockedError as blocked:
            raise _invalid(str(blocked)) from None
        canonical = str(url.copy_with(host=host))
        if len(canonical) > URL_CHARACTERS_MAX:
            raise _too_long()
        return canonical

    async def send(self, message: Message) -> Attempt:
        """POST the message once; whatever the other side does is an Attempt.

        The status decides as soon as it is there: an answer that breaks off after it has still
        answered.
        """
        started = time.perf_counter()
        heard = _Heard()
        error = None
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._post(message, heard)
        except TimeoutError:
            error = f"The endpoint did not answer within {self._timeout_s:g} seconds."
        except InvalidError as invalid:
            error = invalid.message
        except (httpx2.HTTPError, OSError) as failure:
            # What TLS finds wrong after the handshake comes as a bare ssl.SSLError, an OSError.
            error = _sentence(failure)
        if heard.status is not None:
            error = _sentence_of_status(heard.status)
        return Attempt(
            answer=_judge(heard.status),
            status=heard.status,
            duration_ms=round((time.perf_counter() - started) * 1000),
            excerpt=_harmless(bytes(heard.body[:EXCERPT_BYTES_MAX])),
            error=error,
            retry_after_s=(
                parse_retry_after(heard.retry_after, message.sent_at)
                if heard.status in _BUSY
                else None
            ),
        )

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def _post(self, message: Message, heard: _Heard) -> None:
        """Send, and put what comes back into `heard` as it comes."""
        url = self.parse_target(message.target)
        timestamp_s = message.sent_at // 1000
        headers = {
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            # Nothing is unpacked here, since a small packed answer may unpack without end.
            "Accept-Encoding": "identity",
            "signature": sign_body(message.secret, message.body),
            "webhook-id": message.event_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": sign_standard(
                message.secret, message.event_id, timestamp_s, message.body
            ),
        }
        sending = self._client.stream("POST", url, content=message.body, headers=headers)
        async with sending as response, aclosing(response.aiter_raw()) as parts:
            heard.status = response.status_code
            heard.retry_after = response.headers.get("retry-after", "")
            async for part in parts:
                heard.body += part
                if len(heard.body) >= ANSWER_BYTES_MAX:
                    break


def parse_retry_after(text: str, sent_at: int) -> int | None:
    """Return the seconds that a Retry-After header asks for, as a number or as a date.

    None stands for anything else. A date is compared with the time of sending, which is at most our
    time limit ago.
    """
    value = text.strip()
    if _SECONDS.fullmatch(value):
        return int(value)
    if len(value) > _DATE_CHARACTERS_MAX:
        return None
    try:
        moment = parsedate_to_datetime(value)
        # HTTP knows no zone but UTC; without one, Python would take the date for our local time.
        at = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0, int(at) - sent_at // 1000)


def _invalid(sentence: str) -> InvalidError:
    return InvalidError(Problem("url", "invalid_url", sentence))


def _too_long() -> InvalidError:
    return _invalid(f"A webhook URL may have at most {URL_CHARACTERS_MAX:,} characters.")


def _parse_url(text: str) -> httpx2.URL:
    try:
        return httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise _invalid(
            "This is not a URL. It must look like https://shop.example/webhook."
        ) from None


def _judge(status: int | None) -> Answer:
    if status is None:
        return Answer.RETRY
    if 200 <= status < 300:
        return Answer.DELIVERED
    if status == HTTPStatus.GONE:
        return Answer.GONE
    if 400 <= status < 500 and status not in _PASSING:
        return Answer.REFUSED
    return Answer.RETRY


def _sentence_of_status(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return (
            f"The endpoint answered with a redirect (HTTP {status}), which is not followed: enter "
            "the URL that it leads to."
        )
    return f"The endpoint answered with HTTP {status}."


def _sentence(failure: Exception) -> str:
    """Return what went wrong on the way, in words of ours and never of the other side's."""
    match failure:
        case BlockedError() | UnresolvedError():
            return str(failure)
        case httpx2.ConnectError() | ssl.SSLError():
            return f"No connection to the endpoint could be made{_reason(failure)}."
        case httpx2.ProtocolError():
            return "The endpoint closed the connection, or answered with something else than HTTP."
    return f"The connection to the endpoint broke before an answer came{_reason(failure)}."


def _reason(failure: BaseException) -> str:
    """Return what the system or OpenSSL says at the root of a failure, in parentheses."""
    cause: BaseException | None = failure
    while cause is not None:
        match cause:
            case ssl.SSLCertVerificationError():
                return f" (TLS: {cause.verify_message})"
            case ssl.SSLError():
                # Only those that OpenSSL raised have a reason.
                if reason := getattr(cause, "reason", None):
                    return f" (TLS: {str(reason).lower().replace('_', ' ')})"
            case OSError() if cause.errno:
                # The system's words for the number: asyncio's own sentence names the address.
                return f" ({os.strerror(cause.errno)})"
        # httpcore takes the cause away from what it raises again, but not the context.
        cause = cause.__cause__ or cause.__context__
    return ""


def _harmless(body: bytes) -> str:
    """Return text fit for a page, a terminal and any database.

    Line breaks and tabs stay. Other control characters, and invisible ones that turn the direction
    of writing, become the replacement character.
    """
    text = body.decode("utf-8", "replace").replace("\r\n", "\n")
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
