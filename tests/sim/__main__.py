"""`python -m tests.sim --seeds 300 --from 0`: run worlds and print one line last."""

import argparse
import asyncio
import gc
import multiprocessing
import sqlite3
import sys
from collections.abc import Iterable

import sqlalchemy as sa
import structlog.testing

from tests.sim.invariants import BrokenError, check
from tests.sim.tally import Tally
from tests.sim.world import World

# So many worlds are run before another process takes over: nothing piles up in a long run.
_WORLDS_PER_PROCESS = 500


def run(seed: int) -> tuple[Tally, str | None]:
    """Run one world; return what happened in it, and what is wrong with it if anything is."""

    async def live() -> tuple[Tally, str | None]:
        world = World(seed)
        try:
            await world.live()
            await check(world)
        except BrokenError as broken:
            return world.tally, str(broken)
        # What the server would have logged and got over, but should never have come to.
        except (sa.exc.SQLAlchemyError, sqlite3.Error, AssertionError, LookupError) as error:
            found = "; ".join([*world.steps.faults, repr(error)])
            return world.tally, f"seed {seed}: {found}"
        finally:
            await world.end()
        return world.tally, None

    # What the server logs is no part of the verdict, and the settings of the log are others' too.
    with structlog.testing.capture_logs():
        return asyncio.run(live())


def _collect_seldom() -> None:
    """Look for garbage less often: there is little, and looking takes a twelfth of the time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def run_all(seeds: Iterable[int], processes: int | None = None) -> tuple[Tally, list[str]]:
    """Run worlds, on all cores where nothing else is said; say at once what is broken."""
    total, broken = Tally(), []
    # Python of a fresh process: the worlds of one are not those of another.
    with multiprocessing.Pool(
        processes, initializer=_collect_seldom, maxtasksperchild=_WORLDS_PER_PROCESS
    ) as pool:
        for tally, fault in pool.imap_unordered(run, seeds):
            total.add(tally)
            if fault:
                broken.append(f"{fault}\n  replay: {replay(fault)}")
                print(broken[-1], flush=True)
    return total, broken


def replay(fault: str) -> str:
    """Return the command that plays the world of a fault again."""
    return f"make sim SEEDS=1 FROM={fault.split()[1].rstrip(':')}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--processes", type=int, help="all cores where nothing is said")
    arguments = parser.parse_args()
    first: int = arguments.first
    total, broken = run_all(range(first, first + arguments.seeds), arguments.processes)
    print(total)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
