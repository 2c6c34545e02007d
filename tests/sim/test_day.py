"""A day of a shop with one static address: nobody's payment is credited to another's invoice."""

import asyncio

import pytest
import structlog.testing

from counterfoil.core import matching
from counterfoil.core.quote import LOCK_MS
from counterfoil.services import observations
from tests.sim import faults
from tests.sim.day import HOUR, IDLE_MS, Day, Scene, Verdict

pytestmark = [pytest.mark.sim, pytest.mark.timeout(900)]

LITECOIN = Scene(coin_price=80, open_invoices=60)
BUSY = Scene(coin_price=80, orders_per_hour=30, hours=6, late=10, very_late=0, moves=0, outages=0)
# 250 USD are 250,000 satoshis: few amounts are within a thousandth of that.
BITCOIN = Scene(coin_price=100_000, orders_per_hour=11, hours=49, very_late=0, moves=0, outages=0)
BITCOIN_AMOUNTS = 225


@pytest.fixture(autouse=True)
def _watch_at_long_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "_WATCH_GAP_MAX_MS", IDLE_MS)


def live(seed: int, scene: Scene) -> Verdict:
    with structlog.testing.capture_logs():
        verdict = asyncio.run(Day(seed, scene).live())
    print(f"seed {seed}: {verdict}")
    return verdict


def check(verdict: Verdict) -> None:
    """See that every payment reached its own invoice or, with a reason, the inbox."""
    became = verdict.became
    assert became["a stranger's"] == 0
    assert became["lost"] == 0
    assert became["exact and held, in the inbox"] == 0
    assert became["own"] > 0
    assert became["wrong, in the inbox"] > 0


@pytest.mark.parametrize("seed", range(2))
def test_a_day_on_one_address(seed: int) -> None:
    check(live(seed, LITECOIN))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_a_day_with_five_hundred_open_invoices(seed: int) -> None:
    verdict = live(seed, Scene(coin_price=80, open_invoices=500))
    check(verdict)
    assert verdict.became["very late, in the inbox"] > 0


def test_the_lowest_tag_reused_at_expiry_credits_strangers() -> None:
    """What other servers do: then many of those who pay late pay somebody else's invoice."""
    with faults.lowest_tag_reused_at_expiry():
        verdict = live(0, BUSY)
    assert verdict.became["a stranger's"] > 4
    # Without the fault the same day is whole.
    check(live(0, BUSY))


@pytest.mark.long
def test_where_amounts_are_few_customers_are_turned_away_and_none_is_mistaken() -> None:
    """The figures are those of docs/shared-addresses.md."""
    verdict = live(0, BITCOIN)
    check(verdict)
    assert len(matching.amounts(250_000, 1)) == BITCOIN_AMOUNTS
    assert verdict.turned_away["no_free_amount"] > 0
    # So many at once, and not one more before the first one has come free.
    assert verdict.most_held == BITCOIN_AMOUNTS
    assert sum(verdict.served[hour] for hour in range(24)) == BITCOIN_AMOUNTS
    # Each amount serves again as soon as a day has been watched after its lock.
    a_day = BITCOIN_AMOUNTS * 24 * HOUR / (LOCK_MS + matching.QUARANTINE_MS)
    again = sum(verdict.served[hour] for hour in range(25, 49))
    assert 0.95 * a_day < again <= BITCOIN_AMOUNTS
