"""Transactions as Bitcoin Core's decoder writes them, without the disassembly of scripts."""

from decimal import Decimal
from typing import Any

from embit.networks import NETWORKS
from embit.script import Script
from embit.transaction import Transaction, TransactionInput

NETWORK = NETWORKS["regtest"]
NEW_COIN = bytes(32)
OP_RETURN = 0x6A
TYPES = {
    "p2pkh": "pubkeyhash",
    "p2sh": "scripthash",
    "p2wpkh": "witness_v0_keyhash",
    "p2wsh": "witness_v0_scripthash",
    "p2tr": "witness_v1_taproot",
}


def decoded(tx: Transaction) -> dict[str, Any]:
    """Return a transaction as getrawtransaction and getblock 2 have it."""
    outputs = [
        {"value": in_coins(output.value), "n": index, "scriptPubKey": _script(output.script_pubkey)}
        for index, output in enumerate(tx.vout)
    ]
    return {
        "txid": txid_of(tx),
        "version": tx.version,
        "size": len(tx.serialize()),
        "locktime": tx.locktime,
        "vin": [_input(entry) for entry in tx.vin],
        "vout": outputs,
        "hex": tx.serialize().hex(),
    }


def txid_of(tx: Transaction) -> str:
    """Return the name of a transaction, which its witnesses have no part in."""
    text: str = tx.txid().hex()
    return text


def in_coins(sats: int) -> Decimal:
    """Return an amount in coins, with eight decimals."""
    return Decimal(sats).scaleb(-8)


def _input(entry: TransactionInput) -> dict[str, Any]:
    told = {"sequence": entry.sequence}
    if entry.is_segwit:
        told["txinwitness"] = [item.hex() for item in entry.witness.items]
    code = entry.script_sig.data.hex()
    if entry.txid == NEW_COIN:
        return {"coinbase": code, **told}
    return {"txid": entry.txid.hex(), "vout": entry.vout, "scriptSig": {"hex": code}, **told}


def _script(script: Script) -> dict[str, Any]:
    told = {"hex": script.data.hex()}
    kind = TYPES.get(script.script_type())
    if kind is not None:
        return {**told, "type": kind, "address": script.address(NETWORK)}
    return {**told, "type": "nulldata" if script.data[:1] == bytes([OP_RETURN]) else "nonstandard"}
