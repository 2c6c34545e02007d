"""How the payer's view of an invoice is made from what is stored; nothing here writes."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from counterfoil.core import money
from counterfoil.core.currencies import MINOR_DIGITS
from counterfoil.core.invoice import Condition, Status
from counterfoil.core.payment import Credit, counted, credit, progress
from counterfoil.core.ports import Method, Mode
from counterfoil.db import invoices, loops, merchants, payments, quotes
from counterfoil.db.engine import Connection
from counterfoil.db.invoices import Invoice
from counterfoil.db.payments import Credited
from counterfoil.db.quotes import Quote
from counterfoil.services.checkout_view import (
    PAYABLE,
    Basis,
    Look,
    Note,
    Offer,
    Payment,
    Price,
    State,
    Unseen,
    View,
)
from counterfoil.services.context import Context
from counterfoil.services.invoices import not_found
from counterfoil.services.quotes import offered
from counterfoil.services.strays import may_have_paid_until

# In the last two minutes of a price the page offers a fresh one: nobody must hurry.
ENDING_MS = 2 * 60_000
# A rate is shown with so many digits that tell, and no fewer than its currency has.
_RATE_DIGITS = 6


def find(connection: Connection, share_token: str) -> Invoice:
    """Return the invoice that a share token opens; raises NotFoundError."""
    found = invoices.by_share_token(connection, share_token)
    if found is None:
        raise not_found()
    return found


@dataclass(frozen=True, slots=True)
class _Facts:
    """All that is read of an invoice for its page; `latest` is the quote that was made last."""

    invoice: Invoice
    merchant: str
    methods: tuple[Method, ...]
    quotes: Sequence[Quote]
    latest: Quote | None
    credited: Sequence[Credited]
    credits: Mapping[int, Credit]
    chains: Mapping[str, loops.ChainState]
    may_have_paid_until: int | None

    @property
    def waiting(self) -> list[Credited]:
        """The payments that count and are not as deep as they must be."""
        return [i for i in self.credited if i.payment.id in self.credits and not i.payment.is_deep]


def _gather(connection: Connection, context: Context, share_token: str, now: int) -> _Facts:
    invoice = find(connection, share_token)
    states = loops.list_chains(connection, list(context.methods.chains))
    credited = payments.list_credited(connection, invoice.id)
    known = quotes.list_of_invoice(connection, invoice.id)
    methods = offered(connection, context, invoice)
    # A price that was shown stays until it ends, also where its wallet has been removed since.
    usable = [
        quote
        for quote in known
        if (method := context.methods.get(quote.method)) in methods
        or (method is not None and quote.lock_until > now)
    ]
    return _Facts(
        invoice=invoice,
        merchant=merchants.get(connection, invoice.merchant_id).name,
        methods=methods,
        quotes=known,
        latest=usable[-1] if usable else None,
        credited=credited,
        credits={
            p.id: credit(p, invoice.deadlines) for p in counted([i.payment for i in credited])
        },
        chains={state.name: state for state in states},
        may_have_paid_until=may_have_paid_until(connection, invoice.id, now),
    )


def look(
    connection: Connection, context: Context, share_token: str, problem: str | None, now: int
) -> Look:
    """Return the page of an invoice; `problem` is the code of why it cannot be paid just now."""
    facts = _gather(connection, context, share_token, now)
    invoice, seen = facts.invoice, facts.invoice.standing.seen
    state = _state(facts, now)
    price = _price(context, facts, state, now)
    basis = _basis(facts, state, now)
    notes = _notes(facts, state)
    confirmations, needed, wait_s = _depth(context, facts)
    is_short = state in (State.PARTIAL, State.OVERDUE, State.CANCELLED) and seen > 0
    made = View(
        share_token=invoice.share_token,
        rev=invoice.rev,
        version=_version(basis, state, notes, price),
        state=state,
        notes=notes,
        amount=str(invoice.amount),
        currency=invoice.currency,
        merchant=facts.merchant,
        title=invoice.title,
        message=invoice.message,
        offers=tuple(_offer(method) for method in facts.methods) if state in PAYABLE else (),
        chosen=_chosen(context, facts),
        price=price,
        payments=tuple(_payment(context, facts, item) for item in facts.credited),
        received=str(money.floor_to_minor(seen, invoice.currency)) if is_short else None,
        due=str(invoice.rest) if is_short else None,
        excess=_excess(invoice),
        confirmations=confirmations,
        needed=needed,
        wait_s=wait_s,
        unseen=_unseen(facts, basis),
        problem=problem,
        due_at=invoice.due_at,
        paid_at=invoice.paid_at,
        is_test=invoice.mode is Mode.TEST,
        redirect_url=_redirect_url(invoice),
    )
    return Look(made, basis)


def _state(facts: _Facts, now: int) -> State:
    """Return what the page is about; the first that holds."""
    invoice, latest = facts.invoice, facts.latest
    match invoice.standing.status:
        case Status.PAID:
            return State.PAID
        case Status.EXPIRED:
            return State.EXPIRED
        case Status.CANCELLED:
            return State.CANCELLED
        case Status.CONFIRMING:
            is_mined = any(item.payment.is_mined for item in facts.waiting)
            return State.CONFIRMING if is_mined or not facts.waiting else State.SEEN
    if invoice.is_overdue(now):
        return State.OVERDUE
    if invoice.standing.seen > 0:
        return State.PARTIAL
    if latest is None:
        return State.CHOOSE
    return State.OPEN if latest.lock_until > now else State.ENDED


def _notes(facts: _Facts, state: State) -> tuple[Note, ...]:
    conditions = facts.invoice.standing.conditions
    worth = facts.credits.values()
    is_settled = state in (State.PAID, State.EXPIRED, State.CANCELLED)
    is_reversed = Condition.REVERSED in conditions
    holds = {
        Note.OVERPAID: Condition.OVERPAID in conditions,
        Note.LATE: Condition.PAID_LATE in conditions or any(c.is_late for c in worth),
        Note.REVIEW: state is not State.PAID and any(not c.is_settled for c in worth),
        Note.FAILED: not is_settled and not is_reversed and len(worth) < len(facts.credited),
        Note.REVERSED: is_reversed,
        Note.MARKED: Condition.MARKED in conditions,
        Note.STRAY: state in PAYABLE and facts.may_have_paid_until is not None,
    }
    return tuple(note for note in Note if holds[note])


def _offer(method: Method) -> Offer:
    return Offer(method.id, method.symbol, method.name, method.chain.capitalize())


def _chosen(context: Context, facts: _Facts) -> Offer | None:
    method = context.methods.get(facts.latest.method) if facts.latest else None
    return _offer(method) if method else None


def _price(context: Context, facts: _Facts, state: State, now: int) -> Price | None:
    """Return what to pay now: nothing while there is nothing to pay, or the price has ended."""
    latest = facts.latest
    if state not in (State.OPEN, State.PARTIAL) or latest is None or latest.lock_until <= now:
        return None
    method = context.methods.get(latest.method)
    if method is None:
        return None
    chain = context.methods.chain_of(method)
    currency = facts.invoice.currency
    return Price(
        offer=_offer(method),
        address=latest.address,
        amount=money.format_coin(latest.amount_atomic, method.decimals),
        fiat=str(latest.fiat),
        is_least=latest.due is not None,
        rate=f"1 {method.symbol} = {_rate(Fraction(latest.rate), currency)} {currency}",
        link=chain.payment_link(method, latest.address, latest.amount_atomic),
        lock_until=latest.lock_until,
        is_ending=latest.lock_until - now <= ENDING_MS,
    )


def _rate(rate: Fraction, currency: str) -> str:
    """Return a rate for people: six digits that tell, and the decimals of its currency at least."""
    least = MINOR_DIGITS[currency]
    places = least
    while rate * 10**places < 10 ** (_RATE_DIGITS - 1):
        places += 1
    digits = f"{round(rate * 10**places):0{places + 1}d}"
    if not places:
        return digits
    whole, part = digits[:-places], digits[-places:]
    part = part.rstrip("0").ljust(least, "0")
    return f"{whole}.{part}" if part else whole


def _payment(context: Context, facts: _Facts, item: Credited) -> Payment:
    method = context.methods.get(item.method)
    payment, worth = item.payment, facts.credits.get(item.payment.id)
    chain = context.methods.chains.get(item.chain)
    return Payment(
        symbol=method.symbol if method else item.method,
        amount=context.methods.format_coin(item.method, payment.received_atomic),
        txid=payment.txid,
        explorer=chain.explorer_link(payment.txid) if chain else None,
        progress=progress(payment, worth),
        confirmations=_confirmed(item),
        needed=payment.depth_needed,
        is_late=worth is not None and worth.is_late,
    )


def _confirmed(item: Credited) -> int:
    """Return the confirmations that a payment has of those that it needs."""
    return min(max(item.payment.depth, 0), item.payment.depth_needed)


def _depth(context: Context, facts: _Facts) -> tuple[int, int, int | None]:
    """Return (confirmations, of how many, usual time to go) of the payment with most to go."""
    if not facts.waiting:
        return (0, 0, None)
    slowest = max(facts.waiting, key=lambda item: item.payment.depth_needed - _confirmed(item))
    needed, has = slowest.payment.depth_needed, _confirmed(slowest)
    chain = context.methods.chains.get(slowest.chain)
    interval_s = chain.block_interval_s if chain else None
    return (has, needed, None if interval_s is None else interval_s * (needed - has))


def _excess(invoice: Invoice) -> str | None:
    """Return how much too much was paid, if that can be said in the invoice's currency."""
    over = invoice.standing.final - Fraction(invoice.amount)
    if Condition.OVERPAID not in invoice.standing.conditions or over <= 0:
        return None
    return str(money.floor_to_minor(over, invoice.currency))


