from dataclasses import replace
from typing import Any

import pytest
from embit.ec import PrivateKey
from embit.script import p2tr

from counterfoil.chains import bitcoin
from counterfoil.chains.utxo import UtxoChain
from counterfoil.chains.utxo_addresses import parse_address
from counterfoil.chains.utxo_derivation import DerivationError, derive
from counterfoil.chains.utxo_network import Script
from counterfoil.core.errors import InvalidError
from tests.chains.coins import CHAINS, COINS, vectors

KEY = (
    "xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUh"
    "Lv1VMrjPC7PW6V"
)
FEW, MANY = 300, 10_000
EVERY_SCRIPT = [
    pytest.param(CHAINS[coin, "mainnet"], case, id=f"{coin}-{case['script']}")
    for coin in COINS
    for case in {each["script"]: each for each in vectors(coin, "wallets")["mainnet"]}.values()
]


def cross_check(chain: UtxoChain, case: Any, count: int) -> None:
    """Derive addresses, each of which two libraries must agree on, and read each of them again."""
    found = [chain.derive(case["canonical"], index) for index in range(count)]
    assert len({each.key for each in found}) == count
    for each in found:
        assert chain.parse_address(each.address) == each
    for expected in case["addresses"]:
        if expected["index"] < count:
            assert found[expected["index"]].address == expected["address"]


def test_every_script_is_cross_checked() -> None:
    assert len(EVERY_SCRIPT) == len(COINS) * len(Script)


@pytest.mark.parametrize(("chain", "case"), EVERY_SCRIPT)
def test_the_libraries_agree_on_hundreds_of_addresses(chain: UtxoChain, case: Any) -> None:
    cross_check(chain, case, FEW)


# The coins differ in prefixes alone.
@pytest.mark.long
@pytest.mark.parametrize(("chain", "case"), EVERY_SCRIPT[: len(Script)])
def test_the_libraries_agree_on_thousands_of_addresses(chain: UtxoChain, case: Any) -> None:
    cross_check(chain, case, MANY)


@pytest.mark.parametrize("script", Script)
@pytest.mark.parametrize("library", ["_first_address", "_second_script"])
def test_libraries_that_disagree_show_no_address(
    monkeypatch: pytest.MonkeyPatch, script: Script, library: str
) -> None:
    wallet = script.format(f"{KEY}/0/*")
    derive(bitcoin.MAINNET, wallet, 7)
    other = p2tr(PrivateKey(b"\1" * 32))
    answer = other.address() if library == "_first_address" else other
    monkeypatch.setattr(f"counterfoil.chains.utxo_derivation.{library}", lambda *_: answer)
    with pytest.raises(DerivationError, match="disagree on receive address 7 of a Bitcoin mainnet"):
        derive(bitcoin.MAINNET, wallet, 7)


def test_libraries_that_spell_one_script_differently_show_no_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prefixes = {"p2pkh": b"\0", "p2sh": b"\5", "bech32": "tb"}
    monkeypatch.setattr("counterfoil.chains.utxo_derivation._prefixes", lambda _: prefixes)
    with pytest.raises(DerivationError):
        derive(bitcoin.MAINNET, f"wpkh({KEY}/0/*)", 7)


def test_an_address_that_is_read_as_another_script_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = derive(bitcoin.MAINNET, KEY, 7)
    misread = replace(first, key=derive(bitcoin.MAINNET, KEY, 8).key)
    monkeypatch.setattr("counterfoil.chains.utxo_derivation.parse_address", lambda *_: misread)
    with pytest.raises(DerivationError):
        derive(bitcoin.MAINNET, KEY, 7)


@pytest.mark.parametrize("index", [-1, 1 << 31])
def test_an_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="index of 0 to 2147483647"):
        derive(bitcoin.MAINNET, KEY, index)


@pytest.mark.parametrize("text", ["vpub", f"wpkh({KEY}/1/*)", ""])
def test_nothing_is_derived_from_what_is_no_wallet(text: str) -> None:
    with pytest.raises(InvalidError):
        derive(bitcoin.MAINNET, text, 0)


def test_an_address_belongs_to_the_network_that_it_was_derived_for() -> None:
    address = derive(bitcoin.MAINNET, KEY, 0).address
    with pytest.raises(InvalidError, match="belongs to Bitcoin mainnet"):
        parse_address(bitcoin.REGTEST, [bitcoin.MAINNET], address)
