"""Every coin of the UTXO family that is registered, with its networks and its vectors."""

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import pytest

from counterfoil.chains.utxo import UtxoChain
from counterfoil.chains.utxo_network import UtxoNetwork
from counterfoil.core.errors import InvalidError
from counterfoil.settings import NODE_CHAINS
from tests.house import ROOT

VECTORS = ROOT / "tests" / "vectors"
RPC_URL = "http://user:password@127.0.0.1:9332"


def networks_of(coin: str) -> Mapping[str, UtxoNetwork]:
    found: Mapping[str, UtxoNetwork] = import_module(f"counterfoil.chains.{coin}").NETWORKS
    return found


def open_chain(coin: str, network: str, explorer: str | None = None) -> UtxoChain:
    """Return a chain whose node nobody runs: its facts need none."""
    made: UtxoChain = getattr(import_module(f"counterfoil.chains.{coin}"), coin)(
        network, RPC_URL, explorer=explorer
    )
    return made


COINS = {coin: networks_of(coin) for coin in NODE_CHAINS}
CHAINS = {(coin, name): open_chain(coin, name) for coin, found in COINS.items() for name in found}


def vectors(coin: str, name: str) -> Any:
    return json.loads((VECTORS / coin / f"{name}.json").read_text(encoding="utf-8"))


def rows(name: str) -> list[Any]:
    """Return the cases of all coins of a file that has them by network, each with its chain."""
    return [
        pytest.param(
            CHAINS[coin, network],
            case,
            id=f"{coin}-{network}-{number}-{case.get('why') or case['origin']}",
        )
        for coin in COINS
        for network, cases in vectors(coin, name).items()
        for number, case in enumerate(cases)
    ]


def problem_of(error: InvalidError) -> tuple[str, str | None]:
    assert len(error.problems) == 1
    return error.code, error.field
