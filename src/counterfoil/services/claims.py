"""A payer's word that a transaction pays an invoice: it makes us look, and credits nothing itself.

What the payer is told is about this invoice alone: whether a shared address was paid by somebody
else, and what for, stays untold.
"""

import re
from collections.abc import Sequence
from enum import StrEnum

from counterfoil.core.errors import LimitedError
from counterfoil.db import claims, invoices, quotes, rescans
from counterfoil.db.engine import Connection
from counterfoil.db.invoices import Invoice
from counterfoil.services import checkout_look, diagnosis, lookups
from counterfoil.services.case import Answer, Lookup, Output, Owner, is_passed
from counterfoil.services.context import Context
from counterfoil.services.quotes import offered

CLAIMS_PER_HOUR_MAX = 10
_HOUR_MS = 3_600_000
# Whatever a chain calls a transaction; what it is, is for the chain to say.
_TXID = re.compile(r"[A-Za-z0-9:_+/=-]{8,128}")


class Claimed(StrEnum):
    """What came of a claim."""

    CREDITED = "credited"
    COMING = "coming"
    TO_SHOP = "to_shop"
    REVIEW = "review"
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"
    UNSEEN = "unseen"
    INVALID = "invalid"


async def claim(context: Context, share_token: str, text: str, now: int) -> Claimed:
    """Look for a transaction that a payer names, and return what to tell the payer.

    Raises NotFoundError for a share token that opens nothing, and LimitedError.
    """
    txid = lookups.canonical(text)
    is_sound = _TXID.fullmatch(txid) is not None

    def write(connection: Connection) -> tuple[Invoice, set[str]]:
        invoice = checkout_look.find(connection, share_token)
        if is_sound:
            _note(connection, invoice.id, txid, now)
        return invoice, _list_chains(connection, context, invoice)

    invoice, shown = await context.store.write(write)
    if not is_sound:
        return Claimed.INVALID
    chains = shown & context.methods.chains.keys()
    told = await diagnosis.look_up(context, invoice, chains, txid)
    await _read_what_was_passed(context, told, now)
    return judge(told, invoice.id)


def _list_chains(connection: Connection, context: Context, invoice: Invoice) -> set[str]:
    """Return the chains on which an invoice may have been paid.

    Before any price was made that is wherever it may be: its payer may know the address already.
    """
    shown = {quote.chain for quote in quotes.list_of_invoice(connection, invoice.id)}
    return shown or {method.chain for method in offered(connection, context, invoice)}


def _note(connection: Connection, invoice_id: int, txid: str, now: int) -> None:
    """Write a claim down; raises LimitedError where the invoice has had too many in an hour."""
    # Of two at once the later one sees what the other has written down.
    invoices.lock(connection, invoice_id)
    recent = claims.list_since(connection, invoice_id, now - _HOUR_MS)
    if len(recent) >= CLAIMS_PER_HOUR_MAX:
        wait_s = (min(recent) + _HOUR_MS - now) // 1000 + 1
        message = f"This invoice has had {len(recent)} claims in an hour; wait {wait_s} seconds."
        raise LimitedError("too_many_claims", message, retry_after_s=wait_s)
    claims.insert(connection, invoice_id, txid, now)


def judge(told: Sequence[Lookup], invoice_id: int) -> Claimed:
    """Return what the answers of the nodes mean for a payer of one invoice."""
    outputs = [output for lookup in told for output in _to_invoice(lookup)]
    if any(output.invoice_id == invoice_id for output in outputs):
        return Claimed.CREDITED
    coming = [output for output in outputs if not output.is_recorded]
    if coming:
        # At an address that others pay as well only the amount will tell whose it is.
        is_told = any(not output.is_shared for output in coming)
        return Claimed.COMING if is_told else Claimed.TO_SHOP
    if outputs:
        return Claimed.REVIEW
    answers = {lookup.answer for lookup in told}
    if Answer.FOUND in answers:
        return Claimed.ELSEWHERE
    return Claimed.UNSEEN if Answer.AWAY in answers or not answers else Claimed.UNKNOWN


def _to_invoice(lookup: Lookup) -> list[Output]:
    return [output for output in lookup.outputs if output.owner is Owner.INVOICE]


async def _read_what_was_passed(context: Context, told: Sequence[Lookup], now: int) -> None:
    """Have the block read again that the cursor passed without the payment."""
    for lookup in told:
        height = lookup.height
        is_missed = any(not output.is_recorded for output in _to_invoice(lookup))
        if height is not None and is_missed and is_passed(lookup):
            await context.store.write(
                lambda c, chain=lookup.chain, h=height: rescans.insert(c, chain, h, h, now)  # type: ignore[misc]  # mypy cannot infer such a lambda
            )
    # What has just been sent is seen at the next look, which may as well be now.
    context.store.wake("chains")
