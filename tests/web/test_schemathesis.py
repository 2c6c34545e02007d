"""A tool that nobody here wrote reads the document and sends what it allows, and what it does not.

Every check that it knows is asked but one: what a schema allows is not always good (a currency
without a rate, a due date that has passed), and is then refused for a reason that no schema tells.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from counterfoil.core.ports import Mode
from tests.house import ROOT

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SEED = 20_251_111
COUNT = re.compile(r"(\d+) generated, (\d+) passed")

Server = dict[str, Any]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of its own in a process of its own, on SQLite."""
    command = [sys.executable, "-m", "tests.web.serve", str(tmp_path / "counterfoil.db")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.wait(20)


def run(server: Server, mode: Mode, folder: Path, *options: str) -> int:
    """Let the tool loose on a server and return how many requests it thought of."""
    command = [
        str(SCHEMATHESIS),
        "run",
        f"http://127.0.0.1:{server['port']}/api/openapi.json",
        f"--header=Authorization: {server[mode]}",
        "--checks=all",
        "--exclude-checks=positive_data_acceptance",
        f"--seed={SEED}",
        "--continue-on-failure",
        "--generation-database=none",
        "--no-color",
        *options,
    ]
    # Its caches go into the folder that it is run in.
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    count = COUNT.search(done.stdout)
    assert count is not None, done.stdout
    assert count[1] == count[2], done.stdout
    return int(count[1])


def test_a_stranger_finds_nothing_wrong_in_two_hundred_requests(
    server: Server, tmp_path: Path
) -> None:
    options = ("--phases=examples,fuzzing", "--max-examples=80")
    assert run(server, Mode.TEST, tmp_path, *options) >= 200


@pytest.mark.long
@pytest.mark.parametrize(
    ("mode", "examples", "least"), [(Mode.TEST, 400, 2_000), (Mode.LIVE, 150, 1_000)]
)
def test_a_stranger_finds_nothing_wrong_in_two_thousand_requests(
    server: Server, tmp_path: Path, mode: Mode, examples: int, least: int
) -> None:
    assert run(server, mode, tmp_path, f"--max-examples={examples}") >= least
