"""Gathering the facts of an explanation: from the database, and of a transaction from the nodes."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from counterfoil.core import matching, money
from counterfoil.core.errors import NodeError
from counterfoil.core.invoice import Status
from counterfoil.core.payment import Progress, counted, credit, progress
from counterfoil.core.ports import Chain, Head, Transaction, Transfer
from counterfoil.db import claims, loops, payments, quotes, transfers
from counterfoil.db.engine import Connection
from counterfoil.db.invoices import Invoice
from counterfoil.db.payments import Credited
from counterfoil.db.quotes import Quote
from counterfoil.db.transfers import Found
from counterfoil.services.context import Context
from counterfoil.services.explanation import (
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
from counterfoil.services.invoices import pay_url

# An exchange pays hundreds at once; of those that are not ours a few are enough to see that.
_STRANGERS_LISTED = 5
# Anybody who has the link may name transactions, and may send to an address that many share.
_CLAIMS_LISTED = 50
_UNCREDITED_READ = 200
_ENOUGH = (Status.CONFIRMING, Status.PAID)


async def examine(context: Context, invoice: Invoice, txid: str | None, now: int) -> Case:
    """Return all that is known of an invoice; with a txid the nodes are asked for it."""
    case = await context.store.read(lambda connection: _case(connection, context, invoice, now))
    if txid is None:
        return case
    chains = {method.chain for method in context.methods.of_mode(invoice.mode)}
    return replace(case, lookups=await look_up(context, invoice, chains, txid))


async def look_up(
    context: Context, invoice: Invoice, chains: Collection[str], txid: str
) -> tuple[Lookup, ...]:
    """Ask the nodes of some chains for a transaction; where one knows it, only that is returned."""
    name = txid.strip()
    lookups = await asyncio.gather(
        *(_ask(context, invoice, context.methods.chains[chain], name) for chain in sorted(chains))
    )
    found = tuple(lookup for lookup in lookups if lookup.answer is Answer.FOUND)
    return found or tuple(lookups)


# --- what the database knows -------------------------------------------------------------------


def _case(connection: Connection, context: Context, invoice: Invoice, now: int) -> Case:
    known = quotes.list_of_invoice(connection, invoice.id)
    credited = payments.list_credited(connection, invoice.id)
    names = sorted({quote.chain for quote in known} | {item.chain for item in credited})
    states = {state.name: state for state in loops.list_chains(connection, names)}
    # Where it is being confirmed, what is missing has been forgiven.
    is_missing = invoice.rest > 0 and invoice.standing.status not in _ENOUGH
    return Case(
        invoice_id=invoice.id,
        status=invoice.standing.status,
        conditions=invoice.standing.conditions,
        amount=str(invoice.amount),
        currency=invoice.currency,
        pay_url=pay_url(context.checkout_url, invoice.share_token),
        due_at=invoice.due_at,
        is_overdue=invoice.due_at is not None and invoice.due_at <= now,
        missing=str(invoice.rest) if is_missing else None,
        coins=_coins(context, invoice, known, now) if is_missing else (),
        asked=tuple(_asked(context, invoice, quote, now) for quote in known),
        seen=_seen(context, invoice, credited),
        uncredited=_uncredited(connection, context, known),
        claims=tuple(claims.list_last(connection, invoice.id, _CLAIMS_LISTED)),
        networks=tuple(_network(context, name, states.get(name), now) for name in names),
    )


def _asked(context: Context, invoice: Invoice, quote: Quote, now: int) -> Asked:
    return Asked(
        method=quote.method,
        address=quote.address,
        amount=context.methods.format_coin(quote.method, quote.amount_atomic),
        fiat=f"{quote.fiat} {invoice.currency}",
        rate=money.format_rate(quote.rate),
        made_at=quote.created_at,
        valid_until=quote.lock_until,
        is_open=quote.lock_until > now,
        due=None if quote.due is None else f"{quote.due} {invoice.currency}",
    )


def _coins(context: Context, invoice: Invoice, known: list[Quote], now: int) -> tuple[Due, ...]:
    """Return what is missing by the last quote of each method: its amount, while that is good.

    A quote that has ended is good for its rate alone, at which the rest is reckoned.
    """
    found = []
    for quote in {quote.method: quote for quote in known}.values():
        method = context.methods.get(quote.method)
        if method is None:
            continue
        is_open = quote.lock_until > now
        rest = money.payable_fiat(invoice.rest, invoice.currency, quote.rate, method)
        reckoned = money.to_atomic(rest, quote.rate, method)
        coin = money.format_coin(quote.amount_atomic if is_open else reckoned, method.decimals)
        found.append(Due(quote.method, coin, quote.address, quote.lock_until, is_open))
    return tuple(found)


def _seen(context: Context, invoice: Invoice, credited: list[Credited]) -> tuple[Seen, ...]:
    worth = {
        p.id: credit(p, invoice.deadlines) for p in counted([item.payment for item in credited])
    }
    found = []
    for item in credited:
        payment, credit_now = item.payment, worth.get(item.payment.id)
        how_far = progress(payment, credit_now)
        counts = None
        if credit_now is not None:
            counts = str(money.floor_to_minor(credit_now.value, invoice.currency))
        found.append(
            Seen(
                payment_id=payment.id,
                method=item.method,
                txid=payment.txid,
                index=item.place,
                amount=context.methods.format_coin(item.method, payment.received_atomic),
                address=item.address,
                quoted=str(money.floor_to_minor(payment.quoted_value, invoice.currency)),
                counts=counts,
                progress=how_far,
                height=item.block_height,
                confirmations=min(max(payment.depth, 0), payment.depth_needed)
                if how_far is Progress.CONFIRMING
                else max(payment.depth, 0),
                needed=payment.depth_needed,
                first_seen_at=item.first_seen_at,
                is_late=credit_now is not None and credit_now.is_late,
                is_settled=credit_now is None or credit_now.is_settled,
            )
        )
    return tuple(found)


def _uncredited(
    connection: Connection, context: Context, known: list[Quote]
) -> tuple[Uncredited, ...]:
    """Return what came to the invoice's addresses and may be meant for it.

    At an address of its own that is anything; at one that is shared, what nearly fits its amount.
    """
    by_place: dict[int, list[Quote]] = {}
    for quote in known:
        by_place.setdefault(quote.destination_id, []).append(quote)
    return tuple(
        Uncredited(
            method=found.method,
            txid=found.txid,
            amount=context.methods.format_coin(found.method, found.amount_atomic),
            address=found.address,
            height=found.block_height,
            reason=found.reason or "",
        )
        for destination_id, asked in by_place.items()
        for found in transfers.list_uncredited(
            connection, destination_id, _meant_since(asked), _UNCREDITED_READ
        )
        if any(_may_mean(quote, found) for quote in asked)
    )


def _meant_since(asked: Sequence[Quote]) -> int:
    """Return since when what came to a destination may be meant for what was asked there."""
    is_own = asked[0].kind is matching.Kind.EXCLUSIVE
    return 0 if is_own else min(quote.created_at for quote in asked)


def _may_mean(quote: Quote, found: Found) -> bool:
    if quote.kind is matching.Kind.EXCLUSIVE:
        return True
    is_after = quote.created_at < found.first_seen_at
    is_near = matching.is_likely(quote.amount_atomic, found.amount_atomic)
    return is_after and quote.method == found.method and is_near


def _network(context: Context, name: str, state: loops.ChainState | None, now: int) -> Network:
    chain = context.methods.chains.get(name)
    if chain is None or state is None:
        is_retired = state is not None and state.retired_at is not None
        return Network(name, None, None, None, None, None, is_seen=False, is_retired=is_retired)
    return Network(
        name=name,
        network=chain.network,
        height=state.cursor.height if state.cursor else None,
        node_height=state.node_height,
        watched_at=state.watched_at,
        trouble=state.trouble,
        is_seen=state.is_seen(now),
    )


# --- what the nodes know -----------------------------------------------------------------------


async def _ask(context: Context, invoice: Invoice, chain: Chain, txid: str) -> Lookup:
    try:
        sighting, head = await asyncio.gather(chain.transaction(txid), chain.head())
    except NodeError as error:
        return Lookup(chain.name, txid, Answer.AWAY, trouble=str(error))
    if sighting.transaction is None:
        answer = Answer.UNKNOWN if sighting.is_whole else Answer.NOT_INDEXED
        return Lookup(chain.name, txid, answer)
    transaction = sighting.transaction
    known = await context.store.read(
        lambda connection: _recorded(connection, invoice, chain, transaction)
    )
    return _found(context, chain, transaction, sighting.height, head, known)


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What we know of a transaction's transfers: whose their destinations are, where they lie."""

    owners: Mapping[bytes, Owner]
    found: Mapping[int, Found]
    cursor_height: int | None


