"""Gathering the facts of an explanation: from the database, and of a transaction from the nodes."""

import asyncio
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from counterfoil.core import matching, money
from counterfoil.core.invoice import Status
from counterfoil.core.payment import Credit, Payment, Progress, counted, credit, progress
from counterfoil.core.ports import Method, Mode
from counterfoil.db import claims, loops, merchants, payments, quotes, transfers
from counterfoil.db.engine import Connection
from counterfoil.db.invoices import Invoice
from counterfoil.db.payments import Credited
from counterfoil.db.quotes import Quote
from counterfoil.db.transfers import Found
from counterfoil.services import lookups
from counterfoil.services.case import (
    Answer,
    Asked,
    Case,
    Due,
    Lookup,
    Network,
    Page,
    Seen,
    Uncredited,
)
from counterfoil.services.context import Context
from counterfoil.services.invoices import pay_url
from counterfoil.services.quotes import latest, offered
from counterfoil.services.strays import may_have_paid_until
from counterfoil.services.surplus import find_surplus

# Anybody who has the link may name transactions, and may send to an address that many share.
_CLAIMS_LISTED = 50
_UNCREDITED_READ = 200
_ENOUGH = (Status.CONFIRMING, Status.PAID)

_States = Mapping[str, loops.ChainState]


async def examine(
    context: Context, invoice: Invoice, txid: str | None, now: int, *, at_terminal: bool = False
) -> Case:
    """Return all that is known of an invoice; with a txid the nodes are asked for it."""
    case = await context.store.read(
        lambda connection: _case(connection, context, invoice, now, at_terminal=at_terminal)
    )
    name = (txid or "").strip()
    if not name:
        return case
    chains = {method.chain for method in context.methods.of_mode(invoice.mode)}
    told = await look_up(context, invoice, chains, name)
    # Where it is recorded, what others say who know nothing of it matters no more.
    recorded = tuple(lookup for lookup in told if lookup.recorded)
    return replace(case, lookups=recorded or told)


async def look_up(
    context: Context, invoice: Invoice, chains: Collection[str], txid: str
) -> tuple[Lookup, ...]:
    """Ask the nodes of some chains for a transaction; where one knows it, only that is returned."""
    told = await asyncio.gather(
        *(lookups.ask(context, invoice, context.methods.chains[c], txid) for c in sorted(chains))
    )
    found = tuple(lookup for lookup in told if lookup.answer is Answer.FOUND)
    return found or tuple(told)


def _case(
    connection: Connection, context: Context, invoice: Invoice, now: int, *, at_terminal: bool
) -> Case:
    known = quotes.list_of_invoice(connection, invoice.id)
    credited = payments.list_credited(connection, invoice.id)
    present = counted([item.payment for item in credited])
    worth = {payment.id: credit(payment, invoice.deadlines) for payment in present}
    methods = offered(connection, context, invoice) if _is_payable(invoice, now) else ()
    names = {quote.chain for quote in known} | {item.chain for item in credited}
    offers = {method.chain for method in methods}
    states = {each.name: each for each in loops.list_chains(connection, sorted(names | offers))}
    page = _page(methods, states, known, now)
    # Those that the page waits for are told of too: so it is said what is to be done about them.
    names |= offers if page is Page.UNSEEN else set()
    is_over = any(at <= now for at in invoice.deadlines)
    # Where it is being confirmed, what is missing has been forgiven.
    is_missing = invoice.rest > 0 and invoice.standing.status not in _ENOUGH
    return Case(
        invoice_id=invoice.id,
        status=invoice.standing.status,
        conditions=invoice.standing.conditions,
        amount=str(invoice.amount),
        currency=invoice.currency,
        pay_url=pay_url(context.checkout_url, invoice.share_token),
        page=page,
        options=_options(connection, invoice, at_terminal=at_terminal),
        due_at=invoice.due_at,
        is_overdue=invoice.is_overdue(now),
        waits_until=_waits_until(connection, invoice, now),
        missing=str(invoice.rest) if is_missing else None,
        surplus=find_surplus(connection, context, invoice, credited, worth, is_over=is_over),
        coins=_coins(context, invoice, known, now) if is_missing else (),
        asked=tuple(_asked(context, invoice, quote, now) for quote in known),
        seen=tuple(_seen(context, invoice, item, present, worth) for item in credited),
        uncredited=_uncredited(connection, context, invoice, known),
        claims=tuple(claims.list_last(connection, invoice.id, _CLAIMS_LISTED)),
        networks=tuple(_network(context, name, states.get(name), now) for name in sorted(names)),
    )


