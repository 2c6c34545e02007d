#!/usr/bin/env python3
"""Print how many of the mistakes that mutmut plants are found, file by file; see `make mutation`.

Usage: tools/mutation.py < RESULTS, the output of `mutmut results --all true`.

The exit code is 1 when fewer than 90 of a hundred are found, in the core or in the services. A
mistake that makes the tests hang is found; one that no test reaches is not, nor is one that ended
the process, which may have been the machine's doing.
"""

import re
import sys
from collections import Counter, defaultdict

LEAST_PERCENT = 90
FOUND = ("killed", "timeout")
# What was not planted at all, by a comment that says so or because mypy refuses it.
LEFT_OUT = ("skipped", "caught by type check")
_MUTANT = re.compile(r"^(?P<file>[\w.]+)\.x\S+__mutmut_\d+: (?P<end>.+)$")


def read(text: str) -> dict[str, Counter[str]]:
    """Return how the mutants of each file ended."""
    ends: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in text.splitlines():
        known = _MUTANT.match(line.strip())
        if known is not None and known["end"] not in LEFT_OUT:
            ends[known["file"]][known["end"]] += 1
    return ends


def main() -> int:
    ends = read(sys.stdin.read())
    rooms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, some in ends.items():
        rooms[name.rpartition(".")[0]] += some
    for name, some in [*sorted(ends.items()), *sorted(rooms.items())]:
        found = sum(some[end] for end in FOUND)
        others = ", ".join(f"{some[end]} {end}" for end in sorted(set(some) - set(FOUND)))
        print(f"{name:<44} {found:>5} of {some.total():>5} found  {others}")
    is_enough = (
        sum(some[end] for end in FOUND) * 100 >= LEAST_PERCENT * some.total()
        for some in rooms.values()
    )
    return 0 if rooms and all(is_enough) else 1


if __name__ == "__main__":
    sys.exit(main())
