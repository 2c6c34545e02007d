"""Faults that payment servers really have, to be planted: a world that finds none is no proof."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from counterfoil.core import matching
from counterfoil.core.events import EventID
from counterfoil.core.ports import Block
from counterfoil.db import deliveries, loops, outbox, payments
from counterfoil.db.schema import chain_transaction, delivery, payment, transfer
from counterfoil.services import observations, watching


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
                lambda c: observations.record_block(c, watch.context, watch.chain, block, now)
            )

    with _replaced(watching.Watch, "_record_block", write_header_first):
        yield


@contextmanager
def matched_by_txid() -> Iterator[None]:
    """A transaction is credited once, however many invoices its outputs pay."""
    original = payments.insert_transfers

    def insert_first(connection: Any, seen: Iterable[tuple[int, Any, int]]) -> Any:
        first: dict[int, tuple[int, Any, int]] = {}
        for each in seen:
            first.setdefault(each[0], each)
        known = sa.select(transfer.c.transaction_id).where(transfer.c.transaction_id.in_(first))
        for transaction_id in connection.execute(known).scalars():
            first.pop(transaction_id, None)
        return original(connection, first.values()) if first else {}

    with _replaced(payments, "insert_transfers", insert_first):
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
