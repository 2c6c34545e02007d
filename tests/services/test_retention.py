"""What grows old is dropped, a little at a time; what is not old enough is not."""

import asyncio

import pytest
import sqlalchemy as sa

from counterfoil.core import quote
from counterfoil.core.ports import Answer, Attempt
from counterfoil.db import books, idempotency, loops
from counterfoil.db.engine import Connection
from counterfoil.db.outbox import forget_events
from counterfoil.db.schema import attempt, delivery, event
from counterfoil.db.schema import idempotency as idempotency_table
from counterfoil.services import outbox, upkeep
from counterfoil.services.outbox import Made
from tests.house import ROOT
from tests.services.shop import MINUTE, Shop

HOUR = 60 * MINUTE
DAY = 24 * HOUR


def counts(connection: Connection) -> list[int]:
    """Return how many events, deliveries, attempts and idempotency keys there are."""
    return [
        connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in (event, delivery, attempt, idempotency_table)
    ]


async def sweep_all(shop: Shop) -> int:
    """Sweep until there is no more, and return how many times."""
    times = 1
    while await upkeep.sweep(shop.context, shop.clock.now()):
        times += 1
    return times


async def test_events_go_after_90_days_with_all_that_hangs_on_them(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_FORGET_AT_ONCE", 2)
    await shop.listen()
    invoice = await shop.invoice()
    for _ in range(5):
        await shop.tell(invoice.id)
    # One is refused and parked, the others wait.
    (claimed,) = await outbox.claim(
        shop.store, shop.clock.now(), limit=1, per_channel=1, sending={}
    )
    made = Attempt(Answer.GONE, 410, 1, "", None)
    await outbox.record(shop.store, [Made(claimed, made, 0)], shop.clock.now())
    shop.clock.advance(90 * DAY)
    young = await shop.tell(invoice.id)
    assert await sweep_all(shop) == 1
    assert await shop.store.read(counts) == [6, 6, 1, 0]
    shop.clock.advance(1)
    assert await sweep_all(shop) == 3
    assert await shop.store.read(counts) == [1, 1, 0, 0]
    assert await sweep_all(shop) == 1
    following = await shop.tell(invoice.id)
    rows = await shop.store.read(
        lambda c: c.execute(sa.select(event.c.at, event.c.seq).order_by(event.c.seq)).all()
    )
    assert rows == [(young.at, 6), (following.at, 7)]


async def test_what_is_dropped_while_it_is_sent_takes_no_record_of_others_with_it(
    shop: Shop,
) -> None:
    await shop.listen()
    await shop.tell(await shop.order())
    shop.clock.advance(1)
    await shop.tell(await shop.order())
    sent = await outbox.claim(shop.store, shop.clock.now(), limit=2, per_channel=2, sending={})
    await shop.store.write(lambda c: forget_events(c, shop.clock.now(), 200))
    made = [Made(each, Attempt(Answer.DELIVERED, 200, 1, "", None), 0) for each in sent]
    await outbox.record(shop.store, made, shop.clock.now())
    assert await shop.store.read(counts) == [1, 1, 1, 0]
    left = await shop.store.read(lambda c: c.execute(sa.select(delivery.c.state)).scalar_one())
    assert left == "delivered"


async def test_two_sweepers_leave_no_hole_in_a_log(shop: Shop) -> None:
    order = await shop.order()
    for _ in range(5):
        await shop.tell(order)
    before = shop.clock.now() + 1

    def drop_slowly(connection: Connection) -> None:
        connection.execute(sa.select(event.c.id).order_by(event.c.id).limit(1).with_for_update())
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_sleep(0.5)")
        forget_events(connection, before, 2)

    slow = asyncio.create_task(shop.store.write(drop_slowly))
    await asyncio.sleep(0.2)
    await shop.store.write(lambda c: forget_events(c, before, 2))
    found = await shop.store.read(books.check)
    await slow
    assert found.broken_logs == []
    # Nor does it drop what the other has dropped.
    assert (await shop.store.read(counts))[0] in {1, 3}


async def test_idempotency_keys_go_after_a_day(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_FORGET_AT_ONCE", 2)
    who = shop.principal

    def claim(connection: Connection, key: str) -> None:
        scope = idempotency.Scope(who.merchant_id, who.mode, "POST /api/invoice", key)
        assert idempotency.claim(connection, scope, "", shop.clock.now()) is None

    for number in range(3):
        await shop.store.write(lambda c, n=number: claim(c, f"old-{n}"))  # type: ignore[misc]  # mypy cannot infer such a lambda
    shop.clock.advance(DAY)
    await shop.store.write(lambda c: claim(c, "young"))
    assert await sweep_all(shop) == 1
    assert (await shop.store.read(counts))[3] == 4
    shop.clock.advance(1)
    assert await sweep_all(shop) == 2
    assert (await shop.store.read(counts))[3] == 1


def test_the_table_in_the_docs_is_the_code() -> None:
    rows = {
        kept.what: f"{kept.for_ms // DAY} days"
        if kept.for_ms > DAY
        else f"{kept.for_ms // HOUR} hours"
        for kept in upkeep.RETENTION
    }
    rows["the range of prices, hour by hour"] = f"{quote.WINDOW_MS // HOUR} hours"
    rows["block headers of a chain"] = f"{loops.HEADERS_KEPT} blocks"
    text = (ROOT / "docs" / "retention.md").read_text(encoding="utf-8")
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert dict(lines[1:]) == rows
