"""The command line: what an operator, or a script, does without the API."""

from counterfoil.cli.program import main as main
