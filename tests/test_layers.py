"""Who may import whom, and what the pure core may not do.

The contracts stand in pyproject.toml. Each is proven here to break when its rule is broken: in a
small package of the same shape, with one forbidden import planted.
"""

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.house import PACKAGE, ROOT, trees

BIN = Path(sys.executable).parent

ROOMS = {
    "app",
    "channels",
    "chains",
    "cli",
    "core",
    "db",
    "logs.py",
    "rates",
    "services",
    "settings",
    "web",
    "workers",
}

# --- import-linter's contracts ----------------------------------------------------------------

ALLOWED = {
    "app/parts.py": "from counterfoil import settings\nimport counterfoil.db\n"
    "import counterfoil.chains\nimport counterfoil.web\nimport counterfoil.workers\n",
    "cli/keys.py": "from counterfoil.app import parts\nimport counterfoil.logs\n"
    "import counterfoil.settings\nimport counterfoil.core\n"
    "from counterfoil.services import payments\n",
    "logs.py": "from counterfoil.core import facts\n",
    "settings/values.py": "from counterfoil.core import facts\n",
    "core/facts.py": "from counterfoil.core import sums\n",
    "core/sums.py": "",
    "chains/litecoin.py": "from counterfoil.core import facts\n",
    "channels/webhook.py": "from counterfoil.core import facts\n",
    "db/engine.py": "import sqlalchemy\nfrom counterfoil.core import facts\n",
    "rates/kraken.py": "from counterfoil.core import facts\n",
    "services/payments.py": "from counterfoil.db import engine\nimport counterfoil.core\n",
    "web/api.py": "from counterfoil.core import facts\nfrom counterfoil.services import payments\n",
    "workers/clock.py": "from counterfoil.services import payments\n",
}

PLANTED = [
    ("core", "core/facts.py", "from counterfoil.db import engine"),
    ("core", "core/facts.py", "import counterfoil.settings"),
    ("adapters", "db/engine.py", "from counterfoil.chains import litecoin"),
    ("adapters", "chains/litecoin.py", "from counterfoil.rates import kraken"),
    ("adapters", "channels/webhook.py", "from counterfoil.services import payments"),
    ("adapters", "rates/kraken.py", "import counterfoil.settings"),
    ("services", "services/payments.py", "from counterfoil.chains import litecoin"),
    ("services", "services/payments.py", "from counterfoil.web import api"),
    ("edges", "web/api.py", "from counterfoil.db import engine"),
    ("edges", "web/api.py", "from counterfoil.workers import clock"),
    ("edges", "workers/clock.py", "from counterfoil.channels import webhook"),
    ("edges", "workers/clock.py", "import counterfoil.app"),
    ("settings", "settings/values.py", "from counterfoil.db import engine"),
    ("settings", "logs.py", "import counterfoil.settings"),
    ("cli", "cli/keys.py", "from counterfoil.db import engine"),
    ("cli", "cli/keys.py", "from counterfoil.web import api"),
    ("sql", "services/payments.py", "import sqlalchemy"),
]


