"""Claiming deliveries and what follows from each attempt, on both databases."""

from dataclasses import replace
from importlib import import_module

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from counterfoil.core import retry
from counterfoil.core.events import EventID
from counterfoil.core.invoice import EventType, Status
from counterfoil.core.ports import Answer, Attempt, Mode
from counterfoil.db import outbox as rows
from counterfoil.db.schema import attempt, delivery, event
from counterfoil.services import outbox
from counterfoil.services.outbox import PAUSE_AFTER_MS, Delivery, Made
from tests.services.shop import MINUTE, SECOND, Shop, at_once, open_shop

OK = Attempt(Answer.DELIVERED, 200, 3, "", None)
LATER = Attempt(Answer.RETRY, 500, 3, "oops", None)
REFUSED = Attempt(Answer.REFUSED, 400, 3, "no", None)
GONE = Attempt(Answer.GONE, 410, 3, "", None)


async def claim(shop: Shop, sending: dict[int, int] | None = None) -> list[Delivery]:
    return await outbox.claim(
        shop.store, shop.clock.now(), limit=64, per_channel=4, sending=sending or {}
    )


async def claim_one(shop: Shop) -> Delivery:
    (claimed,) = await claim(shop)
    return claimed


async def answer(shop: Shop, claimed: Delivery, made: Attempt) -> None:
    await outbox.record(shop.store, [Made(claimed, made, jitter=0)], shop.clock.now())


async def end_leases(shop: Shop) -> None:
    """Let all leases run out, whichever clock they are judged by."""
    await shop.store.write(
        lambda c: c.execute(
            sa.update(delivery).where(delivery.c.lease_until.is_not(None)).values(lease_until=0)
        )
    )


async def states(shop: Shop) -> list[str]:
    statement = sa.select(delivery.c.state).order_by(delivery.c.id)
    return await shop.store.read(lambda c: list(c.execute(statement).scalars()))


async def channel(shop: Shop, channel_id: int) -> rows.Channel:
    found = await shop.store.read(lambda c: rows.get_channel(c, channel_id))
    assert found is not None
    return found


