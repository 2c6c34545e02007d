"""The endpoints of invoices: one declaration each, and the function behind it."""

from functools import lru_cache
from typing import Any

import msgspec

from counterfoil.core import events
from counterfoil.core.access import Scope
from counterfoil.core.errors import InvalidError
from counterfoil.core.ids import ID_MAX
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Mode, Outcome
from counterfoil.services import invoices, simulator
from counterfoil.services.invoices import Created
from counterfoil.web import bodies, drafts, queries, repetition, views
from counterfoil.web.endpoints import Answer, Call, Endpoint, Parameter, answer
from counterfoil.web.fields import ORDER_ID_LENGTH_MAX, PLAIN_LINE, TIME, Fields
from counterfoil.web.parameters import INVOICE_ID, page

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
TEXT_LENGTH_MAX = 200


async def create_invoice(call: Call) -> Answer:
    """Make an invoice, or answer a repeated request as the first time."""
    deps, who = call.deps, call.who()
    fields = Fields(bodies.parse(call.body))
    request = repetition.request_of(call, fields, "/api/invoice")
    if request is not None:
        earlier = await invoices.earlier(deps.context, request)
        if earlier is not None:
            return _created(call, earlier)
    draft = drafts.draft(deps.context, who.mode, fields, call.now)
    created = await invoices.create(deps.context, who, draft, call.now, request)
    return _created(call, created)


def _created(call: Call, created: Created) -> Answer:
    return answer(
        views.Created(
            success=True,
            invoice=views.CreatedInvoice(
                id=created.id,
                share_token=created.share_token,
                created_at=events.iso(created.created_at),
                pay_url=invoices.pay_url(call.deps.context.checkout_url, created.share_token),
            ),
        )
    )


async def get_invoice(call: Call) -> Answer:
    """Return one invoice."""
    context = call.deps.context
    stored = await invoices.get_stored(context, call.who(), call.invoice_id())
    return _one(context.checkout_url, stored)


# Who waits for a payment asks again and again, and hears the same until it has come.
@lru_cache(maxsize=256)
def _one(checkout_url: str, stored: tuple[Any, ...]) -> Answer:
    return answer(
        views.InvoiceAnswer(success=True, invoice=view(checkout_url, invoices.read(stored)))
    )


def view(checkout_url: str, invoice: invoices.Invoice) -> views.Invoice:
    """Return an invoice as every answer shows it."""
    standing, conditions = invoice.standing, invoice.standing.conditions
    return views.Invoice(
        id=invoice.id,
        share_token=invoice.share_token,
        created_at=events.iso(invoice.created_at),
        pay_url=invoices.pay_url(checkout_url, invoice.share_token),
        fiat_amount=str(invoice.amount),
        fiat_currency=invoice.currency,
        status=standing.status,
        updated_at=events.iso(invoice.updated_at),
        due_at=None if invoice.due_at is None else events.iso(invoice.due_at),
        coin_symbol=invoice.coin_symbol,
        type=invoice.type,
        wallet_address=invoice.wallet_address,
        memo=invoice.memo,
        client_name=invoice.client_name,
        client_email=invoice.client_email,
        invoice_title=invoice.title,
        invoice_message=invoice.message,
        exceptions=conditions,
        exception=conditions[0] if conditions else None,
        paid_at=None if invoice.paid_at is None else events.iso(invoice.paid_at),
        order_id=invoice.order_id,
        metadata=invoice.metadata,
        redirect_url=invoice.redirect_url,
        coins=invoice.coins,
        test=invoice.mode is Mode.TEST,
    )


async def list_invoices(call: Call) -> Answer:
    """Return a page of invoices."""
    fields = queries.parse(call.query, _LIST_NAMES)
    limit = queries.whole(fields, "limit", LIMIT_MAX)
    wanted = invoices.Filter(
        status=_status(fields),
        order_id=fields.text("order_id", ORDER_ID_LENGTH_MAX) or None,
        text=fields.text("text", TEXT_LENGTH_MAX) or None,
        created_from=fields.time("created_from"),
        created_to=fields.time("created_to"),
        after=queries.whole(fields, "after", ID_MAX),
    )
    if fields.problems:
        raise InvalidError(*fields.problems)
    context = call.deps.context
    found, after = await invoices.list_page(context, call.who(), wanted, limit or LIMIT_DEFAULT)
    return answer(
        views.InvoicesAnswer(
            success=True,
            invoices=[view(context.checkout_url, each) for each in found],
            next=None if after is None else str(after),
        )
    )


def _status(fields: Fields) -> str | None:
    text = fields.parameter("status")
    if text is not None and text not in set(Status):
        names = ", ".join(Status)
        fields.refuse("status", "unknown_status", f"status must be one of {names}.")
    return text


async def cancel_invoice(call: Call) -> Answer:
    """Cancel an invoice."""
    context = call.deps.context
    found = await invoices.cancel(context, call.who(), call.invoice_id(), call.now)
    return answer(views.InvoiceAnswer(success=True, invoice=view(context.checkout_url, found)))


async def list_payments(call: Call) -> Answer:
    """Return the payments of an invoice."""
    context = call.deps.context
    invoice, credited = await invoices.list_payments(context, call.who(), call.invoice_id())
    described = [invoices.describe_payment(context, invoice, each) for each in credited]
    found = msgspec.convert(described, list[views.Payment])
    return answer(views.PaymentsAnswer(success=True, payments=found))


