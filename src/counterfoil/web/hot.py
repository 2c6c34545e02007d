"""An endpoint as a plain ASGI app: let in, read, call, answer. Nothing here makes objects for show.

Every endpoint is served by this one class. The two that a shop calls all the time are found by
their path alone, before any router is asked (site.py); the others are found by Starlette's.
"""

from collections.abc import Mapping, Sequence

from starlette.types import Receive, Send
from starlette.types import Scope as Request

from counterfoil.core.access import Scope
from counterfoil.services.keys import require, require_live
from counterfoil.web import bodies, errors
from counterfoil.web.auth import Gate
from counterfoil.web.endpoints import REQUEST_ID, Answer, Call, Deps, Endpoint, Header, reply


class EndpointApp:
    """One endpoint."""

    def __init__(self, endpoint: Endpoint, deps: Deps, gate: Gate) -> None:
        """Take the declaration, what the handler works with, and who lets requests in."""
        self._endpoint = endpoint
        self._deps = deps
        self._gate = gate
        least = endpoint.scope
        # Asked of every request: worked out once.
        self._scopes = () if least is None else tuple(s for s in Scope if s.includes(least))

    async def __call__(self, request: Request, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self.serve(request, receive, send)

    async def serve(
        self, request: Request, receive: Receive, send: Send, stamp: tuple[Header, ...] = ()
    ) -> int:
        """Answer a request, whatever becomes of it, and return the status.

        `stamp` are headers that any answer gets besides its own. Nobody to answer is status 0.
        """
        try:
            call = await self._admit(request, receive)
            answer = await self._endpoint.handler(call)
        except bodies.DisconnectedError:
            return 0
        except Exception as error:
            answer = errors.failure(error, request.get(REQUEST_ID, ""), request["path"])
        await reply(answer, request, send, stamp)
        return answer.status

    async def _admit(self, request: Request, receive: Receive) -> Call:
        """Return what a request asks, once it is known who does."""
        endpoint, deps = self._endpoint, self._deps
        headers = request["headers"]
        by_name = dict(headers)
        now = deps.clock.now()
        principal = None
        if endpoint.scope is not None:
            key = by_name.get(b"authorization")
            principal = await self._gate.admit(request, key, now)
            require(principal, endpoint.scope)
            if endpoint.is_live_only:
                require_live(principal)
        body = b""
        if endpoint.body is not None:
            bodies.check_length(by_name.get(b"content-length"))
            body = await bodies.read(receive)
        return Call(
            deps,
            principal,
            request.get("path_params", {}),
            request.get("query_string", b""),
            headers,
            body,
            now,
        )

    def admit_known(
        self, params: Mapping[str, str], headers: Sequence[Header], body: bytes
    ) -> Call | None:
        """Return what a request that is here in full asks; None where a closer look is needed."""
        now = self._deps.clock.now()
        key = dict(headers).get(b"authorization")
        principal = None if key is None else self._gate.known(key, now)
        if principal is None or principal.scope not in self._scopes or self._endpoint.is_live_only:
            return None
        return Call(self._deps, principal, params, b"", headers, body, now)

    async def answer(self, call: Call, request_id: str, path: str) -> Answer:
        """Answer a request that was let in, whatever becomes of it."""
        try:
            return await self._endpoint.handler(call)
        except Exception as error:
            return errors.failure(error, request_id, path)


class PathApp:
    """All endpoints of one path: another method than theirs is answered with theirs."""

    def __init__(self, by_method: Mapping[str, EndpointApp]) -> None:
        """Take the endpoints by their methods; a HEAD is a GET whose body is not sent."""
        self._by_method = dict(by_method)
        if "GET" in self._by_method:
            self._by_method["HEAD"] = self._by_method["GET"]

    async def __call__(self, request: Request, receive: Receive, send: Send) -> None:
        """Pass a request on to the endpoint of its method."""
        app = self._by_method.get(request["method"])
        if app is not None:
            await app(request, receive, send)
            return
        allowed = ", ".join(sorted(self._by_method))
        message = f"This path takes no other method than {allowed}."
        answer = errors.problem(405, "method_not_allowed", message, ((b"allow", allowed.encode()),))
        await reply(answer, request, send)
