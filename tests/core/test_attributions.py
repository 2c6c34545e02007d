"""Random transfers among random open quotes: each goes where a second account of the rules says.

The quotes are few and alike on purpose, so that amounts, tags and times meet at their limits.
"""

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from counterfoil.core.matching import AskedQuote, Kind, Matched, match
from counterfoil.core.ports import Transfer

MINUTE_MS = 60_000
T = 1_767_700_000_123
SKEW_MS = {Kind.SHARED: 2 * MINUTE_MS, Kind.EXCLUSIVE: 120 * MINUTE_MS}


def attribute(
    sent: Transfer,
    kind: Kind,
    quotes: Sequence[AskedQuote],
    at: int,
    *,
    is_own: bool,
    is_older: bool,
) -> int | str:
    """Return the number of the quote that is paid, or the reason why none is.

    Every quote is given a rank, and the highest one is paid.
    """
    if is_own:
        return "own_transfer"
    ranks: list[tuple[int, int, int, int]] = []
    reasons = {"no_quote"}
    for q in quotes:
        if q.method != sent.method:
            reasons.add("other_method")
        elif is_older or q.created_at - at > SKEW_MS[kind]:
            reasons.add("before_quote")
        elif q.tag and q.tag == sent.tag:
            ranks.append((3, *_age(q, at)))
        elif q.amount_atomic == sent.amount_atomic and (
            kind is Kind.EXCLUSIVE or q.released_at is None or q.released_at > at
        ):
            ranks.append((2, *_age(q, at)))
        elif kind is Kind.EXCLUSIVE:
            ranks.append((1, *_age(q, at)))
        else:
            reasons.add("no_exact_amount")
    if ranks:
        return abs(max(ranks)[3])
    order = ("no_exact_amount", "before_quote", "other_method", "no_quote")
    return next(reason for reason in order if reason in reasons)


def _age(q: AskedQuote, at: int) -> tuple[int, int, int]:
    """Rank what was shown before the payment above what came after it: the newest, the oldest."""
    if q.created_at < at:
        return (1, q.created_at, q.quote_id)
    return (0, -q.created_at, -q.quote_id)


def check(seed: int, count: int) -> Counter[str]:
    """Attribute some random transfers and return what became of them."""
    chance = Random(seed)
    ends: Counter[str] = Counter()
    for number in range(count):
        kind = chance.choice(tuple(Kind))
        quotes = [
            AskedQuote(
                quote_id=place,
                method=chance.choice(("LTC", "LTC", "LTC", "DOGE")),
                amount_atomic=chance.randrange(1, 5),
                tag=chance.choice((None, None, "7", "8")),
                created_at=T + chance.randrange(-3, 4) * MINUTE_MS,
                released_at=chance.choice((None, T + chance.randrange(9) * MINUTE_MS)),
            )
            for place in range(1, 1 + chance.randrange(6))
        ]
        chance.shuffle(quotes)
        sent = Transfer(
            0, b"", "LTC", chance.randrange(1, 6), chance.choice((None, None, "7", "8", "9"))
        )
        at = T + chance.choice((-125, -120, -5, -2, -1, 0, 0, 0, 1, 3, 9)) * MINUTE_MS
        at += chance.randrange(-1, 2)
        is_own, is_older = chance.randrange(20) == 0, chance.randrange(20) == 0
        found = match(sent, kind, quotes, at, is_own=is_own, is_older=is_older)
        end = found.quote_id if isinstance(found, Matched) else found.reason.value
        wanted = attribute(sent, kind, quotes, at, is_own=is_own, is_older=is_older)
        assert end == wanted, f"seed {seed}, transfer {number}: {sent} at {at} among {quotes}"
        ends["credited" if isinstance(end, int) else end] += 1
    return ends


def test_each_transfer_goes_where_the_rules_say() -> None:
    ends = check(0, 20_000)
    assert set(ends) == {
        "credited",
        "own_transfer",
        "no_quote",
        "other_method",
        "before_quote",
        "no_exact_amount",
    }
    assert min(ends.values()) > 100, "each end is reached often"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 11))
def test_a_million_transfers_go_where_the_rules_say(seed: int) -> None:
    check(seed, 100_000)
