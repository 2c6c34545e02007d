from dataclasses import replace
from typing import Any

import pytest

from counterfoil.chains import bitcoin
from counterfoil.chains.utxo import UtxoChain
from counterfoil.chains.utxo_network import Script
from counterfoil.chains.utxo_wallets import parse_wallet
from counterfoil.core.errors import InvalidError
from counterfoil.core.ports import Destination
from tests.chains.coins import CHAINS, COINS, problem_of, rows, vectors


@pytest.mark.parametrize("coin", COINS)
def test_every_script_and_prefix_has_a_vector_on_every_network(coin: str) -> None:
    scripts = {script.format("KEY") for script in Script}
    for network, cases in vectors(coin, "wallets").items():
        assert {case["script"] for case in cases} == scripts
        given = {text[:4] for case in cases for text in case["texts"]}
        assert {known.prefix for known in COINS[coin][network].key_versions} <= given


@pytest.mark.parametrize(("chain", "case"), rows("wallets"))
def test_a_wallet_has_one_text_and_its_addresses(chain: UtxoChain, case: Any) -> None:
    for text in case["texts"]:
        assert chain.parse_wallet(f" {text}\n") == case["canonical"]
    # What older versions stored were keys: they lead to the same addresses.
    for text in (case["canonical"], case["texts"][0]):
        for expected in case["addresses"]:
            assert chain.derive(text, expected["index"]) == Destination(
                key=bytes.fromhex(expected["script"]), address=expected["address"]
            )


@pytest.mark.parametrize(
    "case", vectors("bitcoin", "published"), ids=lambda case: str(case["source"])
)
def test_the_standards_own_addresses(case: Any) -> None:
    chain = CHAINS["bitcoin", case["network"]]
    wallet = chain.parse_wallet(case["text"])
    found = [chain.derive(wallet, n).address for n in range(len(case["addresses"]))]
    assert found == case["addresses"]


WORDS_FOR = {
    "checksum": "This key has a wrong checksum",
    "network": "This key belongs to ",
    "depth": "is not that of an account",
    "prefix": "has a prefix that .* does not use",
    "nonsense": "is no extended public key",
    "origin": "has its origin in front",
    "sum": "This descriptor has a wrong checksum",
    "letter": "holds a character that no descriptor has",
    "hardened": "has hardened steps after its key",
    "multisig": "needs several signatures",
    "conditions": "holds conditions beside a key",
    "tree": "holds scripts beside its key",
    "keys": "names more than one key",
    "combo": "stands for several kinds of addresses",
    "single": "names a single address",
    "bare": "is of bare keys",
    "change": "that the wallet keeps for its own change",
    "path": "has another path after its key",
    "contradiction": "contradicts itself",
    "unknown": "is none of those that are known here",
    "tall": "is too long",
}


@pytest.mark.parametrize("coin", COINS)
def test_every_fault_has_a_vector(coin: str) -> None:
    for cases in vectors(coin, "invalid_wallets").values():
        assert {case["kind"] for case in cases} == set(WORDS_FOR)


@pytest.mark.parametrize(("chain", "case"), rows("invalid_wallets"))
def test_what_is_no_wallet_is_told_why(chain: UtxoChain, case: Any) -> None:
    with pytest.raises(InvalidError, match=WORDS_FOR[case["kind"]]) as caught:
        chain.parse_wallet(case["text"])
    assert problem_of(caught.value) == ("invalid_wallet", "wallet")
    assert len(case["text"]) < 10 or case["text"] not in caught.value.message


@pytest.mark.parametrize("case", vectors("litecoin", "spendable"), ids=lambda case: case["why"])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=lambda chain: str(chain.network))
def test_what_can_spend_is_refused_and_never_repeated(chain: UtxoChain, case: Any) -> None:
    with pytest.raises(InvalidError) as caught:
        chain.parse_wallet(case["text"])
    assert problem_of(caught.value) == ("private_key_refused", "wallet")
    # Not a piece of it may be told, neither in the message nor by a chained error.
    told = f"{caught.value!r} {caught.value.message} {caught.value.__cause__!r}"
    secret = case["text"].strip()
    pieces = {secret[start : start + 8] for start in range(0, len(secret) - 8, 4)}
    assert not [piece for piece in pieces if piece in told]


def test_a_chain_without_taproot_has_no_such_wallets() -> None:
    legacy = replace(bitcoin.MAINNET, has_taproot=False)
    (text,) = [c["text"] for c in vectors("bitcoin", "published") if c["source"] == "BIP 86"]
    assert parse_wallet(bitcoin.MAINNET, (), text).startswith("tr(xpub")
    with pytest.raises(InvalidError, match="is of taproot, which Bitcoin has not"):
        parse_wallet(legacy, (), text)
