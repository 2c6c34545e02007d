"""JSON-RPC over HTTP, as nodes speak it: whatever goes wrong is a `NodeError` with a sentence.

A node's answers are hostile input. They are read with a time limit and a size limit, numbers are
kept exact, and the `as_*` functions turn parts of an answer into typed values or a `NodeError`.
"""

import asyncio
import base64
import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from http import HTTPStatus

import httpx2

from counterfoil.core.errors import NodeError, SettingsError

TIMEOUT_S = 20.0
# The JSON of a full block with all scripts stays under 30 MB; twice that is room, not a habit.
ANSWER_LIMIT_BYTES = 64 * 1024 * 1024
# Core answers -5 for an unknown block or transaction and -8 for a height beyond its tip.
ABSENT_CODES = frozenset({-5, -8})
NO_METHOD_CODE = -32601
NODE_WORDS_LIMIT = 200
PORTS = 1 << 16

Request = tuple[str, tuple[object, ...]]


class AbsentError(NodeError):
    """The node answered that it has no such thing, which is more than not knowing."""


class PrunedError(NodeError):
    """The node has had such a block, and keeps it no more."""


class NoMethodError(NodeError):
    """The node has no such method: it is older than the method, or of another kind."""


class SilentError(NodeError):
    """The node has not answered at all."""


class JsonRpc:
    """A client of one node at `http://user:password@host:port`.

    The credentials go into a header and never into an error: errors name host and port alone.
    Raises SettingsError for a URL of another shape.
    """

    def __init__(
        self, url: str, *, timeout_s: float = TIMEOUT_S, limit_bytes: int = ANSWER_LIMIT_BYTES
    ) -> None:
        parsed = _parse_url(url)
        self._url = parsed.copy_with(username=None, password=None)
        self._place = parsed.netloc.decode()
        self._timeout_s = timeout_s
        self._limit_bytes = limit_bytes
        token = base64.b64encode(f"{parsed.username}:{parsed.password}".encode()).decode()
        path = parsed.raw_path.decode().strip("/")
        # A hosted node's key may stand in the path.
        self._secrets = tuple(secret for secret in (parsed.password, token, path) if secret)
        self._client = httpx2.AsyncClient(
            auth=httpx2.BasicAuth(parsed.username, parsed.password),
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
            trust_env=False,
        )

    async def call(self, method: str, *params: object, timeout_s: float | None = None) -> object:
        """Return the result of one call; raises AbsentError, NoMethodError or another NodeError.

        `timeout_s` is for a call that takes longer than any other.
        """
        answer = await self._post(_request(0, method, params), timeout_s or self._timeout_s)
        return self._result(answer, 0, method)

    async def batch(self, requests: Sequence[Request]) -> list[object]:
        """Return the results of (method, params) pairs, asked for in one HTTP request.

        Where the node has no such thing, its place holds an AbsentError. Any other error of any of
        them is raised as NodeError.
        """
        if not requests:
            return []
        answers = as_list(
            await self._post(
                [_request(n, *request) for n, request in enumerate(requests)], self._timeout_s
            ),
            "the answer to a batch",
        )
        # An answer's place says nothing, and its id may be anything: only numbers are used.
        by_number: dict[int, object] = {}
        for answer in answers:
            number = as_object(answer, "an answer").get("id")
            if isinstance(number, int):
                by_number[number] = answer
        results: list[object] = []
        for number, (method, _) in enumerate(requests):
            try:
                results.append(self._result(by_number.get(number), number, method))
            except AbsentError as absent:
                results.append(absent)
        return results

    async def batch_if_told(self, requests: Sequence[Request]) -> list[object] | None:
        """Return the results as `batch` does, None where the node keeps some of them to itself.

        A node that others keep may answer nothing but what concerns the chain, in whatever words.
        """
        try:
            results = await self.batch(requests)
        except SilentError:
            raise
        except NodeError:
            return None
        return None if any(isinstance(each, AbsentError) for each in results) else results

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def _post(self, request: object, timeout_s: float) -> object:
        """Send one HTTP request and return the JSON of the answer."""
        body = bytearray()
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._client.stream(
                    "POST", self._url, content=json.dumps(request), timeout=timeout_s
                ) as response,
            ):
                # The raw bytes are read, since a small compressed answer may unpack without end.
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > self._limit_bytes:
                        raise self._error(f"answered with more than {self._limit_bytes} bytes")
        except (TimeoutError, httpx2.TimeoutException):
            raise self._error(f"did not answer within {timeout_s:g} s", SilentError) from None
        except httpx2.HTTPError as error:
            # Only the kind of error is told: its words may hold parts of the request.
            why = type(error).__name__
            raise self._error(f"cannot be reached ({why})", SilentError) from None
        return self._parse(response.status_code, bytes(body))

    def _parse(self, status: int, body: bytes) -> object:
        """Return the JSON of an answer; Core sends its errors with the HTTP status 404 or 500."""
        if status == HTTPStatus.UNAUTHORIZED:
            raise self._error("refuses our user name and password (HTTP 401)")
        if status == HTTPStatus.FORBIDDEN:
            raise self._error(
                "does not let us in (HTTP 403): this machine is not in its rpcallowip, or a method "
                "that we call is not in its rpcwhitelist; or the key of a hosted node is wrong"
            )
        try:
            answer: object = json.loads(body, parse_float=Decimal)
        except (ValueError, RecursionError, InvalidOperation):
            what = "something that is not JSON" if status == HTTPStatus.OK else f"HTTP {status}"
            raise self._error(f"answered with {what}") from None
        is_error = isinstance(answer, dict) and answer.get("error") is not None
        if status != HTTPStatus.OK and not is_error:
            raise self._error(f"answered with HTTP {status}")
        return answer

    def _result(self, answer: object, number: int, method: str) -> object:
        """Return the result in one answer, or raise the error in it."""
        fields = as_object(answer, f"the answer to {method}")
        error = fields.get("error")
        if error is not None:
            fault = as_object(error, f"the error of {method}")
            code = fault.get("code")
            words = self._printable(fault.get("message"))
            sentence = f"answered {method} with the error {self._printable(code)}: {words}"
            raise self._error(sentence, kind=_kind_of(code, words))
        if fields.get("id") != number or "result" not in fields:
            raise self._error(f"answered {method} with something that is no result of it")
        return fields["result"]

    def _printable(self, words: object) -> str:
        """Return a node's own words fit for a log: short, printable, without our credentials."""
        text = str(words)
        if any(secret in text for secret in self._secrets):
            return "(its words are left out, since they hold our credentials)"
        return "".join(c for c in text[:NODE_WORDS_LIMIT] if c.isprintable())

    def _error(self, what: str, kind: type[NodeError] = NodeError) -> NodeError:
        return kind(f"The node at {self._place} {what}.")


