"""The small rules that a reviewer would otherwise have to remember.

Each check is a function from a text to what is wrong with it, and each is proven on a planted text.
"""

import ast
import re
import tomllib
from collections.abc import Iterator

import pytest

from tests.house import PACKAGE, ROOT, sources, trees

EVERYWHERE = [ROOT / "src", ROOT / "tests", ROOT / "tools", ROOT / "bench"]

# --- lengths ----------------------------------------------------------------------------------

FUNCTION_LINES_MAX = 75  # the aim is 70
FILE_LINES_MAX = 450  # the aim is 400
# An `upgrade` is one long list of tables; cutting it up would hide the order.
LONG_FUNCTIONS = "src/counterfoil/db/migrations/"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def long_functions(tree: ast.Module) -> list[str]:
    return [
        f"{node.lineno}: {node.name} has {lines} lines"
        for node in ast.walk(tree)
        if isinstance(node, Function)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]


@pytest.mark.parametrize("first", ["def f():", "async def f():", "class A:\n  def f(self):"])
def test_a_long_function_is_found(first: str) -> None:
    body = "    x = 1\n" * (FUNCTION_LINES_MAX - 1)
    assert not long_functions(ast.parse(f"{first}\n{body}"))
    assert long_functions(ast.parse(f"{first}\n{body}    x = 1\n"))


def test_functions_are_short() -> None:
    found = {
        name: long_functions(tree)
        for name, tree in trees(*EVERYWHERE)
        if not name.startswith(LONG_FUNCTIONS)
    }
    assert {name: each for name, each in found.items() if each} == {}


def test_files_are_short() -> None:
    lines = {
        name: text.count("\n")
        for name, text in sources(*EVERYWHERE)
        # A step of the schema is one list of statements: parts of it would mean nothing.
        if "/migrations/versions/" not in name
    }
    assert "src/counterfoil/core/ports.py" in lines
    assert {name: count for name, count in lines.items() if count > FILE_LINES_MAX} == {}


# --- broad excepts ----------------------------------------------------------------------------

# The loops that must outlive everything, and the edges where a stranger's request ends.
MAY_CATCH_ALL = {
    "src/counterfoil/db/sqlite_writer.py",
    "src/counterfoil/web/errors.py",
    "src/counterfoil/web/hot.py",
    "src/counterfoil/workers/supervisor.py",
}
BROAD = {"BaseException", "BaseExceptionGroup", "Exception", "ExceptionGroup"}


def broad_excepts(tree: ast.Module) -> list[str]:
    """Return the places that catch everything, by `except` or by `contextlib.suppress`."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(type=None):
                found.append(f"{node.lineno}: except:")
            case ast.ExceptHandler(type=caught) if caught and names_of(caught) & BROAD:
                found.append(f"{node.lineno}: except {ast.unparse(caught)}:")
            case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress")):
                if any(names_of(argument) & BROAD for argument in node.args):
                    found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def names_of(expression: ast.expr) -> set[str]:
    """Return the last parts of the names in `A`, `m.A` or `(A, m.B)`."""
    parts = expression.elts if isinstance(expression, ast.Tuple) else [expression]
    return {ast.unparse(part).rpartition(".")[2] for part in parts}


@pytest.mark.parametrize(
    "planted",
    [
        "try:\n    f()\nexcept:\n    pass",
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept BaseException as error:\n    raise",
        "try:\n    f()\nexcept (ValueError, Exception):\n    pass",
        "import builtins\ntry:\n    f()\nexcept builtins.Exception:\n    pass",
        "try:\n    f()\nexcept* Exception:\n    pass",
        "import contextlib\nwith contextlib.suppress(Exception):\n    f()",
    ],
)
def test_a_broad_except_is_found(planted: str) -> None:
    assert broad_excepts(ast.parse(planted))


def test_a_narrow_except_is_left_alone() -> None:
    narrow = (
        "try:\n    f()\nexcept (ValueError, m.NodeError):\n    pass\nwith suppress(KeyError): f()"
    )
    assert not broad_excepts(ast.parse(narrow))


def test_excepts_are_narrow() -> None:
    looked_at = trees(ROOT / "src", ROOT / "tools", ROOT / "bench")
    found = {name: broad for name, tree in looked_at if (broad := broad_excepts(tree))}
    # No file is excused that is not there, or that needs no excuse.
    assert found.keys() == MAY_CATCH_ALL, found


# --- who writes a status ----------------------------------------------------------------------

SAVE = "save_assessments"
SAVED_IN = "src/counterfoil/db/invoices.py"
SAVED_BY = "src/counterfoil/services/payments.py"
SQL_STATUS = re.compile(
    r'\bupdate\s+"?invoices?"?\s+set\b.*\bstatus\s*=', re.IGNORECASE | re.DOTALL
)


def scopes(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield (name, node) of the outermost functions, and of what stands outside of any."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            waiting.extend(node.body)
        else:
            yield "outside of any function", node


def updates_invoices(node: ast.AST) -> bool:
    """Tell whether SQLAlchemy's update(invoice), or invoice.update(), stands in it."""
    match node:
        case ast.Call(func=ast.Name(id="update") | ast.Attribute(attr="update"), args=[table, *_]):
            return "invoice" in ast.unparse(table).lower()
        case ast.Call(func=ast.Attribute(attr="update", value=table), args=[], keywords=[]):
            return "invoice" in ast.unparse(table).lower()
    return False


