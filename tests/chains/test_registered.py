"""Every chain that the settings can switch on is complete, and one more is a file and a line."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from counterfoil.settings import variable
from tests.chains.coins import COINS, VECTORS
from tests.house import PACKAGE, ROOT

# The files of vectors that have cases by network, and those that have not.
BY_NETWORK = ("addresses", "invalid_addresses", "wallets", "invalid_wallets")
REQUIRED = (*BY_NETWORK, "genesis", "links")
# A network may share these with one that has them.
MOST_USED = {"mainnet", "regtest"}


def gaps(coin: str, name: str, vectors: Path, documents: Mapping[str, str]) -> list[str]:
    """Return what a coin lacks: vectors, or a word on it where users and operators look."""
    found = []
    for each in REQUIRED:
        path = vectors / coin / f"{each}.json"
        cases = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if not cases:
            found.append(f"{coin}: no vectors in {each}.json")
        elif each in BY_NETWORK and not all(cases.get(network) for network in MOST_USED):
            found.append(f"{coin}: {each}.json needs vectors of {', '.join(sorted(MOST_USED))}")
    for document, text in documents.items():
        if name not in text:
            found.append(f"{coin}: {document} says nothing of {name}")
    if variable(f"chains.{coin}.rpc") not in documents["README.md"]:
        found.append(f"{coin}: README.md does not say how to switch it on")
    return found


def documents() -> dict[str, str]:
    return {
        name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CHANGELOG.md")
    }


@pytest.mark.parametrize("coin", COINS)
def test_every_chain_has_vectors_and_documentation(coin: str) -> None:
    (name,) = {facts.coin for facts in COINS[coin].values()}
    assert gaps(coin, name, VECTORS, documents()) == []


def test_a_gap_is_found(tmp_path: Path) -> None:
    shutil.copytree(VECTORS / "bitcoin", tmp_path / "bitcoin")
    texts = documents()
    assert gaps("bitcoin", "Bitcoin", tmp_path, texts) == []
    (tmp_path / "bitcoin" / "wallets.json").unlink()
    (tmp_path / "bitcoin" / "links.json").write_text("[]", encoding="utf-8")
    (tmp_path / "bitcoin" / "addresses.json").write_text('{"mainnet": [1]}', encoding="utf-8")
    assert gaps("bitcoin", "Bitcoin", tmp_path, texts | {"CHANGELOG.md": ""}) == [
        "bitcoin: addresses.json needs vectors of mainnet, regtest",
        "bitcoin: no vectors in wallets.json",
        "bitcoin: no vectors in links.json",
        "bitcoin: CHANGELOG.md says nothing of Bitcoin",
    ]
    absent = gaps("plantedcoin", "Plantedcoin", tmp_path, texts)
    assert len(absent) == len(REQUIRED) + len(texts) + 1


# --- one more ------------------------------------------------------------------------------------

PLANTED = '''"""Plantedcoin: the facts of a coin that is not there."""

from functools import partial

from counterfoil.chains.utxo import open_network
from counterfoil.chains.utxo_network import MAIN_KEYS, UtxoNetwork
from counterfoil.core.confirmations import Confirmations
from counterfoil.core.ports import Method

MAINNET = UtxoNetwork(
    chain="plantedcoin",
    coin="Plantedcoin",
    network="mainnet",
    genesis="ab" * 32,
    method=Method("PLC", "PLC", "Plantedcoin", "plantedcoin", 8, 1, 1_000),
    most_atomic=10**17,
    bech32_hrp="plc",
    mweb_hrp=None,
    p2pkh_version=0x37,
    p2sh_versions=(0x7A,),
    has_taproot=True,
    address_hint="plc1 or P",
    key_versions=MAIN_KEYS,
    link_scheme="plantedcoin",
    explorer=None,
    block_interval_s=60,
    confirmations=Confirmations(6),
)
NETWORKS = {"mainnet": MAINNET}

plantedcoin = partial(open_network, NETWORKS)
'''
REGISTRY = "settings/values.py"
PROGRAM = "from counterfoil.cli import main; main()"
LINE = '"bitcoin": "BTC", '


def test_a_coin_of_the_family_is_one_file_and_one_line(tmp_path: Path) -> None:
    package = tmp_path / "counterfoil"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "chains" / "plantedcoin.py").write_text(PLANTED, encoding="utf-8")
    registry = (package / REGISTRY).read_text(encoding="utf-8")
    assert registry.count(LINE) == 1
    planted = registry.replace(LINE, f'{LINE}"plantedcoin": "PLC", ')
    (package / REGISTRY).write_text(planted, encoding="utf-8")

    def run(*arguments: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "--data", tmp_path / "data", *arguments],
            env=os.environ
            | {
                "PYTHONPATH": str(tmp_path),
                "COUNTERFOIL_CHAINS__PLANTEDCOIN__RPC": "http://user:password@127.0.0.1:1",
                "COUNTERFOIL_RATES__FIXED__PLC_USD": "2.5",
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return f"{done.stdout}{done.stderr}".splitlines()

    address = "plc1qcr8te4kr609gcawutmrza0j4xv80jy8za9fapr"
    assert run("wallet", "add", "PLC", "--address", f"plantedcoin:{address.upper()}") == [address]
    assert "PLC" in run("wallet", "list")[-1].split()
    assert any("1 PLC = 2.5 USD (fixed)" in line for line in run("doctor"))
