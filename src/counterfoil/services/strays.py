"""Payers who sent another amount than their page asked for, to an address that many share."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter

from counterfoil.core.invoice import Status
from counterfoil.core.matching import LIKELY_WAIT_MS, is_likely
from counterfoil.db import invoices, strays
from counterfoil.db.engine import Connection
from counterfoil.db.strays import Asked, Stray

_TOUCHED_MAX = 500

# Strays by where and what they were sent, of each place the latest first.
_Strays = Mapping[tuple[int, str], Sequence[Stray]]


def waits(connection: Connection, invoice_ids: Sequence[int], now: int) -> dict[int, int]:
    """Return until when some of the invoices do not expire, though their due date has passed.

    Those wait that may be meant by a stray. The merchant has been told and may credit it.
    """
    found = strays.list_strays(connection, invoice_ids, now - LIKELY_WAIT_MS)
    if not found:
        return {}
    known = _by_place(found)
    until: dict[int, int] = {}
    for asked in strays.list_asked(connection, invoice_ids):
        stray = _latest_meant(asked, known)
        if stray is not None:
            wait_until = stray.arrived_at + LIKELY_WAIT_MS
            until[asked.invoice_id] = max(until.get(asked.invoice_id, 0), wait_until)
    return until


def may_have_paid_until(connection: Connection, invoice_id: int, now: int) -> int | None:
    """Return until when a stray may be meant for an invoice: its payer had better not pay again."""
    until = waits(connection, [invoice_id], now).get(invoice_id, now)
    return until if until > now else None


def touch_meant(connection: Connection, transaction_ids: Collection[int], now: int) -> list[int]:
    """Note that the pages change of invoices that strays of some transactions may be meant for.

    Return those of them that have expired: with these strays perhaps too soon. What is overdue and
    has not, the clock asks about every second.
    """
    found = strays.list_of_transactions(connection, transaction_ids)
    # What came longer ago neither keeps an invoice from expiring nor shows on a page.
    some = [stray for stray in found if stray.arrived_at > now - LIKELY_WAIT_MS]
    if not some:
        return []
    first_at = min(stray.arrived_at for stray in some)
    expired = strays.list_asked_of_expired(connection, _places(some), first_at, now)
    meant = sorted({*list_meant(connection, some), *_meant(expired, some)})
    if not meant:
        return []
    locked = invoices.lock_all(connection, meant)
    invoices.touch(connection, *meant)
    return [each.id for each in locked if each.standing.status is Status.EXPIRED]


def list_meant(connection: Connection, some: Sequence[Stray]) -> list[int]:
    """Return the unpaid invoices that some strays may be meant for, sorted.

    Only what was asked last is looked through: anybody can send a stray to a busy address, and
    whoever opens a page later is asked anyway.
    """
    came = [stray.arrived_at for stray in some]
    asked = strays.list_asked_before(connection, _places(some), min(came), max(came), _TOUCHED_MAX)
    return _meant(asked, some)


def _places(some: Iterable[Stray]) -> list[int]:
    return sorted({stray.destination_id for stray in some})


def _meant(asked: Iterable[Asked], some: Iterable[Stray]) -> list[int]:
    known = _by_place(some)
    return sorted({each.invoice_id for each in asked if _latest_meant(each, known)})


def _by_place(some: Iterable[Stray]) -> _Strays:
    by_place: defaultdict[tuple[int, str], list[Stray]] = defaultdict(list)
    for stray in sorted(some, key=attrgetter("arrived_at"), reverse=True):
        by_place[stray.destination_id, stray.method].append(stray)
    return by_place


def _latest_meant(asked: Asked, known: _Strays) -> Stray | None:
    """Return the latest stray that may be meant for what was asked.

    It came after the amount was shown and before the invoice was due, within 5 % of it. Others need
    not be looked at: anybody can send thousands to an address.
    """
    for stray in known.get((asked.destination_id, asked.method), ()):
        if stray.arrived_at <= asked.created_at:
            break
        if (asked.due_at is None or stray.arrived_at <= asked.due_at) and is_likely(
            asked.amount_atomic, stray.amount_atomic
        ):
            return stray
    return None
