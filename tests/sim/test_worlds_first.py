"""The first half of the 300 seeded worlds that `make test` runs; the second is beside it."""

import pytest

from tests.sim.worlds import check_worlds

pytestmark = [pytest.mark.sim, pytest.mark.timeout(600)]

PART = 30


@pytest.mark.parametrize("first", range(0, 150, PART))
def test_nothing_is_lost(first: int) -> None:
    check_worlds(first, PART)
