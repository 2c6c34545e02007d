"""What `counterfoil demo` shows: the main job, done on a real server by real requests.

The server, a shop that asks it for an invoice over HTTP, and the shop's receiver of webhooks all
live in this process and on the loopback interface alone.
"""

import asyncio
import hmac
import json
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import typer
from starlette.types import Receive, Scope, Send

from counterfoil import logs
from counterfoil.app import parts, serving, web
from counterfoil.core import access, events, signing
from counterfoil.core.errors import CounterfoilError, SettingsError
from counterfoil.core.invoice import EventType, Status
from counterfoil.core.ports import Mode, Outcome
from counterfoil.services import keys, merchants, outbox
from counterfoil.settings import Settings, load

T = TypeVar("T")

HOST = "127.0.0.1"
BODY = {"amount": "25.00", "fiat_currency": "USD", "memo": "The demo"}
EXPECTED = [Status.UNPAID, Status.CONFIRMING, Status.PAID]
# Long enough for a slow machine; the whole takes a few seconds.
_PATIENCE_MS = 30_000
_LOOK_EVERY_S = 0.05
_BLOCK_INTERVAL_S = 1.0
_REQUEST_TIMEOUT_S = 10.0


class DemoError(CounterfoilError):
    """Something that the demo shows is missing."""

    def __init__(self, what: str) -> None:
        super().__init__("demo_incomplete", f"The demo is not complete: {what}.")


Sent = tuple[dict[str, str], bytes]


