"""The share of planted mistakes that is found: it must not be able to call too few enough."""

import subprocess
import sys

import pytest

from tests.house import ROOT

CORE = "    counterfoil.core.money.x_round__mutmut_{}: {}"
SCANNER = "    counterfoil.services.watching.xǁWatchǁlook__mutmut_{}: {}"


def table(*ends: tuple[str, str]) -> tuple[int, list[str]]:
    """Return the exit code and the lines for mutants that ended so."""
    results = "\n".join(line.format(number, end) for number, (line, end) in enumerate(ends))
    answer = subprocess.run(
        [sys.executable, ROOT / "tools" / "mutation.py"],
        input=f"some words before\n{results}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stderr == ""
    return answer.returncode, [" ".join(line.split()) for line in answer.stdout.splitlines()]


def test_what_was_found_is_counted_by_file_and_by_room() -> None:
    code, lines = table(*9 * [(CORE, "killed")], (CORE, "survived"), (SCANNER, "timeout"))
    assert code == 0
    assert lines == [
        "counterfoil.core.money 9 of 10 found 1 survived",
        "counterfoil.services.watching 1 of 1 found",
        "counterfoil.core 9 of 10 found 1 survived",
        "counterfoil.services 1 of 1 found",
    ]


def test_a_room_that_is_watched_badly_does_not_hide_behind_the_other() -> None:
    code, _ = table(*90 * [(CORE, "killed")], (SCANNER, "killed"), (SCANNER, "survived"))
    assert code == 1


@pytest.mark.parametrize("end", ["no tests", "segfault", "suspicious", "not checked"])
def test_only_what_a_test_noticed_is_found(end: str) -> None:
    assert table((CORE, "killed"), (CORE, end))[0] == 1


def test_what_was_not_planted_does_not_count() -> None:
    assert table((CORE, "killed"), (CORE, "skipped"), (CORE, "caught by type check"))[0] == 0


def test_nothing_is_not_enough() -> None:
    assert table()[0] == 1
