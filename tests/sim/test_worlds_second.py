"""The second half of the 300 seeded worlds of `make test`: two files, for two test processes."""

import pytest

from tests.sim.worlds import check_worlds

pytestmark = [pytest.mark.sim, pytest.mark.timeout(600)]

PART = 30


@pytest.mark.parametrize("first", range(150, 300, PART))
def test_nothing_is_lost(first: int) -> None:
    check_worlds(first, PART)
