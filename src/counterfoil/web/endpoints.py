"""What an endpoint is: one declaration that everything about it is made from.

Routing, authorisation, the document at /api/openapi.json and the test of every scope against every
endpoint are fed from the same value, so none of them can disagree with another.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.types import Scope as Request
from starlette.types import Send

from counterfoil.core.access import Principal, Scope
from counterfoil.core.ids import ID_MAX
from counterfoil.core.ports import Clock
from counterfoil.services import invoices
from counterfoil.services.context import Context
from counterfoil.services.keys import Keyring

FAILURES_PER_MINUTE = 20
_ID = re.compile(r"[1-9][0-9]{0,15}")

Header = tuple[bytes, bytes]

# Where the id of a request stands in its ASGI scope.
REQUEST_ID = "counterfoil.request_id"
# Answers hold what is not for others, and are what they say whatever a browser may make of them.
_USUAL_HEADERS: tuple[Header, ...] = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


@dataclass(frozen=True, slots=True)
class Deps:
    """What the web works with, put together by the composition root.

    `is_ready` tells whether the database answers. `failures_per_minute` is how many requests with a
    bad key an address may send.
    """

    context: Context
    keyring: Keyring
    clock: Clock
    is_ready: Callable[[], Awaitable[bool]]
    failures_per_minute: int = FAILURES_PER_MINUTE


class Answer(msgspec.Struct, frozen=True):
    """What goes back: a JSON document, or what a page is made of."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ()
    content_type: bytes = b"application/json"


def answer(document: msgspec.Struct, status: int = 200) -> Answer:
    """Return a document as an answer."""
    return Answer(status, msgspec.json.encode(document))


def headers_of(answer: Answer) -> list[Header]:
    """Return the headers of an answer, and the usual ones of which it does not have its own."""
    usual: Iterable[Header] = _USUAL_HEADERS
    own: Sequence[Header] = ()
    if answer.headers:
        own = [(name.lower(), value) for name, value in answer.headers]
        names = {name for name, _ in own}
        usual = (header for header in _USUAL_HEADERS if header[0] not in names)
    return [(b"content-type", answer.content_type), *usual, *own]


async def reply(
    answer: Answer, request: Request, send: Send, stamp: tuple[Header, ...] = ()
) -> None:
    """Send an answer with its headers and those of `stamp`; to a HEAD the same without a body."""
    headers = [*headers_of(answer), (b"content-length", b"%d" % len(answer.body)), *stamp]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = b"" if request["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})


class Call(msgspec.Struct):
    """A request that was let in; `body` has been read and is not larger than it may be."""

    deps: Deps
    principal: Principal | None
    params: Mapping[str, str]
    query: bytes
    headers: Sequence[Header]
    body: bytes
    now: int

    def who(self) -> Principal:
        """Return whose key this is, in an endpoint that needs one."""
        assert self.principal is not None, "an endpoint with a scope has let in a key"  # noqa: S101  # a promise of hot.py
        return self.principal

    def path_id(self) -> int | None:
        """Return the id in the path, None for what cannot be one: an id that nobody has."""
        text = self.params["id"]
        return int(text) if _ID.fullmatch(text) and int(text) <= ID_MAX else None

    def invoice_id(self) -> int:
        """Return the id of an invoice in the path; raises NotFoundError for what cannot be one."""
        found = self.path_id()
        if found is None:
            raise invoices.not_found()
        return found

    def header_values(self, name: bytes) -> list[bytes]:
        """Return all values of a header, whose name is in lower case."""
        return [value for key, value in self.headers if key == name]


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the path, the query or a header, as the document shows it."""

    name: str
    place: str
    description: str
    schema: Mapping[str, Any]
    example: Any = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method on one path; its name in the document is that of its handler.

    `scope` is the least that a key must have, None where no key is asked for; one that is live only
    refuses test keys whatever their scope. `answers` are the
    types of the documents by status. `errors` are the codes by status of what can go wrong besides
    what `scope` and `body` bring along; each has an example in `examples.py`. A hot one is found
    without a router.
    """

    method: str
    path: str
    handler: Handler
    scope: Scope | None
    tag: str
    summary: str
    description: str
    answers: Mapping[int, type[msgspec.Struct]]
    body: type[msgspec.Struct] | None = None
    parameters: tuple[Parameter, ...] = ()
    errors: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    is_hot: bool = False
    is_live_only: bool = False

    @property
    def name(self) -> str:
        """The name in the document and in generated clients."""
        return getattr(self.handler, "__name__", "")

    @property
    def all_errors(self) -> dict[int, tuple[str, ...]]:
        """The codes by status, those that every endpoint of its kind shares included."""
        shared: dict[int, tuple[str, ...]] = {}
        if self.body is not None:
            shared[400] = ("not_json", "not_utf8", "too_deep", "not_an_object", "repeated_key")
            shared[413] = ("body_too_large",)
        if self.scope is not None:
            shared[401] = ("missing_key", "bad_key")
            # A key of the smallest scope is refused nothing that needs no more.
            if self.scope is not Scope.READ:
                shared[403] = ("scope_too_small",)
            if self.is_live_only:
                shared[403] = (*shared.get(403, ()), "live_key_needed")
            shared[429] = ("too_many_failures",)
            shared[503] = ("database_unavailable",)
        merged = {
            status: (*shared.get(status, ()), *self.errors.get(status, ()))
            for status in shared.keys() | self.errors.keys()
        }
        return dict(sorted(merged.items()))
