"""Faults that payment servers really have, to be planted: a world that finds none is no proof."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from counterfoil.core import invoice as core_invoice
from counterfoil.core import matching
from counterfoil.core.events import EventID
from counterfoil.core.payment import Payment
from counterfoil.core.ports import Block
from counterfoil.db import deliveries, invoices, loops, outbox, payments, quotes, transactions
from counterfoil.db.schema import chain_transaction, delivery, invoice, payment, quote, transfer
from counterfoil.services import branches, observations, watching


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Put `value` in the place of an attribute for a while."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def cursor_moved_before_commit() -> Iterator[None]:
    """The cursor is saved first, and what the block holds afterwards."""

    async def write_header_first(watch: watching.Watch, block: Block, now: int) -> None:
        await watch._write(lambda c: loops.add_header(c, watch.chain.name, block))
        with _replaced(loops, "add_header", lambda *_: None):
            await watch._write(
                lambda c: observations.record_block(c, watch.context, watch.chain, block, {}, now)
            )

    with _replaced(watching.Watch, "_record_block", write_header_first):
        yield


@contextmanager
def matched_by_txid() -> Iterator[None]:
    """A transaction is credited once, however many invoices its outputs pay."""
    original = transactions.insert_transfers

    def insert_first(connection: Any, seen: Iterable[tuple[int, Any, int]]) -> Any:
        first: dict[int, tuple[int, Any, int]] = {}
        for each in seen:
            first.setdefault(each[0], each)
        known = sa.select(transfer.c.transaction_id).where(transfer.c.transaction_id.in_(first))
        for transaction_id in connection.execute(known).scalars():
            first.pop(transaction_id, None)
        return original(connection, first.values()) if first else {}

    with _replaced(transactions, "insert_transfers", insert_first):
        yield


@contextmanager
def event_written_after_commit() -> Iterator[None]:
    """The status is committed, and the event of it in a transaction that may never come."""
    waiting: list[tuple[Any, ...]] = []
    original_append, original_drain = outbox.append_all, watching.Watch.drain

    def keep(_: Any, *arguments: Any) -> list[outbox.Place]:
        waiting.append(arguments)
        return [outbox.Place(EventID(0, 0), 0) for _ in arguments[0]]

    async def drain(watch: watching.Watch, now: int) -> None:
        waiting.clear()
        await original_drain(watch, now)
        for new, at in waiting.copy():
            await watch._write(lambda c, n=new, a=at: original_append(c, n, a))  # type: ignore[misc]  # mypy cannot infer such a lambda
        waiting.clear()

    with (
        _replaced(outbox, "append_all", keep),
        _replaced(watching.Watch, "drain", drain),
    ):
        yield


@contextmanager
def height_only_cursor() -> Iterator[None]:
    """The next block is the one at the next height, whatever it is built on."""

    async def at_height(watch: watching.Watch, cursor: loops.Cursor) -> Block | None:
        next_hash = await watch.chain.block_hash(cursor.height + 1)
        return None if next_hash is None else await watch.chain.block(next_hash)

    async def never(watch: watching.Watch, cursor: loops.Cursor) -> bool:
        return True

    with (
        _replaced(watching.Watch, "_next_block", at_height),
        _replaced(watching.Watch, "_is_on_chain", never),
    ):
        yield


@contextmanager
def retry_dropped_at_restart() -> Iterator[None]:
    """A delivery is taken from the list when it is begun, not when it has been heard."""
    original = deliveries.claim_due

    def claim(connection: Any, *arguments: Any) -> list[deliveries.Delivery]:
        claimed = original(connection, *arguments)
        ids = [each.id for each in claimed]
        connection.execute(
            sa.update(delivery).where(delivery.c.id.in_(ids)).values(state=deliveries.DELIVERED)
        )
        return claimed

    with _replaced(deliveries, "claim_due", claim):
        yield


@contextmanager
def final_for_ever() -> Iterator[None]:
    """A payment that was final once is never looked at again when it grows deep again."""

    def list_new(connection: sa.Connection, chain: str, height: int) -> set[int]:
        statement = (
            sa.select(payment.c.invoice_id)
            .join(transfer, transfer.c.id == payment.c.transfer_id)
            .join(chain_transaction, chain_transaction.c.id == transfer.c.transaction_id)
            .where(
                payment.c.final_at.is_(None),
                chain_transaction.c.block_height + payment.c.depth_needed - 1 <= height,
            )
        )
        return set(connection.execute(statement).scalars())

    with _replaced(payments, "list_ripe", list_new):
        yield


@contextmanager
def lowest_tag_reused_at_expiry() -> Iterator[None]:
    """The lowest free amount is given out, and it is free as soon as its price has ended."""

    def lowest(
        price_atomic: int,
        step_atomic: int,
        kept: int | None,
        known_of: Callable[[Collection[int]], matching.Known],
        below: Callable[[int], int],
    ) -> int | None:
        allowed = matching.amounts(price_atomic, step_atomic)[:200]
        taken = known_of(allowed).taken
        return next((amount for amount in allowed if amount not in taken), None)

    with _replaced(matching, "pick_amount", lowest), _replaced(matching, "QUARANTINE_MS", 0):
        yield


@contextmanager
def expiry_without_looking() -> Iterator[None]:
    """An invoice expires when its time is over, whether anybody could see its chain or not."""

    def is_over(facts: core_invoice.Facts, now: int) -> bool:
        return facts.due_at is not None and now >= facts.due_at

    def list_due(connection: sa.Connection, now: int, after: int, limit: int) -> list[int]:
        due = sa.select(invoice.c.id).where(
            invoice.c.status == core_invoice.Status.UNPAID.value,
            invoice.c.due_at <= now,
            invoice.c.id > after,
        )
        return list(connection.execute(due.order_by(invoice.c.id).limit(limit)).scalars())

    with _replaced(core_invoice, "_is_over", is_over), _replaced(invoices, "list_due", list_due):
        yield


@contextmanager
def float_in_an_amount() -> Iterator[None]:
    """What a payment is worth is reckoned in binary fractions."""

    def worth(paid: Payment) -> Fraction:
        return Fraction(float(paid.quoted_fiat) * paid.received_atomic / paid.quoted_atomic)

    with _replaced(Payment, "quoted_value", property(worth)):
        yield


@contextmanager
def lease_without_fencing() -> Iterator[None]:
    """Whoever once had the lease writes, however long they have slept."""
    with _replaced(loops, "holds_lease", lambda *_: True):
        yield


@contextmanager
def late_payment_ignored() -> Iterator[None]:
    """Nobody looks any more at what comes to the address of an invoice that has ended."""
    original = quotes.match_destinations

    def match_open(connection: sa.Connection, keys: Collection[bytes]) -> Any:
        ended = (core_invoice.Status.EXPIRED.value, core_invoice.Status.CANCELLED.value)
        statement = (
            sa.select(quote.c.destination_id)
            .join(invoice, invoice.c.id == quote.c.invoice_id)
            .where(invoice.c.status.not_in(ended))
        )
        still_open = set(connection.execute(statement).scalars())
        found = original(connection, keys)
        return {key: owner for key, owner in found.items() if owner.id in still_open}

    with _replaced(quotes, "match_destinations", match_open):
        yield


@contextmanager
def raised_fee_is_late() -> Iterator[None]:
    """A payment comes when its last transaction does, whatever that takes the place of."""
    with _replaced(observations, "_find_replaced", lambda *_: {}):
        yield


@contextmanager
def walk_back_told_first() -> Iterator[None]:
    """The blocks that were left are taken back and told of, and only then the others are read."""

    async def go_back(watch: watching.Watch, cursor: loops.Cursor, now: int) -> bool:
        ancestor = await branches.common_ancestor(watch.context.store, watch.chain, cursor)
        if ancestor is None:
            return False
        name = watch.chain.name

        def cut(connection: sa.Connection) -> None:
            touched = transactions.unconfirm_above(connection, name, ancestor.height)
            loops.cut_headers(connection, name, ancestor.height)
            due = payments.list_invoices_of(connection, touched)
            invoices.mark_due_reassess(connection, sorted(due), name)

        await watch._write(cut)
        return True

    with _replaced(watching.Watch, "_go_back", go_back):
        yield


@contextmanager
def price_ends_before_its_payment() -> Iterator[None]:
    """A price ends by a clock that was set back, before the time at which it was paid."""

    def shorten(connection: sa.Connection, quote_ids: Collection[int], until: int) -> None:
        longer = sa.and_(quote.c.id.in_(quote_ids), quote.c.lock_until > until)
        connection.execute(sa.update(quote).where(longer).values(lock_until=until))

    with _replaced(quotes, "shorten_locks", shorten):
        yield


@contextmanager
def watched_ahead_of_the_clock() -> Iterator[None]:
    """After the clock was set back a chain counts as watched at times that are still to come."""
    original = loops.save_watched

    def save_the_latest(connection: Any, name: str, until: int, gap_max_ms: int) -> None:
        (state,) = loops.list_chains(connection, [name])
        original(connection, name, max(until, state.watched_at or 0), gap_max_ms)

    with (
        _replaced(loops, "clamp_watched", lambda *_: None),
        _replaced(loops, "save_watched", save_the_latest),
    ):
        yield


@contextmanager
def reassess_without_row_lock(*engines: sa.Engine) -> Iterator[None]:
    """An invoice is read, reckoned and written, and nobody else is kept from doing the same."""

    def unlocked(*arguments: Any) -> tuple[str, Any]:
        _, _, statement, parameters, _, _ = arguments
        if "FROM invoice" in statement:
            statement = statement.replace(" FOR NO KEY UPDATE", "")
        return statement, parameters

    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", unlocked, retval=True)
    try:
        yield
    finally:
        for engine in engines:
            sa.event.remove(engine, "before_cursor_execute", unlocked)
