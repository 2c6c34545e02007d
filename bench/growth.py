"""Whether an invoice costs the same beside 10,000 unpaid ones as in an empty database."""

from statistics import median

import uvloop

from bench import load
from bench.servers import BODY, Servers, Target

STORED = 10_000
ROUNDS = 5
EACH = 400
CLIENTS = 16
ENDLESS_S = 600.0


def run(servers: Servers) -> dict[str, float]:
    """Return the processor time of an invoice in both, measured in turns, and the quotient."""
    targets = {}
    for name in ("empty", "filled"):
        served, pid = servers.start(name)
        key = served.last_line("key", "create", "--scope", "automate")
        targets[name] = Target(served.port, [pid], load.post("/api/invoice", key, BODY))
        _make(targets[name], EACH)
    _make(targets["filled"], STORED)
    cpu_ms: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(ROUNDS):
        for name, target in targets.items():
            before = target.cpu_s()
            made = _make(target, EACH)
            cpu_ms[name].append((target.cpu_s() - before) * 1_000 / made)
    empty, filled = (median(cpu_ms[name]) for name in ("empty", "filled"))
    return {
        "empty_cpu_ms": round(empty, 4),
        "filled_cpu_ms": round(filled, 4),
        "quotient": round(filled / empty, 3),
    }


def _make(target: Target, count: int) -> int:
    loaded = load.run(target.port, target.request, CLIENTS, ENDLESS_S, answers_max=count)
    return uvloop.run(loaded).answers
