"""Whom a transfer in the inbox was meant for: the invoices that it may belong to, and why.

Nothing here credits anything. What a person reads is made from facts alone, so the same facts give
the same candidates in the same order, whoever asks and whenever.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from functools import partial
from types import MappingProxyType

from counterfoil.core.invoice import Status
from counterfoil.core.matching import Reason, is_likely
from counterfoil.core.money import to_fiat
from counterfoil.core.payment import GRACE_MS

CANDIDATES_MAX = 5
# So long before it came a transfer may have been asked for, where no exact amount says more.
NEAR_MS = 24 * 3_600_000
# A transfer is dated by the look that found it, which may have begun before the price was made.
_SKEW_MS = 60_000

WHY = MappingProxyType(
    {
        Reason.NO_QUOTE: "No invoice has asked for an amount at this address.",
        Reason.NO_EXACT_AMOUNT: "No invoice had a price of exactly this amount when it came.",
        Reason.BEFORE_QUOTE: "It came before an invoice asked for it.",
        Reason.OWN_TRANSFER: "It comes from an address of this merchant.",
        Reason.OTHER_METHOD: "It is another coin than was asked for at this address.",
        Reason.DETACHED: "It was credited to an invoice and taken off it by hand.",
    }
)


@dataclass(frozen=True, slots=True)
class Found:
    """A transfer in the inbox; `rates` is what a whole coin cost when it came, by currency."""

    method: str
    amount_atomic: int
    decimals: int
    destination_id: int
    is_exclusive: bool
    arrived_at: int
    rates: Mapping[str, Decimal]

    def worth(self, currency: str) -> Fraction | None:
        """Return what it was worth when it came, None where nobody knew."""
        rate = self.rates.get(currency)
        return None if rate is None else to_fiat(self.amount_atomic, rate, self.decimals)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an invoice once asked for, and how the invoice stands now.

    `is_claimed` tells that whoever has its pay page has named the transaction.
    """

    invoice_id: int
    status: Status
    due_at: int | None
    currency: str
    fiat: Decimal
    method: str
    amount_atomic: int
    destination_id: int
    created_at: int
    lock_until: int
    is_claimed: bool


@dataclass(frozen=True, slots=True)
class Unasked:
    """An invoice that had asked for no amount when a transfer came, but names its address.

    Or its payer has named the transaction, which `is_claimed` tells.
    """

    invoice_id: int
    status: Status
    due_at: int | None
    currency: str
    fiat: Decimal
    created_at: int
    is_claimed: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """An invoice that a transfer may belong to, and why, in words."""

    invoice_id: int
    reason: str


_Rank = tuple[int, bool, Fraction, int, int]


class _Likeness(IntEnum):
    """How a transfer is like what was asked for; the lower, the more it tells."""

    EXACT = 0
    ADDRESS = 1
    CLAIMED = 2
    NEAR = 3
    ORDERED = 4
    ELSEWHERE = 5
    WORTH = 6


def rank(
    found: Found, asked: Sequence[Asked], unasked: Sequence[Unasked] = ()
) -> tuple[Candidate, ...]:
    """Return the invoices that a transfer may belong to, the likeliest first, each once.

    The likeness counts first, then how far off the amount is, then how near in time it was.
    """
    best: dict[int, tuple[_Rank, Callable[[], str]]] = {}
    for each in asked:
        likeness = _likeness(found, each)
        if likeness is None:
            continue
        off = abs(_off(found, each, likeness))
        apart_ms = abs(found.arrived_at - each.created_at)
        # Nobody pays what is asked for only afterwards, if the same invoice asked before.
        is_after = each.created_at >= found.arrived_at + _SKEW_MS
        # Of two quotes that are alike in all this, the words are of the one that was open longer.
        order = (likeness.value, is_after, off, apart_ms, -each.lock_until)
        kept = best.get(each.invoice_id)
        if kept is None or order < kept[0]:
            best[each.invoice_id] = (order, partial(_words, found, each, likeness))
    for invoice in unasked:
        likeness = _Likeness.CLAIMED if invoice.is_claimed else _Likeness.ORDERED
        worth = found.worth(invoice.currency)
        off = Fraction(0) if worth is None else abs(worth / Fraction(invoice.fiat) - 1)
        apart_ms = abs(found.arrived_at - invoice.created_at)
        order = (likeness.value, False, off, apart_ms, 0)
        best[invoice.invoice_id] = (order, partial(_words_unasked, found, invoice))
    # What tells two quotes of one invoice apart does not tell invoices apart.
    ranked = sorted(best.items(), key=lambda kept: (kept[1][0][0], *kept[1][0][2:4], kept[0]))
    return tuple(
        Candidate(invoice_id, words()) for invoice_id, (_, words) in ranked[:CANDIDATES_MAX]
    )


