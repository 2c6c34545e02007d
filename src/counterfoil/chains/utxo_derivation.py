"""From a wallet to its receive addresses: each is derived by two libraries before it is shown."""

from functools import lru_cache

from bip_utils import (
    Bip32KeyNetVersions,
    Bip32Slip10Secp256k1,
    P2PKHAddrEncoder,
    P2SHAddrEncoder,
    P2TRAddrEncoder,
    P2WPKHAddrEncoder,
)
from embit import ec, script
from embit.bip32 import HDKey

from counterfoil.chains.utxo_addresses import parse_address
from counterfoil.chains.utxo_network import Script, UtxoNetwork
from counterfoil.chains.utxo_wallets import HARDENED, read_wallet
from counterfoil.core.ports import Destination


class DerivationError(RuntimeError):
    """Two libraries derived different addresses from one key: none of them may be shown."""


def derive(facts: UtxoNetwork, wallet: str, index: int) -> Destination:
    """Return receive address `index` (path 0/index below the account) of a wallet.

    `wallet` is what parse_wallet returned, or anything that it takes; `index` is below 2**31.
    Raises DerivationError if the libraries differ, ValueError for another index.
    """
    if not 0 <= index < HARDENED:
        raise ValueError(f"a receive address has an index of 0 to {HARDENED - 1}, not {index}")
    kind, first_parent, second_parent = _parents(facts, wallet)
    first_key = first_parent.ChildKey(index).PublicKey().RawCompressed().ToBytes()
    first = _first_address(facts, kind, first_key)
    second = _second_script(kind, second_parent.child(index).key)
    destination = parse_address(facts, (), first)
    if destination.key != second.data or first != second.address(_prefixes(facts)):
        raise DerivationError(
            f"Two libraries disagree on receive address {index} of a {facts.title} wallet."
        )
    return destination


@lru_cache(maxsize=256)
def _parents(facts: UtxoNetwork, wallet: str) -> tuple[Script, Bip32Slip10Secp256k1, HDKey]:
    """Return the script of a wallet and the parent of its receive addresses' keys, twice."""
    read = read_wallet(facts, (), wallet)
    # The library wants version bytes for private keys too; none is ever read or made with them.
    versions = Bip32KeyNetVersions(facts.key_versions[0].version, b"\x00" * 4)
    first = Bip32Slip10Secp256k1.FromExtendedKey(read.key, versions)
    return read.script, first.ChildKey(0), HDKey.from_base58(read.key).child(0)


def _first_address(facts: UtxoNetwork, kind: Script, key: bytes) -> str:
    """Return the address of a public key as bip_utils makes it."""
    match kind:
        case Script.P2PKH:
            return str(P2PKHAddrEncoder.EncodeKey(key, net_ver=bytes([facts.p2pkh_version])))
        case Script.P2SH_P2WPKH:
            return str(P2SHAddrEncoder.EncodeKey(key, net_ver=bytes([facts.p2sh_versions[0]])))
        case Script.P2WPKH:
            return str(P2WPKHAddrEncoder.EncodeKey(key, hrp=facts.bech32_hrp))
        case Script.P2TR:
            return str(P2TRAddrEncoder.EncodeKey(key, hrp=facts.bech32_hrp))


def _second_script(kind: Script, key: ec.PublicKey) -> script.Script:
    """Return the script of a public key as embit makes it."""
    match kind:
        case Script.P2PKH:
            return script.p2pkh(key)
        case Script.P2SH_P2WPKH:
            return script.p2sh(script.p2wpkh(key))
        case Script.P2WPKH:
            return script.p2wpkh(key)
        case Script.P2TR:
            return script.p2tr(key)


def _prefixes(facts: UtxoNetwork) -> dict[str, object]:
    """Return the prefixes of addresses under the names that embit has for them."""
    return {
        "p2pkh": bytes([facts.p2pkh_version]),
        "p2sh": bytes([facts.p2sh_versions[0]]),
        "bech32": facts.bech32_hrp,
    }
