"""The commands about channels: where a merchant's systems are told of events."""

from typing import TYPE_CHECKING, Annotated

import typer

from counterfoil.cli.session import MerchantName, Sentences, id_argument, print_table, session_of
from counterfoil.core.errors import InvalidError, NotFoundError, Problem
from counterfoil.core.events import DEFAULT_EVENTS, EventID, iso
from counterfoil.core.invoice import EventType
from counterfoil.core.ports import Answer, Attempt, Message

if TYPE_CHECKING:
    from counterfoil.app.parts import Installation

channel = typer.Typer(
    cls=Sentences, no_args_is_help=True, help="Webhooks: make, test and look after them."
)

ChannelID = Annotated[int, id_argument(metavar="ID", help="Of `counterfoil channel list`.")]
LOG_LINES = 50
# It looks like no payment: no invoice, no status, and a name that is no event's.
_TEST_BODY = b'{"event":"test","invoice_id":"","status":"","payment_id":"","test":true}'


@channel.command("add")
def add_channel(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="webhook")],
    url: Annotated[str, typer.Argument(help="Such as https://shop.example/webhook.")],
    events: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Which, or all; if not given, the three of payments."),
    ] = None,
    merchant_name: MerchantName = None,
) -> None:
    """Add an endpoint; the last line is its secret, which is shown only now."""
    from counterfoil.services import merchants

    wanted = _wanted(events)

    async def work(here: "Installation") -> tuple[int, str]:
        known = here.channels.get(kind)
        if known is None:
            kinds = ", ".join(here.channels)
            message = f"There is no channel of the kind {kind}. There is: {kinds}."
            raise InvalidError(Problem("kind", "unknown_kind", message))
        found = await merchants.find(here.database, merchant_name)
        return await merchants.add_channel(
            here.context, here.vault, known, found.id, url, wanted, here.clock.now()
        )

    channel_id, secret = session_of(context).run(work)
    typer.echo(f"Channel {channel_id} hears {', '.join(wanted)}.")
    typer.echo("Its secret, for checking signatures, is shown only now:")
    typer.echo(secret)


def _wanted(text: str | None) -> tuple[EventType, ...]:
    """Return the events that a list with commas names."""
    if text is None:
        return DEFAULT_EVENTS
    if text.strip() == "all":
        return tuple(EventType)
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = [kind.value for kind in EventType]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"{unknown[0]} is not an event" if unknown else "--events names none"
        message = f"{what}. The events are: {', '.join(known)}; or all."
        raise InvalidError(Problem("events", "unknown_event", message))
    return tuple(dict.fromkeys(EventType(name) for name in names))


@channel.command("list")
def list_channels(context: typer.Context, merchant_name: MerchantName = None) -> None:
    """List a merchant's channels, and how they are."""
    from counterfoil.services import merchants

    async def work(here: "Installation") -> list[tuple[object, ...]]:
        found = await merchants.find(here.database, merchant_name)
        rows: list[tuple[object, ...]] = []
        for each in await merchants.list_channels(here.database, found.id):
            state = "fine"
            if each.paused_at is not None:
                state = f"paused {iso(each.paused_at)}: {each.pause_reason}"
            elif each.failing_since is not None:
                state = f"failing since {iso(each.failing_since)}"
            heard = ",".join(name for name in EventType if name in each.events)
            rows.append((each.id, each.kind, each.target, heard, state))
        return rows

    print_table(("ID", "KIND", "TARGET", "EVENTS", "STATE"), session_of(context).run(work))


