"""What the tests of the house rules share: which files the rules hold for, and their trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "counterfoil"


def sources(*folders: Path) -> Iterator[tuple[str, str]]:
    """Yield (path below the root, text) of every Python file of the folders."""
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def trees(*folders: Path) -> Iterator[tuple[str, ast.Module]]:
    """Yield (path below the root, syntax tree) of every Python file of the folders."""
    for name, text in sources(*folders):
        yield name, ast.parse(text, filename=name)
