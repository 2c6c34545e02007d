import json
from pathlib import Path
from typing import Any

import pytest

from counterfoil.chains.litecoin import LTC, NETWORKS, litecoin
from counterfoil.chains.utxo import UtxoChain
from counterfoil.core.errors import InvalidError, SettingsError
from counterfoil.core.ports import Destination

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "litecoin"
RPC_URL = "http://user:password@127.0.0.1:9332"
TXID = "97a11637a5f4b953f9fd24d3c12e3d091173087b60a5012bf54c335409f1f536"


def vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def rows(name: str) -> list[Any]:
    """Return the cases of a file that has them by network."""
    return [
        pytest.param(network, case, id=f"{network}-{number}-{case.get('why') or case['origin']}")
        for network, cases in vectors(name).items()
        for number, case in enumerate(cases)
    ]


CHAINS = {network: litecoin(network, RPC_URL) for network in NETWORKS}


def chain_on(network: str) -> UtxoChain:
    return CHAINS[network]


def problem_of(error: InvalidError) -> tuple[str, str | None]:
    assert len(error.problems) == 1
    return error.code, error.field


# --- the networks -----------------------------------------------------------------------------


def test_the_networks_are_those_of_the_genesis_blocks() -> None:
    for chain in CHAINS.values():
        assert chain.name == "litecoin"
        assert chain.methods == (LTC,)
        # CAIP-2 names a network of this family by half of its genesis hash (bip122).
        assert chain.network == f"bip122:{chain.genesis[:32]}"
    assert len({chain.genesis for chain in CHAINS.values()}) == len(NETWORKS) == 3


def test_only_regtest_mines_on_demand() -> None:
    intervals = {network: chain.block_interval_s for network, chain in CHAINS.items()}
    assert intervals == {"mainnet": 150, "testnet": 150, "regtest": None}


def test_an_unknown_network_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="mainnet, testnet, regtest"):
        litecoin("signet", RPC_URL)


# --- addresses --------------------------------------------------------------------------------


def test_every_kind_of_address_has_a_vector_on_every_network() -> None:
    for cases in vectors("addresses").values():
        assert {case["type"] for case in cases} == {"p2pkh", "p2sh", "p2wpkh", "p2wsh", "p2tr"}


@pytest.mark.parametrize(("network", "case"), rows("addresses"))
def test_an_address_is_the_script_that_it_pays(network: str, case: Any) -> None:
    expected = Destination(key=bytes.fromhex(case["script"]), address=case["shown"])
    for spelling in (case["address"], f"  {case['address']}\n", case["shown"]):
        assert chain_on(network).parse_address(spelling) == expected


WORDS_FOR = {
    "checksum": "has a wrong checksum",
    "case": "mixes upper and lower case",
    "version": "has the segwit version",
    "form": "holds characters or a length that no address has",
    "nonsense": "This is not a Litecoin address",
    "long": "is too long",
    "network": "but this server is on Litecoin",
    "coin": "This looks like a",
    "mweb": "is an MWEB address",
}


@pytest.mark.parametrize(("network", "case"), rows("invalid_addresses"))
def test_what_is_no_address_is_told_why(network: str, case: Any) -> None:
    with pytest.raises(InvalidError, match=WORDS_FOR[case["kind"]]) as caught:
        chain_on(network).parse_address(case["text"])
    assert problem_of(caught.value) == ("invalid_address", "wallet_address")
    assert not caught.value.message.startswith("This looks like a Litecoin ")
    if len(case["text"].strip()) > 10:
        assert case["text"].strip() not in caught.value.message


@pytest.mark.parametrize(
    ("network", "text", "words"),
    [
        ("mainnet", "rltc1qw508d6qejxtdg4y5r3zarvary0c5xw7k693xs3", "belongs to Litecoin regtest"),
        ("mainnet", "mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r", "belongs to Litecoin testnet"),
        ("mainnet", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "looks like a Bitcoin address"),
    ],
)
def test_the_other_network_or_coin_is_named(network: str, text: str, words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        chain_on(network).parse_address(text)


# --- wallets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "case"), rows("wallets"))
def test_a_wallet_has_one_spelling_and_its_addresses(network: str, case: Any) -> None:
    chain = chain_on(network)
    for text in case["texts"]:
        assert chain.parse_wallet(f" {text}\n") == case["canonical"]
        for expected in case["addresses"]:
            assert chain.derive(text, expected["index"]) == Destination(
                key=bytes.fromhex(expected["script"]), address=expected["address"]
            )


WALLET_WORDS_FOR = {
    "checksum": "has a wrong checksum",
    "network": "belongs to Litecoin",
    "script": "is of a wrapped segwit account",
    "depth": "is not that of an account",
    "prefix": "has a prefix that Litecoin .* does not use",
    "nonsense": "is no extended public key",
}


@pytest.mark.parametrize(("network", "case"), rows("invalid_wallets"))
def test_what_is_no_wallet_is_told_why(network: str, case: Any) -> None:
    with pytest.raises(InvalidError, match=WALLET_WORDS_FOR[case["kind"]]) as caught:
        chain_on(network).parse_wallet(case["text"])
    assert problem_of(caught.value) == ("invalid_wallet", "wallet")
    assert len(case["text"]) < 10 or case["text"] not in caught.value.message


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("case", [pytest.param(c, id=c["why"]) for c in vectors("spendable")])
def test_what_can_spend_is_refused_and_never_repeated(network: str, case: Any) -> None:
    with pytest.raises(InvalidError) as caught:
        chain_on(network).parse_wallet(case["text"])
    assert problem_of(caught.value) == ("private_key_refused", "wallet")
    # Not a piece of it may be told, neither in the message nor by a chained error.
    told = f"{caught.value!r} {caught.value.message} {caught.value.__cause__!r}"
    secret = case["text"].strip()
    pieces = {secret[start : start + 8] for start in range(0, len(secret) - 8, 4)}
    assert not [piece for piece in pieces if piece in told]


@pytest.mark.parametrize("case", vectors("spendable"), ids=lambda case: case["why"])
def test_what_can_spend_is_no_address_either(case: Any) -> None:
    with pytest.raises(InvalidError) as caught:
        chain_on("mainnet").parse_address(case["text"])
    assert case["text"].strip()[:12] not in caught.value.message


# --- links ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", vectors("links"), ids=lambda case: case["link"].partition("=")[2])
def test_a_payment_link_holds_address_and_amount(case: Any) -> None:
    chain = chain_on(case["network"])
    assert chain.payment_link(LTC, case["address"], case["amount_atomic"]) == case["link"]


def test_a_transaction_can_be_looked_up() -> None:
    links = {network: chain.explorer_link(TXID) for network, chain in CHAINS.items()}
    assert links == {
        "mainnet": f"https://litecoinspace.org/tx/{TXID}",
        "testnet": f"https://litecoinspace.org/testnet/tx/{TXID}",
        "regtest": None,
    }


def test_an_explorer_of_the_settings_comes_first() -> None:
    chain = litecoin("mainnet", RPC_URL, explorer="https://explorer.example/t/{txid}?raw=1")
    assert chain.explorer_link(TXID) == f"https://explorer.example/t/{TXID}?raw=1"
