"""Every dependency has its reason in docs/dependencies.md, and every reason its dependency."""

import re
import tomllib

from tests.house import ROOT

ROW = re.compile(r"^\| `(?P<name>[^`]+)` \|(?P<rest>.*)\|$", re.MULTILINE)
SEEN = re.compile(r"^\d[\w.]*, \d{4}-\d{2}$")


def normal(name: str) -> str:
    """Return the name of a distribution as the registry compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [
        config["project"]["dependencies"],
        *config["project"].get("optional-dependencies", {}).values(),
        *config["dependency-groups"].values(),
        config["build-system"]["requires"],
    ]
    lines = [line for group in groups for line in group]
    return {normal(re.split(r"[\s<>=!~\[;]", line, maxsplit=1)[0]) for line in lines}


def explained(text: str) -> dict[str, list[str]]:
    """Return the other cells of each row of the tables: seen, what for, why it."""
    return {
        normal(row["name"]): [cell.strip() for cell in row["rest"].split("|")]
        for row in ROW.finditer(text)
    }


def gaps(names: set[str], text: str) -> list[str]:
    """Return what the list of reasons lacks, or has too much."""
    rows = explained(text)
    found = [f"{name}: no reason is given" for name in sorted(names - rows.keys())]
    found += [f"{name}: not a dependency" for name in sorted(rows.keys() - names)]
    for name, cells in rows.items():
        if len(cells) != 3 or not all(cells) or not SEEN.match(cells[0]):
            found.append(f"{name}: needs `version, year-month`, what for, and why it: {cells}")
    return found


def test_a_gap_is_found() -> None:
    good = "| `a.b` | 1.0, 2026-01 | sums | fast |"
    assert gaps({"a-b"}, good) == []
    assert gaps({"a-b", "c"}, good) == ["c: no reason is given"]
    assert gaps(set(), good) == ["a-b: not a dependency"]
    assert gaps({"a-b"}, "| `a-b` | 1.0, 2026-01 | sums | |")
    assert gaps({"a-b"}, "| `a-b` | lately | sums | fast |")


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert gaps(declared(), text) == []