def _recorded(
    connection: Connection, invoice: Invoice, chain: Chain, seen: Transaction
) -> _Recorded:
    shown = {quote.destination_id for quote in quotes.list_of_invoice(connection, invoice.id)}
    ours = quotes.match_destinations(
        connection, {transfer.destination for transfer in seen.transfers}
    )
    # Another merchant's address is a stranger's: nobody is told who else is served here.
    owners = {
        key: Owner.INVOICE if stored.id in shown else Owner.MERCHANT
        for key, stored in ours.items()
        if stored.merchant_id == invoice.merchant_id
    }
    found = {
        each.place: each
        for each in transfers.list_by_txid(connection, chain.name, seen.txid)
        if each.merchant_id == invoice.merchant_id
    }
    cursor = loops.get_cursor(connection, chain.name)
    return _Recorded(owners, found, cursor.height if cursor else None)


def _found(
    context: Context,
    chain: Chain,
    seen: Transaction,
    height: int | None,
    head: Head,
    known: _Recorded,
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


def _output(context: Context, chain: Chain, transfer: Transfer, known: _Recorded) -> Output:
    lies = known.found.get(transfer.index)
    return Output(
        method=transfer.method,
        amount=context.methods.format_coin(transfer.method, transfer.amount_atomic),
        address=chain.address_of(transfer.destination),
        owner=known.owners.get(transfer.destination, Owner.STRANGER),
        is_recorded=lies is not None,
        invoice_id=lies.invoice_id if lies else None,
        reason=lies.reason if lies else None,
    )
