"""The inbox in a merchant's hands: what lies there and why, and moving it by hand.

Matching runs once per transfer; after that only these functions move it. Each is one transaction:
the move, a row of the audit, and the assessment of the invoice that it touches.
"""

from dataclasses import dataclass
from fractions import Fraction

from counterfoil.core import events, matching, money
from counterfoil.core import inbox as core_inbox
from counterfoil.core import payment as core_payment
from counterfoil.core.errors import ConflictError, InvalidError, NotFoundError, Problem
from counterfoil.core.payment import LateMoney
from counterfoil.db import inbox, invoices, loops, payments, quotes
from counterfoil.db.audit import Deed
from counterfoil.db.engine import Connection
from counterfoil.db.inbox import Item
from counterfoil.db.invoices import Invoice
from counterfoil.db.payments import Credited
from counterfoil.db.strays import Stray
from counterfoil.services.audit import Actor, record
from counterfoil.services.context import Context
from counterfoil.services.crediting import Came, NewCredit, Price, credit_all
from counterfoil.services.payments import reassess, reassess_all
from counterfoil.services.strays import list_meant


@dataclass(frozen=True, slots=True)
class Listed:
    """A transfer in the inbox, its confirmations, and the invoices that it may belong to."""

    item: Item
    confirmations: int
    candidates: tuple[core_inbox.Candidate, ...]


async def list_page(
    context: Context, who: Actor, *, is_ignored: bool, after: int | None, limit: int
) -> tuple[list[Listed], int | None]:
    """Return a page of the inbox, the newest first, and the id to go on after if there are more."""

    def read(connection: Connection) -> tuple[list[Listed], int | None]:
        found = inbox.list_page(
            connection,
            who.merchant_id,
            who.mode,
            is_ignored=is_ignored,
            after=after,
            limit=limit + 1,
        )
        states = loops.list_chains(connection, sorted({item.chain for item in found}))
        heights = {state.name: state.height for state in states}
        page = [_listed(connection, context, who, item, heights) for item in found[:limit]]
        return page, page[-1].item.id if len(found) > limit else None

    return await context.store.read(read)


def _listed(
    connection: Connection, context: Context, who: Actor, item: Item, heights: dict[str, int]
) -> Listed:
    method = context.methods.get(item.method)
    found = core_inbox.Found(
        method=item.method,
        amount_atomic=item.amount_atomic,
        # They only turn coin into fiat, and without a method there are no rates below.
        decimals=method.decimals if method else 0,
        destination_id=item.destination_id,
        is_exclusive=item.kind is matching.Kind.EXCLUSIVE,
        arrived_at=item.first_seen_at,
        rates={each: rate.price for each, rate in item.rates.items()} if method else {},
    )
    asked = inbox.list_asked(connection, who.merchant_id, who.mode, item)
    depth = 0
    if item.block_height is not None:
        depth = max(heights.get(item.chain, 0) - item.block_height + 1, 0)
    unasked = inbox.list_unasked(connection, who.merchant_id, who.mode, item)
    return Listed(item, depth, core_inbox.rank(found, asked, unasked))


def describe(context: Context, listed: Listed) -> dict[str, object]:
    """Return a transfer in the inbox as the API and the command line show it."""
    item = listed.item
    return {
        "id": item.id,
        "method": item.method,
        "txid": item.txid,
        "index": item.place,
        "amount": context.methods.format_coin(item.method, item.amount_atomic),
        "address": item.address,
        "confirmations": listed.confirmations,
        "state": _state(item),
        "reason": item.reason.value,
        "message": core_inbox.WHY[item.reason],
        "first_seen_at": events.iso(item.first_seen_at),
        "created_at": events.iso(item.created_at),
        "ignored_at": None if item.ignored_at is None else events.iso(item.ignored_at),
        "candidates": [
            {"invoice_id": each.invoice_id, "reason": each.reason} for each in listed.candidates
        ],
    }


def _state(item: Item) -> str:
    if item.gone_at is not None:
        return "gone"
    return "seen" if item.block_height is None else "mined"


async def attach(
    context: Context, who: Actor, item_id: int, invoice_id: int, value: str | None, now: int
) -> tuple[Invoice, Credited]:
    """Credit a transfer of the inbox to an invoice; return the invoice and the new payment.

    It is worth what its quote says, by the rules for every payment; without a quote, what it was
    worth when it came. `value` says it instead, in the invoice's currency. Raises NotFoundError,
    ConflictError (`method_off`), and InvalidError (`unknown_invoice`, `value_needed`,
    `invalid_amount`).
    """

    def write(connection: Connection) -> tuple[Invoice, Credited]:
        meant = _list_meant(connection, inbox.find(connection, item_id, who.merchant_id, who.mode))
        # The invoices first, in their order: so everybody locks.
        is_known = invoices.get(connection, invoice_id, who.merchant_id, who.mode) is not None
        locked = invoices.lock_all(connection, sorted({*meant, *([invoice_id] * is_known)}))
        invoice = next((each for each in locked if is_known and each.id == invoice_id), None)
        item = inbox.take(connection, item_id, who.merchant_id, who.mode)
        if item is None:
            raise not_in_inbox()
        if invoice is None:
            message = "invoice_id names no invoice of this merchant."
            raise InvalidError(Problem("invoice_id", "unknown_invoice", message))
        invoices.touch(connection, *meant)
        method = context.methods.get(item.method)
        if method is None:
            message = f"{item.method} is switched off on this server; switch it on first."
            raise ConflictError("method_off", message)
        came = Came(
            item.transfer_id,
            method,
            item.amount_atomic,
            item.first_seen_at,
            item.rates.get(invoice.currency),
        )
        price = _price(connection, invoice, came, value)
        new = NewCredit(who.merchant_id, invoice.id, invoice.amount, came, price, LateMoney.ACCEPT)
        payment_id = credit_all(connection, context, [new], now)[item.transfer_id]
        details = {} if value is None else {"fiat_value": value}
        deed = Deed("attach", invoice.id, payment_id, item.transfer_id, details)
        record(connection, who, deed, now)
        reassess(connection, context, invoice.id, now)
        # What the chain's watcher is writing just now is not seen here: it looks once more.
        invoices.mark_due_reassess(connection, [invoice.id], item.chain)
        known = payments.list_credited(connection, invoice.id)
        made = next(each for each in known if each.payment.id == payment_id)
        if not core_payment.credit(made.payment, invoice.deadlines).is_settled:
            # Late and without a rate it would be seen for ever and never be final.
            raise _value_needed(invoice)
        return invoices.lock(connection, invoice.id), made

    done = await context.store.write(write)
    context.wake_tellers()
    return done