def lint_imports(folder: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "lint-imports", "--no-cache", "--config", ROOT / "pyproject.toml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def skeleton(folder: Path) -> Path:
    """Make a package of the same rooms, in which every import is allowed."""
    package = folder / "counterfoil"
    for name, text in ALLOWED.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for room in [package, *(path for path in package.iterdir() if path.is_dir())]:
        (room / "__init__.py").touch()
    return package


def names_of_contracts() -> dict[str, str]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {each["id"]: each["name"] for each in config["tool"]["importlinter"]["contracts"]}


def test_the_contracts_hold() -> None:
    answer = lint_imports(ROOT, ROOT / "src")
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_contracts_allow_what_the_design_allows(tmp_path: Path) -> None:
    skeleton(tmp_path)
    answer = lint_imports(tmp_path, tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize(("contract", "file", "line"), PLANTED)
def test_a_contract_can_fail(tmp_path: Path, contract: str, file: str, line: str) -> None:
    path = skeleton(tmp_path) / file
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    answer = lint_imports(tmp_path, tmp_path)
    broken = {
        each
        for each, name in names_of_contracts().items()
        if f"{name} BROKEN" in answer.stdout.replace("\n", " ")
    }
    assert answer.returncode == 1
    assert contract in broken


def test_every_contract_is_proven() -> None:
    assert {contract for contract, _, _ in PLANTED} == set(names_of_contracts())


def test_there_is_no_room_without_a_contract() -> None:
    rooms = {
        path.name
        for path in PACKAGE.iterdir()
        if path.name not in {"__init__.py", "__pycache__", "py.typed"}
    }
    assert rooms <= ROOMS, f"new at the top: {rooms - ROOMS}; give it a contract in pyproject.toml"


# --- the pure core ----------------------------------------------------------------------------

# Modules of the standard library that give the same answer to the same question, everywhere.
PURE = {
    "abc",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "statistics",
    "string",
    "struct",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
    "zlib",
}
# Calls that ask the machine or the moment, and `hash`, whose answer differs from run to run.
IMPURE_CALLS = {"breakpoint", "eval", "exec", "hash", "input", "open", "print", "__import__"}
IMPURE_METHODS = {"now", "today", "utcnow"}
IMPURE_OWNERS = {"date", "datetime"}


def is_pure(module: str) -> bool:
    names = module.split(".")
    parents = {".".join(names[: depth + 1]) for depth in range(len(names))}
    return names[0] == "counterfoil" or bool(parents & PURE)


def impurities(tree: ast.Module) -> list[str]:
    """Return what a file of the core may not contain: "line: what"."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found += [(node.lineno, each.name) for each in names if not is_pure(each.name)]
            case ast.ImportFrom(module=module, names=names, level=level):
                # `from urllib import parse` names the module in its second half.
                full = {module or "", *(f"{module}.{each.name}" for each in names)}
                if level or not any(is_pure(each) for each in full):
                    found.append((node.lineno, f"from {'.' * level}{module or ''}"))
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                found.append((node.lineno, f"{name}()"))
            case (
                ast.Attribute(attr=method, value=ast.Name(id=owner))
                | ast.Attribute(attr=method, value=ast.Attribute(attr=owner))
            ) if method in IMPURE_METHODS and owner in IMPURE_OWNERS:
                found.append((node.lineno, f"{owner}.{method}"))
            case ast.Call(
                func=ast.Attribute(attr="fromtimestamp"), args=[_], keywords=[]
            ):  # without a time zone it answers in the machine's own
                found.append((node.lineno, "fromtimestamp() without a time zone"))
            case ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                found.append((node.lineno, type(node).__name__))
            case ast.Global():
                found.append((node.lineno, "global"))
    return [f"{line}: {what}" for line, what in sorted(found)]


@pytest.mark.parametrize(
    "planted",
    [
        "import time",
        "import os.path",
        "import logging",
        "import random",
        "import secrets",
        "import socket",
        "import msgspec",
        "import urllib.request",
        "from urllib import request",
        "from . import money",
        "def f() -> None:\n    import asyncio",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime\nx = datetime.datetime.utcnow()",
        "import datetime\nx = datetime.date.today()",
        "from datetime import datetime\nx = datetime.fromtimestamp(0)",
        "x = open('settings')",
        "x = hash('a')",
        "print('x')",
        "async def f(x):\n    await x",
        "def f():\n    global x",
    ],
)
def test_an_impure_core_is_found(planted: str) -> None:
    assert impurities(ast.parse(planted))


def test_a_pure_file_is_left_alone() -> None:
    pure = (
        "import collections.abc\nfrom datetime import UTC, datetime, timedelta\n"
        "from urllib.parse import quote\nfrom urllib import parse\n"
        "from counterfoil.core import money\n"
        "class Port:\n    async def now(self) -> int: ...\n"
        "x = datetime.fromtimestamp(0, UTC)\ny = datetime.fromtimestamp(0, tz=UTC)\n"
        "def f(clock):\n    return clock.now() + parse.quote('x').hash\n"
    )
    assert impurities(ast.parse(pure)) == []


def test_the_core_is_pure() -> None:
    found = {name: impurities(tree) for name, tree in trees(PACKAGE / "core")}
    assert found, "there is no core"
    assert {name: each for name, each in found.items() if each} == {}


# --- time and chance come from ports ----------------------------------------------------------

WORLDLY = [
    "import time\nx = time.time()\n",
    "import time\nx = time.time_ns()\n",
    "import time\ntime.sleep(1)\n",
    "from time import time\n",
    "import asyncio\nx = asyncio.sleep(1)\n",
    "from asyncio import sleep\n",
    "from datetime import datetime\nx = datetime.now()\n",
    "from datetime import datetime\nx = datetime.utcnow()\n",
    "import datetime as d\nx = d.datetime.today()\n",
    "import datetime\nx = datetime.date.today()\n",
    "import random\n",
    "from random import choice\n",
    "import secrets\n",
    "from secrets import token_bytes\n",
    "import os\nx = os.urandom(8)\n",
    "import uuid\nx = uuid.uuid4()\n",
]


def banned(source: str, file: str) -> bool:
    """Tell whether ruff, with the project's settings, finds a banned call in such a file."""
    answer = subprocess.run(
        [
            BIN / "ruff",
            "check",
            "--no-cache",
            "--output-format=json",
            "--stdin-filename",
            file,
            "-",
        ],
        cwd=ROOT,
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode in {0, 1}, answer.stderr
    return "TID251" in {each["code"] for each in json.loads(answer.stdout)}


@pytest.mark.parametrize("source", WORLDLY)
def test_ruff_bans_clock_and_chance(source: str) -> None:
    assert banned(source, "src/counterfoil/services/payments.py")


def test_only_the_composition_root_may_ask_the_world() -> None:
    source = "".join(WORLDLY)
    assert not banned(source, "src/counterfoil/app/world.py")
    assert not banned(source, "tests/core/test_money.py")
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"][
        "lint"
    ]["per-file-ignores"]
    assert {each for each, codes in allowed.items() if "TID251" in codes} == {
        "src/counterfoil/app/world.py",
        "tests/**",
        "{bench,tools}/**",
    }
