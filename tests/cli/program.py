"""The command line on a data folder of its own."""

import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from counterfoil.cli.program import app
from tests.house import ROOT

COUNTERFOIL = Path(sys.executable).parent / "counterfoil"
# A node that nobody runs: the facts of a chain need none.
LITECOIN = {
    "COUNTERFOIL_CHAINS__LITECOIN__RPC": "http://user:hunter2@127.0.0.1:1",
    "COUNTERFOIL_CHAINS__LITECOIN__NETWORK": "regtest",
}
VECTORS = ROOT / "tests" / "vectors" / "litecoin"


class Program:
    """The command line on a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}

    def run(self, *arguments: str) -> Result:
        given = ["--data", str(self.folder), *arguments]
        return CliRunner().invoke(app, given, env=dict(self.environment))

    def __call__(self, *arguments: str) -> list[str]:
        """Return the lines that a command which does what it should prints."""
        done = self.run(*arguments)
        assert done.exit_code == 0, done.stderr
        return done.stdout.splitlines()

    def refused(self, *arguments: str, code: int = 1) -> str:
        """Return the sentence of a command that does not."""
        done = self.run(*arguments)
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done.stderr.removeprefix("Error: ").removesuffix("\n")
