"""`python -m tests.sim --seeds 300 --from 0`: run worlds and print one line last."""

import argparse
import asyncio
import multiprocessing
import sys
from collections.abc import Iterable

import structlog.testing

from tests.sim.invariants import BrokenError, check
from tests.sim.world import Tally, World


def run(seed: int) -> tuple[Tally, str | None]:
    """Run one world; return what happened in it, and what is wrong with it if anything is."""

    async def live() -> tuple[Tally, str | None]:
        world = World(seed)
        await world.live()
        try:
            await check(world)
        except BrokenError as broken:
            return world.tally, str(broken)
        finally:
            await world.end()
        return world.tally, None

    # What the server logs is no part of the verdict, and the settings of the log are others' too.
    with structlog.testing.capture_logs():
        return asyncio.run(live())


def run_all(seeds: Iterable[int]) -> tuple[Tally, list[str]]:
    """Run worlds on all cores."""
    total, broken = Tally(), []
    with multiprocessing.Pool() as pool:
        for tally, fault in pool.imap_unordered(run, seeds, chunksize=5):
            total.add(tally)
            if fault:
                broken.append(fault)
    return total, broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--from", type=int, default=0, dest="first")
    arguments = parser.parse_args()
    first: int = arguments.first
    total, broken = run_all(range(first, first + arguments.seeds))
    for fault in broken:
        print(f"{fault}\n  replay: make sim SEEDS=1 FROM={fault.split()[1].rstrip(':')}")
    print(total)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
