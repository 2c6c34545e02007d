"""Seeded worlds: nothing lost, nothing credited twice, every event heard, in order.

`make test` runs 300 of them; `make sim SEEDS=n FROM=first` as many as you like.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.sim import faults
from tests.sim.__main__ import run
from tests.sim.world import Tally

pytestmark = pytest.mark.sim

WORLDS = 300
# A part each, so that two test processes share the work.
PARTS = 10


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_worlds(part: int) -> None:
    total, broken = Tally(), []
    for seed in range(part * WORLDS // PARTS, (part + 1) * WORLDS // PARTS):
        tally, fault = run(seed)
        total.add(tally)
        if fault:
            broken.append(f"{fault} (replay: make sim SEEDS=1 FROM={seed})")
    print(total)
    assert not broken, "\n".join(broken)
    assert total.payments > 0
    assert total.reorgs > 0
    assert total.crashes > 0


Plant = Callable[[], AbstractContextManager[None]]

# Each fault with a seed whose world it breaks; how they were found: run seeds until one does.
PLANTED: list[tuple[Plant, int]] = [
    (faults.cursor_moved_before_commit, 8),
    (faults.matched_by_txid, 1),
    (faults.event_written_after_commit, 11),
    (faults.height_only_cursor, 0),
    (faults.retry_dropped_at_restart, 11),
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
