"""What the log says of channels that hear nothing, and which of them are listed; both databases."""

import sqlalchemy as sa
from structlog.testing import capture_logs

from counterfoil.core import retry
from counterfoil.core.ports import Attempt
from counterfoil.db import outbox as rows
from counterfoil.db.schema import channel
from counterfoil.services import outbox
from counterfoil.services.outbox import PAUSE_AFTER_MS, Made
from tests.services.shop import MINUTE, Shop
from tests.services.test_outbox import GONE, LATER, OK, REFUSED, claim, claim_one


async def told(shop: Shop, *made: Attempt) -> list[dict[str, object]]:
    """Answer what is due, each in its way, and return what the log says of it."""
    claimed = await claim(shop)
    answers = [Made(each, how, 0) for each, how in zip(claimed, made, strict=True)]
    with capture_logs() as lines:
        await outbox.record(shop.store, answers, shop.clock.now())
    return [dict(line) for line in lines]


async def unheard(shop: Shop) -> list[tuple[int, int]]:
    """Return the channels that do not hear what they should, with what was given up."""
    before = shop.clock.now() - retry.HOUR_MS
    found = await shop.store.read(lambda c: rows.list_unheard(c, before))
    return [(each.channel.id, each.parked) for each in found]


async def test_the_log_says_when_a_channel_begins_to_fail_and_when_it_is_well(shop: Shop) -> None:
    channel_id = await shop.listen()
    secret = sa.update(channel).values(target="https://shop.example/hook/key?token=hunter2")
    await shop.store.write(lambda c: c.execute(secret))
    where = {"merchant": shop.principal.merchant_id, "channel": channel_id, "host": "shop.example"}
    await shop.tell(await shop.order())
    error = Attempt(LATER.answer, 500, 3, "oops", "The endpoint answered with HTTP 500.")
    (line,) = await told(shop, error)
    assert line == where | {
        "event": "channel_failing",
        "log_level": "warning",
        "error": "The endpoint answered with HTTP 500.",
    }
    shop.clock.advance(MINUTE)
    assert await told(shop, error) == [], "it is said once, not at every try"
    shop.clock.advance(MINUTE)
    (line,) = await told(shop, OK)
    assert line == where | {"event": "channel_recovered", "log_level": "info"}
    await shop.tell(await shop.order())
    assert await told(shop, OK) == []


async def test_the_log_says_what_was_given_up(shop: Shop) -> None:
    channel_id = await shop.listen()
    event_id = await shop.tell(await shop.order())
    (line,) = await told(shop, REFUSED)
    assert line["event"] == "channel_failing"
    for _ in range(retry.REFUSALS_MAX - 2):
        shop.clock.advance(retry.HOUR_MS)
        assert await told(shop, REFUSED) == []
    shop.clock.advance(retry.HOUR_MS)
    (line,) = await told(shop, REFUSED)
    assert line["event"] == "delivery_parked"
    assert (line["channel"], line["log_level"]) == (channel_id, "warning")
    assert (line["event_id"], line["tries"]) == (str(event_id), retry.REFUSALS_MAX)


async def test_the_log_says_that_a_channel_is_paused_and_why(shop: Shop) -> None:
    await shop.listen()
    for _ in range(2):
        await shop.tell(await shop.order())
    (line,) = await told(shop, GONE, GONE)
    assert (line["event"], line["log_level"]) == ("channel_paused", "warning")
    assert str(line["reason"]).startswith("The endpoint answered 410 Gone.")


async def test_the_log_says_that_three_days_of_failures_pause_a_channel(shop: Shop) -> None:
    channel_id = await shop.listen()
    await shop.tell(await shop.order())
    await told(shop, LATER)
    shop.clock.advance(PAUSE_AFTER_MS)
    paused, parked = await told(shop, LATER)
    assert (paused["event"], parked["event"]) == ("channel_paused", "delivery_parked")
    assert str(paused["reason"]).startswith("Every attempt has failed for three days.")
    assert await unheard(shop) == [(channel_id, 1)]


async def test_what_a_courier_says_too_late_is_not_told(shop: Shop) -> None:
    channel_id = await shop.listen()
    await shop.tell(await shop.order())
    claimed = await claim_one(shop)
    await outbox.resume(shop.store, channel_id, shop.clock.now())
    with capture_logs() as lines:
        await outbox.record(shop.store, [Made(claimed, GONE, 0)], shop.clock.now())
    assert lines == []


async def test_channels_that_hear_nothing_are_listed(shop: Shop) -> None:
    channel_id = await shop.listen()
    await shop.listen()
    await shop.tell(await shop.order())
    await told(shop, REFUSED, OK)
    shop.clock.advance(retry.HOUR_MS - 1)
    assert await unheard(shop) == [], "an endpoint may be away for a while"
    shop.clock.advance(1)
    assert await unheard(shop) == [(channel_id, 0)]
    for _ in range(retry.REFUSALS_MAX - 1):
        await told(shop, REFUSED)
        shop.clock.advance(retry.HOUR_MS)
    await shop.tell(await shop.order())
    await told(shop, OK, OK)
    assert await unheard(shop) == [(channel_id, 1)], "it is well again, and yet lacks an event"
    await outbox.resume(shop.store, channel_id, shop.clock.now())
    assert await unheard(shop) == []
    await outbox.pause(shop.store, channel_id, shop.clock.now())
    assert await unheard(shop) == [(channel_id, 0)]