def _is_payable(invoice: Invoice, now: int) -> bool:
    is_open = invoice.standing.status is Status.UNPAID
    return is_open and all(at > now for at in invoice.deadlines)


def _page(methods: Collection[Method], states: _States, known: Collection[Quote], now: int) -> Page:
    """Return what the pay page does for who may choose from these methods."""
    if not methods:
        return Page.NOTHING
    if not any(method.chain in states and states[method.chain].is_seen(now) for method in methods):
        return Page.UNSEEN
    if known:
        return Page.RENEWAL
    return Page.PRICE if len(methods) == 1 else Page.CHOICE


def _options(connection: Connection, invoice: Invoice, *, at_terminal: bool) -> str:
    """Return the options that a command needs to find what belongs to the invoice's merchant.

    Whoever asks with a merchant's key is not told that there are others.
    """
    options = " --test" if invoice.mode is Mode.TEST else ""
    known = merchants.list_all(connection) if at_terminal else []
    if len(known) > 1:
        name = next(each.name for each in known if each.id == invoice.merchant_id)
        options += f" --merchant {shlex.quote(name)}"
    return options


def _waits_until(connection: Connection, invoice: Invoice, now: int) -> int | None:
    """Return until when an invoice does not expire, for something in the inbox; None if it may."""
    standing = invoice.standing
    if invoice.due_at is None or standing.status is not Status.UNPAID or standing.seen > 0:
        return None
    until = may_have_paid_until(connection, invoice.id, now)
    return until if until is not None and until > invoice.due_at else None


# --- what was asked for ------------------------------------------------------------------------


def _asked(context: Context, invoice: Invoice, quote: Quote, now: int) -> Asked:
    return Asked(
        method=quote.method,
        address=quote.address,
        amount=context.methods.format_coin(quote.method, quote.amount_atomic),
        fiat=f"{quote.fiat} {invoice.currency}",
        rate=money.format_rate(quote.rate),
        made_at=quote.created_at,
        valid_until=_valid_until(invoice, quote),
        is_open=_is_open(invoice, quote, now),
        due=None if quote.due is None else f"{quote.due} {invoice.currency}",
    )


def _valid_until(invoice: Invoice, quote: Quote) -> int:
    """Return until when a quote is good: its lock, or what ended the invoice before that."""
    ends = [quote.lock_until, *invoice.deadlines]
    return min(ends if invoice.marked_at is None else [*ends, invoice.marked_at])


def _is_open(invoice: Invoice, quote: Quote, now: int) -> bool:
    return _is_payable(invoice, now) and _valid_until(invoice, quote) > now


def _coins(context: Context, invoice: Invoice, known: list[Quote], now: int) -> tuple[Due, ...]:
    """Return what is missing by the last quote of each method: its amount, while that is good.

    A quote that has ended is good for its rate alone, at which the rest is reckoned.
    """
    found = []
    for quote in latest(known).values():
        method = context.methods.get(quote.method)
        if method is None:
            continue
        is_open = _is_open(invoice, quote, now)
        rest = money.payable_fiat(invoice.rest, invoice.currency, quote.rate, method)
        reckoned = money.to_atomic(rest, quote.rate, method)
        coin = money.format_coin(quote.amount_atomic if is_open else reckoned, method.decimals)
        asked = quote.fiat if is_open else rest
        least = f"{asked} {invoice.currency}" if asked > invoice.rest else None
        until = _valid_until(invoice, quote)
        found.append(Due(quote.method, coin, quote.address, until, is_open, least))
    return tuple(found)


# --- what has come -----------------------------------------------------------------------------


