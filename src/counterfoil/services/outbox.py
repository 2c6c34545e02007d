"""Telling: claiming what is due, and what follows from each attempt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog

from counterfoil.core import events, retry
from counterfoil.core.ports import Answer, Attempt, Store
from counterfoil.db import deliveries, loops, outbox
from counterfoil.db.engine import Connection

# What `claim` returns, and what `counterfoil doctor` names.
Delivery = deliveries.Delivery
Unheard = outbox.Unheard
# An endpoint at which every attempt has failed for this long is paused, which the log says, and
# `counterfoil doctor`: nobody else tells the merchant.
PAUSE_AFTER_MS = 3 * retry.DAY_MS

_log = structlog.get_logger("counterfoil.outbox")


async def claim(
    store: Store, now: int, *, limit: int, per_channel: int, sending: Mapping[int, int]
) -> list[Delivery]:
    """Claim deliveries that are due, at most `limit`.

    No channel gets more than `per_channel` at a time, those that the caller is `sending` to it
    included: one slow endpoint keeps nobody else waiting.
    """
    rooms = {channel_id: per_channel - count for channel_id, count in sending.items()}
    busy = [channel_id for channel_id, room in rooms.items() if room <= 0]

    def write(connection: Connection) -> list[Delivery]:
        leases_at = loops.database_now(connection, now)
        claimed: list[Delivery] = []
        for channel_id in deliveries.list_waiting_channels(connection, now, leases_at, busy, limit):
            room = min(rooms.get(channel_id, per_channel), limit - len(claimed))
            if room <= 0:
                break
            claimed += deliveries.claim_due(connection, channel_id, now, leases_at, room)
        return claimed

    return await store.write(write)


@dataclass(frozen=True, slots=True)
class Made:
    """An attempt at a delivery; `jitter` is what the wait for the next one is varied by."""

    delivery: Delivery
    attempt: Attempt
    jitter: int


@dataclass(frozen=True, slots=True)
class _News:
    """What the log says of an outcome; a `reason` is why a channel is paused."""

    event: str
    outcome: deliveries.Outcome
    reason: str | None = None


async def record(store: Store, made: Sequence[Made], now: int) -> None:
    """Record attempts, and decide for each whether and when there is another one."""

    def write(connection: Connection) -> list[_News]:
        outcomes = [_outcome(each, now) for each in made]
        ours = deliveries.record_attempts(connection, outcomes, now)
        counted = [each for each in outcomes if each.claimed.id in ours]
        heard = {(each.claimed.channel_id, each.made.answer, each.state): each for each in counted}
        # Channels in their order, in which all lock them, and of each its successes first: who has
        # just heard something is not paused for what it failed to hear at the same time.
        in_order = sorted(
            heard.values(),
            key=lambda each: (each.claimed.channel_id, each.made.answer is not Answer.DELIVERED),
        )
        health = [_note_health(connection, each, now) for each in in_order]
        parked = [each for each in counted if each.state == deliveries.PARKED]
        return [
            *(each for each in health if each is not None),
            *(_News("delivery_parked", each) for each in parked),
        ]

    # After the commit: what is rolled back and written once more is said once.
    for each in await store.write(write):
        _say(each)


def _say(news: _News) -> None:
    """Write news into the log; of a URL the host alone, since a secret may stand in the rest."""
    claimed, made = news.outcome.claimed, news.outcome.made
    log = _log.bind(
        merchant=claimed.merchant_id,
        channel=claimed.channel_id,
        host=urlsplit(claimed.target).hostname,
    )
    if made.answer is Answer.DELIVERED:
        log.info(news.event)
    elif news.reason is not None:
        log.warning(news.event, reason=news.reason)
    elif news.outcome.state == deliveries.PARKED:
        tries = claimed.attempts + 1
        log.warning(news.event, event_id=str(claimed.event_id), tries=tries, error=made.error)
    else:
        log.warning(news.event, error=made.error)


def _outcome(made: Made, now: int) -> deliveries.Outcome:
    """Return what follows from an attempt."""
    claimed, answer = made.delivery, made.attempt.answer
    if answer is Answer.DELIVERED:
        return deliveries.Outcome(claimed, made.attempt, deliveries.DELIVERED, now)
    first_at = claimed.first_at if claimed.first_at is not None else now
    follows = retry.after_failure(
        answer, claimed.attempts + 1, first_at, now, made.jitter, made.attempt.retry_after_s
    )
    if isinstance(follows, retry.Again):
        return deliveries.Outcome(claimed, made.attempt, deliveries.DUE, follows.at)
    return deliveries.Outcome(claimed, made.attempt, deliveries.PARKED, now)


def _note_health(connection: Connection, outcome: deliveries.Outcome, now: int) -> _News | None:
    """Pause an endpoint that wants no more, or that has failed for days; return what is new.

    The latter only where a delivery is given up: one that fails for the first time after days
    without any may have met an endpoint that was away for a second.
    """
    channel_id, answer = outcome.claimed.channel_id, outcome.made.answer
    if answer is Answer.DELIVERED:
        is_new = outbox.note_well(connection, channel_id)
        return _News("channel_recovered", outcome) if is_new else None
    if answer is Answer.GONE:
        reason = "The endpoint answered 410 Gone. Resume it when it should hear from us again."
        is_new = outbox.pause_channel(connection, channel_id, reason, now)
        return _News("channel_paused", outcome, reason) if is_new else None
    if outbox.note_failing(connection, channel_id, now):
        return _News("channel_failing", outcome)
    is_given_up = outcome.state == deliveries.PARKED
    found = outbox.get_channel(connection, channel_id) if is_given_up else None
    if found and found.failing_since is not None and now - found.failing_since >= PAUSE_AFTER_MS:
        reason = "Every attempt has failed for three days. Resume it when the endpoint is mended."
        is_new = outbox.pause_channel(connection, channel_id, reason, now)
        return _News("channel_paused", outcome, reason) if is_new else None
    return None


async def redeliver(store: Store, channel_id: int, event_id: events.EventID, now: int) -> bool:
    """Send an event to a channel once more; False if its merchant has no such event."""
    found = await store.write(
        lambda connection: deliveries.redeliver(connection, channel_id, event_id, now)
    )
    store.wake("outbox")
    return found


async def resume(store: Store, channel_id: int, now: int) -> int:
    """Send to a paused channel again, what was parked first; return how many wait."""
    waiting = await store.write(
        lambda connection: deliveries.resume_channel(connection, channel_id, now)
    )
    store.wake("outbox")
    return waiting


async def pause(store: Store, channel_id: int, now: int) -> None:
    """Stop sending to a channel; what happens meanwhile waits for it."""
    reason = "The merchant paused it."
    await store.write(lambda connection: outbox.pause_channel(connection, channel_id, reason, now))


async def list_sent(store: Store, channel_id: int, limit: int) -> list[deliveries.Sent]:
    """Return a channel's latest deliveries, the newest first."""
    return await store.read(lambda connection: deliveries.list_sent(connection, channel_id, limit))
