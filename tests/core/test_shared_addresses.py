"""The figures of docs/shared-addresses.md are those of the code."""

import re
from decimal import Decimal

import pytest

from counterfoil.core import money
from counterfoil.core.matching import QUARANTINE_MS, amounts
from counterfoil.core.ports import Method
from counterfoil.core.quote import LOCK_MS
from tests.house import ROOT

DOCUMENT = (ROOT / "docs" / "shared-addresses.md").read_text(encoding="utf-8")
# Bitcoin and Litecoin have the same decimals and steps.
COIN = Method("COIN", "COIN", "Coin", "coin", 8, 1, 1)
HEAD, *ROWS = [
    [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
    for line in DOCUMENT.splitlines()
    if line.startswith("| ")
]
RATES = [Decimal(found) for found in re.findall(r"(?:BTC|LTC) at (\d+)", " ".join(HEAD))]


def figures(price: Decimal, rate: Decimal) -> list[str]:
    """Return how many payers of a price are told apart, at once and an hour, and the cost."""
    price_atomic = money.to_atomic(price, rate, COIN)
    allowed = amounts(price_atomic, COIN.step_atomic)
    an_hour = Decimal(len(allowed)) * 3_600_000 / (LOCK_MS + QUARANTINE_MS)
    more = (allowed[-1] - price_atomic) * rate / 10**COIN.decimals
    return [str(len(allowed)), f"{an_hour:.1f}", f"{more:.4f}"]


def test_the_table_is_whole() -> None:
    assert RATES == [100_000, 80]
    assert len(ROWS) == 8


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} USD")
def test_a_row_says_what_the_code_does(row: list[str]) -> None:
    price, *cells = row
    assert cells == [cell for rate in RATES for cell in figures(Decimal(price), rate)]