async def simulate_payment(call: Call) -> Answer:
    """Pay a test invoice with the simulator's coin."""
    context = call.deps.context
    invoice_id = call.invoice_id()
    fields = Fields(bodies.parse(call.body))
    wanted = str(fields.given("outcome"))
    if wanted not in set(Outcome):
        names = ", ".join(Outcome)
        fields.refuse("outcome", "unknown_outcome", f"outcome must be one of {names}.")
    request = repetition.request_of(call, fields, f"/api/invoice/{invoice_id}/simulate")
    if fields.problems:
        raise InvalidError(*fields.problems)
    invoice = await invoices.get(context, call.who(), invoice_id)
    txid = await simulator.simulate(context, invoice, Outcome(wanted), call.now, request)
    return answer(views.Simulated(success=True, txid=txid))


# --- the declarations --------------------------------------------------------------------------


def _text_parameter(name: str, description: str, length_max: int, example: str) -> Parameter:
    schema = {"type": "string", "maxLength": length_max, "pattern": PLAIN_LINE}
    return Parameter(name, "query", description, schema, example)


def _time_parameter(name: str, description: str) -> Parameter:
    schema = {"anyOf": [{"type": "string", "pattern": TIME}, {"type": "string", "maxLength": 0}]}
    return Parameter(name, "query", description, schema, "2025-11-11T11:11:00Z")


_LIST_PARAMETERS = (
    Parameter(
        "status",
        "query",
        "Only invoices with this status.",
        {"type": "string", "enum": list(Status)},
        "Paid",
    ),
    _text_parameter("order_id", "Only invoices with this reference.", ORDER_ID_LENGTH_MAX, "A-7"),
    _text_parameter(
        "text",
        "Only invoices with this in their memo, title, message, order_id, or customer.",
        TEXT_LENGTH_MAX,
        "coffee",
    ),
    _time_parameter("created_from", "Only invoices made at this time or later."),
    _time_parameter("created_to", "Only invoices made before this time."),
    *page(LIMIT_DEFAULT, LIMIT_MAX, 12345),
)
_LIST_NAMES = frozenset(parameter.name for parameter in _LIST_PARAMETERS)

_FIELD_ERRORS = (
    "missing",
    "wrong_type",
    "too_long",
    "too_short",
    "too_many",
    "invalid_characters",
    "invalid_amount",
    "invalid_currency",
    "unsupported_currency",
    "invalid_address",
    "unknown_coin",
    "no_wallet",
    "invalid_time",
    "time_passed",
    "invalid_email",
    "invalid_url",
    "origin_not_listed",
    "invalid_idempotency_key",
)

ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/invoice",
        create_invoice,
        scope=Scope.AUTOMATE,
        tag="Invoices",
        summary="Create an invoice",
        description="Makes an invoice and returns where to send the customer. With neither "
        "wallet_address nor coin_symbol the payer chooses among the merchant's wallets; with "
        "coin_symbol alone the merchant's wallet of that coin is used; with both, that address is.",
        body=views.NewInvoice,
        answers={200: views.Created},
        parameters=(repetition.PARAMETER,),
        errors={409: ("address_in_use", "idempotency_mismatch"), 422: _FIELD_ERRORS},
        is_hot=True,
    ),
    Endpoint(
        "GET",
        "/api/invoice/{id}",
        get_invoice,
        scope=Scope.AUTOMATE,
        tag="Invoices",
        summary="Read an invoice",
        description="Returns an invoice of the key's merchant and mode.",
        answers={200: views.InvoiceAnswer},
        parameters=(INVOICE_ID,),
        errors={404: ("not_found",)},
        is_hot=True,
    ),
    Endpoint(
        "GET",
        "/api/invoices",
        list_invoices,
        scope=Scope.AUTOMATE,
        tag="Invoices",
        summary="List invoices",
        description="Returns the invoices of the key's merchant and mode, the newest first.",
        answers={200: views.InvoicesAnswer},
        parameters=_LIST_PARAMETERS,
        errors={
            422: (
                "unknown_status",
                "too_long",
                "invalid_characters",
                "invalid_time",
                "invalid_number",
                "repeated_parameter",
                "too_many",
            )
        },
    ),
    Endpoint(
        "POST",
        "/api/invoice/{id}/cancel",
        cancel_invoice,
        scope=Scope.AUTOMATE,
        tag="Invoices",
        summary="Cancel an invoice",
        description="Cancels an invoice on which not enough was seen; again does nothing. Its "
        "address stays watched: what is paid after all is credited.",
        answers={200: views.InvoiceAnswer},
        parameters=(INVOICE_ID,),
        errors={404: ("not_found",), 409: ("invoice_has_money",)},
    ),
    Endpoint(
        "GET",
        "/api/invoice/{id}/payments",
        list_payments,
        scope=Scope.AUTOMATE,
        tag="Invoices",
        summary="List the payments of an invoice",
        description="Returns what was credited to an invoice, replaced payments included.",
        answers={200: views.PaymentsAnswer},
        parameters=(INVOICE_ID,),
        errors={404: ("not_found",)},
    ),
    Endpoint(
        "POST",
        "/api/invoice/{id}/simulate",
        simulate_payment,
        scope=Scope.AUTOMATE,
        tag="Test mode",
        summary="Pay a test invoice",
        description="Pays an invoice that was made with a test key with the simulator's coin.",
        body=views.Simulation,
        answers={200: views.Simulated},
        parameters=(INVOICE_ID, repetition.PARAMETER),
        errors={
            404: ("not_found",),
            409: ("live_invoice", "not_payable", "idempotency_mismatch"),
            422: ("unknown_outcome", "invalid_idempotency_key"),
            429: ("too_many_quotes",),
            503: ("chain_unavailable",),
        },
    ),
)
