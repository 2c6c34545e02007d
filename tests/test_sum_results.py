"""The sum that CI prints: it must not be able to call a broken run good."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import ROOT

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest">{cases}</testsuite></testsuites>
"""
PASSED = '<testcase classname="tests.a" name="passes"/>'
FAILED = '<testcase classname="tests.a" name="fails"><failure message="no"/></testcase>'
ERROR = '<testcase classname="tests.a" name="breaks"><error message="no"/></testcase>'
SKIPPED = '<testcase classname="tests.a" name="waits"><skipped message="no node"/></testcase>'
# A test that passed and whose clean-up then failed may stand there twice.
TWICE = (
    '<testcase classname="tests.a" name="twice"><error message="no"/></testcase>'
    '<testcase classname="tests.a" name="twice"/>'
)


def total(*arguments: str | Path) -> tuple[int, list[str]]:
    """Return the exit code and the printed lines."""
    answer = subprocess.run(
        [sys.executable, ROOT / "tools" / "sum_results.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.returncode, answer.stdout.splitlines()


@pytest.mark.parametrize(
    ("cases", "line", "code"),
    [
        (PASSED, "1 passed, 0 failed, 0 skipped", 0),
        (PASSED + FAILED, "1 passed, 1 failed, 0 skipped", 1),
        (PASSED + ERROR, "1 passed, 1 failed, 0 skipped", 1),
        (PASSED + SKIPPED, "1 passed, 0 failed, 1 skipped", 0),
        (PASSED + TWICE, "1 passed, 1 failed, 0 skipped", 1),
        ("", "0 passed, 1 failed, 0 skipped", 1),
    ],
)
def test_the_last_line_is_the_sum(tmp_path: Path, cases: str, line: str, code: int) -> None:
    report = tmp_path / "a.xml"
    report.write_text(REPORT.format(cases=cases), encoding="utf-8")
    answer, lines = total(report)
    assert (lines[-1], answer) == (line, code)


def test_reports_are_added_up_and_skips_are_named(tmp_path: Path) -> None:
    for name in ("a.xml", "b.xml"):
        (tmp_path / name).write_text(REPORT.format(cases=PASSED + SKIPPED), encoding="utf-8")
    code, lines = total("--no-skips", tmp_path / "a.xml", tmp_path / "b.xml")
    assert lines[0] == "skipped: tests.a::waits: no node"
    assert lines[-1] == "2 passed, 0 failed, 2 skipped"
    assert code == 1


@pytest.mark.parametrize("text", [None, "", "<testsuites><testcase"])
def test_a_report_that_is_missing_or_cut_off_is_a_failure(tmp_path: Path, text: str | None) -> None:
    report = tmp_path / "a.xml"
    if text is not None:
        report.write_text(text, encoding="utf-8")
    code, lines = total(report)
    assert (lines[-1], code) == ("0 passed, 1 failed, 0 skipped", 1)


def test_without_reports_it_says_how_to_use_it() -> None:
    assert total()[0] == 2