def _kind_of(code: object, words: str) -> type[NodeError]:
    """Return which error a node's error code is; that of a pruned block is told by words alone."""
    if code == NO_METHOD_CODE:
        return NoMethodError
    if "pruned" in words:
        return PrunedError
    return AbsentError if isinstance(code, int) and code in ABSENT_CODES else NodeError


def as_object(value: object, what: str) -> dict[str, object]:
    """Return `value` as a JSON object; `what` names it in the NodeError."""
    if not isinstance(value, dict):
        raise _misshapen(what, "an object")
    return value


def as_list(value: object, what: str) -> list[object]:
    """Return `value` as a JSON array; `what` names it in the NodeError."""
    if not isinstance(value, list):
        raise _misshapen(what, "a list")
    return value


def as_text(value: object, what: str) -> str:
    """Return `value` as a string; `what` names it in the NodeError."""
    if not isinstance(value, str):
        raise _misshapen(what, "a text")
    return value


def as_flag(value: object, what: str) -> bool:
    """Return `value` as a boolean; `what` names it in the NodeError."""
    if not isinstance(value, bool):
        raise _misshapen(what, "true or false")
    return value


def as_integer(value: object, what: str, *, most: int) -> int:
    """Return `value` as an integer of 0 to `most`; `what` names it in the NodeError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _misshapen(what, f"an integer of 0 to {most}")
    return value


def _misshapen(what: str, expected: str) -> NodeError:
    return NodeError(f"The node's answer is wrong: {what} is not {expected}.")


def _request(number: int, method: str, params: tuple[object, ...]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def _parse_url(url: str) -> httpx2.URL:
    """Return a node's URL; raises SettingsError, which does not repeat it: it holds a password."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL("")
    is_port = parsed.port is None or parsed.port < PORTS
    if parsed.scheme not in ("http", "https") or not parsed.host or not is_port:
        raise SettingsError(
            "invalid_rpc_url",
            "The address of a node must look like http://user:password@host:port, with special "
            "characters of the password percent-encoded.",
        )
    return parsed
