"""What was measured beside what must be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.passes import CLIENTS, WIDEST, Table, ratio, spread

# Where the floor varies by more than this between passes, the machine was too busy to judge.
NOISE_MAX = 1.5
FLOOR = "floor"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that must reach, or must not exceed, a value."""

    name: str
    must: float
    is_most: bool = False

    def is_met(self, value: float) -> bool:
        """Tell whether a figure is good enough."""
        return value <= self.must if self.is_most else value >= self.must


RATIOS = (
    Goal("sqlite_floor", 0.40),
    Goal("sqlite_naive", 25),
    Goal("pg_floor", 0.30),
    Goal("pg_naive", 15),
    Goal("get_floor", 0.50),
)
OTHERS = (
    Goal("sqlite_cpu_ms", 0.6, is_most=True),
    Goal("pg_cpu_ms", 0.6, is_most=True),
    Goal("growth", 1.2, is_most=True),
    Goal("idle_pss_mb", 100, is_most=True),
    Goal("block_sqlite_ms", 50, is_most=True),
    Goal("block_pg_ms", 50, is_most=True),
    Goal("told_p99_ms", 150, is_most=True),
    Goal("told_burst_ms", 200, is_most=True),
)


def ratios(table: Table) -> dict[str, float]:
    """Return the ratios that have a goal."""
    return {
        "sqlite_floor": ratio(table, "sqlite", FLOOR),
        "sqlite_naive": ratio(table, "sqlite", "sqlite_naive"),
        "pg_floor": ratio(table, "pg", FLOOR),
        "pg_naive": ratio(table, "pg", "pg_naive"),
        "get_floor": ratio(table, "get", FLOOR),
    }


def is_quiet(table: Table) -> bool:
    """Tell whether the floor was steady enough to judge by."""
    return spread(table, FLOOR) <= NOISE_MAX


def print_table(title: str, table: Table) -> None:
    """Print the medians of the passes."""
    columns = "".join(f"{f'c={n}':>9}" for n in CLIENTS)
    print(f"\n{title:14}{columns}   p50/p99 ms at c={WIDEST}   CPU ms")
    for name, by_clients in table.items():
        rates = "".join(f"{by_clients[n].per_s():9.0f}" for n in CLIENTS)
        widest = by_clients[WIDEST].summary()
        times = f"{widest['p50_ms']:.1f}/{widest['p99_ms']:.1f}"
        print(f"{name:14}{rates}   {times:>18}   {widest['cpu_ms']:9.3f}")
    print(f"the floor varied by {spread(table, FLOOR)}")


def judge(values: Mapping[str, float], goals: tuple[Goal, ...]) -> dict[str, Any]:
    """Print and return each figure beside its goal."""
    found = {}
    for goal in goals:
        value = values[goal.name]
        is_met = goal.is_met(value)
        bound = f"{'at most' if goal.is_most else 'at least'} {goal.must}"
        print(f"  {goal.name:18}{value:10.3f}   {bound:15} {'met' if is_met else 'NOT MET'}")
        found[goal.name] = {"value": value, "must": goal.must, "is_met": is_met}
    return found
