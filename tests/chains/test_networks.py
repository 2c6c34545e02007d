"""The facts of every coin's networks, held against what the networks themselves say."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from counterfoil.chains import bitcoin
from counterfoil.chains.utxo_network import UtxoNetwork
from counterfoil.core.errors import SettingsError
from tests.chains.coins import CHAINS, COINS, open_chain, vectors

TXID = "97a11637a5f4b953f9fd24d3c12e3d091173087b60a5012bf54c335409f1f536"


def networks() -> list[UtxoNetwork]:
    return [facts for networks in COINS.values() for facts in networks.values()]


@pytest.mark.parametrize("coin", COINS)
def test_the_genesis_hash_is_that_of_the_first_blocks_header(coin: str) -> None:
    hashes = {}
    for network, header in vectors(coin, "genesis").items():
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


@pytest.mark.parametrize(
    ("coin", "policy"), [("bitcoin", "1, 3 from 0.01, 6 from 1"), ("litecoin", "3, 12 from 10")]
)
def test_each_coin_says_how_deep_is_enough(coin: str, policy: str) -> None:
    """Where neither the settings nor the merchant do, and on no network is it nothing."""
    assert {str(facts.confirmations) for facts in COINS[coin].values()} == {policy}


@pytest.mark.parametrize("coin", COINS)
def test_an_unknown_network_is_a_settings_error(coin: str) -> None:
    with pytest.raises(SettingsError, match=f"it has {', '.join(COINS[coin])}") as caught:
        open_chain(coin, "main")
    assert caught.value.code == "unknown_network"


def test_the_public_test_networks_of_bitcoin_differ_in_nothing_that_is_typed() -> None:
    for facts in (bitcoin.TESTNET3, bitcoin.SIGNET):
        same = {"network": "testnet4", "genesis": "", "explorer": None}
        assert replace(facts, **same) == replace(bitcoin.TESTNET4, **same)  # type: ignore[arg-type]  # the types of several fields


# --- links ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("coin", "case"),
    [(coin, case) for coin in COINS for case in vectors(coin, "links")],
    ids=lambda value: value if isinstance(value, str) else value["link"].partition("=")[2],
)
def test_a_payment_link_holds_address_and_amount(coin: str, case: Any) -> None:
    chain = CHAINS[coin, case["network"]]
    (method,) = chain.methods
    assert chain.payment_link(method, case["address"], case["amount_atomic"]) == case["link"]
    # What we give, we take.
    assert chain.parse_address(case["link"]).address == case["address"]


def test_a_transaction_can_be_looked_up() -> None:
    links = {key: chain.explorer_link(TXID) for key, chain in CHAINS.items()}
    assert links == {
        ("bitcoin", "mainnet"): f"https://mempool.space/tx/{TXID}",
        ("bitcoin", "testnet4"): f"https://mempool.space/testnet4/tx/{TXID}",
        ("bitcoin", "testnet3"): f"https://mempool.space/testnet/tx/{TXID}",
        ("bitcoin", "signet"): f"https://mempool.space/signet/tx/{TXID}",
        ("bitcoin", "regtest"): None,
        ("litecoin", "mainnet"): f"https://litecoinspace.org/tx/{TXID}",
        ("litecoin", "testnet"): f"https://litecoinspace.org/testnet/tx/{TXID}",
        ("litecoin", "regtest"): None,
    }


@pytest.mark.parametrize("facts", networks(), ids=lambda facts: facts.title)
def test_an_explorer_of_the_settings_comes_first(facts: UtxoNetwork) -> None:
    chain = open_chain(facts.chain, facts.network, "https://explorer.example/t/{txid}?raw=1")
    assert chain.explorer_link(TXID) == f"https://explorer.example/t/{TXID}?raw=1"
