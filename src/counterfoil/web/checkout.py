"""The pay page: what `services.checkout` shows and does, as HTML, forms and a stream.

It works without JavaScript: every action is a form that is answered with the way back to the page.
What is refused there is told by the page itself, under a code in its address.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from counterfoil.core.errors import (
    ConflictError,
    CounterfoilError,
    LimitedError,
    NotFoundError,
    UnavailableError,
)
from counterfoil.core.ports import Clock, Outcome
from counterfoil.services import checkout, claims
from counterfoil.services.checkout_view import PAYABLE, State, View
from counterfoil.services.claims import Claimed
from counterfoil.services.context import Context
from counterfoil.services.invoices import not_found
from counterfoil.web.auth import address_of
from counterfoil.web.live import Live
from counterfoil.web.pages import Assets, environment, html, qr_code

VISITS_PER_MINUTE = 120

_PATH = "/pay-invoice"
_TOKEN_LENGTH_MAX = 64
_TOKEN_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_FORM_BYTES_MAX = 4_096
_FORM_FIELDS_MAX = 8
_MINUTE_S = 60
_GROUP = 4

# States in which something may still happen by itself; elsewhere a page need not look again.
_WAITING = frozenset(
    {State.OPEN, State.ENDED, State.PARTIAL, State.OVERDUE, State.SEEN, State.CONFIRMING}
)

# What a payer is told where a price could not be had, by the code of the error.
PROBLEMS: Mapping[str, str] = MappingProxyType(
    {
        "address_in_use": "This shop's address can no longer be used. Ask it for a new invoice.",
        "chain_unavailable": "This network cannot be seen right now. Try again in a minute.",
        "database_unavailable": "The server could not write this down. Try again in a minute.",
        "method_not_offered": "This coin cannot be used for this invoice. Choose another one.",
        "no_free_amount": "No further price is to be had for this coin. Ask the shop for help.",
        "not_payable": "There was nothing to pay any more when you asked.",
        "rate_unavailable": "There is no reliable price for this coin right now. "
        "Try again in a minute.",
        "too_many_quotes": "This invoice has had too many prices. Try again in an hour.",
    }
)

# What a payer is told who says that it is paid.
CLAIMS: Mapping[str, str] = MappingProxyType(
    {
        Claimed.CREDITED: "We see this transaction: it counts for this invoice.",
        Claimed.COMING: "The network knows this transaction, and it pays this invoice. "
        "It will show here within a minute or two.",
        Claimed.TO_SHOP: "The network knows this transaction, and it pays the shop's address. "
        "Within a minute or two it shows here whether it pays this invoice.",
        Claimed.REVIEW: "This transaction does pay the shop's address, but does not fit what this "
        "invoice asked for. The shop can see it; ask it, and do not pay again.",
        Claimed.ELSEWHERE: "The network knows this transaction, but it does not pay the address of "
        "this invoice. Compare it with the one in your wallet.",
        Claimed.UNKNOWN: "The network does not show us this transaction. If you sent it a moment "
        "ago, wait a minute and try again; else check that it is whole and of this network.",
        Claimed.UNSEEN: "We cannot see this network right now. What you have sent is safe: try "
        "again later.",
        Claimed.INVALID: "This is no transaction id. Your wallet shows it with the payment, often "
        "as its hash or txid.",
        "too_many_claims": "Many transactions were named for this invoice. Try again in an hour, "
        "or ask the shop.",
    }
)


class CheckoutPage:
    """Makes the HTML of the pay page."""

    def __init__(self, checkout_url: str, assets: Assets) -> None:
        """Take the public address of the pay page's host, under which the pages may be mounted."""
        self._base = urlsplit(checkout_url).path.rstrip("/")
        templates = environment()
        templates.globals["asset"] = lambda name: self._base + assets.path(name)
        templates.globals["at"] = self._at
        templates.filters["groups"] = _groups
        templates.filters["iso"] = _iso
        templates.filters["utc"] = _utc
        self._main = templates.get_template("pay_main.html")
        self._whole = templates.get_template("pay.html")
        self._error = templates.get_template("pay_error.html")

    def main(self, view: View, now: int) -> str:
        """Return the `<main>` of the page: everything that can change."""
        return self._main.render(self._seen(view, now, view.problem, None))

    def whole(
        self, view: View, now: int, problem: str | None = None, claimed: str | None = None
    ) -> str:
        """Return the page; `problem` is the code of what its last form was refused for.

        `claimed` is what came of a claim.
        """
        # Something may still happen by itself, or the first price may be had after all.
        is_stuck = view.state is State.CHOOSE and len(view.offers) == 1
        is_waiting = view.state in _WAITING or is_stuck
        shown = self._seen(view, now, problem or view.problem, claimed)
        return self._whole.render(shown, is_waiting=is_waiting)

    def _seen(
        self, view: View, now: int, problem: str | None, claimed: str | None
    ) -> dict[str, Any]:
        """Return what the templates work with."""
        return {
            "view": view,
            "now": now,
            "qr": qr_code(view.price.link) if view.price else None,
            "problem": PROBLEMS.get(problem or "") if view.state in PAYABLE else None,
            "claimed": CLAIMS.get(claimed or ""),
        }

    def error(self, status: int, message: str) -> str:
        """Return a page that says what is wrong, the same for everybody."""
        return self._error.render(status=status, message=message)

    def address(self, share_token: str, **extra: str) -> str:
        """Return where the page of an invoice is."""
        return self._at("", share_token=share_token, **extra)

    def _at(self, path: str, **query: str) -> str:
        tail = f"?{urlencode(query)}" if query else ""
        return f"{self._base}{_PATH}{path}{tail}"


