"""The endpoints of the inbox: one declaration each, and the function behind it."""

from enum import StrEnum

import msgspec

from counterfoil.core.access import Scope
from counterfoil.core.errors import InvalidError
from counterfoil.core.ids import ID_MAX
from counterfoil.services import inbox, invoices
from counterfoil.services.audit import with_key
from counterfoil.web import api, bodies, inbox_views, queries, views
from counterfoil.web.endpoints import Answer, Call, Endpoint, Parameter, answer
from counterfoil.web.fields import Fields
from counterfoil.web.parameters import page, path_id

LIMIT_DEFAULT = 20
LIMIT_MAX = 100


class State(StrEnum):
    """Which part of the inbox is listed."""

    WAITING = "waiting"
    IGNORED = "ignored"


async def list_inbox(call: Call) -> Answer:
    """Return a page of the inbox."""
    fields = queries.parse(call.query, _LIST_NAMES)
    limit = queries.whole(fields, "limit", LIMIT_MAX)
    after = queries.whole(fields, "after", ID_MAX)
    state = fields.parameter("state")
    if state is not None and state not in set(State):
        names = ", ".join(State)
        fields.refuse("state", "unknown_state", f"state must be one of {names}.")
    if fields.problems:
        raise InvalidError(*fields.problems)
    context = call.deps.context
    found, last = await inbox.list_page(
        context,
        with_key(call.who()),
        is_ignored=state == State.IGNORED,
        after=after,
        limit=limit or LIMIT_DEFAULT,
    )
    described = [inbox.describe(context, each) for each in found]
    return answer(
        inbox_views.InboxAnswer(
            success=True,
            transfers=msgspec.convert(described, list[inbox_views.InboxTransfer]),
            next=None if last is None else str(last),
        )
    )


async def attach_transfer(call: Call) -> Answer:
    """Credit a transfer of the inbox to an invoice."""
    fields = Fields(bodies.parse(call.body))
    invoice_id = fields.whole("invoice_id", ID_MAX)
    if invoice_id is None and not fields.is_refused("invoice_id"):
        fields.refuse("invoice_id", "missing", "invoice_id is required.")
    value = fields.given("fiat_value")
    if value is not None and not isinstance(value, str):
        fields.refuse("fiat_value", "wrong_type", "fiat_value must be a number such as 25.00.")
    if fields.problems or invoice_id is None:
        raise InvalidError(*fields.problems)
    context = call.deps.context
    invoice, made = await inbox.attach(
        context,
        with_key(call.who()),
        _item_id(call),
        invoice_id,
        value if isinstance(value, str) else None,
        call.now,
    )
    return answer(
        inbox_views.Attached(
            success=True,
            invoice=api.view(context.checkout_url, invoice),
            payment=msgspec.convert(
                invoices.describe_payment(context, invoice, made), views.Payment
            ),
        )
    )


async def ignore_transfer(call: Call) -> Answer:
    """Set a transfer of the inbox aside."""
    await inbox.ignore(call.deps.context, with_key(call.who()), _item_id(call), call.now)
    return answer(inbox_views.Ignored(success=True))


def _item_id(call: Call) -> int:
    found = call.path_id()
    if found is None:
        raise inbox.not_in_inbox()
    return found


async def detach_payment(call: Call) -> Answer:
    """Take a payment off its invoice."""
    payment_id = call.path_id()
    if payment_id is None:
        raise inbox.no_payment()
    context = call.deps.context
    invoice, item_id = await inbox.detach(context, with_key(call.who()), payment_id, call.now)
    return answer(
        inbox_views.Detached(
            success=True,
            invoice=api.view(context.checkout_url, invoice),
            inbox_id=item_id,
        )
    )


# --- the declarations --------------------------------------------------------------------------

_LIST_PARAMETERS = (
    Parameter(
        "state",
        "query",
        "What waits for you, which is the default, or what was ignored.",
        {"type": "string", "enum": list(State)},
        "waiting",
    ),
    *page(LIMIT_DEFAULT, LIMIT_MAX, 34),
)
_LIST_NAMES = frozenset(parameter.name for parameter in _LIST_PARAMETERS)

ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/inbox",
        list_inbox,
        scope=Scope.AUTOMATE,
        tag="Inbox",
        summary="List the inbox",
        description="Returns the transfers to addresses of the key's merchant that pay no invoice, "
        "the newest first, each with why, and with the invoices that it may have been meant for. "
        "Of two that come at once the higher id may be seen first: the events miss none.",
        answers={200: inbox_views.InboxAnswer},
        parameters=_LIST_PARAMETERS,
        errors={422: ("unknown_state", "invalid_number", "repeated_parameter", "too_many")},
    ),
    Endpoint(
        "POST",
        "/api/inbox/{id}/attach",
        attach_transfer,
        scope=Scope.FULL,
        tag="Inbox",
        summary="Credit a transfer to an invoice",
        description="Makes a transfer of the inbox a payment of an invoice. It is worth its share "
        "of the price that the invoice had in its coin when it came, or what it was worth then; "
        "fiat_value says it instead.",
        body=inbox_views.Attachment,
        answers={200: inbox_views.Attached},
        parameters=(path_id("The id of the transfer in the inbox.", 34),),
        errors={
            404: ("not_found",),
            409: ("method_off",),
            422: (
                "missing",
                "wrong_type",
                "invalid_number",
                "unknown_invoice",
                "value_needed",
                "invalid_amount",
            ),
        },
    ),
    Endpoint(
        "POST",
        "/api/inbox/{id}/ignore",
        ignore_transfer,
        scope=Scope.FULL,
        tag="Inbox",
        summary="Ignore a transfer",
        description="Sets a transfer of the inbox aside: no invoice waits for it any more. It may "
        "still be credited. Again does nothing.",
        answers={200: inbox_views.Ignored},
        parameters=(path_id("The id of the transfer in the inbox.", 34),),
        errors={404: ("not_found",)},
    ),
    Endpoint(
        "POST",
        "/api/payment/{id}/detach",
        detach_payment,
        scope=Scope.FULL,
        tag="Inbox",
        summary="Take a payment off its invoice",
        description="Puts the transfer of a payment back into the inbox. Credited again, to the "
        "same invoice or another, it is a payment with a new id.",
        answers={200: inbox_views.Detached},
        parameters=(path_id("The id of the payment.", 6789),),
        errors={404: ("not_found",)},
    ),
)
