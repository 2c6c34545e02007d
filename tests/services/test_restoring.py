"""A server is lost after a backup, and the backup is restored: nothing is given out twice.

What is on one kind of database is restored on the other kind.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from counterfoil.core.errors import SettingsError
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Answer, Attempt
from counterfoil.db import deliveries, loops
from counterfoil.db.copies import Copy
from counterfoil.db.engine import Connection, Database
from counterfoil.db.schema import (
    channel,
    delivery,
    destination,
    metadata,
    payment,
    wallet,
)
from counterfoil.services import outbox, restoring
from counterfoil.services.context import Methods
from counterfoil.services.outbox import Made
from tests.services.lost import back_up, restore
from tests.services.shop import MINUTE, SECOND, Shop

DAY = 24 * 60 * MINUTE
GAP = restoring.NUMBERS_GAP
# What a restore changes; all else is as it was.
MOVED = {
    "merchant": {"seq_live", "seq_test", "last_event_at", "last_event_number"},
    "wallet": {"next_index"},
    "chain": {"amounts_from_ms"},
    "delivery": {"next_at", "attempts", "first_at", "lease_until", "claim"},
}


def contents(connection: Connection) -> dict[str, list[Any]]:
    """Return all rows but what a restore moves on, and what it sets aside."""
    found = {}
    for name, table in metadata.tables.items():
        columns = [c for c in table.c if c.name not in MOVED.get(name, set())]
        statement = sa.select(*columns).order_by(*table.primary_key.columns)
        if name == "destination":
            statement = statement.where(table.c.id < GAP)
        found[name] = [tuple(row) for row in connection.execute(statement)]
    # Who does what now, and what the sources say now, are no part of what is kept.
    del found["lease"], found["rate"], found["rate_source"]
    return found


async def paid(shop: Shop, amount: str = "25.00") -> Any:
    """Return an invoice that is paid and in a block."""
    invoice = await shop.invoice(amount)
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(2)
    await shop.look()
    return invoice


# --- what is put back --------------------------------------------------------------------------


async def test_all_that_was_stored_is_there(
    shop: Shop, database: Database, empty: Database, tmp_path: Path
) -> None:
    await shop.listen()
    await paid(shop)
    await shop.invoice("3.00")
    before = await shop.store.read(contents)
    assert len(before["payment"]) == 1
    assert len(before["delivery"]) == 2
    path = await back_up(shop, database, tmp_path)
    await shop.invoice("4.00")
    restored = await restore(shop, path, empty)
    after = await restored.store.read(contents)
    assert after == before
    # A restored installation can be backed up and restored like any other.
    again = await back_up(restored, empty, tmp_path)
    with Copy(again) as copy:
        copy.check()
        assert copy.count() == (2, 1)


async def test_nothing_that_the_lost_server_gave_out_is_given_out_again(
    shop: Shop, database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    await shop.listen()
    await paid(shop)
    path = await back_up(shop, database, tmp_path)
    for _ in range(5):
        await paid(shop)
    given = await shop.store.read(_given_out)
    restored = await restore(shop, path, elsewhere)
    await restored.look()
    for _ in range(5):
        await paid(restored)
    anew = await restored.store.read(lambda c: _given_out(c, above=GAP))
    assert {kind: len(ids) for kind, ids in anew.items()} == {
        "invoice": 5,
        "payment": 5,
        "address": 5,
        # Beside two for each of these, one for each that pays a lost invoice.
        "event": 15,
        "seq": 15,
        "channel": 0,
    }
    assert {kind for kind, ids in anew.items() if ids & given[kind]} == set()


def _given_out(connection: Connection, above: int = 0) -> dict[str, set[Any]]:
    """Return what anybody may have been told, as far as it is beyond an id or a number."""
    statements = {
        "invoice": "SELECT id FROM invoice WHERE id > :above",
        "payment": "SELECT id FROM payment WHERE id > :above",
        "event": "SELECT at * 1000 + number % 1000 FROM event WHERE seq > :above",
        "seq": "SELECT seq FROM event WHERE seq > :above",
        "channel": "SELECT id FROM channel WHERE id > :above",
        "address": "SELECT d.address FROM destination d JOIN quote q ON q.destination_id = d.id "
        "WHERE q.id > :above",
    }
    return {
        kind: set(connection.execute(sa.text(statement), {"above": above}).scalars())
        for kind, statement in statements.items()
    }


async def test_event_numbers_go_on_even_within_the_millisecond(
    shop: Shop, database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    invoice = await shop.invoice()
    first = await shop.tell(invoice.id)
    path = await back_up(shop, database, tmp_path)
    lost = await shop.tell(invoice.id)
    restored = await restore(shop, path, elsewhere)
    anew = await restored.tell(invoice.id)
    assert first.at == lost.at == anew.at
    assert lost.number < anew.number == first.number + GAP + 1


# --- the chain is read on ----------------------------------------------------------------------


async def test_what_was_paid_meanwhile_is_credited_as_of_its_block(
    shop: Shop, database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    await shop.listen()
    invoice = await shop.invoice(due_at=shop.clock.now() + 30 * MINUTE)
    unpaid = await shop.invoice(due_at=shop.clock.now() + 30 * MINUTE)
    path = await back_up(shop, database, tmp_path)
    quote = await shop.quote(invoice)
    # Nobody looks from here on: it is paid in time, and hours pass.
    shop.chain.now = shop.clock.advance(MINUTE)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine()
    mined_at = shop.chain.now
    shop.chain.now = shop.clock.advance(5 * 60 * MINUTE)
    shop.chain.mine(3)
    restored = await restore(shop, path, elsewhere)
    await restored.tick()
    assert await restored.status(invoice) is Status.UNPAID
    assert await restored.status(unpaid) is Status.UNPAID
    await restored.look()
    await restored.tick()
    assert await restored.status(invoice) is Status.PAID
    assert await restored.conditions(invoice) == []
    assert await restored.status(unpaid) is Status.EXPIRED
    arrived = await restored.store.read(lambda c: c.execute(sa.select(payment.c.arrived_at)).all())
    assert arrived == [(mined_at,)]
    assert await restored.events(invoice) == ["payment_detected", "payment_confirmed"]
    # The time in which nobody watched is not watched time.
    (state,) = await restored.store.read(lambda c: loops.list_chains(c, [shop.chain.name]))
    assert state.watched_ms < 10 * SECOND
    assert state.watched_at == shop.clock.now()


async def test_the_cursor_is_far_behind_the_headers_that_are_kept(
    shop: Shop,
    database: Database,
    elsewhere: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loops, "HEADERS_KEPT", 20)
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.mine(3)
    await shop.look()
    path = await back_up(shop, database, tmp_path)
    # What the backup knows as the last two blocks is replaced before the long way begins.
    shop.chain.reorg(2, keep=True)
    shop.chain.now = shop.clock.advance(MINUTE)
    shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(120)
    shop.chain.now = shop.clock.advance(2 * DAY)
    restored = await restore(shop, path, elsewhere)
    await restored.look()
    cursor = await restored.store.read(lambda c: loops.get_cursor(c, shop.chain.name))
    assert cursor is not None
    assert cursor.height == shop.chain.height
    assert await restored.status(invoice) is Status.PAID
    assert await restored.conditions(invoice) == []


async def test_a_lost_invoice_is_paid_into_the_inbox(
    shop: Shop, database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    await shop.listen()
    await shop.invoice()
    path = await back_up(shop, database, tmp_path)
    mined, pending = await shop.invoice("7.00"), await shop.invoice("8.00")
    for invoice in (mined, pending):
        quote = await shop.quote(invoice)
        shop.chain.pay(quote.address, quote.amount_atomic)
        if invoice is mined:
            shop.chain.mine()
    restored = await restore(shop, path, elsewhere)
    fresh = await restored.invoice("7.00")
    await restored.look()
    assert await restored.inbox() == ["no_quote", "no_quote"]
    assert await restored.status(fresh) is Status.UNPAID
    assert (await restored.events()).count("inbox_received") == 2


# --- addresses ---------------------------------------------------------------------------------


async def test_what_may_have_been_shown_is_never_handed_out(
    shop: Shop, database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    await shop.invoice()
    path = await back_up(shop, database, tmp_path)
    restored = await restore(shop, path, elsewhere)
    # As if the counter had not been moved on, which is what another wallet of the same keys has.
    await restored.store.write(lambda c: c.execute(sa.update(wallet).values(next_index=0)))
    aside = await restored.store.read(
        lambda c: (
            c.execute(sa.select(destination.c.derivation_index).where(destination.c.id > GAP))
            .scalars()
            .all()
        )
    )
    assert sorted(aside) == list(range(1, 1_011))
    invoice = await restored.invoice()
    shown = (await restored.quote(invoice)).address
    assert shown == shop.chain.derive("xpub", 1_011).address


async def test_more_is_set_aside_where_more_was_shown(
    shop: Shop, database: Database, tmp_path: Path
) -> None:
    for _ in range(3):
        await shop.invoice()
    path = await back_up(shop, database, tmp_path)

    def count(after_ms: int) -> int:
        with Copy(path) as copy:
            now = shop.clock.now() + after_ms
            (aside,) = restoring.keep_aside(copy, shop.context.methods, now)
        return len(aside.addresses)

    assert count(0) == 1_000 + 3 * 10
    assert count(2 * DAY) == 1_000 + 2 * 100 + 3 * 10
    shop.clock.advance(DAY)
    later = await back_up(shop, database, tmp_path)
    with Copy(later) as copy:
        (aside,) = restoring.keep_aside(copy, shop.context.methods, shop.clock.now() + DAY // 2)
    assert len(aside.addresses) == 1_000 + 50


async def test_a_wallet_that_is_removed_gets_nothing_set_aside(
    shop: Shop, database: Database, tmp_path: Path
) -> None:
    now = shop.clock.now()
    await shop.store.write(lambda c: c.execute(sa.update(wallet).values(removed_at=now)))
    with Copy(await back_up(shop, database, tmp_path)) as copy:
        assert restoring.keep_aside(copy, Methods([]), now) == []


# --- telling -----------------------------------------------------------------------------------


async def test_what_waits_is_sent_anew(
    shop: Shop, database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    """A week without a server is no week in which the endpoint refused."""
    await shop.listen()
    invoice = await shop.invoice()
    told = [await shop.tell(invoice.id) for _ in range(3)]
    store, now = shop.store, shop.clock.now()
    for answer in (Answer.DELIVERED, Answer.RETRY):
        (claimed,) = await outbox.claim(store, now, limit=1, per_channel=1, sending={})
        await outbox.record(store, [Made(claimed, Attempt(answer, 500, 1, "", None), 0)], now)
    path = await back_up(shop, database, tmp_path)
    shop.clock.advance(7 * DAY)
    restored = await restore(shop, path, elsewhere)
    now = shop.clock.now()
    (again,) = await outbox.claim(restored.store, now, limit=9, per_channel=9, sending={})
    assert (again.event_id, again.attempts, again.first_at) == (told[1], 0, None)
    failed = Attempt(Answer.RETRY, 500, 1, "", None)
    await outbox.record(restored.store, [Made(again, failed, 0)], now)
    rows = await restored.store.read(
        lambda c: c.execute(sa.select(delivery.c.state).order_by(delivery.c.id)).scalars().all()
    )
    assert rows == [deliveries.DELIVERED, deliveries.DUE, deliveries.DUE]
    paused = await restored.store.read(lambda c: c.execute(sa.select(channel.c.paused_at)).all())
    assert paused == [(None,)]


# --- what is refused ---------------------------------------------------------------------------


async def test_what_is_there_is_not_written_over(
    shop: Shop, database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    path = await back_up(shop, database, tmp_path)
    await restore(shop, path, elsewhere)
    before = await elsewhere.read(contents)
    with pytest.raises(SettingsError) as refused:
        await restore(shop, path, elsewhere)
    assert refused.value.code == "not_empty"
    assert await elsewhere.read(contents) == before


async def test_a_restore_that_breaks_off_leaves_nothing(
    shop: Shop, database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    await shop.invoice()
    path = await back_up(shop, database, tmp_path)
    now = shop.clock.now()
    await elsewhere.migrate()
    with Copy(path) as copy:
        (aside,) = restoring.keep_aside(copy, shop.context.methods, now)
        broken = replace(aside, wallet=replace(aside.wallet, merchant_id=99))
        with pytest.raises(sa.exc.IntegrityError):
            await restoring.restore(elsewhere, shop.context.methods, copy, [broken], now)
    rows = await elsewhere.read(contents)
    assert {name for name, found in rows.items() if found} == set()
    await restore(shop, path, elsewhere)


async def test_addresses_that_cannot_be_watched_are_told(
    shop: Shop, database: Database, tmp_path: Path
) -> None:
    with Copy(await back_up(shop, database, tmp_path)) as copy:
        with pytest.raises(SettingsError) as refused:
            restoring.keep_aside(copy, Methods([]), shop.clock.now())
        assert refused.value.code == "method_switched_off"
        assert "COIN" in refused.value.message
        other = replace(shop.chain, network="test:other")
        with pytest.raises(SettingsError) as refused:
            restoring.keep_aside(copy, Methods([other]), shop.clock.now())
        assert refused.value.code == "another_network"


async def test_a_coin_that_was_switched_on_later_rests_too(
    shop: Shop, database: Database, elsewhere: Database, tmp_path: Path
) -> None:
    path = await back_up(shop, database, tmp_path)
    later = replace(shop.chain, name="later", network="test:later", blocks=[])
    methods = Methods([shop.chain, later])
    await elsewhere.migrate()
    with Copy(path) as copy:
        aside = restoring.keep_aside(copy, methods, shop.clock.now())
        await restoring.restore(elsewhere, methods, copy, aside, shop.clock.now())
    states = await elsewhere.read(lambda c: loops.list_chains(c, [shop.chain.name, "later"]))
    assert {state.amounts_rest_ms for state in states} == {restoring.AMOUNTS_REST_MS}