@channel.command("test")
def send_test(
    context: typer.Context, channel_id: ChannelID, merchant_name: MerchantName = None
) -> None:
    """Send a test event now, once, and print what came back."""
    from counterfoil.services import merchants

    async def work(here: "Installation") -> Attempt:
        owner = await merchants.find(here.database, merchant_name)
        found = await merchants.find_channel(here.database, owner.id, channel_id)
        now = here.clock.now()
        message = Message(
            event_id=f"test-{now}",
            body=_TEST_BODY,
            target=found.target,
            secret=here.vault.decrypt(found.secret),
            sent_at=now,
        )
        return await here.channels[found.kind].send(message)

    made = session_of(context).run(work)
    answered = "no answer" if made.status is None else f"HTTP {made.status}"
    typer.echo(f"{answered} after {made.duration_ms} ms")
    if made.excerpt:
        typer.echo(made.excerpt)
    if made.answer is not Answer.DELIVERED:
        typer.echo(f"Error: {made.error}", err=True)
        raise typer.Exit(1)


@channel.command("log")
def show_log(
    context: typer.Context,
    channel_id: ChannelID,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = LOG_LINES,
    merchant_name: MerchantName = None,
) -> None:
    """List the latest deliveries, the newest first, with the last answer to each."""
    from counterfoil.services import merchants, outbox

    async def work(here: "Installation") -> list[tuple[object, ...]]:
        owner = await merchants.find(here.database, merchant_name)
        found = await merchants.find_channel(here.database, owner.id, channel_id)
        return [
            (
                each.event_id,
                each.type,
                each.invoice_id or "",
                each.state,
                each.attempts,
                each.last_status or "",
                iso(each.next_at) if each.state == "due" else "",
                each.last_error or "",
            )
            for each in await outbox.list_sent(here.database, found.id, limit)
        ]

    titles = ("EVENT ID", "EVENT", "INVOICE", "STATE", "TRIES", "STATUS", "NEXT TRY", "ERROR")
    print_table(titles, session_of(context).run(work))


@channel.command("redeliver")
def redeliver(
    context: typer.Context,
    channel_id: ChannelID,
    event_id: Annotated[str, typer.Argument(help="Of `counterfoil channel log`.")],
    merchant_name: MerchantName = None,
) -> None:
    """Send an event once more, with the same id."""
    from counterfoil.services import merchants, outbox

    at, _, number = event_id.partition("-")
    if not (event_id.isascii() and at.isdecimal() and number.isdecimal() and len(event_id) <= 32):
        raise typer.BadParameter("an event id looks like 1767700000123-0")

    async def work(here: "Installation") -> None:
        owner = await merchants.find(here.database, merchant_name)
        found = await merchants.find_channel(here.database, owner.id, channel_id)
        event = EventID(int(at), int(number))
        if not await outbox.redeliver(here.database, found.id, event, here.clock.now()):
            message = f"The merchant of channel {channel_id} has no event {event_id}."
            raise NotFoundError("unknown_event", message)

    session_of(context).run(work)
    typer.echo(f"Event {event_id} is due again; `counterfoil serve` sends it.")


@channel.command("pause")
def pause(
    context: typer.Context, channel_id: ChannelID, merchant_name: MerchantName = None
) -> None:
    """Stop sending; what happens meanwhile waits."""
    from counterfoil.services import merchants, outbox

    async def work(here: "Installation") -> None:
        owner = await merchants.find(here.database, merchant_name)
        found = await merchants.find_channel(here.database, owner.id, channel_id)
        await outbox.pause(here.database, found.id, here.clock.now())

    session_of(context).run(work)
    typer.echo(f"Channel {channel_id} is paused.")


@channel.command("resume")
def resume(
    context: typer.Context, channel_id: ChannelID, merchant_name: MerchantName = None
) -> None:
    """Send again, first what has waited, in order."""
    from counterfoil.services import merchants, outbox

    async def work(here: "Installation") -> int:
        owner = await merchants.find(here.database, merchant_name)
        found = await merchants.find_channel(here.database, owner.id, channel_id)
        return await outbox.resume(here.database, found.id, here.clock.now())

    waiting = session_of(context).run(work)
    typer.echo(f"Channel {channel_id} is sent to again; {waiting} waiting.")
