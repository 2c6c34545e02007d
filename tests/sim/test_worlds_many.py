"""The 5,000 seeded worlds of a run of CI, on all cores; 300 of them run in `make test` too."""

import pytest

from tests.sim.__main__ import run_all

pytestmark = [pytest.mark.sim, pytest.mark.long, pytest.mark.timeout(5_400)]

WORLDS = 5_000
AT_LEAST = 50_000


def test_nothing_is_lost_in_five_thousand_worlds() -> None:
    total, broken = run_all(range(WORLDS))
    print(total)
    assert not broken, "\n".join(broken)
    assert total.worlds == WORLDS
    assert total.reorgs >= AT_LEAST
    assert total.crashes >= AT_LEAST
