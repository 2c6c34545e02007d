"""What the facts about an invoice mean: the one place that writes a status.

Chains, the clock and the merchant change facts; each change ends in `reassess`. It locks the
invoice, reads all its facts, asks the pure `core.invoice.assess` what they mean, and writes that
and the events of the difference in the caller's transaction.
"""

from collections.abc import Mapping
from dataclasses import replace

from counterfoil.core import events
from counterfoil.core.invoice import Assessment, Facts, Standing, Status, assess
from counterfoil.core.money import floor_to_minor, format_coin
from counterfoil.core.ports import Mode
from counterfoil.db import invoices, loops, outbox, payments, quotes
from counterfoil.db.engine import Connection
from counterfoil.db.invoices import Invoice
from counterfoil.db.payments import Credited
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
    invoice = invoices.lock(connection, invoice_id)
    states = _states(connection, invoice_id)
    heights = {name: state.cursor.height for name, state in states.items() if state.cursor}
    credited = _settle(connection, payments.list_credited(connection, invoice_id, heights), now)
    is_due = invoice.due_at is not None and invoice.due_at <= now
    waits_until = waits(connection, [invoice_id], now).get(invoice_id) if is_due else None
    assessment = assess(_facts(invoice, states, waits_until, credited, taken_id), now)
    before, after = invoice.standing, assessment.standing
    saved = replace(after, notices=events.told(before, after))
    if saved == before:
        return False
    paid_at = _paid_at(invoice, after, now)
    invoices.save_assessment(connection, invoice_id, saved, paid_at=paid_at, now=now)
    changed = replace(invoice, standing=saved, paid_at=paid_at)
    if after.seen != before.seen:
        replace_open_quotes(connection, context, changed, now)
    # Last, since it takes the merchant's lock, for which all the merchant's other invoices wait.
    _tell(connection, context, changed, before, assessment, credited, now)
    return True


def _states(connection: Connection, invoice_id: int) -> Mapping[str, loops.ChainState]:
    """Return the chains on which an amount was ever shown for an invoice."""
    shown = sorted({quote.chain for quote in quotes.list_of_invoice(connection, invoice_id)})
    return {state.name: state for state in loops.list_chains(connection, shown)}


def _settle(connection: Connection, credited: list[Credited], now: int) -> list[Credited]:
    """Record which payments are as deep as they must be for the first time."""
    ripe = {
        item.payment.id
        for item in credited
        if item.payment.is_deep and item.payment.final_at is None and item.payment.gone_at is None
    }
    if not ripe:
        return credited
    payments.set_final(connection, ripe, now)
    return [
        replace(item, payment=replace(item.payment, final_at=now))
        if item.payment.id in ripe
        else item
        for item in credited
    ]


def _facts(
    invoice: Invoice,
    states: Mapping[str, loops.ChainState],
    waits_until: int | None,
    credited: list[Credited],
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
        and all(
            state.watched_at is not None and state.watched_at > due_at for state in states.values()
        ),
        waits_until=waits_until,
        payments=tuple(item.payment for item in credited),
        taken_id=taken_id,
    )


def _paid_at(invoice: Invoice, after: Standing, now: int) -> int | None:
    if after.status is not Status.PAID:
        return None
    return now if invoice.paid_at is None else invoice.paid_at


def _tell(
    connection: Connection,
    context: Context,
    invoice: Invoice,
    before: Standing,
    assessment: Assessment,
    credited: list[Credited],
    now: int,
) -> None:
    """Write the events of a change; `invoice` is as it stands after it."""
    by_id = {item.payment.id: item for item in credited}
    conditions = invoice.standing.conditions
    for happening in events.happenings(before, assessment):
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

        outbox.append(
            connection,
            outbox.NewEvent(
                merchant_id=invoice.merchant_id,
                mode=invoice.mode,
                invoice_id=invoice.id,
                type=happening.type,
                status=happening.status,
                payment_id=happening.payment_id,
                body=body,
            ),
            now,
        )


def _describe(context: Context, invoice: Invoice, item: Credited) -> dict[str, str | None]:
    """Return what an event says of the payment behind it; money is text."""
    method = context.methods.get(item.method)
    payment = item.payment
    return {
        "coin": method.symbol if method else item.method,
        "network": item.chain,
        "txid": payment.txid,
        "amount": format_coin(payment.received_atomic, method.decimals) if method else None,
        "confirmations": str(max(payment.depth, 0)),
        "fiat_value": str(floor_to_minor(payment.quoted_value, invoice.currency)),
    }