@dataclass(slots=True)
class Receiver:
    """A shop's endpoint for webhooks: an ASGI app that keeps what it is sent."""

    received: list[Sent] = field(default_factory=list)
    on_event: Callable[[bytes], None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a POST and answer 204."""
        body, has_more = b"", True
        while has_more:
            message = await receive()
            body += message.get("body", b"")
            has_more = message.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.received.append((headers, body))
        if self.on_event is not None:
            self.on_event(body)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def find(self, kind: EventType, invoice_id: int) -> Sent | None:
        """Return the webhook that tells of an event of an invoice, if it has come."""
        for headers, body in self.received:
            told = json.loads(body)
            if (told["event"], told["invoice_id"]) == (kind, str(invoice_id)):
                return headers, body
        return None


async def run(folder: Path | None, port: int | None) -> None:
    """Show it; with a folder, go on serving until SIGTERM or Ctrl-C. Raises CounterfoilError."""
    logs.configure("auto", "warning", is_for_good=True)
    with ExitStack() as stack:
        is_once = folder is None
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="counterfoil-demo-")
            folder = Path(stack.enter_context(temporary))
        settings, listener = _listen(folder, port)
        stack.enter_context(listener)
        stack.enter_context(serving.serving_alone(settings))
        stopped = serving.stop_signal()
        showing = asyncio.create_task(_show(settings, listener, is_once=is_once))
        stopping = asyncio.create_task(stopped.wait())
        await asyncio.wait({showing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not showing.done():
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
        else:
            await showing


def _listen(folder: Path, port: int | None) -> tuple[Settings, socket.socket]:
    """Return the settings of the demo's own server, which nobody else's change, and its socket."""
    options = {
        "data": folder,
        "host": HOST,
        "port": port,
        "webhooks.allow_hosts": HOST,
        "chains.simulator.block_interval_s": _BLOCK_INTERVAL_S,
    }
    settings = load({}, options, has_file=False)
    try:
        listener = serving.listen(settings)
    except SettingsError:
        if port is not None:
            raise
        # The usual port is taken, and for a demo any other is as good.
        listener = serving.listen(replace(settings, port=0))
    return replace(settings, port=listener.getsockname()[1]), listener


async def _show(settings: Settings, listener: socket.socket, *, is_once: bool) -> None:
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(parts.opened(settings))
        receiver = Receiver()
        mailbox = stack.enter_context(serving.listen(replace(settings, port=0)))
        await stack.enter_async_context(web.http_server(receiver, mailbox))
        await stack.enter_async_context(serving.running(here, listener))
        key, secret = await _set_up(here, f"http://{HOST}:{mailbox.getsockname()[1]}/webhook")
        url = parts.base_url(settings)
        _title(f"A Counterfoil server of its own is running on {url}, with test coins.")
        client = await stack.enter_async_context(
            httpx2.AsyncClient(base_url=url, trust_env=False, timeout=_REQUEST_TIMEOUT_S)
        )
        shop = Shop(here, client, receiver, key, secret)
        try:
            await shop.show()
        except httpx2.HTTPError as error:
            raise DemoError(f"a request was not answered ({type(error).__name__})") from error
        _sum_up(settings, shop, is_once=is_once)
        if not is_once:
            receiver.on_event = lambda body: typer.echo(f"webhook: {body.decode()}")
            await asyncio.Event().wait()


async def _set_up(here: parts.Installation, receiver_url: str) -> tuple[str, str]:
    """Return a new test key, and the secret of a new webhook, of the first merchant."""
    (merchant, *_) = await merchants.list_all(here.database)
    now = here.clock.now()
    for channel in await merchants.list_channels(here.database, merchant.id):
        # An earlier demo's receiver is gone for ever.
        await outbox.pause(here.database, channel.id, now)
    key = await keys.create(
        here.database, here.entropy, merchant.id, Mode.TEST, access.Scope.AUTOMATE, now
    )
    _, secret = await merchants.add_channel(
        here.context,
        here.vault,
        here.channels["webhook"],
        merchant.id,
        receiver_url,
        events.DEFAULT_EVENTS,
        now,
    )
    return key, secret


@dataclass(slots=True)
class Shop:
    """What a shop does, step by step; raises DemoError where it does not get what it should."""

    here: parts.Installation
    client: httpx2.AsyncClient
    receiver: Receiver
    key: str
    secret: str
    pay_url: str = ""

    async def show(self) -> None:
        """Make an invoice, open its page, pay it, and get a webhook."""
        _title("1. The shop asks for an invoice: POST /api/invoice")
        made = await self._request("POST", "/api/invoice", json.dumps(BODY))
        typer.echo(json.dumps(made, indent=2))
        invoice_id, self.pay_url = made["invoice"]["id"], made["invoice"]["pay_url"]
        _title("2. Its customer opens the pay page: GET pay_url")
        page = await self.client.get(self.pay_url)
        if page.status_code != 200 or BODY["amount"] not in page.text:
            raise DemoError(f"the pay page answered HTTP {page.status_code} without the amount")
        typer.echo(f"HTTP 200, {len(page.content):,} bytes, and it asks for {BODY['amount']} USD")
        _title("3. The customer pays, and the simulated network confirms: GET /api/invoice/[id]")
        await self._pay(invoice_id, made["invoice"]["share_token"])
        _title("4. The shop is told by a signed webhook")

        async def find() -> Sent | None:
            return self.receiver.find(EventType.CONFIRMED, invoice_id)

        found = await self._wait_for(find)
        if found is None:
            raise DemoError("no webhook has told of the payment")
        headers, body = found
        typer.echo(body.decode())
        self.verify(headers, body)
        typer.echo("signature verified (HMAC-SHA512 of the body), and Standard Webhooks, too")

    async def _request(self, method: str, path: str, body: str | None = None) -> Any:
        headers = {"Authorization": self.key, "Content-Type": "application/json"}
        answer = await self.client.request(method, path, content=body, headers=headers)
        if answer.status_code != 200:
            raise DemoError(f"{method} {path} answered HTTP {answer.status_code}: {answer.text}")
        return answer.json()

    async def _pay(self, invoice_id: int, share_token: str) -> None:
        """Press the page's button that pays, and print each status as it comes."""
        statuses: list[str] = []
        began_at = self.here.clock.now()

        async def look() -> bool:
            answer = await self._request("GET", f"/api/invoice/{invoice_id}")
            status = answer["invoice"]["status"]
            if statuses[-1:] != [status]:
                statuses.append(status)
                elapsed_s = (self.here.clock.now() - began_at) / 1_000
                typer.echo(f"{elapsed_s:4.1f} s  {status}")
            return bool(status == Status.PAID)

        await look()
        form = {"share_token": share_token, "outcome": Outcome.EXACT.value}
        pressed = await self.client.post("/pay-invoice/simulate", data=form)
        if pressed.status_code != HTTPStatus.SEE_OTHER or "problem" in pressed.headers["location"]:
            raise DemoError(f"paying answered HTTP {pressed.status_code}")
        if not await self._wait_for(look) or statuses != EXPECTED:
            raise DemoError(f"the status went {', '.join(statuses)}")

    async def _wait_for(self, look: Callable[[], Awaitable[T]]) -> T:
        """Look again and again; return what was found, or what there was instead at the end."""
        until = self.here.clock.now() + _PATIENCE_MS
        while not (found := await look()) and self.here.clock.now() < until:
            await self.here.clock.sleep(_LOOK_EVERY_S)
        return found

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Check both signatures, as the documentation tells shops to."""
        expected = signing.sign_body(self.secret, body)
        if not hmac.compare_digest(headers.get("signature", ""), expected):
            raise DemoError("the signature of the webhook is wrong")
        standard = signing.sign_standard(
            self.secret, headers["webhook-id"], int(headers["webhook-timestamp"]), body
        )
        if not hmac.compare_digest(headers.get("webhook-signature", ""), standard):
            raise DemoError("the Standard Webhooks signature of the webhook is wrong")


def _title(text: str) -> None:
    typer.echo("\n" + typer.style(text, bold=True))


def _sum_up(settings: Settings, shop: Shop, *, is_once: bool) -> None:
    """Print what there is to try, and how."""
    url, program = parts.base_url(settings), command()
    again = json.dumps(BODY | {"memo": "Mine"})
    _title("All of it works. Yours to try:")
    rows = {
        "pay page": shop.pay_url,
        "API": f"{url}/api/openapi.json",
        "test key": shop.key,
        "webhook secret": shop.secret,
    }
    for name, value in rows.items():
        typer.echo(f"{name:<16}{value}")
    curl = f"curl {url}/api/invoice -H 'Authorization: {shop.key}' -d {shlex.quote(again)}"
    typer.echo(f"\nNext, in another terminal:\n  {curl}")
    if is_once:
        typer.echo(f"\nThis server ends now. `{program} demo` keeps one running.")
        return
    typer.echo("and open its pay_url, or pay it in one of these ways (exact, under, late, ...):")
    typer.echo(f"  {program} --data {shlex.quote(str(settings.data))} pay ID --outcome over")
    typer.echo("\nServing until Ctrl-C; webhooks are printed here as they come.")


def command() -> str:
    """Return how this program was called, as it can be called again."""
    name = Path(sys.argv[0]).name
    found = shutil.which(name)
    if found is not None and Path(found).resolve() == Path(sys.argv[0]).resolve():
        return name
    return sys.argv[0]
