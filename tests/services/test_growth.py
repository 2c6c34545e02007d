"""What is done each second, or for each block or page, costs no more for what lies elsewhere.

The cost is counted, not timed: steps of SQLite's machine, or rows that PostgreSQL looks at.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core import matching
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Answer, Attempt, Store
from counterfoil.db import amounts, deliveries, invoices, payments, transactions
from counterfoil.db import inbox as lying_rows
from counterfoil.db import strays as stray_rows
from counterfoil.db.quotes import Quote
from counterfoil.db.schema import (
    attempt,
    chain_transaction,
    channel,
    delivery,
    event,
    inbox,
    invoice,
    payment,
    quote,
    transfer,
)
from counterfoil.db.strays import Stray
from counterfoil.services import inbox as lying
from counterfoil.services import outbox, strays
from counterfoil.services.audit import with_key
from tests.services.shop import MINUTE, Shop, open_shop

# So many rows lie elsewhere, and so much may one look cost that reads none of them.
MANY = 3_000
FEW_STEPS = 2_000
FEW_ROWS = 100


async def cost(store: Store, read: Callable[[sa.Connection], Any]) -> tuple[int, int]:
    """Return how much a database does for `read`, and how much is little."""
    is_sqlite = store.__class__.__name__ == "Sqlite"
    count = _steps if is_sqlite else _rows
    counted = await store.write(lambda c: count(c, read))
    return counted, FEW_STEPS if is_sqlite else FEW_ROWS


def _steps(connection: sa.Connection, read: Callable[[sa.Connection], Any]) -> int:
    driver: Any = connection.connection.driver_connection
    steps = 0

    def note() -> None:
        nonlocal steps
        steps += 100

    driver.set_progress_handler(note, 100)
    try:
        read(connection)
    finally:
        driver.set_progress_handler(None, 0)
    return steps


def _rows(connection: sa.Connection, read: Callable[[sa.Connection], Any]) -> int:
    asked: list[tuple[str, Any]] = []

    def note(*arguments: Any) -> None:
        asked.append((arguments[2], arguments[3]))

    sa.event.listen(connection, "before_cursor_execute", note)
    read(connection)
    sa.event.remove(connection, "before_cursor_execute", note)
    rows = 0
    for statement, values in asked:
        explained = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values
        ).scalar_one()
        found = json.loads(explained) if isinstance(explained, str) else explained
        rows += sum(_looked_at(node) for node in _nodes(found[0]["Plan"]))
    return rows


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from _nodes(each)


def _looked_at(node: dict[str, Any]) -> int:
    removed = sum(count for name, count in node.items() if name.startswith("Rows Removed"))
    looked_at: float = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return round(looked_at)


# --- what is due at a channel -------------------------------------------------------------------


async def wait_at(shop: Shop, channel_id: int, next_at: int) -> None:
    """Let many deliveries wait at a channel, each of another invoice."""
    ours = {"merchant_id": shop.principal.merchant_id, "mode": "live", "type": "payment_detected"}
    told = [ours | {"seq": 10 + n, "at": n, "number": 0, "body": b"{}"} for n in range(MANY)]

    def write(connection: sa.Connection) -> None:
        new = sa.insert(event).returning(event.c.id)
        ids = connection.execute(new, told).scalars().all()
        common = {"channel_id": channel_id, "state": deliveries.DUE, "attempts": 0, "claim": 0}
        waiting = [
            common | {"event_id": i, "invoice_id": 1_000 + i, "next_at": next_at} for i in ids
        ]
        connection.execute(sa.insert(delivery), waiting)

    await shop.store.write(write)


@pytest.mark.parametrize("why", ["paused", "next try"])
async def test_what_waits_at_one_channel_costs_the_others_nothing(shop: Shop, why: str) -> None:
    waiting, well = await shop.listen(), await shop.listen()
    now = shop.clock.now()
    await wait_at(shop, waiting, now - 1 if why == "paused" else now + MINUTE)
    await shop.tell(await shop.order())
    if why == "paused":
        await outbox.pause(shop.store, waiting, now)
    else:
        mine = delivery.c.channel_id == waiting
        later = sa.update(delivery).where(mine).values(next_at=now + MINUTE)
        await shop.store.write(lambda c: c.execute(later))

    def claim(connection: sa.Connection) -> None:
        assert deliveries.list_waiting_channels(connection, now, now, [], 64) == [well]
        assert len(deliveries.claim_due(connection, well, now, now, 4)) == 1

    done, little = await cost(shop.store, claim)
    assert done < little


async def test_a_claim_reads_no_more_of_a_backlog_than_it_takes(shop: Shop) -> None:
    behind = await shop.listen()
    now = shop.clock.now()
    await wait_at(shop, behind, now - 1)

    def claim(connection: sa.Connection) -> None:
        assert deliveries.list_waiting_channels(connection, now, now, [], 64) == [behind]
        assert len(deliveries.claim_due(connection, behind, now, now, 4)) == 4

    done, little = await cost(shop.store, claim)
    assert done < little


async def test_idle_channels_cost_a_claim_nothing(shop: Shop) -> None:
    well = await shop.listen()
    await shop.tell(await shop.order())
    copied = [each.name for each in channel.c if each.name != "id"]
    now = shop.clock.now()

    def idle(connection: sa.Connection) -> None:
        row = connection.execute(sa.select(*(channel.c[name] for name in copied))).mappings().one()
        connection.execute(sa.insert(channel), [dict(row)] * MANY)

    await shop.store.write(idle)

    def look(connection: sa.Connection) -> None:
        assert deliveries.list_waiting_channels(connection, now, now, [], 64) == [well]

    done, little = await cost(shop.store, look)
    assert done < little


async def test_the_log_of_a_channel_reads_no_attempts_but_its_last_ones(shop: Shop) -> None:
    well = await shop.listen()
    await shop.tell(await shop.order())
    now = shop.clock.now()

    def send(connection: sa.Connection) -> list[deliveries.Delivery]:
        return deliveries.claim_due(connection, well, now, now, 4)

    (claimed,) = await shop.store.write(send)
    made = outbox.Made(claimed, Attempt(Answer.RETRY, 500, 3, "", None), jitter=0)
    await outbox.record(shop.store, [made], now)
    await shop.listen()
    await shop.tell(await shop.order())
    last_id = sa.select(sa.func.max(delivery.c.id))
    other_id = await shop.store.read(lambda c: c.execute(last_id).scalar_one())
    await shop.store.write(lambda c: copy(c, attempt, lambda _: {"delivery_id": other_id}))

    def read(connection: sa.Connection) -> None:
        *_, sent = deliveries.list_sent(connection, well, 20)
        assert (sent.attempts, sent.last_status) == (1, 500)

    done, little = await cost(shop.store, read)
    assert done < little


# --- what shared addresses hold ------------------------------------------------------------------


async def test_quotes_of_old_cost_the_sweeper_nothing(stall: Shop) -> None:
    await stall.invoice()
    await stall.store.write(lambda c: copy(c, quote, lambda n: {"lock_until": n, "tag": str(n)}))
    now = stall.clock.now()
    done, little = await cost(stall.store, lambda c: amounts.start_quarantine(c, now))
    assert done < little


# --- what becomes final in a block --------------------------------------------------------------


def copy(connection: sa.Connection, table: sa.Table, change: Callable[[int], Any]) -> list[int]:
    """Add many copies of a table's last row, each with a change, and return their ids."""
    last = connection.execute(sa.select(table).order_by(table.c.id.desc())).mappings().first()
    assert last is not None
    old = {name: value for name, value in last.items() if name != "id"}
    new = [old | change(number) for number in range(MANY)]
    ids = connection.execute(sa.insert(table).returning(table.c.id), new).scalars()
    return sorted(ids)