def _groups(address: str) -> list[str]:
    """Return an address in groups that a person can compare, none of them short."""
    count = max(len(address) // _GROUP, 1)
    starts = range(0, count * _GROUP, _GROUP)
    return [address[start : start + _GROUP] for start in starts[:-1]] + [address[starts[-1] :]]


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at // 1000, UTC).isoformat().replace("+00:00", "Z")


def _utc(at: int) -> str:
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def checkout_routes(
    context: Context,
    clock: Clock,
    page: CheckoutPage,
    live: Live,
    assets: Assets,
    visits_per_minute: int = VISITS_PER_MINUTE,
) -> list[BaseRoute]:
    """Return the routes of the pay page and of the static files."""
    routes = _Routes(context, clock, page, live, visits_per_minute)
    return [
        Route(_PATH, routes.guarded(routes.show), methods=["GET"]),
        Route(f"{_PATH}/main", routes.guarded(routes.fragment), methods=["GET"]),
        Route(f"{_PATH}/method", routes.guarded(routes.choose), methods=["POST"]),
        Route(f"{_PATH}/price", routes.guarded(routes.reprice), methods=["POST"]),
        Route(f"{_PATH}/claim", routes.guarded(routes.claim), methods=["POST"]),
        Route(f"{_PATH}/simulate", routes.guarded(routes.simulate), methods=["POST"]),
        Route(f"{_PATH}/events", _Events(routes), methods=["GET"]),
        Route("/static/{name}", assets.serve, methods=["GET"]),
    ]


Handler = Callable[[Request], Awaitable[Response]]
Act = Callable[[str, Mapping[str, str], int], Awaitable[None]]


class _Routes:
    """What answers the requests of the pay page."""

    def __init__(
        self,
        context: Context,
        clock: Clock,
        page: CheckoutPage,
        live: Live,
        visits_per_minute: int,
    ) -> None:
        self.live = live
        self._context = context
        self._clock = clock
        self._page = page
        self._limit = RateLimitItemPerMinute(visits_per_minute)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def guarded(self, handler: Handler) -> Handler:
        """Return a handler that counts visits and answers what it raises with a page."""

        async def answer(request: Request) -> Response:
            try:
                self.count(request.scope)
                return await handler(request)
            except (LimitedError, NotFoundError, UnavailableError) as error:
                return self.refusal(request, error)

        return answer

    def count(self, scope: Scope) -> None:
        """Count a visit; raises LimitedError where an address has had too many in a minute."""
        address = address_of(scope)
        if self._limiter.hit(self._limit, "pay", address):
            return
        again_at = self._limiter.get_window_stats(self._limit, "pay", address).reset_time
        wait_s = min(max(int(again_at - self._clock.now() / 1000) + 1, 1), _MINUTE_S)
        message = "Too many requests came from your address; wait a minute, then try again."
        raise LimitedError("too_many_visits", message, retry_after_s=wait_s)

    def refusal(self, request: Request, error: CounterfoilError) -> Response:
        """Return the page that says what is wrong."""
        if isinstance(error, LimitedError):
            answer = html(request, self._page.error(429, error.message), 429)
            answer.headers["Retry-After"] = str(error.retry_after_s)
            return answer
        if isinstance(error, UnavailableError):
            message = "This page cannot be shown right now. Your payment is safe: load it again."
            return html(request, self._page.error(503, message), 503)
        message = "There is no invoice at this address. Check that you have the whole link."
        return html(request, self._page.error(404, message), 404)

    async def show(self, request: Request) -> Response:
        """Answer with the page."""
        token, now = _token(request.query_params.get("share_token")), self._clock.now()
        # Whoever only asks for the headers gets no address made for it.
        if request.method == "HEAD":
            found = (await checkout.look(self._context, token, now)).view
        else:
            found = await checkout.view(self._context, token, now)
        problem, claimed = (request.query_params.get(name) for name in ("problem", "claim"))
        return html(request, self._page.whole(found, now, problem, claimed))

    async def fragment(self, request: Request) -> Response:
        """Answer with the `<main>` of the page; 204 where the asker has it already."""
        token, now = _token(request.query_params.get("share_token")), self._clock.now()
        found = (await checkout.look(self._context, token, now)).view
        if request.query_params.get("version") == found.version:
            return html(request, "", 204)
        return html(request, self._page.main(found, now))

    async def choose(self, request: Request) -> Response:
        """Open a quote in the method that was chosen."""
        return await self._act(
            request,
            lambda token, form, now: checkout.choose(
                self._context, token, form.get("method", ""), now
            ),
        )

    async def reprice(self, request: Request) -> Response:
        """Open a quote in the method that was chosen before."""
        return await self._act(
            request, lambda token, _, now: checkout.reprice(self._context, token, now)
        )

    async def claim(self, request: Request) -> Response:
        """Look for a transaction that the payer names, and lead back to what came of it."""
        form = await _form(request)
        token = _token(form.get("share_token"))
        try:
            found: str = await claims.claim(
                self._context, token, form.get("txid", ""), self._clock.now()
            )
        except LimitedError as error:
            found = error.code
        return RedirectResponse(self._page.address(token, claim=found), 303)

    async def simulate(self, request: Request) -> Response:
        """Pay a test invoice with test coins."""

        async def pay(token: str, form: Mapping[str, str], now: int) -> None:
            wanted = form.get("outcome")
            if wanted not in list(Outcome):
                raise not_found()
            await checkout.simulate(self._context, token, Outcome(wanted), now)

        return await self._act(request, pay)

    async def _act(self, request: Request, act: Act) -> Response:
        """Do what a form asks for, and answer with the way back to the page."""
        form = await _form(request)
        token = _token(form.get("share_token"))
        extra = {}
        try:
            await act(token, form, self._clock.now())
        except (ConflictError, LimitedError, NotFoundError, UnavailableError) as error:
            if error.code not in PROBLEMS:
                raise
            extra = {"problem": error.code}
        return RedirectResponse(self._page.address(token, **extra), 303)


class _Events:
    """The stream of a page's changes: plain ASGI, since it is open for as long as the page is."""

    def __init__(self, routes: _Routes) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._routes.count(scope)
            token = _token(Request(scope).query_params.get("share_token"))
            await self._routes.live.stream(scope, receive, send, token, address_of(scope))
        except (LimitedError, NotFoundError, UnavailableError) as error:
            await self._routes.refusal(Request(scope), error)(scope, receive, send)


def _token(text: str | None) -> str:
    """Return what can be a share token; what cannot is one that opens nothing."""
    if not text or len(text) > _TOKEN_LENGTH_MAX or not _TOKEN_LETTERS.issuperset(text):
        raise not_found()
    return text


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form; what is no form of ours has none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_BYTES_MAX:
            return {}
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=_FORM_FIELDS_MAX)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}
