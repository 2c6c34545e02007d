"""The whole site as one ASGI app: the API, and the pages that are handed in.

The two hot endpoints are found by their path before Starlette's router is asked. Every answer gets
the id of its request, and every request one line in the log: without its query, where a share token
may stand.
"""

from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import count
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Request
from starlette.websockets import WebSocketClose

from counterfoil.core.ports import Clock, Entropy
from counterfoil.web import bodies, errors
from counterfoil.web.auth import Gate
from counterfoil.web.direct import Whole
from counterfoil.web.endpoints import (
    REQUEST_ID,
    Answer,
    Call,
    Deps,
    Endpoint,
    reply,
)
from counterfoil.web.hot import EndpointApp, PathApp
from counterfoil.web.table import ENDPOINTS

_REQUEST_ID_BYTES = 8
_PATH_LOGGED_MAX = 200
_TO_BE_READ = frozenset("?#%")

_log = structlog.get_logger("counterfoil.access")

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def build_site(
    deps: Deps,
    pages: Sequence[BaseRoute] = (),
    *,
    error_page: errors.ErrorPage = errors.plain_page,
    lifespan: Lifespan | None = None,
) -> ASGIApp:
    """Return the site.

    `pages` are the routes of what people look at, `error_page` is how an error looks among them.
    """
    gate = Gate(deps.keyring, deps.failures_per_minute)
    by_path: defaultdict[str, dict[str, EndpointApp]] = defaultdict(dict)
    hot: list[tuple[Endpoint, EndpointApp]] = []
    for endpoint in ENDPOINTS:
        app = EndpointApp(endpoint, deps, gate)
        by_path[endpoint.path][endpoint.method] = app
        if endpoint.is_hot:
            hot.append((endpoint, app))
    routes = [Route(path, PathApp(by_method)) for path, by_method in by_path.items()]
    router = Router(
        [*routes, *pages], redirect_slashes=False, default=_nothing_there, lifespan=lifespan
    )
    return Site(hot, errors.Edge(router, error_page), deps.clock, deps.context.entropy)


async def _nothing_there(request: Request, receive: Receive, send: Send) -> None:
    """Answer a request whose path leads nowhere, in the manner of where it looked."""
    if request["type"] == "websocket":
        await WebSocketClose()(request, receive, send)
    elif request["path"].startswith("/api"):
        message = "There is no such path; /api/openapi.json lists those that are there."
        await reply(errors.problem(404, "unknown_path", message), request, send)
    else:
        raise HTTPException(404, "There is no such page.")


class Site:
    """Finds who answers a request, gives it an id, and writes it down."""

    def __init__(
        self,
        hot: Sequence[tuple[Endpoint, EndpointApp]],
        rest: ASGIApp,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        """Take the hot endpoints and the app for everything else."""
        self._rest = rest
        self._clock = clock
        # Ids of requests are to be told apart, not to be unguessable: one draw serves them all, and
        # no request waits for the operating system.
        self._id_prefix = entropy.token(_REQUEST_ID_BYTES).hex()
        self._numbers = count(1)
        self._exact: dict[tuple[str, str], EndpointApp] = {}
        # Their one parameter is the rest of the path.
        self._prefixed: list[tuple[str, str, str, EndpointApp]] = []
        openings = []
        for endpoint, app in hot:
            prefix, _, parameter = endpoint.path.partition("{")
            if parameter:
                name = parameter.removesuffix("}")
                self._prefixed.append((endpoint.method, prefix, name, app))
            else:
                self._exact[endpoint.method, prefix] = app
            openings.append(f"{endpoint.method} {prefix}".encode())
        self.openings = tuple(openings)

    async def __call__(self, request: Request, receive: Receive, send: Send) -> None:
        """Serve a request, or pass on what is none."""
        if request["type"] != "http":
            await self._rest(request, receive, send)
            return
        request_id = request[REQUEST_ID] = self._new_id()
        began_at = self._clock.now()
        status = 0
        stamp = (b"x-request-id", request_id.encode())

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), stamp]}
            await send(message)

        method, path = request["method"], request["path"]
        try:
            found = self._hot(method, path)
            if found is None:
                await self._rest(request, bodies.limited(receive), stamped)
            else:
                app, request["path_params"] = found
                status = await app.serve(request, receive, send, (stamp,))
        finally:
            self._write_down(method, path, status, began_at, request_id)

    def direct(self, request: Whole) -> Coroutine[Any, Any, tuple[Answer, str]] | None:
        """Return the work of answering a hot request; None where it must go the usual way.

        That is where it is not one after all, and where it may not be let in: then there is more to
        say about it. What has a query, a fragment or escapes is left to those who can read them.
        """
        method, path = request.method, request.path
        found = self._hot(method, path)
        if found is None or not _TO_BE_READ.isdisjoint(path):
            return None
        app, params = found
        call = app.admit_known(params, request.headers, request.body)
        return None if call is None else self._answer(app, call, method, path)

    async def _answer(
        self, app: EndpointApp, call: Call, method: str, path: str
    ) -> tuple[Answer, str]:
        request_id = self._new_id()
        answer = await app.answer(call, request_id, path)
        self._write_down(method, path, answer.status, call.now, request_id)
        return answer, request_id

    def _new_id(self) -> str:
        return f"{self._id_prefix}-{next(self._numbers)}"

    def _write_down(
        self, method: str, path: str, status: int, began_at: int, request_id: str
    ) -> None:
        _log.info(
            "request",
            method=method,
            path=path[:_PATH_LOGGED_MAX],
            status=status,
            duration_ms=self._clock.now() - began_at,
            request_id=request_id,
        )

    def _hot(self, method: str, path: str) -> tuple[EndpointApp, Mapping[str, str]] | None:
        """Return the hot endpoint that a request is for, if it is for one, and its parameters."""
        app = self._exact.get((method, path))
        if app is not None:
            return app, {}
        for wanted, prefix, name, each in self._prefixed:
            if method == wanted and path.startswith(prefix):
                value = path[len(prefix) :]
                if value and "/" not in value:
                    return each, {name: value}
        return None
