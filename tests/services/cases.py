"""An invoice that nobody has paid, and what may come of it: for the tests of explanations."""

from dataclasses import replace
from typing import Any

from counterfoil.core.invoice import Status
from counterfoil.core.payment import Progress
from counterfoil.db.invoices import Invoice
from counterfoil.services import diagnosis
from counterfoil.services.case import (
    Answer,
    Asked,
    Case,
    Due,
    Lookup,
    Network,
    Output,
    Owner,
    Seen,
    Uncredited,
)
from tests.services.shop import Shop

AT = 1_762_859_460_000
TIME = "2025-11-11T11:11:00.000Z"
ASKED = Asked("LTC", "ltc1shop", "0.25", "25.00 USD", "100", AT, AT, is_open=True)
SEEN = Seen(
    payment_id=7,
    method="LTC",
    txid="ab",
    index=0,
    amount="0.2",
    address="ltc1shop",
    quoted="20.00",
    counts="20.00",
    progress=Progress.SEEN,
    height=None,
    confirmations=0,
    needed=3,
    first_seen_at=AT,
    is_late=False,
    is_settled=True,
)
NETWORK = Network("litecoin", "bip122:12a7", 50, 50, AT, None, is_seen=True)
OFF = Network("litecoin", None, None, None, None, None, is_seen=False)
DUE = Due("LTC", "0.25", "ltc1shop", AT, is_open=True)
OPEN = Case(
    invoice_id=12,
    status=Status.UNPAID,
    conditions=(),
    amount="25.00",
    currency="USD",
    pay_url="https://pay.example/p",
    due_at=None,
    is_overdue=False,
    missing="25.00",
    coins=(DUE,),
    asked=(ASKED,),
    seen=(),
    uncredited=(),
    networks=(NETWORK,),
)
FOUND = Lookup("litecoin", "ab", Answer.FOUND, height=40, confirmations=11, cursor_height=50)
OURS = Output(
    "LTC", "0.2", "ltc1shop", Owner.INVOICE, is_recorded=False, invoice_id=None, reason=None
)
STRANGER = replace(OURS, address="ltc1else", owner=Owner.STRANGER)
STRAY = Uncredited(5, "LTC", "cd", "0.2", "ltc1shop", 49, "no_exact_amount")
LATE = replace(SEEN, is_late=True, is_settled=False)
GONE = replace(SEEN, progress=Progress.GONE, counts=None)
IN_INBOX = replace(OURS, is_recorded=True, reason="no_exact_amount", inbox_id=6)
PAY = f"The payer sends 0.25 LTC to ltc1shop by {TIME}."
AGAIN = "Make a new invoice if it is still to be paid."


def case(**facts: Any) -> Case:
    return replace(OPEN, **facts)


def looked_up(**facts: Any) -> Case:
    return case(lookups=(replace(FOUND, **facts),))


async def examine(shop: Shop, invoice: Invoice, txid: str | None = None) -> Case:
    known = await shop.read(invoice.id)
    return await diagnosis.examine(shop.context, known, txid, shop.clock.now())
