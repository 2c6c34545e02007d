import subprocess
import sys
from pathlib import Path

import pytest

from counterfoil.core.invoice import MOVES
from tools import state_diagram


def test_the_document_s_diagram_is_up_to_date() -> None:
    document = state_diagram.DOCUMENT.read_text(encoding="utf-8")
    assert state_diagram.with_diagram(document) == document, (
        "run: .venv/bin/python tools/state_diagram.py --write"
    )


def test_every_move_is_an_arrow() -> None:
    lines = state_diagram.diagram().splitlines()
    assert len(lines) == len(MOVES) + 2
    assert "    [*] --> Unpaid" in lines
    assert "    Confirming --> Paid: payment_confirmed" in lines
    assert "    Paid --> Confirming: payment_reversed, payment_detected" in lines
    assert "    Unpaid --> Expired" in lines


def test_only_the_block_is_replaced() -> None:
    old = f"# A\n{state_diagram.FIRST_LINE}\nold\n{state_diagram.LAST_LINE}\n\n<!-- end -->\nB\n"
    new = state_diagram.with_diagram(old)
    assert new.startswith(f"# A\n{state_diagram.FIRST_LINE}\n```mermaid\nstateDiagram-v2\n")
    assert new.endswith(f"```\n{state_diagram.LAST_LINE}\n\n<!-- end -->\nB\n")
    assert "old" not in new


@pytest.mark.parametrize("text", ["", state_diagram.FIRST_LINE, state_diagram.LAST_LINE])
def test_a_document_without_the_markers_is_refused(text: str) -> None:
    with pytest.raises(SystemExit, match="lacks the lines"):
        state_diagram.with_diagram(text)


def test_write_puts_it_into_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "architecture.md"
    document.write_text(f"{state_diagram.FIRST_LINE}\nold\n{state_diagram.LAST_LINE}\n")
    monkeypatch.setattr(state_diagram, "DOCUMENT", document)
    monkeypatch.setattr(sys, "argv", ["state_diagram", "--write"])
    state_diagram.main()
    assert state_diagram.diagram() in document.read_text()
    assert "old" not in document.read_text()


def test_it_runs_as_a_program() -> None:
    command = [sys.executable, state_diagram.__file__]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed == state_diagram.diagram() + "\n"
    wrong = subprocess.run([*command, "--draw"], check=False, capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "Usage:" in wrong.stderr