async def fail_until(shop: Shop, parts: int, end: int) -> None:
    """Fail at whatever is due, with as many looks as `parts`, until `end`."""
    for _ in range(parts):
        for claimed in await claim(shop):
            await answer(shop, claimed, LATER)
        shop.clock.advance(max(0, end - shop.clock.now()) // 4 + SECOND)


# --- order, and who waits for whom -------------------------------------------------------------


async def test_events_of_one_invoice_go_one_after_the_other(shop: Shop) -> None:
    await shop.listen()
    one, two = await shop.order(), await shop.order()
    first, second = await shop.tell(one), await shop.tell(one)
    other = await shop.tell(two)
    claimed = await claim(shop)
    assert [each.event_id for each in claimed] == [first, other]
    assert await claim(shop) == []
    await answer(shop, claimed[0], LATER)
    shop.clock.advance(SECOND)
    assert await claim(shop) == [], "what has failed is not overtaken"
    shop.clock.advance(5 * SECOND)
    again = await claim_one(shop)
    assert again.event_id == first
    await answer(shop, again, OK)
    assert (await claim_one(shop)).event_id == second


async def test_what_is_told_of_no_invoice_waits_for_nothing(stall: Shop) -> None:
    """Each transfer in the inbox is another matter: one that is not heard holds up no other."""
    channel_id = await stall.listen(EventType.INBOX)
    quote = await stall.quote(await stall.invoice())
    stall.chain.broadcast(*((quote.address, amount) for amount in (1_001, 1_002)))
    await stall.look()
    failed, heard = await claim(stall)
    await answer(stall, failed, LATER)
    await answer(stall, heard, OK)
    stall.chain.pay(quote.address, 1_003)
    await stall.look()
    await answer(stall, await claim_one(stall), OK)
    # Whoever asks for it again gets the same, in its own time too.
    assert await outbox.redeliver(stall.store, channel_id, heard.event_id, stall.clock.now())
    await answer(stall, await claim_one(stall), OK)
    assert await states(stall) == ["due", "delivered", "delivered"]
    # The version before gave all of them one key; who asks again is not held up by that.
    await stall.store.write(lambda c: c.execute(sa.update(delivery).values(invoice_id=0)))
    for each in (failed, heard):
        await outbox.redeliver(stall.store, channel_id, each.event_id, stall.clock.now())
    assert len(await claim(stall)) == 2
    listed = await outbox.list_sent(stall.store, channel_id, 9)
    assert [(each.invoice_id, each.last_status) for each in listed] == [
        (None, 200),
        (None, 200),
        (None, 500),
    ]


async def test_what_waits_from_the_version_before_waits_for_nothing_either(stall: Shop) -> None:
    await stall.listen(EventType.INBOX)
    quote = await stall.quote(await stall.invoice())
    stall.chain.broadcast(*((quote.address, amount) for amount in (1_001, 1_002)))
    await stall.look()
    version = import_module("counterfoil.db.migrations.versions.0015_what_is_no_invoices")

    def upgrade(connection: sa.Connection) -> None:
        connection.execute(sa.update(delivery).values(invoice_id=0))
        with Operations.context(MigrationContext.configure(connection)):
            version.upgrade()

    await stall.store.write(upgrade)
    assert len(await claim(stall)) == 2


async def test_a_busy_channel_keeps_nobody_else_waiting(shop: Shop) -> None:
    slow, quick = await shop.listen(EventType.DETECTED), await shop.listen(EventType.CONFIRMED)
    for _ in range(10):
        await shop.tell(await shop.order(), EventType.DETECTED)
    for _ in range(2):
        await shop.tell(await shop.order(), EventType.CONFIRMED)
    taken = [each.channel_id for each in await claim(shop)]
    assert (taken.count(slow), taken.count(quick)) == (4, 2)
    assert await claim(shop, {slow: 4}) == []
    assert [each.channel_id for each in await claim(shop, {slow: 3})] == [slow]


async def test_a_refusing_endpoint_delays_nobody_else(shop: Shop) -> None:
    await shop.listen()
    await shop.tell(await shop.order())
    await answer(shop, await claim_one(shop), REFUSED)
    await shop.tell(await shop.order())
    await answer(shop, await claim_one(shop), OK)
    assert await states(shop) == ["due", "delivered"]


async def test_couriers_of_two_processes_never_take_the_same(shop: Shop) -> None:
    for _ in range(3):
        await shop.listen()
    for _ in range(4):
        await shop.tell(await shop.order())
    lots = await at_once(shop.store, *(claim(shop) for _ in range(6)))
    taken = [each for lot in lots for each in lot]
    left = await claim(shop)
    ids = [each.id for each in taken + left]
    assert sorted(ids) == sorted(set(ids))
    assert len(ids) == 12


async def test_a_channel_hears_what_it_asked_for(shop: Shop) -> None:
    await shop.listen(EventType.CONFIRMED)
    other = await open_shop(shop.store, shop.clock, name="Other", wallet=None)
    await other.listen()
    await shop.tell(await shop.order(), EventType.DETECTED)
    assert await claim(shop) == []
    told = await shop.tell(await shop.order(), EventType.CONFIRMED)
    assert (await claim_one(shop)).event_id == told


async def test_attempts_that_end_together_are_recorded_each_as_it_is(shop: Shop) -> None:
    channel_id = await shop.listen()
    for _ in range(3):
        await shop.tell(await shop.order())
    heard, failed, slept = await claim(shop)
    await end_leases(shop)
    # Another courier has the third one now.
    await shop.store.write(
        lambda c: c.execute(
            sa.update(delivery).where(delivery.c.id == slept.id).values(claim=slept.claim + 1)
        )
    )
    made = [Made(failed, LATER, 0), Made(heard, OK, 0), Made(slept, GONE, 0)]
    await outbox.record(shop.store, made, shop.clock.now())
    assert await states(shop) == ["delivered", "due", "due"]
    listed = sa.select(attempt.c.delivery_id, attempt.c.answer)
    rows_of = await shop.store.read(lambda c: {tuple(row) for row in c.execute(listed)})
    assert rows_of == {(heard.id, "delivered"), (failed.id, "retry"), (slept.id, "gone")}
    found = await channel(shop, channel_id)
    assert found.paused_at is None, "what it said to a courier that was too late counts for nothing"
    assert found.failing_since == shop.clock.now()


# --- failures ----------------------------------------------------------------------------------


async def test_retries_go_by_the_schedule(shop: Shop) -> None:
    await shop.listen()
    told = await shop.tell(await shop.order())
    waits_s = [5, 30, 120, 600, 1_800, 3_600, 10_800, 10_800]
    for wait_s in waits_s:
        claimed = await claim_one(shop)
        assert claimed.event_id == told
        await answer(shop, claimed, LATER)
        shop.clock.advance(wait_s * SECOND - 1)
        assert await claim(shop) == []
        shop.clock.advance(1)
    assert (await claim_one(shop)).attempts == len(waits_s)


async def test_after_six_refusals_the_next_event_goes(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.order()
    await shop.tell(invoice)
    after = await shop.tell(invoice)
    for _ in range(retry.REFUSALS_MAX):
        await answer(shop, await claim_one(shop), REFUSED)
        shop.clock.advance(retry.HOUR_MS * 2)
    assert await states(shop) == ["parked", "due"]
    assert (await claim_one(shop)).event_id == after


async def test_three_days_of_failures_pause_a_channel(shop: Shop) -> None:
    channel_id = await shop.listen()
    await shop.tell(await shop.order())
    end = shop.clock.now() + PAUSE_AFTER_MS
    await fail_until(shop, 12, end)
    assert (await channel(shop, channel_id)).paused_at is None
    await shop.tell(await shop.order())
    shop.clock.at = end + MINUTE
    for claimed in await claim(shop):
        await answer(shop, claimed, LATER)
    found = await channel(shop, channel_id)
    assert found.paused_at == shop.clock.now()
    assert found.pause_reason is not None
    assert "three days" in found.pause_reason
    # Nothing is sent to it and nothing is lost.
    await shop.tell(await shop.order())
    shop.clock.advance(retry.DAY_MS)
    assert await claim(shop) == []
    assert await outbox.resume(shop.store, channel_id, shop.clock.now()) == 3
    assert len(await claim(shop)) == 3


async def test_one_failure_after_quiet_days_pauses_nothing(shop: Shop) -> None:
    channel_id = await shop.listen()
    await shop.tell(await shop.order())
    for _ in range(retry.REFUSALS_MAX):
        await answer(shop, await claim_one(shop), REFUSED)
        shop.clock.advance(retry.HOUR_MS * 2)
    shop.clock.advance(PAUSE_AFTER_MS)
    await shop.tell(await shop.order())
    await answer(shop, await claim_one(shop), LATER)
    assert (await channel(shop, channel_id)).paused_at is None
    # Unless that one is given up as well.
    for _ in range(retry.REFUSALS_MAX - 1):
        shop.clock.advance(retry.HOUR_MS * 2)
        await answer(shop, await claim_one(shop), REFUSED)
    assert (await channel(shop, channel_id)).paused_at is not None


async def test_a_channel_that_must_wait_takes_no_place_of_others(shop: Shop) -> None:
    await shop.listen()
    invoice = await shop.order()
    await shop.tell(invoice)
    await answer(shop, await claim_one(shop), LATER)
    # Due by itself, but the one before it waits.
    await shop.tell(invoice)
    shop.clock.advance(1)
    other = await open_shop(shop.store, shop.clock, wallet="xpub of others", name="Other")
    other.context = replace(other.context, entropy=shop.context.entropy)
    well = await other.listen()
    await other.tell(await other.order())
    now = shop.clock.now()
    (claimed,) = await outbox.claim(shop.store, now, limit=1, per_channel=1, sending={})
    assert claimed.channel_id == well


async def test_one_success_ends_the_count_of_days(shop: Shop) -> None:
    channel_id = await shop.listen()
    await shop.tell(await shop.order())
    await answer(shop, await claim_one(shop), LATER)
    shop.clock.advance(2 * retry.DAY_MS)
    await answer(shop, await claim_one(shop), OK)
    assert (await channel(shop, channel_id)).failing_since is None
    await shop.tell(await shop.order())
    shop.clock.advance(2 * retry.DAY_MS)
    await answer(shop, await claim_one(shop), LATER)
    assert (await channel(shop, channel_id)).paused_at is None


async def test_gone_pauses_at_once_and_loses_nothing(shop: Shop) -> None:
    channel_id = await shop.listen()
    told = await shop.tell(await shop.order())
    await answer(shop, await claim_one(shop), GONE)
    assert (await channel(shop, channel_id)).paused_at is not None
    shop.clock.advance(retry.DAY_MS)
    assert await claim(shop) == []
    await outbox.resume(shop.store, channel_id, shop.clock.now())
    assert (await claim_one(shop)).event_id == told


async def test_resuming_sends_what_was_parked_in_order(shop: Shop) -> None:
    channel_id = await shop.listen()
    invoice = await shop.order()
    told = [await shop.tell(invoice) for _ in range(3)]
    for _ in range(2 * retry.REFUSALS_MAX):
        await answer(shop, await claim_one(shop), REFUSED)
        shop.clock.advance(retry.HOUR_MS * 2)
    assert await states(shop) == ["parked", "parked", "due"]
    await outbox.pause(shop.store, channel_id, shop.clock.now())
    assert await claim(shop) == []
    assert await outbox.resume(shop.store, channel_id, shop.clock.now()) == 3
    for each in told:
        claimed = await claim_one(shop)
        assert (claimed.event_id, claimed.attempts) == (each, 0)
        await answer(shop, claimed, OK)


async def test_a_late_failure_does_not_count_against_the_new_beginning(shop: Shop) -> None:
    channel_id = await shop.listen()
    told = await shop.tell(await shop.order())
    for _ in range(retry.REFUSALS_MAX - 1):
        await answer(shop, await claim_one(shop), REFUSED)
        shop.clock.advance(retry.HOUR_MS * 2)
    on_its_way = await claim_one(shop)
    await outbox.resume(shop.store, channel_id, shop.clock.now())
    await answer(shop, on_its_way, REFUSED)
    assert await states(shop) == ["due"], "it was refused for the sixth time, but before"
    claimed = await claim_one(shop)
    assert (claimed.event_id, claimed.attempts) == (told, 0)


# --- once more ---------------------------------------------------------------------------------


async def test_an_event_is_sent_again_under_its_id(shop: Shop) -> None:
    channel_id = await shop.listen()
    told = await shop.tell(await shop.order())
    first = await claim_one(shop)
    await answer(shop, first, OK)
    assert await outbox.redeliver(shop.store, channel_id, told, shop.clock.now())
    again = await claim_one(shop)
    assert (again.event_id, again.body, again.attempts) == (told, first.body, 0)
    await answer(shop, again, OK)
    (sent,) = await outbox.list_sent(shop.store, channel_id, 10)
    assert (sent.event_id, sent.state, sent.last_status) == (told, "delivered", 200)


async def test_an_event_from_before_the_channel_can_be_sent(shop: Shop) -> None:
    told = await shop.tell(await shop.order())
    channel_id = await shop.listen()
    assert await outbox.redeliver(shop.store, channel_id, told, shop.clock.now())
    assert (await claim_one(shop)).event_id == told
    unknown = EventID(told.at, told.number + 1)
    assert not await outbox.redeliver(shop.store, channel_id, unknown, shop.clock.now())


async def test_nobody_elses_events_can_be_sent(shop: Shop) -> None:
    told = await shop.tell(await shop.order())
    other = await open_shop(shop.store, shop.clock, name="Other", wallet=None)
    channel_id = await other.listen()
    assert not await outbox.redeliver(shop.store, channel_id, told, shop.clock.now())


async def test_what_is_on_its_way_does_not_swallow_a_wish_to_hear_it_again(shop: Shop) -> None:
    channel_id = await shop.listen()
    told = await shop.tell(await shop.order())
    on_its_way = await claim_one(shop)
    await outbox.redeliver(shop.store, channel_id, told, shop.clock.now())
    await answer(shop, on_its_way, OK)
    assert (await claim_one(shop)).event_id == told


# --- leases ------------------------------------------------------------------------------------


async def test_a_courier_that_died_is_followed_by_another(shop: Shop) -> None:
    await shop.listen()
    await shop.tell(await shop.order())
    first = await claim_one(shop)
    assert await claim(shop) == []
    await end_leases(shop)
    second = await claim_one(shop)
    assert (second.event_id, second.body) == (first.event_id, first.body)
    assert second.claim > first.claim


async def test_a_courier_that_slept_records_over_nobody(shop: Shop) -> None:
    channel_id = await shop.listen()
    await shop.tell(await shop.order())
    slept = await claim_one(shop)
    await end_leases(shop)
    awake = await claim_one(shop)
    await answer(shop, awake, OK)
    await answer(shop, slept, GONE)
    assert await states(shop) == ["delivered"]
    assert (await channel(shop, channel_id)).paused_at is None
    # It did happen, so it is listed all the same.
    told = await shop.store.read(
        lambda c: list(c.execute(sa.select(attempt.c.answer).order_by(attempt.c.id)).scalars())
    )
    assert told == ["delivered", "gone"]


# --- the log -----------------------------------------------------------------------------------


async def test_the_log_has_no_gaps_however_many_write(shop: Shop) -> None:
    orders = [await shop.order() for _ in range(8)]
    await at_once(shop.store, *(shop.tell(order) for order in orders))
    statement = sa.select(event.c.seq, event.c.at, event.c.number).order_by(event.c.seq)
    log = await shop.store.read(lambda c: c.execute(statement).all())
    assert [row.seq for row in log] == list(range(1, 9))
    ids = [(row.at, row.number) for row in log]
    assert ids == sorted(set(ids))


async def test_each_mode_has_its_own_numbers_and_the_ids_are_shared(shop: Shop) -> None:
    def write(connection: sa.Connection) -> list[rows.Place]:
        def new(mode: Mode) -> rows.NewEvent:
            who = shop.principal.merchant_id
            return rows.NewEvent(
                who, mode, None, EventType.INBOX, Status.UNPAID, None, lambda _: b"{}"
            )

        now = shop.clock.now()
        return [rows.append(connection, new(mode), now) for mode in (Mode.LIVE, Mode.TEST)]

    live, test = await shop.store.write(write)
    assert (live.seq, test.seq) == (1, 1)
    assert live.id < test.id
