"""The endpoints of what a merchant does to an invoice by hand."""

from counterfoil.core.access import Scope
from counterfoil.services import invoices, marks
from counterfoil.services.audit import with_key
from counterfoil.web import views
from counterfoil.web.endpoints import ID_MAX, Answer, Call, Endpoint, Parameter, answer


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


def _invoice(call: Call, found: invoices.Invoice) -> Answer:
    described = invoices.describe(call.deps.context, found)
    return answer(views.InvoiceAnswer(success=True, invoice=views.Invoice(**described)))


# --- the declarations --------------------------------------------------------------------------

_ID_PARAMETER = Parameter(
    "id",
    "path",
    "The id of the invoice.",
    {"type": "integer", "minimum": 1, "maximum": ID_MAX},
    12345,
)

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
        parameters=(_ID_PARAMETER,),
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
        parameters=(_ID_PARAMETER,),
        errors={404: ("not_found",)},
    ),
)