def _seen(
    context: Context,
    invoice: Invoice,
    item: Credited,
    present: Iterable[Payment],
    worth: Mapping[int, Credit],
) -> Seen:
    """Return a payment as it is told; `present` are those that count, `worth` for what."""
    payment, credit_now = item.payment, worth.get(item.payment.id)
    how_far = progress(payment, credit_now)
    depth = max(payment.depth, 0)

    def fiat(value: Fraction | None) -> str | None:
        return None if value is None else str(money.floor_to_minor(value, invoice.currency))

    return Seen(
        payment_id=payment.id,
        method=item.method,
        txid=payment.txid,
        index=item.place,
        amount=context.methods.format_coin(item.method, payment.received_atomic),
        address=item.address,
        quoted=str(money.floor_to_minor(payment.quoted_value, invoice.currency)),
        arrival=fiat(item.arrival_worth),
        counts=fiat(credit_now.value if credit_now else None),
        progress=how_far,
        height=item.block_height,
        confirmations=min(depth, payment.depth_needed) if how_far is Progress.CONFIRMING else depth,
        needed=payment.depth_needed,
        first_seen_at=item.first_seen_at,
        is_late=credit_now is not None and credit_now.is_late,
        is_settled=credit_now is None or credit_now.is_settled,
        is_held=item.is_held,
        is_by_hand=item.is_valued,
        unknown_since=item.unknown_since if credit_now else None,
        replaced_by=None if credit_now else _find_rival(payment, present),
    )


def _find_rival(lost: Payment, present: Iterable[Payment]) -> str | None:
    """Return the transaction that counts and spends what a lost payment spends."""
    rivals = (each.txid for each in present if not each.spends.isdisjoint(lost.spends))
    return next(rivals, None)


def _uncredited(
    connection: Connection, context: Context, invoice: Invoice, known: list[Quote]
) -> tuple[Uncredited, ...]:
    """Return what came to the invoice's addresses and may be meant for it.

    At an address of its own that is anything; at one that is shared, what nearly fits its amount,
    and at the one that it names also what came before any amount was asked for there.
    """
    by_place: dict[int, list[Quote]] = {}
    for quote in known:
        by_place.setdefault(quote.destination_id, []).append(quote)
    named = _named_place(connection, context, invoice)
    if named is not None:
        by_place.setdefault(named, [])
    return tuple(
        Uncredited(
            inbox_id=found.inbox_id or 0,
            method=found.method,
            txid=found.txid,
            amount=context.methods.format_coin(found.method, found.amount_atomic),
            address=found.address,
            height=found.block_height,
            reason=found.reason or "",
        )
        for destination_id, asked in by_place.items()
        for found in transfers.list_waiting(
            connection, destination_id, _meant_since(invoice, asked), _UNCREDITED_READ
        )
        if any(_may_mean(quote, found) for quote in asked)
        or (destination_id == named and _is_before(asked, found))
    )


def _named_place(connection: Connection, context: Context, invoice: Invoice) -> int | None:
    """Return the destination of the address that an invoice names, None where it names none."""
    methods = offered(connection, context, invoice) if invoice.wallet_address else ()
    if invoice.wallet_address is None or invoice.mode is Mode.TEST or not methods:
        return None
    key = context.methods.chain_of(methods[0]).parse_address(invoice.wallet_address).key
    destination = quotes.find_destination(connection, key)
    return destination.id if destination else None


def _meant_since(invoice: Invoice, asked: Sequence[Quote]) -> int:
    """Return since when what came to a destination may be meant for what was asked there."""
    is_own = bool(asked) and asked[0].kind is matching.Kind.EXCLUSIVE
    return 0 if is_own else invoice.created_at


def _is_before(asked: Sequence[Quote], found: Found) -> bool:
    return all(found.first_seen_at <= quote.created_at for quote in asked)


def _may_mean(quote: Quote, found: Found) -> bool:
    if quote.kind is matching.Kind.EXCLUSIVE:
        return True
    is_after = quote.created_at < found.first_seen_at
    is_near = matching.is_likely(quote.amount_atomic, found.amount_atomic)
    return is_after and quote.method == found.method and is_near


def _network(context: Context, name: str, state: loops.ChainState | None, now: int) -> Network:
    chain = context.methods.chains.get(name)
    if chain is None or state is None:
        network = chain.network if chain else None
        is_retired = network is None and state is not None and state.retired_at is not None
        return Network(name, network, None, None, None, None, is_seen=False, is_retired=is_retired)
    return Network(
        name=name,
        network=chain.network,
        height=state.cursor.height if state.cursor else None,
        node_height=state.node_height,
        watched_at=state.watched_at,
        trouble=state.trouble,
        is_seen=state.is_seen(now),
    )
