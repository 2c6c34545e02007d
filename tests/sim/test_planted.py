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
    (faults.cursor_moved_before_commit, 58),
    (faults.matched_by_txid, 1),
    (faults.event_written_after_commit, 8),
    (faults.height_only_cursor, 0),
    (faults.retry_dropped_at_restart, 75),
    (faults.final_for_ever, 0),
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
