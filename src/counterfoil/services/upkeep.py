"""What time alone brings about: invoices fall due, amounts come free, rows grow old."""

from collections.abc import Callable
from dataclasses import dataclass

from counterfoil.core import matching
from counterfoil.db import amounts, idempotency, invoices, loops, outbox
from counterfoil.db.engine import Connection
from counterfoil.db.sql import CHUNK
from counterfoil.services.context import Context
from counterfoil.services.payments import reassess
from counterfoil.services.strays import waits

_BATCH = 200
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that is kept for a time only.

    `forget` drops the oldest from before a time, a given number at most, and returns how many.
    """

    what: str
    for_ms: int
    forget: Callable[[Connection, int, int], int]


# All that grows old. Invoices, quotes, addresses and payments never do: money may always come late.
RETENTION = (
    Kept("answers to an `Idempotency-Key`", 24 * _HOUR_MS, idempotency.forget),
    Kept("events, their deliveries and attempts", 90 * 24 * _HOUR_MS, outbox.forget_events),
)
# So few at a time that whoever writes beside it hardly waits.
_FORGET_AT_ONCE = 200


@dataclass(slots=True)
class DueDates:
    """A walk, again and again, over the invoices whose due date has passed, by their ids.

    It goes on after the last one that was tried: one that cannot be assessed holds up no other.
    """

    context: Context
    _after: int = 0
    # When the walk was last gone on with.
    _at: int | None = None

    async def assess(self, now: int) -> bool:
        """Assess the next of them, one to a transaction; return whether there are more.

        Whether one is expired is not for the clock to say: while a chain was not watched past the
        due date, `reassess` leaves it as it is. Those that wait for a day because of a wrong amount
        are not asked about every second of it.
        """
        # A clock that was set back comes by a time again up to which all had been seen once.
        if self._at is None or now < self._at:
            await self.context.store.write(lambda c: loops.clamp_watched(c, now))
        self._at = now

        def read(connection: Connection) -> tuple[list[int], list[int]]:
            due = invoices.list_due(connection, now, self._after, _BATCH)
            until = waits(connection, due, now) if due else {}
            return due, [each for each in due if until.get(each, now) <= now]

        due, ready = await self.context.store.read(read)
        for invoice_id in ready:
            self._after = invoice_id
            if await self.context.store.write(
                lambda c, i=invoice_id: reassess(c, self.context, i, now)  # type: ignore[misc]  # mypy cannot infer such a lambda
            ):
                self.context.wake_tellers()
        self._after = due[-1] if len(due) == _BATCH else 0
        return self._after > 0


async def sweep(context: Context, now: int) -> bool:
    """Free amounts whose quarantine is over, and drop some of what has been kept long enough.

    Return whether there is more. Each step is a commit of its own, and may be done again.
    """

    def free(connection: Connection) -> int:
        amounts.start_quarantine(connection, now)
        return amounts.release_holds(connection, matching.QUARANTINE_MS, now)

    is_more = await context.store.write(free) == CHUNK
    for kept in RETENTION:
        before = now - kept.for_ms
        count = await context.store.write(
            lambda c, k=kept, b=before: k.forget(c, b, _FORGET_AT_ONCE)  # type: ignore[misc]  # mypy cannot infer such a lambda
        )
        is_more |= count == _FORGET_AT_ONCE
    return is_more
