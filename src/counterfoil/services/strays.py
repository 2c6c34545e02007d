"""Payers who sent another amount than their page asked for, to an address that many share."""

from collections import defaultdict
from collections.abc import Sequence

from counterfoil.core.matching import LIKELY_WAIT_MS, is_likely
from counterfoil.db import strays
from counterfoil.db.engine import Connection


def waits(connection: Connection, invoice_ids: Sequence[int], now: int) -> dict[int, int]:
    """Return until when some of the invoices do not expire, though their due date has passed.

    Those wait that may be meant by a stray: one that came after the amount was shown and before the
    invoice was due, within 5 % of that amount. The merchant has been told and may credit it.
    """
    by_place: defaultdict[tuple[int, str], list[strays.Stray]] = defaultdict(list)
    for stray in strays.list_strays(connection, now - LIKELY_WAIT_MS):
        by_place[stray.destination_id, stray.method].append(stray)
    if not by_place:
        return {}
    until: dict[int, int] = {}
    for asked in strays.list_asked(connection, invoice_ids):
        for stray in by_place.get((asked.destination_id, asked.method), ()):
            is_in_time = asked.created_at < stray.arrived_at <= asked.due_at
            if is_in_time and is_likely(asked.amount_atomic, stray.amount_atomic):
                wait_until = stray.arrived_at + LIKELY_WAIT_MS
                until[asked.invoice_id] = max(until.get(asked.invoice_id, 0), wait_until)
    return until
