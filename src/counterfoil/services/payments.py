"""What the facts about an invoice mean: the one place that writes a status.

Chains, the clock and the merchant change facts; each change ends in `reassess`. It locks the
invoice, reads all its facts, asks the pure `core.invoice.assess` what they mean, and writes that
and the events of the difference in the caller's transaction.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from types import MappingProxyType

from msgspec import structs

from counterfoil.core import events
from counterfoil.core.invoice import Assessment, Facts, Standing, Status, assess
from counterfoil.core.money import floor_to_minor
from counterfoil.core.payment import credit
from counterfoil.core.ports import Mode
from counterfoil.core.quote import Rate
from counterfoil.db import invoices, loops, outbox, payments, quotes
from counterfoil.db.engine import Connection
from counterfoil.db.invoices import Invoice
from counterfoil.db.payments import Credited, Worth
from counterfoil.services import rates
from counterfoil.services.context import Context
from counterfoil.services.quotes import replace_open_quotes
from counterfoil.services.strays import waits


def reassess(
    connection: Connection,
    context: Context,
    invoice_id: int,
    now: int,
    *,
    taken_id: int | None = None,
) -> bool:
    """Save what the facts about an invoice mean now; return whether that has changed.

    Idempotent: the same facts change nothing and tell nothing, however often it is called.
    `taken_id` is the payment, or the mark, that the merchant has just taken away.
    """
    taken = {} if taken_id is None else {invoice_id: taken_id}
    return invoice_id in reassess_all(connection, context, [invoice_id], now, taken)


def reassess_all(
    connection: Connection,
    context: Context,
    invoice_ids: Sequence[int],
    now: int,
    taken: Mapping[int, int] = MappingProxyType({}),
) -> set[int]:
    """Do what `reassess` does for some invoices; return those that have changed.

    The facts of all are read at once, which takes hardly longer than reading those of one. `taken`
    are the payments and marks that were just taken away, by invoice.
    """
    changes = _changes(connection, context, invoice_ids, now, taken)
    if not changes:
        return set()
    invoices.save_assessments(connection, [change.invoice for change in changes], now)
    moved = [
        (change.invoice, change.asked)
        for change in changes
        if change.invoice.standing.seen != change.before.seen
    ]
    replace_open_quotes(connection, context, moved, now)
    # Last, since it takes the merchant's lock, for which all the merchant's other invoices wait.
    new = [event for change in changes for event in _events(context, change)]
    if new:
        outbox.append_all(connection, new, now)
    return {change.invoice.id for change in changes}


@dataclass(frozen=True, slots=True)
class _Change:
    """An invoice as it stands now, how it stood before, and what was read of it."""

    invoice: Invoice
    before: Standing
    assessment: Assessment
    asked: Sequence[quotes.Quote]
    credited: Sequence[Credited]


def _changes(
    connection: Connection,
    context: Context,
    invoice_ids: Sequence[int],
    now: int,
    taken: Mapping[int, int],
) -> list[_Change]:
    """Lock invoices, read all their facts, and return those that stand elsewhere now."""
    locked = invoices.lock_all(connection, invoice_ids)
    known = quotes.list_of_invoices(connection, invoice_ids)
    names = sorted({quote.chain for each in known.values() for quote in each})
    states = {state.name: state for state in loops.list_chains(connection, names)}
    paid_to = payments.list_deciding(connection, invoice_ids)
    credited = _settle(connection, context, locked, paid_to, now)
    due = [each.id for each in locked if each.is_overdue(now)]
    waits_until = waits(connection, due, now) if due else {}
    changes = []
    for invoice in locked:
        asked = known.get(invoice.id, [])
        shown = {quote.chain for quote in asked}
        on = [state for state in states.values() if state.name in shown]
        paid = credited.get(invoice.id, [])
        facts = _facts(invoice, on, waits_until.get(invoice.id), paid, taken.get(invoice.id))
        assessment = assess(facts, now)
        before, after = invoice.standing, assessment.standing
        saved = replace(after, notices=events.told(before, after))
        if saved != before:
            changed = structs.replace(
                invoice, standing=saved, paid_at=_paid_at(invoice, after, now)
            )
            changes.append(_Change(changed, before, assessment, asked, paid))
    return changes


def _settle(
    connection: Connection,
    context: Context,
    locked: Sequence[Invoice],
    credited: Mapping[int, list[Credited]],
    now: int,
) -> Mapping[int, list[Credited]]:
    """Record which payments are as deep as they must be for the first time, and their worth."""
    currencies = {invoice.id: invoice.currency for invoice in locked}
    rate_of = cache(partial(_rate_of, connection, context, now))
    worths: dict[int, Worth | None] = {}
    for invoice_id, items in credited.items():
        for item in items:
            payment = item.payment
            if payment.is_deep and payment.final_at is None and payment.gone_at is None:
                method = context.methods.get(item.method)
                rate = rate_of(item.method, currencies[invoice_id])
                worths[payment.id] = (
                    rates.worth_at(rate, method, payment.received_atomic) if method else None
                )
    if not worths:
        return credited
    payments.set_final(connection, worths, now)
    return {
        invoice_id: [
            replace(item, payment=replace(item.payment, final_at=now))
            if item.payment.id in worths
            else item
            for item in items
        ]
        for invoice_id, items in credited.items()
    }


def _rate_of(
    connection: Connection, context: Context, now: int, method_id: str, currency: str
) -> Rate | None:
    method = context.methods.get(method_id)
    return rates.rate_of(connection, method, currency, now) if method else None


def _facts(
    invoice: Invoice,
    states: Sequence[loops.ChainState],
    waits_until: int | None,
    credited: Sequence[Credited],
    taken_id: int | None,
) -> Facts:
    due_at = invoice.due_at
    return Facts(
        amount=invoice.amount,
        currency=invoice.currency,
        tolerance=invoice.tolerance,
        due_at=due_at,
        cancelled_at=invoice.cancelled_at,
        marked_at=invoice.marked_at,
        mark_id=invoice.mark_id,
        is_watched_past_due=due_at is not None
        and all(state.is_watched_past(due_at) for state in states),
        waits_until=waits_until,
        payments=tuple(item.payment for item in credited),
        taken_id=taken_id,
    )


def _paid_at(invoice: Invoice, after: Standing, now: int) -> int | None:
    if after.status is not Status.PAID:
        return None
    return now if invoice.paid_at is None else invoice.paid_at


def _events(context: Context, change: _Change) -> Iterator[outbox.NewEvent]:
    """Return the events of a change."""
    invoice, conditions = change.invoice, change.invoice.standing.conditions
    by_id = {item.payment.id: item for item in change.credited}
    for happening in events.happenings(change.before, change.assessment):
        cause = by_id.get(happening.payment_id) if happening.payment_id is not None else None

        def body(
            place: outbox.Place,
            happening: events.Happening = happening,
            cause: Credited | None = cause,
        ) -> bytes:
            extra: dict[str, events.Value] = {
                "id": str(place.id),
                "seq": str(place.seq),
                "created_at": events.iso(place.id.at),
                "paid_at": None if invoice.paid_at is None else events.iso(invoice.paid_at),
                "exception": conditions[0].value if conditions else None,
                "payment": None if cause is None else _describe(context, invoice, cause),
                "test": invoice.mode is Mode.TEST,
            }
            return events.body(happening, invoice.id, extra)

        yield outbox.NewEvent(
            merchant_id=invoice.merchant_id,
            mode=invoice.mode,
            invoice_id=invoice.id,
            type=happening.type,
            status=happening.status,
            payment_id=happening.payment_id,
            body=body,
        )


def _describe(context: Context, invoice: Invoice, item: Credited) -> dict[str, str | None]:
    """Return what an event says of the payment behind it; money is text."""
    method = context.methods.get(item.method)
    payment = item.payment
    worth = credit(payment, invoice.deadlines)
    return {
        "coin": method.symbol if method else item.method,
        "network": item.chain,
        "txid": payment.txid,
        "amount": context.methods.format_coin(item.method, payment.received_atomic),
        "confirmations": str(max(payment.depth, 0)),
        "fiat_value": str(floor_to_minor(worth.value, invoice.currency)),
    }
