"""The facts of every coin's networks, held against what the networks themselves say."""

import hashlib
import json

import pytest

from counterfoil.chains import bitcoin, litecoin
from counterfoil.chains.utxo_keys import UtxoNetwork
from tests.house import ROOT

COINS = {"bitcoin": bitcoin.NETWORKS, "litecoin": litecoin.NETWORKS}


def headers(coin: str) -> dict[str, str]:
    """Return the headers of the genesis blocks by network."""
    path = ROOT / "tests" / "vectors" / coin / "genesis.json"
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def networks() -> list[UtxoNetwork]:
    return [facts for networks in COINS.values() for facts in networks.values()]


@pytest.mark.parametrize("coin", COINS)
def test_the_genesis_hash_is_that_of_the_first_blocks_header(coin: str) -> None:
    hashes = {}
    for network, header in headers(coin).items():
        once = hashlib.sha256(bytes.fromhex(header)).digest()
        hashes[network] = hashlib.sha256(once).digest()[::-1].hex()
    assert hashes == {network: facts.genesis for network, facts in COINS[coin].items()}


def test_no_two_networks_are_the_same() -> None:
    assert len({facts.genesis for facts in networks()}) == len(networks()) == 8
    assert len({facts.title for facts in networks()}) == len(networks())
    assert len({facts.explorer for facts in networks()} - {None}) == len(networks()) - len(COINS)


@pytest.mark.parametrize("facts", networks(), ids=lambda facts: facts.title)
def test_a_network_belongs_to_its_coin(facts: UtxoNetwork) -> None:
    # CAIP-2 names a network of this family by half of its genesis hash (bip122).
    assert facts.caip2 == f"bip122:{facts.genesis[:32]}"
    assert facts.chain == facts.method.chain == facts.link_scheme
    assert COINS[facts.chain][facts.network] is facts
    assert facts.explorer is None or facts.explorer.count("{txid}") == 1


@pytest.mark.parametrize(("coin", "interval_s"), [("bitcoin", 600), ("litecoin", 150)])
def test_only_regtest_mines_on_demand(coin: str, interval_s: int) -> None:
    intervals = {facts.network: facts.block_interval_s for facts in COINS[coin].values()}
    assert intervals.pop("regtest") is None
    assert set(intervals.values()) == {interval_s}
