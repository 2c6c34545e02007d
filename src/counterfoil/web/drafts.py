"""From the body of `POST /api/invoice` to a draft: every field checked, every problem told."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from counterfoil.core.errors import InvalidError, Problem
from counterfoil.core.ports import Mode
from counterfoil.services import invoices
from counterfoil.services.context import Context
from counterfoil.services.invoices import Draft
from counterfoil.web.fields import COIN_LENGTH_MAX, ORDER_ID_LENGTH_MAX, Fields
from counterfoil.web.views import NewInvoice


def draft(context: Context, mode: Mode, fields: Fields, now: int) -> Draft:
    """Return what a client asks for; raises InvalidError with all that is wrong."""
    currency = fields.currency("fiat_currency")
    amount = fields.amount("amount", currency)
    # Most requests have few of these, and what is not there costs nothing.
    more = {name: _FURTHER[name](fields, now) for name in fields.names(_FURTHER)}
    found = Draft(amount or Decimal(1), currency or "", **more)
    if fields.problems:
        raise InvalidError(*_all_problems(context, mode, fields, found))
    return found


# How the fields that need not be there are read.
_FURTHER: Mapping[str, Callable[[Fields, int], Any]] = {
    "wallet_address": lambda fields, _: fields.address("wallet_address"),
    "coin_symbol": lambda fields, _: fields.text("coin_symbol", COIN_LENGTH_MAX) or None,
    "memo": lambda fields, _: fields.text("memo", 500),
    "due_at": lambda fields, now: fields.future("due_at", now),
    "invoice_message": lambda fields, _: fields.text("invoice_message", 5_000, is_long=True),
    "invoice_title": lambda fields, _: fields.text("invoice_title", 200),
    "client_email": lambda fields, _: fields.email("client_email"),
    "client_name": lambda fields, _: fields.text("client_name", 200),
    "order_id": lambda fields, _: fields.text("order_id", ORDER_ID_LENGTH_MAX),
    "metadata": lambda fields, _: fields.texts("metadata"),
    "redirect_url": lambda fields, _: fields.url("redirect_url"),
    "coins": lambda fields, _: fields.coins("coins"),
}


def _all_problems(context: Context, mode: Mode, fields: Fields, found: Draft) -> list[Problem]:
    """Return what is wrong with the fields, and what the service finds wrong with the good ones."""
    further = [
        problem
        for problem in invoices.problems(context, found, mode)
        if not fields.is_refused(problem.field)
    ]
    return sorted(fields.problems + further, key=lambda problem: _place(problem.field))


def _place(field: str) -> int:
    order = NewInvoice.__struct_fields__
    return order.index(field) if field in order else len(order)