async def test_what_is_gone_costs_a_look_nothing(shop: Shop) -> None:
    """Whoever raises a fee again and again leaves thousands."""
    quote = await shop.quote(await shop.invoice())
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    await shop.store.write(
        lambda c: copy(c, chain_transaction, lambda n: {"txid": f"{n:064x}", "gone_at": 1})
    )

    def look(connection: sa.Connection) -> None:
        assert len(transactions.list_pending(connection, shop.chain.name)) == 1

    done, little = await cost(shop.store, look)
    assert done < little


async def test_payments_of_old_cost_a_block_nothing(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine()
    await shop.look()
    ripe_at = chain_transaction.c.block_height + payment.c.depth_needed - 1
    joined = transfer.join(chain_transaction).join(payment, payment.c.transfer_id == transfer.c.id)
    one = sa.select(ripe_at).select_from(joined)
    height = await shop.store.read(lambda c: c.execute(one).scalar_one())

    def grow_old(connection: sa.Connection) -> None:
        txs = copy(
            connection, chain_transaction, lambda n: {"txid": f"{n}", "block_height": -10_000 - n}
        )
        transfers = copy(connection, transfer, lambda n: {"transaction_id": txs[n]})
        copy(connection, payment, lambda n: {"transfer_id": transfers[n], "final_at": 1})
        if connection.dialect.name == "postgresql":
            # Which without statistics reads all transfers once, as soon as a handful is in a block.
            connection.exec_driver_sql("ANALYZE")

    await shop.store.write(grow_old)

    def ripe(connection: sa.Connection) -> list[set[int]]:
        heights = (height - 1, height, height + 1)
        return [payments.list_ripe(connection, shop.chain.name, each) for each in heights]

    def mine(connection: sa.Connection) -> None:
        assert ripe(connection) == [set(), {invoice.id}, {invoice.id}]

    def mine_again(connection: sa.Connection) -> None:
        assert ripe(connection) == [set(), {invoice.id}, set()], "after a reorg too, but once"

    done, little = await cost(shop.store, mine)
    assert done < little
    final = sa.update(payment).where(payment.c.final_at.is_(None)).values(final_at=1)
    await shop.store.write(lambda c: c.execute(final))
    done, little = await cost(shop.store, mine_again)
    assert done < little


# --- what is due --------------------------------------------------------------------------------


async def test_invoices_that_are_not_due_cost_the_clock_nothing(shop: Shop) -> None:
    """Neither those of old nor those that may still be paid."""
    due = await shop.invoice(due_at=shop.clock.now() + MINUTE)
    now = shop.clock.advance(2 * MINUTE)

    def grow(connection: sa.Connection) -> None:
        def of_old(number: int) -> dict[str, Any]:
            return {"share_token": f"old-{number}", "status": Status.EXPIRED.value}

        def young(number: int) -> dict[str, Any]:
            return {"share_token": f"young-{number}", "due_at": now + MINUTE}

        copy(connection, invoice, young)
        copy(connection, invoice, of_old)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE invoice")

    await shop.store.write(grow)
    await shop.look()

    def look(connection: sa.Connection) -> None:
        assert invoices.list_due(connection, now, 0, 200) == [due.id]
        assert invoices.list_due(connection, now, due.id, 200) == []

    done, little = await cost(shop.store, look)
    assert done < little


# --- strays -------------------------------------------------------------------------------------


async def send_dust(stall: Shop, sent_atomic: Callable[[int], int], age_ms: int = 0) -> Quote:
    """Let many wrong amounts come to a shared address; return a quote of there, one step above."""
    quote = await stall.quote(await stall.invoice(due_at=stall.clock.now() + 10 * MINUTE))
    await stall.look()
    stall.chain.pay(quote.address, quote.amount_atomic - 1)
    await stall.look()
    assert await stall.inbox() == ["no_exact_amount"]

    def write(connection: sa.Connection) -> None:
        def sent(number: int) -> dict[str, Any]:
            amount_atomic = sent_atomic(quote.amount_atomic - 1 - number)
            return {"place": 10 + number, "amount_atomic": str(amount_atomic)}

        ids = copy(connection, transfer, sent)
        created_at = stall.clock.now() - age_ms
        copy(connection, inbox, lambda n: {"transfer_id": ids[n], "created_at": created_at})

    await stall.store.write(write)
    return quote


async def test_dust_at_a_shared_address_costs_no_other_merchant(stall: Shop) -> None:
    other = await open_shop(stall.store, stall.clock, wallet="w1other", name="Other")
    other.context = stall.context
    theirs = await other.invoice()
    quote = await send_dust(stall, lambda near: near)
    now = stall.clock.now()

    def look(connection: sa.Connection, invoice_id: int) -> bool:
        return strays.may_have_paid_until(connection, invoice_id, now) is not None

    async def cost_of(invoice_id: int, *, is_meant: bool) -> int:
        assert await stall.store.read(lambda c: look(c, invoice_id)) is is_meant
        return (await cost(stall.store, lambda c: look(c, invoice_id)))[0]

    # What came to whomever within a day is passed over, but looked up no further.
    own = await cost_of(quote.invoice_id, is_meant=True)
    assert await cost_of(theirs.id, is_meant=False) < own / 2


async def test_orders_of_old_cost_a_transfer_in_the_inbox_nothing(stall: Shop) -> None:
    quote = await send_dust(stall, lambda near: near)
    order = invoice.c.id == quote.invoice_id
    plain = sa.update(invoice).where(order).values(share_token="newest")
    await stall.store.write(lambda c: c.execute(plain))

    def order_often(connection: sa.Connection) -> None:
        copy(connection, invoice, lambda n: {"share_token": f"token-{n}"})

    await stall.store.write(order_often)
    who = stall.principal
    page, _ = await lying.list_page(
        stall.context, with_key(who), is_ignored=False, after=None, limit=1
    )

    def look(connection: sa.Connection) -> None:
        lying_rows.list_unasked(connection, who.merchant_id, who.mode, page[0].item)

    few, _ = await cost(stall.store, look)
    await stall.store.write(lambda c: copy(c, invoice, lambda n: {"share_token": f"another-{n}"}))
    many, _ = await cost(stall.store, look)
    assert many < few * 1.2


async def test_a_page_does_not_read_all_that_ever_came_to_its_address(stall: Shop) -> None:
    quote = await send_dust(stall, lambda near: near, age_ms=25 * 60 * MINUTE)
    now = stall.clock.now()

    def look(connection: sa.Connection) -> None:
        assert strays.may_have_paid_until(connection, quote.invoice_id, now) is not None

    done, little = await cost(stall.store, look)
    assert done < little


async def test_a_stray_does_not_read_all_that_was_ever_asked_at_its_address(stall: Shop) -> None:
    asked = await stall.quote(await stall.invoice())
    now = stall.clock.advance(MINUTE)
    long_ago = now - 2 * matching.LIKELY_WAIT_MS

    def grow(connection: sa.Connection) -> None:
        copy(connection, quote, lambda n: {"created_at": long_ago - n, "tag": str(n)})
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE quote")

    await stall.store.write(grow)
    stray = Stray(asked.destination_id, asked.method, asked.amount_atomic - 1, now)

    def look(connection: sa.Connection) -> None:
        assert strays.list_meant(connection, [stray]) == [asked.invoice_id]

    done, little = await cost(stall.store, look)
    assert done < little


async def test_a_stray_does_not_read_all_that_ever_expired(stall: Shop) -> None:
    asked = await stall.quote(await stall.invoice(due_at=stall.clock.now() + 10 * MINUTE))
    await stall.look(11 * 60)
    await stall.tick()
    now, places = stall.clock.now(), [asked.destination_id]

    def grow(connection: sa.Connection) -> None:
        ids = copy(connection, invoice, lambda n: {"share_token": f"token-{n}", "due_at": n})
        copy(connection, quote, lambda n: {"invoice_id": ids[n], "tag": str(n)})
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE invoice, quote")

    await stall.store.write(grow)

    def look(connection: sa.Connection) -> None:
        found = stray_rows.list_asked_of_expired(connection, places, now - 2 * MINUTE, now)
        assert [each.invoice_id for each in found] == [asked.invoice_id]

    done, little = await cost(stall.store, look)
    assert done < little


async def test_thousands_of_strays_are_not_compared_with_each_invoice(
    stall: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    quote = await send_dust(stall, lambda near: near)
    came_at, now = stall.clock.now(), stall.clock.advance(11 * MINUTE)
    compared: list[tuple[Any, Any]] = []

    def count(*amounts: Any) -> bool:
        compared.append(amounts)
        return matching.is_likely(*amounts)

    monkeypatch.setattr(strays, "is_likely", count)
    until = await stall.store.read(lambda c: strays.waits(c, [quote.invoice_id], now))
    assert until == {quote.invoice_id: came_at + matching.LIKELY_WAIT_MS}
    assert len(compared) == 1


async def test_thousands_that_nobody_meant_hide_none_that_somebody_did(stall: Shop) -> None:
    quote = await send_dust(stall, lambda _: 1)
    came_at, now = stall.clock.now(), stall.clock.advance(11 * MINUTE)
    until = await stall.store.read(lambda c: strays.waits(c, [quote.invoice_id], now))
    assert until == {quote.invoice_id: came_at + matching.LIKELY_WAIT_MS}
