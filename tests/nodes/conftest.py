import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from counterfoil.db.vault import make_key
from tests.house import ROOT
from tests.nodes.bitcoin_kernel.node import KernelNode
from tests.nodes.litecoind import Litecoind
from tests.nodes.shop import Shop, open_shop

UNAVAILABLE = 3


@pytest.fixture(params=["sqlite", "postgres"])
def storage(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of an empty database: a server's test runs once on each kind.

    A PostgreSQL database is the operator's own, who has to `migrate` it; for SQLite there are none.
    """
    if request.param == "sqlite":
        return {}
    return {"DATABASE": request.getfixturevalue("empty_postgres_url"), "SECRET_KEY": make_key()}


def node_program(name: str) -> Path:
    """Return the path of a node's program; skips the test where it cannot be had."""
    found = subprocess.run(
        [ROOT / "tools" / "nodes", name], capture_output=True, text=True, check=False
    )
    if found.returncode == UNAVAILABLE:
        pytest.skip(found.stderr.strip())
    assert found.returncode == 0, found.stderr
    return Path(found.stdout.strip())


@pytest.fixture(scope="session")
def litecoind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Litecoind]:
    """A node with coin that all tests of a session share: each makes the addresses it needs."""
    node = Litecoind(node_program("litecoind"), tmp_path_factory.mktemp("litecoind"))
    yield node
    node.stop()


@pytest.fixture(scope="module")
def shop(litecoind: Litecoind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop that the tests of a file share: each makes the orders it needs."""
    with open_shop(litecoind, tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="session")
def mweb_litecoind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Litecoind]:
    """A node of its own whose extension block MWEB begins at height 432."""
    folder = tmp_path_factory.mktemp("mweb")
    node = Litecoind(node_program("litecoind"), folder, has_mweb=True)
    yield node
    node.stop()


@pytest.fixture(scope="session")
def bitcoin_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelNode]:
    """A Bitcoin node with coin that all tests of a session share, as they share the litecoind."""
    if find_spec("pbk") is None:
        pytest.skip("py-bitcoinkernel has no wheel for this Python on this machine")
    node = KernelNode(tmp_path_factory.mktemp("bitcoin"))
    yield node
    node.stop()


@pytest.fixture(scope="session")
def anvil_program() -> Path:
    return node_program("anvil")
