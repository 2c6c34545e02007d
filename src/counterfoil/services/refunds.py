"""Refund notes: what a merchant sent back, written down beside the invoice.

We hold no key and send nothing. A note changes neither credit nor status, and is never taken back.
"""

from dataclasses import dataclass, replace

from counterfoil.core import events, money, plain_text
from counterfoil.core.errors import InvalidError, Problem
from counterfoil.db import invoices, refunds
from counterfoil.db.audit import Deed
from counterfoil.db.engine import Connection
from counterfoil.db.invoices import Invoice
from counterfoil.db.refunds import Refund
from counterfoil.services import repeats
from counterfoil.services.audit import Actor, record
from counterfoil.services.context import Context
from counterfoil.services.invoices import own

TXID_LENGTH_MAX = 200
NOTE_LENGTH_MAX = 500


@dataclass(frozen=True, slots=True)
class Draft:
    """What a merchant says was sent back: of a coin, or of the invoice's currency without one."""

    amount: str
    coin_symbol: str = ""
    txid: str = ""
    note: str = ""
    payment_id: int | None = None


async def add(
    context: Context,
    who: Actor,
    invoice_id: int,
    draft: Draft,
    now: int,
    request: repeats.Request | None = None,
) -> tuple[Invoice, Refund]:
    """Note a refund of an invoice; raises NotFoundError and InvalidError.

    Who heard no answer may ask again: a `request` that comes again notes nothing new (ConflictError
    `idempotency_mismatch` where it says something else), nor does the very same of one transaction.
    """
    problems = _problems(draft)
    if problems:
        raise InvalidError(*problems)

    def write(connection: Connection) -> tuple[Invoice, Refund]:
        invoice = own(connection, who.merchant_id, who.mode, invoice_id)
        kept = repeats.take(connection, request, now)
        if kept is not None:
            noted = refunds.list_all(connection, invoice_id)
            return invoice, next(each for each in noted if each.id == int(kept))
        method_id, amount = _amount(context, who, invoice, draft)
        paid_id = draft.payment_id
        if paid_id is not None and not refunds.was_credited(connection, paid_id, invoice_id):
            message = "payment_id names no payment of this invoice."
            raise InvalidError(Problem("payment_id", "unknown_payment", message))
        new = Refund(0, now, amount, method_id, paid_id, draft.txid, draft.note)
        # Of two who ask at once the later one sees what the other has noted.
        invoices.lock(connection, invoice_id)
        known = _find_same(connection, invoice_id, new)
        if known is not None:
            repeats.keep(connection, request, str(known.id))
            return invoice, known
        made = refunds.insert(connection, invoice_id, new)
        repeats.keep(connection, request, str(made.id))
        deed = Deed("refund", invoice_id, paid_id, details={"refund_id": str(made.id)})
        record(connection, who, deed, now)
        return invoice, made

    return await context.store.write(write)


def _problems(draft: Draft) -> list[Problem]:
    """Return what is wrong with the texts of a note."""
    found = (
        plain_text.problem("txid", draft.txid, TXID_LENGTH_MAX),
        plain_text.problem("note", draft.note, NOTE_LENGTH_MAX, is_long=True),
    )
    return [each for each in found if each is not None]


def _find_same(connection: Connection, invoice_id: int, new: Refund) -> Refund | None:
    if not new.txid:
        return None
    return next(
        (
            known
            for known in refunds.list_all(connection, invoice_id)
            if replace(new, id=known.id, created_at=known.created_at) == known
        ),
        None,
    )


def _amount(context: Context, who: Actor, invoice: Invoice, draft: Draft) -> tuple[str | None, str]:
    """Return the method and the amount in canonical form; the method is None for fiat."""
    if not draft.coin_symbol:
        return None, str(money.parse_fiat(draft.amount, invoice.currency))
    method = context.methods.only(draft.coin_symbol, "coin_symbol", who.mode)
    atomic = money.parse_coin(draft.amount, method)
    return method.id, money.format_coin(atomic, method.decimals)


async def list_all(context: Context, who: Actor, invoice_id: int) -> tuple[Invoice, list[Refund]]:
    """Return an invoice and what was sent back for it; raises NotFoundError."""

    def read(connection: Connection) -> tuple[Invoice, list[Refund]]:
        invoice = own(connection, who.merchant_id, who.mode, invoice_id)
        return invoice, refunds.list_all(connection, invoice_id)

    return await context.store.read(read)


def describe(invoice: Invoice, made: Refund) -> dict[str, object]:
    """Return a note as the API shows it."""
    return {
        "id": made.id,
        "amount": made.amount,
        "method": made.method,
        "fiat_currency": invoice.currency if made.method is None else None,
        "payment_id": made.payment_id,
        "txid": made.txid,
        "note": made.note,
        "created_at": events.iso(made.created_at),
    }