def _redirect_url(invoice: Invoice) -> str | None:
    """Return the way back to the shop, for an invoice that is paid."""
    url = invoice.redirect_url
    is_safe = url is not None and url.lower().startswith("https://")
    return url if is_safe and invoice.standing.status is Status.PAID else None


def _basis(facts: _Facts, state: State, now: int) -> Basis:
    """Return what the view depends on besides the invoice itself."""
    waiting = {item.chain for item in facts.waiting}
    concerned = set(waiting)
    if state in PAYABLE or state is State.OVERDUE:
        concerned |= {quote.chain for quote in facts.quotes}
    if state is State.CHOOSE:
        concerned |= {method.chain for method in facts.methods}
    chains = facts.chains
    changes = [facts.invoice.due_at, facts.may_have_paid_until] if state in PAYABLE else []
    if state in (State.OPEN, State.PARTIAL) and facts.latest is not None:
        changes += [facts.latest.lock_until - ENDING_MS, facts.latest.lock_until]
    return Basis(
        invoice_id=facts.invoice.id,
        rev=facts.invoice.rev,
        until=min((at for at in changes if at is not None and at > now), default=None),
        heights=tuple(sorted((name, chains[name].height) for name in waiting & chains.keys())),
        sights=tuple(sorted((n, chains[n].is_seen(now)) for n in concerned & chains.keys())),
    )


def _unseen(facts: _Facts, basis: Basis) -> tuple[Unseen, ...]:
    return tuple(
        Unseen(name.capitalize(), facts.chains[name].watched_at)
        for name, is_seen in basis.sights
        if not is_seen
    )


def _version(basis: Basis, state: State, notes: Sequence[Note], price: Price | None) -> str:
    """Return a short name for what is shown: the revision, and a digest of all the rest."""
    is_ending = price is None or price.is_ending
    rest = (basis.heights, basis.sights, state.value, [note.value for note in notes], is_ending)
    return f"{basis.rev}-{zlib.crc32(repr(rest).encode()):08x}"
