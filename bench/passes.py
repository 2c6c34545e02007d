"""Loads, measured in interleaved passes: what disturbs the machine disturbs all of them alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

import uvloop

from bench import load
from bench.servers import Target

CLIENTS = (1, 16, 64)
WIDEST = max(CLIENTS)
WARM_S = 0.5


@dataclass(slots=True)
class Figures:
    """What one target came to at one number of clients: one entry a pass."""

    loads: list[load.Load] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def per_s(self) -> float:
        """Return the median of answers a second."""
        return median(each.per_s for each in self.loads)

    def summary(self) -> dict[str, float]:
        """Return the medians of everything."""
        return {
            "per_s": round(self.per_s(), 1),
            "p50_ms": round(median(each.p50_ms for each in self.loads), 2),
            "p99_ms": round(median(each.p99_ms for each in self.loads), 2),
            "cpu_ms": round(median(self.cpu_ms), 4),
        }


Table = dict[str, dict[int, Figures]]


def run(targets: Mapping[str, Target], passes: int, seconds: float) -> Table:
    """Return the figures of every target by its name and the number of clients."""
    table: Table = {name: {n: Figures() for n in CLIENTS} for name in targets}
    for target in targets.values():
        uvloop.run(load.run(target.port, target.request, WIDEST, WARM_S))
    for each_pass in range(passes):
        for clients in CLIENTS:
            for name, target in targets.items():
                figures = table[name][clients]
                before = target.cpu_s()
                found = uvloop.run(load.run(target.port, target.request, clients, seconds))
                figures.loads.append(found)
                figures.cpu_ms.append((target.cpu_s() - before) * 1_000 / found.answers)
        print(f"pass {each_pass + 1} of {passes} is done", flush=True)
    return table


def ratio(table: Table, over: str, under: str) -> float:
    """Return how many answers of one target come on one of another, at most clients.

    The quotients are taken within each pass, where both had the same machine.
    """
    pairs = zip(table[over][WIDEST].loads, table[under][WIDEST].loads, strict=True)
    return round(median(one.per_s / other.per_s for one, other in pairs), 3)


def spread(table: Table, name: str) -> float:
    """Return by which factor the passes of a target differ."""
    rates = [each.per_s for each in table[name][WIDEST].loads]
    return round(max(rates) / min(rates), 2)


def timed_ms(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return how long something takes."""
    began = clock()
    work()
    return (clock() - began) * 1_000
