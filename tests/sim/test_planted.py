"""What a world is worth: faults that payment servers really have are planted, and it breaks."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import Any

import pytest
import structlog.testing

from tests.sim import faults
from tests.sim.__main__ import run
from tests.sim.world import World

pytestmark = pytest.mark.sim

Plant = Callable[[], AbstractContextManager[None]]

# Each fault with a seed whose world it breaks, and what that world says of it; how they were found:
# run seeds until one does.
PLANTED: list[tuple[Plant, int, str]] = [
    (faults.cursor_moved_before_commit, 88, "is Confirming with"),
    (faults.matched_by_txid, 0, "is nowhere"),
    (faults.lowest_tag_reused_at_expiry, 0, "is not credited"),
    (faults.event_written_after_commit, 2, "and told ["),
    (faults.height_only_cursor, 0, "does not follow header"),
    (faults.expiry_without_looking, 7, "expired while nobody could see the chain"),
    (faults.float_in_an_amount, 0, "as final, not"),
    (faults.retry_dropped_at_restart, 0, "was never heard"),
    (faults.lease_without_fencing, 5, "header.chain, header.height"),
    (faults.late_payment_ignored, 7, "is nowhere"),
    (faults.raised_fee_is_late, 4, "before it at"),
    (faults.walk_back_told_first, 29, "was reversed and holds its money"),
    (faults.final_for_ever, 51, "is Confirming with"),
    (faults.price_ends_before_its_payment, 58, "is late now"),
    (faults.watched_ahead_of_the_clock, 487, "expired while nobody could see the chain"),
]


@pytest.mark.parametrize(("plant", "seed", "told"), PLANTED)
def test_a_planted_fault_breaks_the_world(plant: Plant, seed: int, told: str) -> None:
    with plant():
        _, fault = run(seed)
    assert fault is not None
    assert told in fault
    _, fault = run(seed)
    assert fault is None, "without the fault the same world is whole"


async def live(seed: int) -> tuple[str, list[str], list[Any]]:
    """Run a world; return what has happened in it, what its database holds, and what was heard."""
    world = World(seed)
    try:
        await world.live()
        with closing(sqlite3.connect(world.disk.path)) as database:
            return str(world.tally), list(database.iterdump()), world.receiver.heard
    finally:
        await world.end()


async def test_one_seed_is_one_world() -> None:
    with structlog.testing.capture_logs():
        assert await live(7) == await live(7)
