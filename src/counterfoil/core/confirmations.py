"""How deep a payment must lie to be final: the more coin is at stake, the deeper.

Amounts are whole coins, not fiat. What it costs to rewrite a block is counted in coin, too, and a
policy in coin needs no rate to be had at the moment at which money arrives.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

CONFIRMATIONS_MAX = 1_000

_STEP = re.compile(r"([0-9]{1,4}) from ([0-9]{1,15}(?:\.[0-9]{1,18})?)")


@dataclass(frozen=True, slots=True)
class Confirmations:
    """A policy: `base` blocks, and more of them from the amounts in `steps` on.

    `steps` are pairs of whole coins and blocks, both growing. The block that holds a payment is its
    first confirmation; with none needed a payment is final as soon as it is seen.
    """

    base: int
    steps: tuple[tuple[Decimal, int], ...] = ()

    def needed(self, coins: Fraction) -> int:
        """Return how many confirmations make a payment final with so many coins at stake."""
        reached = [blocks for least, blocks in self.steps if coins >= Fraction(least)]
        return reached[-1] if reached else self.base

    def __str__(self) -> str:
        """Return the policy as `parse` reads it: `1, 3 from 0.01, 6 from 1`."""
        return ", ".join([str(self.base), *(f"{blocks} from {n:f}" for n, blocks in self.steps)])


def parse(text: str, least: int = 1) -> Confirmations:
    """Return the policy that a text such as `3` or `1, 3 from 0.01, 6 from 1` spells.

    Raises ValueError for anything else, for fewer than `least` or more than 1,000 blocks, and for
    steps that do not grow.
    """
    first, *rest = (part.strip() for part in text.split(","))
    if not (first.isascii() and first.isdecimal() and len(first) <= len(str(CONFIRMATIONS_MAX))):
        raise ValueError(text)
    steps: list[tuple[Decimal, int]] = []
    for part in rest:
        match = _STEP.fullmatch(part)
        if match is None:
            raise ValueError(text)
        steps.append((Decimal(match[2]), int(match[1])))
    base = int(first)
    grows = all(
        amount > before and blocks > fewer
        for (before, fewer), (amount, blocks) in pairwise([(Decimal(0), base), *steps])
    )
    most = steps[-1][1] if steps else base
    if not grows or base < least or most > CONFIRMATIONS_MAX:
        raise ValueError(text)
    return Confirmations(base, tuple(steps))
