"""Bodies of `POST /api/invoice` that cannot be read, and what is said of each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as default
from typing import Any

SIZE_MAX = 64 * 1024


@dataclass(frozen=True)
class Bad:
    """A request that is refused: why, with what, and how."""

    why: str
    content: bytes
    status: int
    code: str
    field: str | None
    headers: dict[str, str] = default(default_factory=dict)


def body(**fields: Any) -> bytes:
    """Return a good body with some fields replaced."""
    return json.dumps({"amount": 25, "fiat_currency": "USD"} | fields).encode()


def raw(text: str, name: str = "amount") -> bytes:
    """Return a good body with one field as it stands in the text."""
    rest = {"amount": "25", "fiat_currency": '"USD"'} | {name: text}
    return ("{" + ", ".join(f'"{key}": {value}' for key, value in rest.items()) + "}").encode()


# --- what is not JSON, or not an object -------------------------------------------------------

NOT_JSON: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \n\t",
    "a word": b"hello",
    "half an object": b'{"amount": 25',
    "half a text": b'{"amount": "25',
    "single quotes": b"{'amount': 25}",
    "a comma too many": b'{"amount": 25,}',
    "no quotes": b"{amount: 25}",
    "a comment": b'{"amount": 25 /* USD */}',
    "two documents": body() + body(),
    "something behind": body() + b"x",
    "a form": b"amount=25&fiat_currency=USD",
    "XML": b"<invoice><amount>25</amount></invoice>",
    "a byte order mark": b"\xef\xbb\xbf" + body(),
    "a raw line feed in a text": raw('"a\nb"', "memo"),
    "a raw NUL in a text": raw('"a\x00b"', "memo"),
    "a NUL behind": body() + b"\x00",
    "NaN": raw("NaN"),
    "Infinity": raw("Infinity"),
    "-Infinity": raw("-Infinity"),
    "a leading zero": raw("025"),
    "a plus": raw("+25"),
    "a bare point": raw(".5"),
    "a point without digits": raw("25."),
    "an exponent without digits": raw("25e"),
    "hexadecimal": raw("0x19"),
    "underscores": raw("1_000"),
    "a comma in a number": raw("25,00"),
    "Python's None": raw("None"),
    "Python's True": raw("True"),
    "a bad escape": raw(r'"\x41"', "memo"),
    "half an escape": raw(r'"\u00"', "memo"),
    "undefined": raw("undefined"),
}
NOT_UTF8: dict[str, bytes] = {
    "a byte that is none": b'{"memo": "\xff"}',
    "Latin-1": b'{"memo": "caf\xe9"}',
    "UTF-16": '{"amount": 25}'.encode("utf-16"),
    "an overlong slash": b'{"memo": "\xc0\xaf"}',
    "half a surrogate pair in UTF-8": b'{"memo": "\xed\xa0\x80"}',
    "half a character": b'{"memo": "\xe2\x82"}',
}
NOT_AN_OBJECT: dict[str, bytes] = {
    "a list": b"[]",
    "a list of one": b"[" + body() + b"]",
    "null": b"null",
    "true": b"true",
    "a number": b"25",
    "a text": b'"amount"',
}
TOO_DEEP: dict[str, bytes] = {
    "lists": raw("[" * 32 + "]" * 32, "x"),
    "objects": raw('{"a":' * 32 + "1" + "}" * 32, "x"),
    "thirty thousand lists": b"[" * 30_000 + b"]" * 30_000,
    "sixty thousand open lists": b"[" * 60_000,
    "ten thousand open objects": b'{"a":' * 10_000,
    "many brackets after half a text": b'{"memo": "' + b"[" * 100,
}
REPEATED: dict[str, tuple[bytes, str | None]] = {
    "amount": (b'{"amount": 25, "amount": 2500, "fiat_currency": "USD"}', "amount"),
    "the same twice": (b'{"amount": 25, "amount": 25, "fiat_currency": "USD"}', "amount"),
    "spelled with an escape": (raw('25, "\\u0061mount": 26'), "amount"),
    "in metadata": (raw('{"a": "1", "a": "2"}', "metadata"), "a"),
    "in what is ignored": (raw('[{"b": 1, "b": 2}]', "x"), "b"),
    "without a name": (raw('{"": 1, "": 2}', "x"), None),
    "a name that cannot be shown": (raw('{"\\ud800": 1, "\\ud800": 2}', "x"), None),
    "a long name": (raw(f'{{"{"k" * 65}": 1, "{"k" * 65}": 2}}', "x"), None),
}
TOO_LARGE: dict[str, bytes] = {
    "a byte more than it may be": body(x="")[:-2] + b"x" * (SIZE_MAX - len(body(x="")) + 1) + b'"}',
    "65 KiB": b" " * (65 * 1024) + body(),
    "a megabyte": body(memo="x" * 2**20),
}


def unreadable() -> Iterator[Bad]:
    for why, content in NOT_JSON.items():
        yield Bad(why, content, 400, "not_json", None)
    for why, content in NOT_UTF8.items():
        yield Bad(why, content, 400, "not_utf8", None)
    for why, content in NOT_AN_OBJECT.items():
        yield Bad(why, content, 400, "not_an_object", None)
    for why, content in TOO_DEEP.items():
        yield Bad(why, content, 400, "too_deep", None)
    for why, (content, name) in REPEATED.items():
        yield Bad(why, content, 400, "repeated_key", name)
    for why, content in TOO_LARGE.items():
        yield Bad(why, content, 413, "body_too_large", None)
