"""When a delivery that failed is tried again: the one schedule of all channels."""

from dataclasses import dataclass

from counterfoil.core.ports import Answer

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

_FIRST_WAITS_MS = (
    5 * SECOND_MS,
    30 * SECOND_MS,
    2 * MINUTE_MS,
    10 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
)
_LATER_WAIT_MS = 3 * HOUR_MS
GIVE_UP_AFTER_MS = 3 * DAY_MS
REFUSALS_MAX = 6
# Jitter spreads retries over this share of the wait, so that endpoints which came back together
# are not all called in the same second.
_JITTER_SHARE_PERCENT = 20


@dataclass(frozen=True, slots=True)
class Again:
    """Try again at `at`."""

    at: int


@dataclass(frozen=True, slots=True)
class Parked:
    """Stop trying this delivery; it stays listed and can be sent again."""


def after_failure(
    answer: Answer, attempts: int, first_at: int, now: int, jitter: int, retry_after_s: int | None
) -> Again | Parked:
    """Return what follows the failed attempt number `attempts` (counted from 1).

    `first_at` is when the delivery was first tried, `jitter` an integer in [0, 1000) drawn by the
    caller. A refusal (a 4xx that no repetition will mend) is tried six times, anything else for
    three days. A `Retry-After` makes the wait longer, never shorter, and at most three hours.
    """
    if answer is Answer.REFUSED and attempts >= REFUSALS_MAX:
        return Parked()
    if now - first_at >= GIVE_UP_AFTER_MS:
        return Parked()
    place = attempts - 1
    wait = _FIRST_WAITS_MS[place] if place < len(_FIRST_WAITS_MS) else _LATER_WAIT_MS
    wait += wait * _JITTER_SHARE_PERCENT * jitter // 100_000
    if retry_after_s is not None:
        wait = max(wait, min(retry_after_s * SECOND_MS, _LATER_WAIT_MS))
    return Again(now + wait)
