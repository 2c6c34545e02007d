"""`make bench`: invoices a second beside a bare ASGI app on the same machine, as ratios of one run.

Absolute figures are noise on a busy machine. So the floor is measured in every pass, between the
others; medians of the passes are compared, and where the floor itself varied too much there is no
verdict. The naive stack and the other measurements of the design come with their own issue.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from statistics import median
from typing import Any

from bench import load
from counterfoil.db.vault import make_key
from tests.nodes.litecoind import free_port
from tests.postgres_server import PostgresServer
from tests.served import Served

PASSES = 5
SECONDS = 2.0
CLIENTS = (1, 16, 64)
# Where the floor varies by more than this between passes, the machine was too busy to judge.
NOISE_MAX = 1.5
BODY = b'{"amount": 25.00, "fiat_currency": "USD"}'
RESULTS = Path(__file__).parent / "results"

Measure = Callable[[int], Coroutine[Any, Any, load.Load]]


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    """The servers under measurement."""

    def __init__(self, folder: Path) -> None:
        self.floor_port = free_port()
        self.floor = subprocess.Popen([sys.executable, "-m", "bench.floor", str(self.floor_port)])
        self.postgres = PostgresServer()
        self.postgres.start()
        database = asyncio.run(self.postgres.create())
        fixed = {"RATES__FIXED__LTC_USD": "80"}
        (folder / "sqlite").mkdir()
        (folder / "postgres").mkdir()
        self.served = {
            "sqlite": Served(folder / "sqlite", fixed),
            "postgres": Served(
                folder / "postgres",
                {**fixed, "DATABASE": self.postgres.url(database), "SECRET_KEY": make_key()},
            ),
        }
        self.served["postgres"].run("migrate")
        self.keys: dict[str, str] = {}
        self.pids: dict[str, int] = {}
        for name, served in self.served.items():
            self.pids[name] = served.start().pid
            self.keys[name] = served.last_line("key", "create", "--scope", "automate")

    def measures(self) -> dict[str, Measure]:
        """Return what is measured, by name."""
        measures: dict[str, Measure] = {
            "floor": lambda n: load.run(
                self.floor_port, load.post("/api/invoice", "", BODY), n, SECONDS
            )
        }
        for name, served in self.served.items():
            request = load.post("/api/invoice", self.keys[name], BODY)
            measures[name] = lambda n, p=served.port, r=request: load.run(p, r, n, SECONDS)  # type: ignore[misc]  # mypy cannot infer such a lambda
        served = self.served["sqlite"]
        read = load.get("/api/invoice/1", self.keys["sqlite"])
        measures["get"] = lambda n: load.run(served.port, read, n, SECONDS)
        return measures

    def close(self) -> None:
        """End all servers."""
        for served in self.served.values():
            served.stop()
        self.floor.terminate()
        self.floor.wait()
        self.postgres.stop()


def main() -> int:
    """Measure, print a table, and write the figures down."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            loads, cpu_ms = measure(bench)
        finally:
            bench.close()
    table = {
        name: {n: median(each.per_s for each in by_clients[n]) for n in CLIENTS}
        for name, by_clients in loads.items()
    }
    widest = max(CLIENTS)
    floor = [each.per_s for each in loads["floor"][widest]]
    is_quiet = max(floor) / min(floor) <= NOISE_MAX
    ratios = {
        f"{name}_floor": round(table[name][widest] / table["floor"][widest], 3)
        for name in ("sqlite", "postgres", "get")
    }
    print(
        f"{'answers/s (median)':20}" + "".join(f"{f'c={n}':>10}" for n in CLIENTS) + "   p50/p99 ms"
    )
    for name, by_count in table.items():
        last = loads[name][widest]
        p50, p99 = median(e.p50_ms for e in last), median(e.p99_ms for e in last)
        counts = "".join(f"{by_count[n]:10.0f}" for n in CLIENTS)
        print(f"{name:20}{counts}   {p50:.1f}/{p99:.1f}")
    print(f"CPU ms per created invoice, of our process: {cpu_ms}")
    verdict = str(ratios) if is_quiet else "no verdict: the floor varied too much"
    print(f"share of the floor at c={widest}: {ratios}; {'' if is_quiet else verdict}")
    write(ratios if is_quiet else {}, verdict, cpu_ms, table)
    return 0


def measure(bench: Bench) -> tuple[dict[str, dict[int, list[load.Load]]], dict[str, float]]:
    """Return the loads by name and number of clients, and the processor time of an invoice."""
    measures = bench.measures()
    loads: dict[str, dict[int, list[load.Load]]] = {
        name: {n: [] for n in CLIENTS} for name in measures
    }
    cpu: dict[str, list[float]] = {name: [] for name in bench.pids}
    for _ in range(PASSES):
        for clients in CLIENTS:
            for name, run in measures.items():
                before = cpu_s(bench.pids[name]) if name in cpu else 0.0
                result = asyncio.run(run(clients))
                loads[name][clients].append(result)
                if name in cpu and clients == max(CLIENTS):
                    used = cpu_s(bench.pids[name]) - before
                    cpu[name].append(used * 1000 / result.answers)
    return loads, {name: round(median(each), 3) for name, each in cpu.items()}


def write(
    ratios: dict[str, float],
    verdict: str,
    cpu_ms: dict[str, float],
    table: dict[str, dict[int, float]],
) -> None:
    """Write the figures to bench/results/, named by the commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    RESULTS.mkdir(exist_ok=True)
    figures = {
        "commit": commit,
        "verdict": verdict,
        "ratios": ratios,
        "cpu_ms": cpu_ms,
        "answers_per_s": table,
    }
    path = RESULTS / f"{commit or 'uncommitted'}.json"
    path.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(main())
