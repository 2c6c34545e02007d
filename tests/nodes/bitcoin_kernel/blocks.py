"""Blocks for Bitcoin's regtest, made in Python; whether they are valid is for the kernel to say.

The proof of work is real, at regtest's difficulty: every second nonce will do.
"""

import hashlib
from collections.abc import Sequence
from itertools import count
from secrets import token_bytes

from embit import compact
from embit.script import Script, Witness
from embit.transaction import Transaction, TransactionInput, TransactionOutput

VERSION = 0x2000_0000
# The easiest target there is, as regtest has it in every header.
BITS = 0x207F_FFFF
TARGET = 0x7F_FFFF << 8 * (0x20 - 3)
HEADER_BYTES = 80
# The first bytes of the output that commits to the witnesses (BIP 141).
COMMITMENT = bytes.fromhex("6a24aa21a9ed")
RESERVED = bytes(32)
SUBSIDY_SATS = 50 * 10**8
HALVING_BLOCKS = 150
# New coin can be spent so many blocks later.
MATURITY_BLOCKS = 100


def subsidy_sats(height: int) -> int:
    """Return how much new coin a block may make."""
    return SUBSIDY_SATS >> height // HALVING_BLOCKS


def make_block(
    parent_hash: str,
    height: int,
    time_s: int,
    coinbase_script: Script,
    coinbase_sats: int,
    transactions: Sequence[Transaction],
) -> bytes:
    """Return a block with proof of work that pays its coinbase to a script."""
    witness_root = merkle_root([bytes(32), *(_witness_hash(tx) for tx in transactions)])
    commitment = COMMITMENT + double_sha256(witness_root + RESERVED)
    # BIP 34: the coinbase begins with the height. What follows makes blocks differ that are alike
    # in everything else, as rivals made within a second may be.
    coinbase = Transaction(
        vin=[
            TransactionInput(
                bytes(32),
                0xFFFF_FFFF,
                script_sig=Script(_pushed_height(height) + b"\x08" + token_bytes(8)),
                witness=Witness([RESERVED]),
            )
        ],
        vout=[
            TransactionOutput(coinbase_sats, coinbase_script),
            TransactionOutput(0, Script(commitment)),
        ],
    )
    everything = [coinbase, *transactions]
    root = merkle_root([tx.txid()[::-1] for tx in everything])
    header = (
        VERSION.to_bytes(4, "little")
        + bytes.fromhex(parent_hash)[::-1]
        + root
        + time_s.to_bytes(4, "little")
        + BITS.to_bytes(4, "little")
    )
    parts = [_worked(header), compact.to_bytes(len(everything))]
    return b"".join([*parts, *(tx.serialize() for tx in everything)])


def merkle_root(hashes: list[bytes]) -> bytes:
    """Return the root of a tree of hashes, in which an odd last one is its own partner."""
    while len(hashes) > 1:
        hashes += hashes[-1:] * (len(hashes) % 2)
        hashes = [
            double_sha256(left + right)
            for left, right in zip(hashes[::2], hashes[1::2], strict=True)
        ]
    return hashes[0]


def double_sha256(data: bytes) -> bytes:
    """Return what Bitcoin calls the hash of some bytes."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def _worked(header: bytes) -> bytes:
    """Return a header with the nonce that it lacks."""
    attempts = (header + nonce.to_bytes(4, "little") for nonce in count())
    return next(
        each for each in attempts if int.from_bytes(double_sha256(each), "little") <= TARGET
    )


def _witness_hash(tx: Transaction) -> bytes:
    return double_sha256(tx.serialize())


def _pushed_height(height: int) -> bytes:
    """Return a height as scripts write numbers: small ones as one opcode."""
    if height <= 16:
        return bytes([0x50 + height])
    number = height.to_bytes(height.bit_length() // 8 + 1, "little")
    return bytes([len(number)]) + number
