"""What a world is worth: faults that payment servers really have are planted, and it breaks."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.sim import faults
from tests.sim.__main__ import run

pytestmark = pytest.mark.sim

Plant = Callable[[], AbstractContextManager[None]]

# Each fault with a seed whose world it breaks; how they were found: run seeds until one does.
PLANTED: list[tuple[Plant, int]] = [
    (faults.cursor_moved_before_commit, 56),
    (faults.matched_by_txid, 0),
    (faults.lowest_tag_reused_at_expiry, 0),
    (faults.event_written_after_commit, 2),
    (faults.height_only_cursor, 0),
    (faults.expiry_without_looking, 1),
    (faults.float_in_an_amount, 0),
    (faults.retry_dropped_at_restart, 0),
    (faults.lease_without_fencing, 1),
    (faults.late_payment_ignored, 8),
    (faults.walk_back_told_first, 4),
    (faults.final_for_ever, 91),
]


@pytest.mark.parametrize(("plant", "seed"), PLANTED)
def test_a_planted_fault_breaks_the_world(plant: Plant, seed: int) -> None:
    with plant():
        _, fault = run(seed)
    assert fault is not None
    _, fault = run(seed)
    assert fault is None, "without the fault the same world is whole"


def test_one_seed_is_one_world() -> None:
    assert str(run(7)[0]) == str(run(7)[0])
