from dataclasses import replace
from typing import Any

import pytest

from counterfoil.chains import bitcoin
from counterfoil.chains.utxo import UtxoChain
from counterfoil.chains.utxo_addresses import parse_address
from counterfoil.core.errors import InvalidError
from counterfoil.core.ports import Destination
from tests.chains.coins import CHAINS, COINS, problem_of, rows, vectors


@pytest.mark.parametrize("coin", COINS)
def test_every_kind_of_address_has_a_vector_on_every_network(coin: str) -> None:
    for cases in vectors(coin, "addresses").values():
        assert {case["type"] for case in cases} == {"p2pkh", "p2sh", "p2wpkh", "p2wsh", "p2tr"}


@pytest.mark.parametrize(("chain", "case"), rows("addresses"))
def test_an_address_is_the_script_that_it_pays(chain: UtxoChain, case: Any) -> None:
    expected = Destination(key=bytes.fromhex(case["script"]), address=case["shown"])
    for spelling in (case["address"], f"  {case['address']}\n", case["shown"]):
        assert chain.parse_address(spelling) == expected
    assert chain.address_of(expected.key) == case["shown"]


@pytest.mark.parametrize(
    "script",
    [
        *("", "51", "6a0474657374", "0014" + "11" * 19, "0020" + "11" * 20, "5114" + "11" * 20),
        *("76a914" + "11" * 20 + "88", "a914" + "11" * 20 + "8787", "5220" + "11" * 32),
    ],
)
@pytest.mark.parametrize("coin", COINS)
def test_a_script_of_another_kind_has_no_address(coin: str, script: str) -> None:
    assert CHAINS[coin, "mainnet"].address_of(bytes.fromhex(script)) is None


WORDS_FOR = {
    "checksum": "has a wrong checksum",
    "encoding": "has the checksum of another version of segwit",
    "case": "mixes upper and lower case",
    "version": r"has the segwit version \d+ with \d+ bytes, which is not in use",
    "taproot": "is of taproot without a valid key",
    "form": "holds characters or a length that no address has",
    "blank": r"has a blank within it, as its character \d+\.",
    "character": r"has something within it, as its character \d+,",
    "misread": r"has [0l] as its character 10: ",
    "nonsense": "This is not a |has something within it",
    "long": "is too long",
    "link": "is a link ",
    "network": "but this server is on ",
    "coin": "This looks like a",
    "mweb": "is an MWEB address",
}


@pytest.mark.parametrize("coin", COINS)
def test_every_fault_has_a_vector(coin: str) -> None:
    for cases in vectors(coin, "invalid_addresses").values():
        assert {case["kind"] for case in cases} | {"mweb"} == set(WORDS_FOR)


@pytest.mark.parametrize(("chain", "case"), rows("invalid_addresses"))
def test_what_is_no_address_is_told_why(chain: UtxoChain, case: Any) -> None:
    coin = chain.methods[0].name
    with pytest.raises(InvalidError, match=WORDS_FOR[case["kind"]]) as caught:
        chain.parse_address(case["text"])
    assert problem_of(caught.value) == ("invalid_address", "wallet_address")
    assert coin in caught.value.message
    assert not caught.value.message.startswith(f"This looks like a {coin} address")
    if len(case["text"].strip()) > 10:
        assert case["text"].strip() not in caught.value.message


@pytest.mark.parametrize(
    ("chain", "text", "words"),
    [
        ("litecoin", "rltc1qw508d6qejxtdg4y5r3zarvary0c5xw7k693xs3", "to Litecoin regtest, but"),
        ("litecoin", "mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r", "to Litecoin testnet or regtest, but"),
        ("litecoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "looks like a Bitcoin address"),
        ("bitcoin", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "testnet4, testnet3 or signet"),
        ("bitcoin", "ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9", "looks like a Litecoin address"),
    ],
)
def test_the_other_network_or_coin_is_named(chain: str, text: str, words: str) -> None:
    with pytest.raises(InvalidError, match=words):
        CHAINS[chain, "mainnet"].parse_address(text)


@pytest.mark.parametrize("case", vectors("litecoin", "spendable"), ids=lambda case: case["why"])
@pytest.mark.parametrize("coin", COINS)
def test_what_can_spend_is_no_address_either(coin: str, case: Any) -> None:
    with pytest.raises(InvalidError) as caught:
        CHAINS[coin, "mainnet"].parse_address(case["text"])
    assert case["text"].strip()[:12] not in caught.value.message


def test_a_chain_without_taproot_has_no_such_addresses() -> None:
    legacy = replace(bitcoin.MAINNET, has_taproot=False)
    address = "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"
    assert parse_address(bitcoin.MAINNET, (), address).address == address
    with pytest.raises(InvalidError, match="segwit version 1 with 32 bytes, which is not in use"):
        parse_address(legacy, (), address)


# --- what the standards publish ------------------------------------------------------------------

# BIP 173 and BIP 350: right by them, and of the kinds that are in use.
VALID = {
    "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4": "0014751e76e8199196d454941c45d1b3a323f1433bd6",
    "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7": (
        "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262"
    ),
    "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy": (
        "0020000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433"
    ),
    "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c": (
        "5120000000c4a5cad46221b2a187905e5266362b99d5e91c6ce24d165dab93e86433"
    ),
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0": (
        "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    ),
}
# Right by BIP 350 for whoever sends, and never to be given by whoever receives.
NOT_IN_USE = [
    "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
    "BC1SW50QGDZ25J",
    "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs",
]
INVALID = [
    "tc1qw508d6qejxtdg4y5r3zarvary0c5xw7kg3g4ty",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
    "BC13W508D6QEJXTDG4Y5R3ZARVARY0C5XW7KN40WF2",
    "bc1rw5uspcuh",
    "bc10w508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kw5rljs90",
    "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P",
    "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sL5k7",
    "bc1zw508d6qejxtdg4y5r3zarvaryvqyzf3du",
    "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3pjxtptv",
    "bc1gmk9yu",
    "tc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq5zuyut",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",
    "tb1z0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqglt7rf",
    "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh",
    "tb1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq24jc47",
    "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",
    "BC130XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ7ZWS8R",
    "bc1pw5dgrnzv",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav",
    "tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq47Zagq",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v07qwwzcrf",
    "tb1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vpggkg4j",
]


def published_on(text: str) -> UtxoChain:
    return CHAINS["bitcoin", "testnet4" if text.startswith("tb1") else "mainnet"]


@pytest.mark.parametrize("text", VALID)
def test_the_standards_good_addresses(text: str) -> None:
    assert published_on(text).parse_address(text).key.hex() == VALID[text]


@pytest.mark.parametrize("text", NOT_IN_USE)
def test_the_standards_addresses_of_the_future(text: str) -> None:
    with pytest.raises(InvalidError, match="which is not in use: money that is sent to it may be"):
        published_on(text).parse_address(text)


@pytest.mark.parametrize("text", INVALID)
def test_the_standards_bad_addresses(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        published_on(text).parse_address(text)
    assert caught.value.code == "invalid_address"
