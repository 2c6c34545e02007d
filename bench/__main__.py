"""`make bench`: what an invoice costs, as ratios of one run, beside what it may cost.

Absolute figures are noise on a busy machine. So all are measured in turns, pass after pass; medians
are compared; and where the floor itself varied too much there is no verdict. docs/performance.md
says what is measured and why.
"""

import argparse
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import blocks, growth, passes, telling, verdict
from bench.servers import REAL_DISK, Disk, Servers, model_disk, pss_mb

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Measure, print tables, and write the figures down."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each load")
    parser.add_argument("--disk", choices=("model", "real", "both"), default="both")
    asked = parser.parse_args()
    with ExitStack() as stack:
        disks = [] if asked.disk == "real" else [model_disk(stack)]
        if None in disks:
            print("No model disk: it needs /dev/shm and a C compiler (cc). Only the real one.")
        disks += [] if asked.disk == "model" else [REAL_DISK]
        measured = {
            disk.name: measure(disk, asked.passes, asked.seconds)
            for disk in disks
            if disk is not None
        }
    if not measured:
        return 1
    # The first is the model disk wherever there is one.
    write({**next(iter(measured.values())), "disks": measured})
    return 0


def measure(disk: Disk, count: int, seconds: float) -> dict[str, Any]:
    """Return all figures on one disk."""
    with ExitStack() as stack:
        servers = Servers(disk, stack)
        idle = pss_mb(servers.pid)
        table = passes.run(servers.targets, count, seconds)
        loaded = pss_mb(servers.pid)
        grown = growth.run(servers)
        told = telling.run(servers)
        matched = blocks.run(servers.folder / "blocks", servers.postgres)
    verdict.print_table(f"{disk.name} disk", table)
    ratios = verdict.ratios(table)
    cpu_ms = {
        name: table[name][passes.WIDEST].summary()["cpu_ms"]
        for name in ("floor", "sqlite", "pg", "get")
    }
    others = {
        "sqlite_cpu_ms": cpu_ms["sqlite"],
        "pg_cpu_ms": cpu_ms["pg"],
        "growth": grown["quotient"],
        "idle_pss_mb": idle,
        "block_sqlite_ms": matched["sqlite"],
        "block_pg_ms": matched["pg"],
        "told_p99_ms": told["p99_ms"],
        "told_burst_ms": told[f"burst_of_{telling.BURST}_ms"],
    }
    is_quiet = verdict.is_quiet(table)
    goals = (*(verdict.RATIOS if is_quiet else ()), *verdict.OTHERS)
    judged = verdict.judge({**ratios, **others}, goals)
    if not is_quiet:
        said = f"no verdict on ratios: the floor varied by {passes.spread(table, verdict.FLOOR)}"
    elif missed := [name for name, each in judged.items() if not each["is_met"]]:
        said = f"not met: {', '.join(missed)}"
    else:
        said = "met"
    print(f"{disk.name} disk: {said}")
    return {
        "verdict": said,
        "ratios": ratios if is_quiet else {},
        "cpu_ms": cpu_ms,
        "goals": judged,
        "pss_mb": {"idle": idle, "loaded": loaded},
        "growth": grown,
        "told": told,
        "block_ms": matched,
        "loads": {
            name: {n: each.summary() for n, each in by_clients.items()}
            for name, by_clients in table.items()
        },
    }


def write(figures: dict[str, Any]) -> None:
    """Write the figures to bench/results/, named by the commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{commit or 'uncommitted'}.json"
    path.write_text(json.dumps({"commit": commit, **figures}, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(main())
