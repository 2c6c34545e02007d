"""What a node, and the database, know of one transaction that somebody names."""

import asyncio
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from counterfoil.core import matching
from counterfoil.core.errors import NodeError
from counterfoil.core.ports import Chain, Head, Transaction, Transfer
from counterfoil.db import loops, quotes, transfers
from counterfoil.db.engine import Connection
from counterfoil.db.invoices import Invoice
from counterfoil.db.transfers import Found
from counterfoil.services.case import Answer, Lookup, Output, Owner
from counterfoil.services.context import Context

# An exchange pays hundreds at once; of those that are not ours a few are enough to see that.
_STRANGERS_LISTED = 5
# What is written in hexadecimal means the same in capitals; nothing else does.
_HEX = re.compile(r"(0x)?[0-9A-Fa-f]+")


def canonical(text: str) -> str:
    """Return a transaction id as the chains write it, of what a wallet shows as one."""
    text = text.strip()
    return text.lower() if _HEX.fullmatch(text) else text


async def ask(context: Context, invoice: Invoice, chain: Chain, text: str) -> Lookup:
    """Ask the node of a chain for a transaction; tell what is recorded of one it does not show."""
    txid = canonical(text)
    answer, trouble = Answer.AWAY, None
    try:
        sighting, head = await asyncio.gather(chain.transaction(txid), chain.head())
    except NodeError as error:
        trouble = str(error)
    else:
        if sighting.transaction is not None:
            seen, height = sighting.transaction, sighting.height
            known = await _read(context, invoice, chain, seen.txid, seen.transfers)
            return _found(context, chain, seen, height, head, known)
        answer = Answer.UNKNOWN if sighting.is_whole else Answer.NOT_INDEXED
    known = await _read(context, invoice, chain, txid, ())
    found = tuple(known.found.values())
    return Lookup(
        chain=chain.name,
        txid=txid,
        answer=answer,
        trouble=trouble,
        recorded=tuple(_recorded(context, invoice, each, known) for each in found),
        is_gone=any(each.gone_at is not None for each in found),
        unknown_since=next((e.unknown_since for e in found if e.gone_at is None), None),
    )


# --- what the database knows -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    """What we know of a transaction's transfers: whose their destinations are, where they lie."""

    shown: Collection[int]
    owners: Mapping[bytes, Owner]
    shared: Collection[bytes]
    found: Mapping[int, Found]
    cursor_height: int | None


async def _read(
    context: Context, invoice: Invoice, chain: Chain, txid: str, paid: Collection[Transfer]
) -> _Known:
    return await context.store.read(
        lambda connection: _know(connection, invoice, chain, txid, {t.destination for t in paid})
    )


def _know(
    connection: Connection, invoice: Invoice, chain: Chain, txid: str, keys: Collection[bytes]
) -> _Known:
    # Before what is recorded: a block that is just being recorded is not one that was passed.
    cursor = loops.get_cursor(connection, chain.name)
    shown = {quote.destination_id for quote in quotes.list_of_invoice(connection, invoice.id)}
    # It is paid at the address that it names, too, before any price was made there.
    named = invoice.wallet_address
    ours = quotes.match_destinations(connection, keys)
    # Another merchant's address is a stranger's: nobody is told who else is served here.
    owners = {
        key: Owner.INVOICE
        if stored.id in shown or (named is not None and chain.address_of(key) == named)
        else Owner.MERCHANT
        for key, stored in ours.items()
        if stored.merchant_id == invoice.merchant_id
    }
    found = {
        each.place: each
        for each in transfers.list_by_txid(connection, chain.name, txid)
        if each.merchant_id == invoice.merchant_id
    }
    shared = {key for key, stored in ours.items() if stored.kind is matching.Kind.SHARED}
    return _Known(shown, owners, shared, found, cursor.height if cursor else None)


# --- what is told of it ------------------------------------------------------------------------


def _found(
    context: Context,
    chain: Chain,
    seen: Transaction,
    height: int | None,
    head: Head,
    known: _Known,
) -> Lookup:
    """Return what a transaction pays: all that is the merchant's, and a few others."""
    outputs = [_output(context, chain, transfer, known) for transfer in seen.transfers]
    mine = [output for output in outputs if output.owner is not Owner.STRANGER]
    others = [output for output in outputs if output.owner is Owner.STRANGER]
    return Lookup(
        chain=chain.name,
        txid=seen.txid,
        answer=Answer.FOUND,
        height=height,
        confirmations=0 if height is None else max(head.height - height + 1, 1),
        cursor_height=known.cursor_height,
        outputs=(*mine, *others[:_STRANGERS_LISTED]),
        more=len(others[_STRANGERS_LISTED:]),
    )


def _output(context: Context, chain: Chain, transfer: Transfer, known: _Known) -> Output:
    output = Output(
        method=transfer.method,
        amount=context.methods.format_coin(transfer.method, transfer.amount_atomic),
        address=chain.address_of(transfer.destination),
        owner=known.owners.get(transfer.destination, Owner.STRANGER),
        is_shared=transfer.destination in known.shared,
        is_recorded=False,
        invoice_id=None,
        reason=None,
    )
    lies = known.found.get(transfer.index)
    return output if lies is None else _placed(output, lies)


def _recorded(context: Context, invoice: Invoice, lies: Found, known: _Known) -> Output:
    is_here = lies.destination_id in known.shown or lies.address == invoice.wallet_address
    output = Output(
        method=lies.method,
        amount=context.methods.format_coin(lies.method, lies.amount_atomic),
        address=lies.address,
        owner=Owner.INVOICE if is_here else Owner.MERCHANT,
        is_recorded=True,
        invoice_id=None,
        reason=None,
    )
    return _placed(output, lies)


def _placed(output: Output, lies: Found) -> Output:
    """Return an output with where it lies."""
    return replace(
        output,
        is_recorded=True,
        invoice_id=lies.invoice_id,
        payment_id=lies.payment_id,
        reason=lies.reason,
        inbox_id=lies.inbox_id,
        is_ignored=lies.ignored_at is not None,
    )