def sets_status(node: ast.AST) -> bool:
    """Tell whether it gives a value to something named status: as a keyword or a key."""
    match node:
        case ast.Call(keywords=keywords):
            return any(keyword.arg == "status" for keyword in keywords)
        case ast.Dict(keys=keys):
            return any(
                (isinstance(key, ast.Constant) and key.value == "status")
                or (isinstance(key, ast.Attribute) and key.attr == "status")
                for key in keys
            )
    return False


def sets_who_knows_what(node: ast.AST) -> bool:
    """Tell whether it updates invoices with values that do not stand there to be read."""
    match node:
        case ast.Call(func=ast.Attribute(attr="values", value=statement), args=values):
            spread = [each.value for each in node.keywords if each.arg is None]
        case ast.Call(func=ast.Attribute(attr="execute"), args=[statement, *values]):
            spread = []
        case _:
            return False
    unread = [each for each in [*values, *spread] if not isinstance(each, ast.Dict)]
    return bool(unread) and any(map(updates_invoices, ast.walk(statement)))


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the strings in it; of an f-string, what is fixed."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def status_writers(tree: ast.Module) -> set[str]:
    """Return the names of the functions that update the status of an invoice."""
    found = set()
    for name, scope in scopes(tree):
        nodes = list(ast.walk(scope))
        by_text = any(SQL_STATUS.search(text) for node in nodes for text in texts(node))
        by_core = any(map(updates_invoices, nodes)) and any(map(sets_status, nodes))
        if by_text or by_core or any(map(sets_who_knows_what, nodes)):
            found.add(name)
    return found


def mentions(tree: ast.Module, name: str) -> bool:
    return any(
        name in {getattr(node, "id", None), getattr(node, "attr", None)}
        or (isinstance(node, ast.alias) and node.name == name)
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize(
    "planted",
    [
        "def f(c):\n    c.execute(update(invoice).where(invoice.c.id == 1).values(status='Paid'))",
        "def f(c):\n    c.execute(sa.update(schema.invoices), {'status': 'Paid'})",
        "def f(c):\n    c.execute(schema.invoice.update().values({invoice.c.status: 'Paid'}))",
        "class A:\n    def f(self, c):\n        c.execute('UPDATE invoice SET rev=1, status = ?')",
        "def f(c, x):\n    c.execute(f'update invoices\\n set {x}, status=$1')",
        "def f(c, x):\n    c.execute(sa.update(invoice).values(**columns(x), rev=2))",
        "def f(c, x):\n    c.execute(sa.update(invoice).values(x))",
        "def f(c, rows):\n    c.execute(sa.update(invoice), rows)",
        "async def f(c):\n    def g():\n        return update(invoice).values(status=1)",
    ],
)
def test_a_writer_of_a_status_is_found(planted: str) -> None:
    assert status_writers(ast.parse(planted)) == {"f"}


@pytest.mark.parametrize(
    "planted",
    [
        "def f(c):\n    c.execute(update(invoice).where(invoice.c.status == 1).values(rev=2))",
        "def f(c):\n    c.execute(update(delivery).values(status=200))",
        "def f(c, x):\n    c.execute(update(delivery).values(**x))",
        "def f(c, x):\n    update(invoice).values(rev=2)\n    insert(delivery).values(**x)",
        "def f(c):\n    c.execute(insert(invoice).values(status='Unpaid'))",
        "def f(c):\n    c.execute('SELECT status FROM invoice')",
    ],
)
def test_who_writes_no_status_is_left_alone(planted: str) -> None:
    assert status_writers(ast.parse(planted)) == set()


def test_one_function_writes_a_status() -> None:
    found = {name: status_writers(tree) for name, tree in trees(PACKAGE)}
    assert {name: each for name, each in found.items() if each} == {SAVED_IN: {SAVE}}


@pytest.mark.parametrize(
    "planted", [f"from db.invoices import {SAVE}", f"invoices.{SAVE}(c)", f"f = {SAVE}"]
)
def test_a_caller_is_found(planted: str) -> None:
    assert mentions(ast.parse(planted), SAVE)
    assert not mentions(ast.parse(planted), "save")


def test_one_service_has_a_status_written() -> None:
    assert {name for name, tree in trees(PACKAGE) if mentions(tree, SAVE)} == {SAVED_BY}


# --- every exception to a rule has its reason -------------------------------------------------

EXCUSE = re.compile(r"#\s*(?:noqa|type:\s*ignore|pragma:\s*no)\b(?P<rest>.*)")


def bare_excuses(text: str) -> list[str]:
    """Return the lines that silence a tool without a second comment that says why."""
    return [
        f"{number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if (match := EXCUSE.search(line)) and "#" not in match["rest"]
    ]


@pytest.mark.parametrize("excuse", ["noqa: S608", "type: ignore[misc]", "pragma: no cover"])
def test_a_bare_excuse_is_found(excuse: str) -> None:
    assert bare_excuses(f"x = 1  # {excuse}")
    assert not bare_excuses(f"x = 1  # {excuse}  # the reason why")


def test_excuses_have_reasons() -> None:
    here = "tests/test_house_rules.py"
    found = {name: bare_excuses(text) for name, text in sources(*EVERYWHERE) if name != here}
    assert {name: each for name, each in found.items() if each} == {}


def test_what_ruff_ignores_has_reasons() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    ignored = tomllib.loads(text)["tool"]["ruff"]["lint"]["ignore"]
    section = text.partition("\nignore = [\n")[2].partition("\n]\n")[0].splitlines()
    assert len(section) == len(ignored)
    assert [line for line in section if "#" not in line] == []
