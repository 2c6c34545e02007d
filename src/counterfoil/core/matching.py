"""Which quote a transfer pays, and which amounts a shared address may ask for.

A destination is either *exclusive* (made for one invoice: any transfer to it credits) or *shared*
(a merchant's one address: only the exact amount that a quote holds credits). What matches nothing
goes to the inbox with the reason; nothing is dropped.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from operator import attrgetter

from counterfoil.core.ports import Transfer

# A surcharge that nobody minds: a thousandth of the price, in whole payable steps, and two of them
# at the least, since one alone might lead to a round amount.
_SURCHARGE_PER_PRICE = 1_000
_TAGS_LEAST = 2
# More than these are never needed, and fees that exchanges take off a payment are larger: what is
# left of an amount is below its price, and no other payer's amount.
_TAGS_MAX = 10_000
_DRAWS = 24
# People, and the merchant's own transfers, use round amounts; a tag never is one.
_ROUND_STEPS = 10
# Whoever sends an amount so near to what was asked for has probably meant it.
_LIKELY_PER_AMOUNT = 20

QUARANTINE_MS = 24 * 3_600_000
AMOUNTS_PER_INVOICE_MAX = 5
# So long an invoice does not expire for a transfer that may have been meant for it.
LIKELY_WAIT_MS = 24 * 3_600_000


class Kind(StrEnum):
    """Whether a destination serves one invoice or many."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"


# How much earlier than the quote a transfer may seem to have come: our own clock and a block's may
# differ, and consensus lets a block's time be two hours off.
_SKEW_MS = {Kind.SHARED: 2 * 60_000, Kind.EXCLUSIVE: 2 * 3_600_000}


class Reason(StrEnum):
    """Why a transfer lies in the inbox."""

    NO_QUOTE = "no_quote"
    NO_EXACT_AMOUNT = "no_exact_amount"
    BEFORE_QUOTE = "before_quote"
    OWN_TRANSFER = "own_transfer"
    OTHER_METHOD = "other_method"
    # Not found by `match`: the merchant took it off an invoice.
    DETACHED = "detached"


@dataclass(frozen=True, slots=True)
class AskedQuote:
    """A quote of the destination that was paid: what it asked for, and while it held the amount."""

    quote_id: int
    method: str
    amount_atomic: int
    tag: str | None
    created_at: int
    released_at: int | None


@dataclass(frozen=True, slots=True)
class Matched:
    """The quote that a transfer pays."""

    quote_id: int


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Why a transfer pays none."""

    reason: Reason


def match(
    transfer: Transfer,
    kind: Kind,
    asked: Sequence[AskedQuote],
    arrived_at: int,
    *,
    is_own: bool,
    is_older: bool,
) -> Matched | Unmatched:
    """Return which of the destination's quotes a transfer pays.

    `is_own` says that it comes from the destination itself or from money already watched for this
    merchant: change and consolidation are no payments. `is_older` says that it was seen before its
    destination was anybody's, so it pays nobody's quote, whatever the clocks say.
    """
    if is_own:
        return Unmatched(Reason.OWN_TRANSFER)
    if not asked:
        return Unmatched(Reason.NO_QUOTE)
    same_method = [q for q in asked if q.method == transfer.method]
    if not same_method:
        return Unmatched(Reason.OTHER_METHOD)
    earlier = [q for q in same_method if q.created_at <= arrived_at + _SKEW_MS[kind]]
    if is_older or not earlier:
        return Unmatched(Reason.BEFORE_QUOTE)
    tagged = [q for q in earlier if q.tag is not None and q.tag == transfer.tag]
    exact = [q for q in earlier if q.amount_atomic == transfer.amount_atomic]
    if kind is Kind.SHARED:
        held = [q for q in exact if q.released_at is None or arrived_at < q.released_at]
        choice = tagged or held
    else:
        choice = tagged or exact or earlier
    if not choice:
        return Unmatched(Reason.NO_EXACT_AMOUNT)
    return Matched(_current(choice, arrived_at).quote_id)


def price_of(
    asked: Sequence[AskedQuote], method: str, amount_atomic: int, arrived_at: int
) -> int | None:
    """Return which of an invoice's quotes says what a transfer is worth that is credited by hand.

    The one of its exact amount, else the one current when it came; None where the invoice had asked
    for nothing in its method by then.
    """
    same_method = [q for q in asked if q.method == method]
    exact = [q for q in same_method if q.amount_atomic == amount_atomic]
    choice = exact or [q for q in same_method if q.created_at <= arrived_at + _SKEW_MS[Kind.SHARED]]
    return _current(choice, arrived_at).quote_id if choice else None


def _current(choice: Sequence[AskedQuote], arrived_at: int) -> AskedQuote:
    """Return the quote that was the newest before `arrived_at`, else the first one after it.

    A quote that was made since then is not what the payer paid, and neither is one of that moment:
    it asks for the rest of what has just come.
    """
    age = attrgetter("created_at", "quote_id")
    made = [q for q in choice if q.created_at < arrived_at]
    return max(made, key=age) if made else min(choice, key=age)


@dataclass(frozen=True, slots=True)
class Known:
    """What a shared address knows of some amounts: those that nobody else may have, those of old.

    `taken` are held by a quote, in quarantine, or wait in the inbox; `used` were once asked for.
    """

    taken: Collection[int]
    used: Collection[int]


def amounts(price_atomic: int, step_atomic: int) -> list[int]:
    """Return the amounts that a shared address may ask for in place of a price.

    They go upward only, by a thousandth of the price at most, and are never round. There is at
    least one. How many there are is how many payers of one price an address can tell apart.
    """
    tags = price_atomic // _SURCHARGE_PER_PRICE // step_atomic
    tags = min(max(tags, _TAGS_LEAST), _TAGS_MAX)
    tagged = (price_atomic + tag * step_atomic for tag in range(1, tags + 1))
    return [amount for amount in tagged if amount // step_atomic % _ROUND_STEPS != 0]


def pick_amount(
    price_atomic: int,
    step_atomic: int,
    kept: int | None,
    known_of: Callable[[Collection[int]], Known],
    below: Callable[[int], int],
) -> int | None:
    """Return a free amount for a price on a shared address, or None.

    The one with the tag that the invoice has already, if that is to be had (`kept`), else one at
    random. Amounts that were never used go first, so that a late payer meets nobody: only when all
    have been used is one of them given out again.
    """
    allowed = amounts(price_atomic, step_atomic)
    wanted = [kept] if kept in allowed else []
    # So few suffice nearly always, and are looked up at once.
    drawn = [*wanted, *(allowed[below(len(allowed))] for _ in range(_DRAWS))]
    known = known_of(drawn)
    for amount in drawn:
        if amount not in known.taken and amount not in known.used:
            return amount
    known = known_of(allowed)
    free = [amount for amount in allowed if amount not in known.taken]
    never_used = [amount for amount in free if amount not in known.used]
    choice = never_used or [amount for amount in wanted if amount in free] or free
    return choice[below(len(choice))] if choice else None


def is_likely(asked: int | Fraction, received: int | Fraction) -> bool:
    """Tell whether a transfer of the wrong amount was probably meant for a quote.

    Thousands are compared at once: integers stay integers.
    """
    return -asked <= (asked - received) * _LIKELY_PER_AMOUNT <= asked
