"""A wallet of a payer, P2WPKH and P2TR (key path), whose keys are made from a name."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from embit.ec import PrivateKey, SchnorrSig
from embit.networks import NETWORKS
from embit.script import (
    Script,
    Witness,
    address_to_scriptpubkey,
    p2pkh_from_p2wpkh,
    p2tr,
    p2wpkh,
    witness_p2wpkh,
)
from embit.transaction import SIGHASH, Transaction, TransactionInput, TransactionOutput

SCRIPTS = {"bech32": p2wpkh, "bech32m": p2tr}
# Replaceable by the letter of BIP 125 too, as wallets make theirs.
SEQUENCE = 0xFFFF_FFFD


class Unspent(NamedTuple):
    """An output that a wallet may spend."""

    txid: str
    vout: int
    sats: int
    script: bytes


class Wallet:
    """Keys, each for one script."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._keys: dict[bytes, PrivateKey] = {}

    @property
    def scripts(self) -> list[bytes]:
        return [*self._keys]

    def new_address(self, kind: str = "bech32") -> str:
        """Return an address that nobody was told of: `bech32` or `bech32m`."""
        secret = hashlib.sha256(f"{self._name} {len(self._keys)}".encode()).digest()
        return self.take(PrivateKey(secret), kind)

    def take(self, key: PrivateKey, kind: str) -> str:
        """Make a key the wallet's own, and return its address of a kind."""
        script = SCRIPTS[kind](key)
        self._keys[script.data] = key
        address: str = script.address(NETWORKS["regtest"])
        return address

    def pay(self, coins: Sequence[Unspent], outputs: Mapping[str, int]) -> str:
        """Return a signed transaction from coins of this wallet; the outputs leave the fee."""
        tx = Transaction(
            vin=[
                TransactionInput(bytes.fromhex(coin.txid), coin.vout, sequence=SEQUENCE)
                for coin in coins
            ],
            vout=[
                TransactionOutput(sats, address_to_scriptpubkey(address))
                for address, sats in outputs.items()
            ],
        )
        for number, coin in enumerate(coins):
            tx.vin[number].witness = self._sign(tx, number, coin, coins)
        raw: bytes = tx.serialize()
        return raw.hex()

    def _sign(
        self, tx: Transaction, number: int, coin: Unspent, coins: Sequence[Unspent]
    ) -> Witness:
        key, script = self._keys[coin.script], Script(coin.script)
        if script.script_type() == "p2wpkh":
            code = p2pkh_from_p2wpkh(script)
            digest = tx.sighash_segwit(number, code, coin.sats)
            return witness_p2wpkh(key.sign(digest), key.get_public_key())
        scripts = [Script(each.script) for each in coins]
        sats = [each.sats for each in coins]
        digest = tx.sighash_taproot(number, scripts, sats, SIGHASH.DEFAULT)
        signature: SchnorrSig = key.taproot_tweak().schnorr_sign(digest)
        return Witness([signature.serialize()])