def _price(connection: Connection, invoice: Invoice, came: Came, value: str | None) -> Price:
    """Return the price of a transfer: the typed one, its quote's, or that of when it came."""
    if value is not None:
        worth = Fraction(money.parse_fiat(value, invoice.currency, "fiat_value"))
        return Price(worth / came.amount_atomic, None)
    known = {quote.id: quote for quote in quotes.list_of_invoice(connection, invoice.id)}
    asked = [
        matching.AskedQuote(
            each.id, each.method, each.amount_atomic, each.tag, each.created_at, None
        )
        for each in known.values()
    ]
    method_id = came.method.id
    quote_id = matching.price_of(asked, method_id, came.amount_atomic, came.arrived_at)
    if quote_id is not None:
        paid = known[quote_id]
        return Price.quoted(paid.id, paid.fiat, paid.amount_atomic)
    if came.worth is None:
        raise _value_needed(invoice)
    return Price(came.worth.value / came.amount_atomic, None)


def _value_needed(invoice: Invoice) -> InvalidError:
    message = (
        f"Nobody knows what this was worth in {invoice.currency} when it came: say it with "
        "fiat_value."
    )
    return InvalidError(Problem("fiat_value", "value_needed", message))


async def ignore(context: Context, who: Actor, item_id: int, now: int) -> None:
    """Set a transfer aside; again does nothing. It may still be credited. Raises NotFoundError.

    What is overdue and waited for it alone expires.
    """

    def write(connection: Connection) -> None:
        item = inbox.find(connection, item_id, who.merchant_id, who.mode)
        if item is None:
            raise not_in_inbox()
        if item.ignored_at is not None:
            return
        meant = _list_meant(connection, item)
        locked = invoices.lock_all(connection, meant)
        if inbox.ignore(connection, item_id, now):
            invoices.touch(connection, *meant)
            record(connection, who, Deed("ignore", transfer_id=item.transfer_id), now)
            overdue = [each.id for each in locked if each.is_overdue(now)]
            reassess_all(connection, context, overdue, now)

    await context.store.write(write)
    context.wake_tellers()


def _list_meant(connection: Connection, item: Item | None) -> list[int]:
    """Return the invoices whose pages ask whether a transfer was paid for them."""
    if item is None or item.reason is not matching.Reason.NO_EXACT_AMOUNT:
        return []
    place = (item.destination_id, item.method, item.amount_atomic)
    return list_meant(connection, [Stray(*place, item.first_seen_at)])


async def detach(context: Context, who: Actor, payment_id: int, now: int) -> tuple[Invoice, int]:
    """Take a payment off its invoice; return the invoice, and the transfer's id in the inbox.

    Credited again it is another payment, with an id of its own. Raises NotFoundError.
    """

    def write(connection: Connection) -> tuple[Invoice, int]:
        invoice_id = inbox.find_invoice_of(connection, payment_id, who.merchant_id, who.mode)
        if invoice_id is None:
            raise no_payment()
        invoice = invoices.lock(connection, invoice_id)
        taken = inbox.detach(connection, payment_id, now)
        if taken is None:
            raise no_payment()
        transfer_id, rate = taken
        rates = inbox.get_rates(connection, transfer_id)
        if rate is not None:
            rates[invoice.currency] = rate
        reason = matching.Reason.DETACHED
        item = inbox.NewItem(who.merchant_id, who.mode, transfer_id, reason, rates)
        item_id = inbox.insert_all(connection, [item], now)[transfer_id]
        record(connection, who, Deed("detach", invoice_id, payment_id, transfer_id), now)
        if not reassess(connection, context, invoice_id, now, taken_id=payment_id):
            # It had counted for nothing, but the page has shown it.
            invoices.touch(connection, invoice_id)
        # A watcher may be writing down just now what the invoice should wait for.
        asked = quotes.list_of_invoice(connection, invoice_id)
        for chain in sorted({each.chain for each in asked}):
            invoices.mark_due_reassess(connection, [invoice_id], chain)
        return invoices.lock(connection, invoice_id), item_id

    done = await context.store.write(write)
    context.wake_tellers()
    return done


def not_in_inbox() -> NotFoundError:
    """Return the one answer to an unknown id, to somebody else's, and to what was credited."""
    message = "There is no such transfer in the inbox; it may have been credited meanwhile."
    return NotFoundError("not_found", message)


def no_payment() -> NotFoundError:
    """Return the one answer to an unknown id, to somebody else's, and to what was taken off."""
    return NotFoundError("not_found", "There is no such payment; it may have been detached.")
