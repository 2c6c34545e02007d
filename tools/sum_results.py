#!/usr/bin/env python3
"""Add up pytest's JUnit reports: name what was skipped and why, then print the sum.

Usage: tools/sum_results.py REPORT.xml...

The exit code is 1 when a test failed or a report is missing or broken (its run did not finish, so
it counts as one failure). A skip alone is not a failure here; `--no-skips` makes it one.
Works with the standard library alone, so that it can tell of a set-up that went wrong.
"""

import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

WORSE = ("passed", "skipped", "failed")


@dataclass(frozen=True, slots=True)
class Sum:
    """What the tests of one or more reports came to."""

    passed: int = 0
    failed: int = 0
    skips: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skips + other.skips,
            self.broken + other.broken,
        )

    @property
    def line(self) -> str:
        failed = self.failed + len(self.broken)
        return f"{self.passed} passed, {failed} failed, {len(self.skips)} skipped"


def read(path: Path) -> Sum:
    """Return the sum of one report; a test with several verdicts counts as its worst."""
    try:
        cases = list(ET.parse(path).iter("testcase"))  # noqa: S314  # pytest has just written it
    except (OSError, ET.ParseError) as error:
        return Sum(broken=(f"{path}: no report, so its run did not finish ({error})",))
    if not cases:
        return Sum(broken=(f"{path}: no test ran",))
    verdicts: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for case in cases:
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            verdict = "failed"
        elif skip is not None:
            verdict = "skipped"
            reasons[name] = skip.get("message") or "no reason given"
        else:
            verdict = "passed"
        verdicts[name] = max(verdict, verdicts.get(name, "passed"), key=WORSE.index)
    told = list(verdicts.values())
    skips = tuple(f"{name}: {reasons[name]}" for name in verdicts if verdicts[name] == "skipped")
    return Sum(told.count("passed"), told.count("failed"), skips)


def main(arguments: list[str]) -> int:
    paths = [Path(argument) for argument in arguments if argument != "--no-skips"]
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    total = sum((read(path) for path in paths), Sum())
    for skip in total.skips:
        print(f"skipped: {skip}")
    for trouble in total.broken:
        print(f"failed: {trouble}")
    print(total.line)
    is_bad = total.failed or total.broken or ("--no-skips" in arguments and total.skips)
    return 1 if is_bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
