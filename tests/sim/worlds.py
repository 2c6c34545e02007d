"""Running a range of worlds as a test."""

from tests.sim.__main__ import run
from tests.sim.tally import Tally


def check_worlds(first: int, count: int) -> None:
    """Fail with the seeds of the worlds that are broken, and how to see them again."""
    total, broken = Tally(), []
    for seed in range(first, first + count):
        tally, fault = run(seed)
        total.add(tally)
        if fault:
            broken.append(f"{fault} (replay: make sim SEEDS=1 FROM={seed})")
    print(total)
    assert not broken, "\n".join(broken)
    assert total.payments > 0
    assert total.reorgs > 0
    assert total.crashes > 0
    assert total.power_cuts > 0
