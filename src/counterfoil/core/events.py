"""What a shop is told: which events a change makes, and their exact bytes.

The contract's verifier parses the body and serialises it again with JavaScript's JSON.stringify,
so the bytes must be those that JSON.stringify makes: no spaces, no ASCII escapes, no floats, no
integers beyond 2^53, no repeated or integer-like keys. All values here are strings, null, booleans,
or an object of such.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from counterfoil.core.invoice import MOVES, Assessment, EventType, Notice, Standing, Status

DEFAULT_EVENTS = (EventType.DETECTED, EventType.CONFIRMED, EventType.FAILED)

_NOTICE_EVENTS = {
    Notice.UNDERPAID: EventType.UNDERPAID,
    Notice.OVERPAID: EventType.OVERPAID,
    Notice.PAID_LATE: EventType.PAID_LATE,
    Notice.EXPIRED: EventType.EXPIRED,
    Notice.CANCELLED: EventType.CANCELLED,
}
# Once told these are never told again; the others may be, if they end and come back.
_TOLD_ONCE = frozenset({Notice.EXPIRED, Notice.CANCELLED})


@dataclass(frozen=True, slots=True)
class Happening:
    """An event before it has its number: its type, the status it tells, the payment behind it."""

    type: EventType
    status: Status | None
    payment_id: int | None


@dataclass(frozen=True, slots=True, order=True)
class EventID:
    """The place of an event in a merchant's log; compared as two integers."""

    at: int
    number: int

    def __str__(self) -> str:
        """Return `<milliseconds>-<n>`."""
        return f"{self.at}-{self.number}"


def next_id(last: EventID, now: int) -> EventID:
    """Return the id after `last`: it grows even where the clock does not."""
    if now > last.at:
        return EventID(now, 0)
    return EventID(last.at, last.number + 1)


def happenings(before: Standing, after: Assessment) -> tuple[Happening, ...]:
    """Return the events of the difference between what was saved and what holds now."""
    standing = after.standing
    types: list[EventType] = []
    if before.status is not standing.status:
        types += MOVES[before.status, standing.status]
    fresh = standing.notices - before.notices
    types += [_NOTICE_EVENTS[notice] for notice in Notice if notice in fresh]
    return tuple(
        Happening(
            kind,
            # A payment that failed leaves the invoice to be paid, whatever became of it since.
            Status.UNPAID if kind is EventType.FAILED else standing.status,
            after.causes.get(kind),
        )
        for kind in types
    )


def told(before: Standing, after: Standing) -> frozenset[Notice]:
    """Return the notices to remember: those that hold, and those that are told only once."""
    return after.notices | (before.notices & _TOLD_ONCE)


def iso(at: int) -> str:
    """Return a time in milliseconds as RFC 3339 in UTC with milliseconds."""
    return f"{_moment(at // 1000)}.{at % 1000:03d}Z"


# A busy server writes the same second thousands of times.
@lru_cache(maxsize=1_024)
def _moment(at_s: int) -> str:
    # Cut from `isoformat`, which takes a sixth of the time of `strftime`.
    return datetime.fromtimestamp(at_s, UTC).isoformat()[:19]


Value = str | bool | None | Mapping[str, str | None]


def body(
    happening: Happening, invoice_id: int | None, extra: Mapping[str, Value] | None = None
) -> bytes:
    """Return the exact bytes of a webhook: the contract's four keys first, `extra` after them.

    A key whose value an event has none of (a transfer in the inbox has no invoice) is "".
    """
    document: dict[str, Value] = {
        "event": happening.type.value,
        "invoice_id": "" if invoice_id is None else str(invoice_id),
        "status": "" if happening.status is None else happening.status.value,
        "payment_id": "" if happening.payment_id is None else str(happening.payment_id),
        **(extra or {}),
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    # UTF-8 has no half of a surrogate pair; JSON.stringify writes it as this handler does: \ud800.
    return text.encode(errors="backslashreplace")
