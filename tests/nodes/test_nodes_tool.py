import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import ROOT


@pytest.mark.parametrize("name", ["litecoind", "anvil"])
def test_what_cannot_be_had_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "tools").mkdir()
    tool = shutil.copy(ROOT / "tools" / "nodes", tmp_path / "tools")
    # A machine without any program, and a cache that is empty.
    asked = subprocess.run(
        [sys.executable, tool, name],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (asked.returncode, asked.stdout) == (3, "")
    assert asked.stderr.startswith(f"nodes: {name} is not on PATH")
    assert asked.stderr.count("\n") == 1
