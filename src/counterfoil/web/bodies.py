"""Reading a request's body: no larger, no deeper and no looser than we can answer for.

Python's own JSON parser reads it, with hooks: a repeated key is refused (two readers could take
different ones of the two), and numbers stay the text that they were written with, for a float is
not an amount.
"""

import json
import re
from typing import NoReturn

from starlette.types import Message, Receive

from counterfoil.core.errors import MalformedError, TooLargeError
from counterfoil.web.fields import Number

SIZE_MAX = 64 * 1024
DEPTH_MAX = 32
_NAME_LENGTH_MAX = 64

_TEXTS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


class DisconnectedError(Exception):
    """The client has gone before its request was read: there is nobody to answer."""


def too_large() -> TooLargeError:
    """Return what is said of a body that is not read."""
    message = f"A request may have a body of at most {SIZE_MAX:,} bytes."
    return TooLargeError("body_too_large", message)


def check_length(header: bytes | None) -> None:
    """Refuse a body by the length that is announced for it, before any of it is read."""
    if header is not None and header.isdigit() and int(header[:20]) > SIZE_MAX:
        raise too_large()


async def read(receive: Receive) -> bytes:
    """Return the whole body; raises TooLargeError as soon as it is more than it may be."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        body += message.get("body", b"")
        if len(body) > SIZE_MAX:
            raise too_large()
        if not message.get("more_body", False):
            return bytes(body)


def limited(receive: Receive) -> Receive:
    """Return `receive` for code that is not ours: it raises TooLargeError at the same size."""
    size = 0

    async def receive_less() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > SIZE_MAX:
            raise too_large()
        return message

    return receive_less


def parse(body: bytes) -> dict[str, object]:
    """Return the JSON object that a body is, its numbers as `Number`; raises MalformedError."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise MalformedError("not_utf8", "The body must be JSON in UTF-8.") from None
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX and _depth(text) > DEPTH_MAX:
        message = f"The body may be nested at most {DEPTH_MAX} levels deep."
        raise MalformedError("too_deep", message)
    try:
        document = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        message = f"The body is not JSON: look at line {error.lineno}, column {error.colno}."
        raise MalformedError("not_json", message) from None
    if not isinstance(document, dict):
        raise MalformedError("not_an_object", "The body must be a JSON object, in curly brackets.")
    return document


def _depth(text: str) -> int:
    """Return how deep brackets are nested outside of texts.

    Where the text is JSON it is exact; where it is not, as far as a parser gets.
    """
    depth = deepest = 0
    for letter in _TEXTS.sub("", text):
        if letter in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in "]}":
            depth -= 1
    return deepest


def _refuse_constant(name: str) -> NoReturn:
    message = f"The body is not JSON: {name} is no number there."
    raise MalformedError("not_json", message)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) == len(pairs):
        return document
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            break
        seen.add(key)
    else:
        return document
    # A name that cannot be shown is not shown; any other is what whoever sent it must look for.
    name = key if key.isprintable() and 0 < len(key) <= _NAME_LENGTH_MAX else None
    message = f"The key {name or 'of an object'} stands twice in one object of the body."
    raise MalformedError("repeated_key", message, field=name)


_DECODER = json.JSONDecoder(
    parse_int=Number,
    parse_float=Number,
    parse_constant=_refuse_constant,
    object_pairs_hook=_unique,
)