def _likeness(found: Found, asked: Asked) -> _Likeness | None:
    is_here = asked.destination_id == found.destination_id
    if is_here and found.is_exclusive:
        is_exact = (asked.method, asked.amount_atomic) == (found.method, found.amount_atomic)
        return _Likeness.EXACT if is_exact else _Likeness.ADDRESS
    early_ms = asked.created_at - found.arrived_at
    is_same = asked.method == found.method and asked.amount_atomic == found.amount_atomic
    if is_same and is_here and early_ms <= NEAR_MS:
        return _Likeness.EXACT
    if asked.is_claimed:
        return _Likeness.CLAIMED
    if is_same:
        return _Likeness.ELSEWHERE if not is_here and early_ms <= GRACE_MS else None
    if early_ms > GRACE_MS or early_ms < -NEAR_MS:
        return None
    if asked.method == found.method:
        is_near = is_here and is_likely(asked.amount_atomic, found.amount_atomic)
        return _Likeness.NEAR if is_near else None
    worth = found.worth(asked.currency)
    is_like = worth is not None and is_likely(Fraction(asked.fiat), worth)
    return _Likeness.WORTH if is_like else None


def _off(found: Found, asked: Asked, likeness: _Likeness) -> Fraction:
    """Return how much more came than was asked for, as a share of it."""
    if likeness is _Likeness.WORTH:
        return (found.worth(asked.currency) or 0) / Fraction(asked.fiat) - 1
    if asked.method != found.method:
        # Amounts of two coins are not compared.
        return Fraction(0)
    return Fraction(found.amount_atomic, asked.amount_atomic) - 1


# --- in words ----------------------------------------------------------------------------------


def _words(found: Found, asked: Asked, likeness: _Likeness) -> str:
    name = f"INV {asked.invoice_id}"
    is_short = likeness is _Likeness.NEAR and found.amount_atomic < asked.amount_atomic
    claimed = f"the payer of {name} named this transaction"
    if asked.method == found.method:
        off = _percent(_off(found, asked, likeness))
        claimed = f"{off} {name}, whose payer named this transaction"
    said = {
        _Likeness.EXACT: f"the amount of {name}",
        _Likeness.ADDRESS: f"sent to the address of {name}",
        _Likeness.CLAIMED: claimed,
        _Likeness.NEAR: f"{_percent(_off(found, asked, likeness))} {name}",
        _Likeness.ELSEWHERE: f"the amount of {name}, at another address",
        _Likeness.WORTH: f"{name} is an order of that size at another coin, {asked.method}",
    }[likeness]
    return said + _ending(found, asked) + (", an exchange fee?" if is_short else "")


def _words_unasked(found: Found, unasked: Unasked) -> str:
    name = f"INV {unasked.invoice_id}"
    if unasked.is_claimed:
        said = f"the payer of {name} named this transaction"
    else:
        said = f"{name} names this address and had asked for no amount yet"
    return said + _end_of(unasked, found.arrived_at)


def _percent(off: Fraction) -> str:
    """Return a difference as people say it: 0.4 % below."""
    side = "below" if off < 0 else "above"
    tenths = round(abs(off) * 1_000)
    share = f"{tenths // 10}.{tenths % 10} %" if tenths else "less than 0.1 %"
    return f"{share} {side}"


def _end_of(invoice: Asked | Unasked, at: int) -> str:
    """Return what speaks against an invoice: it is settled, or its time was over."""
    if invoice.status is Status.PAID:
        return ", which is paid"
    if invoice.status is Status.CANCELLED:
        return ", which is cancelled"
    if invoice.due_at is not None and at > invoice.due_at + GRACE_MS:
        return f", which expired {_span(at - invoice.due_at)} before"
    return ""


def _ending(found: Found, asked: Asked) -> str:
    """Return what speaks against what was asked: the invoice's end, or that of the price."""
    ended = _end_of(asked, found.arrived_at)
    if ended:
        return ended
    if found.arrived_at > asked.lock_until + GRACE_MS:
        return f", whose price ended {_span(found.arrived_at - asked.lock_until)} before"
    if found.arrived_at + _SKEW_MS <= asked.created_at:
        return f", {_span(asked.created_at - found.arrived_at)} before it was asked for"
    return ""


def _span(ms: int) -> str:
    """Return a time in its largest unit, rounded down: 3 hours."""
    minutes = ms // 60_000
    hours = minutes // 60
    if hours >= 24:
        return _counted(hours // 24, "day")
    return _counted(hours, "hour") if hours else _counted(minutes, "minute")


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
