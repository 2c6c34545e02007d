#!/usr/bin/env python3
"""Print how many of the mistakes that mutmut plants are found, file by file; see `make mutation`.

Usage: tools/mutation.py < RESULTS, the output of `mutmut results --all true`.

The exit code is 1 when fewer than 90 of a hundred are found. A mistake that makes the tests hang
or the process end is found; one that no test reaches is not.
"""

import re
import sys
from collections import Counter, defaultdict

LEAST_PERCENT = 90
FOUND = ("killed", "timeout", "segfault")
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
    total: Counter[str] = sum(ends.values(), Counter())
    for name, some in [*sorted(ends.items()), ("all", total)]:
        found = sum(some[end] for end in FOUND)
        others = ", ".join(f"{some[end]} {end}" for end in sorted(set(some) - set(FOUND)))
        print(f"{name:<44} {found:>5} of {some.total():>5} found  {others}")
    found = sum(total[end] for end in FOUND)
    return 0 if total and found * 100 >= LEAST_PERCENT * total.total() else 1


if __name__ == "__main__":
    sys.exit(main())
