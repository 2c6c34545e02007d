"""The endpoints of what a merchant does to an invoice by hand."""

import msgspec

from counterfoil.core.access import Scope
from counterfoil.core.errors import InvalidError
from counterfoil.core.ids import ID_MAX
from counterfoil.services import invoices, marks, refunds
from counterfoil.services.audit import with_key
from counterfoil.web import act_views, api, bodies, repetition, views
from counterfoil.web.endpoints import Answer, Call, Endpoint, answer
from counterfoil.web.fields import COIN_LENGTH_MAX, Fields
from counterfoil.web.parameters import INVOICE_ID


async def mark_invoice(call: Call) -> Answer:
    """Settle an invoice by hand."""
    context = call.deps.context
    found = await marks.mark(context, with_key(call.who()), call.invoice_id(), call.now)
    return _invoice(call, found)


async def unmark_invoice(call: Call) -> Answer:
    """Take back that an invoice was settled by hand."""
    context = call.deps.context
    found = await marks.unmark(context, with_key(call.who()), call.invoice_id(), call.now)
    return _invoice(call, found)


async def add_refund(call: Call) -> Answer:
    """Note a refund of an invoice."""
    fields = Fields(bodies.parse(call.body))
    amount = fields.given("amount")
    if amount is None:
        fields.refuse("amount", "missing", "amount is required.")
    elif not isinstance(amount, str):
        fields.refuse("amount", "wrong_type", "amount must be a number such as 25.00.")
    draft = refunds.Draft(
        amount=amount if isinstance(amount, str) else "",
        coin_symbol=fields.text("coin_symbol", COIN_LENGTH_MAX),
        txid=fields.text("txid", refunds.TXID_LENGTH_MAX),
        note=fields.text("note", refunds.NOTE_LENGTH_MAX, is_long=True),
        payment_id=fields.whole("payment_id", ID_MAX),
    )
    invoice_id = call.invoice_id()
    request = repetition.request_of(call, fields, f"/api/invoice/{invoice_id}/refunds")
    if fields.problems:
        raise InvalidError(*fields.problems)
    invoice, made = await refunds.add(
        call.deps.context, with_key(call.who()), invoice_id, draft, call.now, request
    )
    refund = msgspec.convert(refunds.describe(invoice, made), act_views.Refund)
    return answer(act_views.RefundAnswer(success=True, refund=refund))


async def list_refunds(call: Call) -> Answer:
    """Return the refunds of an invoice."""
    who = with_key(call.who())
    invoice, found = await refunds.list_all(call.deps.context, who, call.invoice_id())
    described = [refunds.describe(invoice, each) for each in found]
    return answer(
        act_views.RefundsAnswer(
            success=True, refunds=msgspec.convert(described, list[act_views.Refund])
        )
    )


def _invoice(call: Call, found: invoices.Invoice) -> Answer:
    checkout_url = call.deps.context.checkout_url
    return answer(views.InvoiceAnswer(success=True, invoice=api.view(checkout_url, found)))


# --- the declarations --------------------------------------------------------------------------

ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/invoice/{id}/mark",
        mark_invoice,
        scope=Scope.FULL,
        tag="Invoices",
        summary="Settle an invoice by hand",
        description="Makes an invoice Paid, with the exception `marked`, for money that no chain "
        "shows. The mark has a payment id of its own. Again does nothing.",
        answers={200: views.InvoiceAnswer},
        parameters=(INVOICE_ID,),
        errors={404: ("not_found",), 409: ("already_paid",)},
    ),
    Endpoint(
        "POST",
        "/api/invoice/{id}/unmark",
        unmark_invoice,
        scope=Scope.FULL,
        tag="Invoices",
        summary="Take back that an invoice was settled by hand",
        description="Takes the mark off an invoice, so that only money counts again: one without "
        "enough of it is told as failed. Again does nothing.",
        answers={200: views.InvoiceAnswer},
        parameters=(INVOICE_ID,),
        errors={404: ("not_found",)},
    ),
    Endpoint(
        "POST",
        "/api/invoice/{id}/refunds",
        add_refund,
        scope=Scope.FULL,
        tag="Invoices",
        summary="Note a refund",
        description="Writes down that money of an invoice was sent back. Nothing is sent, and "
        "neither the status nor what was credited changes. A note stays.",
        body=act_views.NewRefund,
        answers={200: act_views.RefundAnswer},
        parameters=(INVOICE_ID, repetition.PARAMETER),
        errors={
            404: ("not_found",),
            409: ("idempotency_mismatch",),
            422: (
                "missing",
                "wrong_type",
                "too_long",
                "invalid_characters",
                "invalid_number",
                "invalid_amount",
                "unknown_coin",
                "ambiguous_method",
                "unknown_payment",
                "invalid_idempotency_key",
            ),
        },
    ),
    Endpoint(
        "GET",
        "/api/invoice/{id}/refunds",
        list_refunds,
        scope=Scope.AUTOMATE,
        tag="Invoices",
        summary="List the refunds of an invoice",
        description="Returns what was noted as sent back for an invoice.",
        answers={200: act_views.RefundsAnswer},
        parameters=(INVOICE_ID,),
        errors={404: ("not_found",)},
    ),
)
