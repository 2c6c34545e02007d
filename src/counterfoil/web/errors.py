"""What goes wrong, as an answer: the one place that knows the status of an error.

Nobody gets a stack trace. What was not foreseen is logged under the id of the request and answered
with that id, so that whoever reports it need not describe it.
"""

from collections.abc import Callable

import structlog
from msgspec import UNSET
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Request

from counterfoil.core.errors import (
    ConflictError,
    CounterfoilError,
    ForbiddenError,
    InvalidError,
    LimitedError,
    MalformedError,
    NotFoundError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
)
from counterfoil.web.endpoints import REQUEST_ID, Answer, Header, answer, reply
from counterfoil.web.views import ErrorAnswer, ErrorBody, ErrorDetail

STATUSES: dict[type[CounterfoilError], int] = {
    MalformedError: 400,
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    TooLargeError: 413,
    InvalidError: 422,
    LimitedError: 429,
    UnavailableError: 503,
}

_log = structlog.get_logger("counterfoil.web")

# What a page shows of an error: its status, a sentence, and the id of the request.
ErrorPage = Callable[[int, str, str], Answer]


def failure(error: Exception, request_id: str, path: str) -> Answer:
    """Return the answer to a request that ended in an error."""
    status = STATUSES.get(type(error)) if isinstance(error, CounterfoilError) else None
    if status is None or not isinstance(error, CounterfoilError):
        return problem(500, "internal", _unforeseen(error, request_id, path))
    return _told(error, status)


def problem(status: int, code: str, message: str, headers: tuple[Header, ...] = ()) -> Answer:
    """Return the answer to a request that no endpoint has taken."""
    found = answer(ErrorAnswer(success=False, error=ErrorBody(code=code, message=message)), status)
    return Answer(status, found.body, headers)


def _told(error: CounterfoilError, status: int) -> Answer:
    # The same said of several items of a list is said once.
    found = tuple(dict.fromkeys(error.problems)) if isinstance(error, InvalidError) else ()
    body = ErrorBody(
        code=error.code,
        message=error.message,
        field=UNSET if error.field is None else error.field,
        details=[ErrorDetail(field=p.field, code=p.code, message=p.message) for p in found]
        if len(found) > 1
        else UNSET,
    )
    document = answer(ErrorAnswer(success=False, error=body), status)
    return Answer(status, document.body, _headers(error))


def _headers(error: CounterfoilError) -> tuple[Header, ...]:
    if isinstance(error, UnauthenticatedError):
        return ((b"www-authenticate", b"Bearer"),)
    if isinstance(error, LimitedError):
        return ((b"retry-after", str(error.retry_after_s).encode()),)
    return ()


def _unforeseen(error: Exception, request_id: str, path: str) -> str:
    """Log what nobody thought of, and return the sentence about it."""
    _log.error("request_failed", request_id=request_id, path=path, exc_info=error)
    return f"Something went wrong on the server; report it with the request id {request_id}."


def plain_page(status: int, message: str, request_id: str) -> Answer:
    """Return an error for people where no nicer page is to be had."""
    text = message if status < 500 else f"{message} ({request_id})"
    return Answer(status, f"{text}\n".encode(), content_type=b"text/plain; charset=utf-8")


class Edge:
    """Stands before the pages: what they raise becomes a page, never a stack trace."""

    def __init__(self, app: ASGIApp, page: ErrorPage) -> None:
        """Take the pages, and how an error looks among them."""
        self._app = app
        self._page = page

    async def __call__(self, request: Request, receive: Receive, send: Send) -> None:
        """Pass a request on; answer it where it ends in an error before anything was said."""
        has_begun = request["type"] != "http"

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(request, receive, watched)
        except Exception as error:
            if has_begun:
                # Half a page cannot be taken back; the server logs this and ends the connection.
                raise
            await reply(self._answer(error, request), request, send)

    def _answer(self, error: Exception, request: Request) -> Answer:
        request_id = request.get(REQUEST_ID, "")
        if isinstance(error, HTTPException):
            page = self._page(error.status_code, error.detail, request_id)
            headers = tuple((k.encode(), v.encode()) for k, v in (error.headers or {}).items())
            return Answer(page.status, page.body, (*page.headers, *headers), page.content_type)
        status = STATUSES.get(type(error)) if isinstance(error, CounterfoilError) else None
        if status is None or not isinstance(error, CounterfoilError):
            sentence = _unforeseen(error, request_id, request["path"])
            return self._page(500, sentence, request_id)
        page = self._page(status, error.message, request_id)
        return Answer(page.status, page.body, (*page.headers, *_headers(error)), page.content_type)
