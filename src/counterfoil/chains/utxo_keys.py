"""The UTXO family without a node: facts of a network, its addresses and its wallets' public keys.

Addresses become the script that is paid (what matching uses), wallets the canonical text of an
account's extended public key (BIP 32 with the version bytes of SLIP-132), from which receive
addresses are derived as BIP 84 does. Every text is hostile; no error repeats one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from bip_utils import (
    Base58ChecksumError,
    Base58Decoder,
    Base58Encoder,
    Bech32ChecksumError,
    Bip32KeyNetVersions,
    Bip32Slip10Secp256k1,
    P2WPKHAddrEncoder,
    SegwitBech32Decoder,
    SegwitBech32Encoder,
)
from embit import ec
from embit.base import EmbitError
from embit.bip32 import HDKey
from embit.script import p2wpkh

from counterfoil.core.errors import InvalidError, Problem
from counterfoil.core.ports import Destination, Method

BASE58 = "1-9A-HJ-NP-Za-km-z"
# Longer than any address (bech32 allows 90 characters) or extended key (111): base58 takes
# quadratic time, so nothing longer is decoded.
TEXT_LIMIT = 120
HASH_BYTES = 20
PROGRAM_BYTES = 32
EXTENDED_KEY_BYTES = 78
# Whole it has 111; below this a text is not a key that was copied badly, but something else.
EXTENDED_KEY_CHARACTERS = 100
HARDENED = 1 << 31
# An account lies at depth 3 by BIP 44 and BIP 84; the segwit wallets of Electrum keep theirs at 1.
ACCOUNT_DEPTHS = frozenset({1, 3})
# A recovery phrase has at least 12 words; one that lost a word is still as good as spendable.
PHRASE_WORDS = 11

# What can spend, found anywhere in a text (a descriptor may hold it): extended private keys of any
# coin, whole or cut short; WIF, and the same length of Solana's; BIP 38; raw keys and seeds in hex;
# codex32 (BIP 93).
SPENDABLE = (
    re.compile(rf"(?<![{BASE58}])(?:[A-Za-z]prv|[A-Za-z]{{2}}pv)[{BASE58}]{{20,}}"),
    re.compile(rf"(?<![{BASE58}])(?:[{BASE58}]{{51,52}}|[{BASE58}]{{87,88}})(?![{BASE58}])"),
    re.compile(rf"(?<![{BASE58}])6P[{BASE58}]{{56}}(?![{BASE58}])"),
    re.compile(r"(?<![0-9A-Za-z])(?:0x)?(?:[0-9a-fA-F]{64}){1,2}(?![0-9A-Za-z])"),
    re.compile(r"(?<![0-9a-z])ms1[02-9ac-hj-np-z]{45,}", re.IGNORECASE),
)

# How other coins' addresses look: only to say so to a person, never to accept one.
FOREIGN_HRPS = {
    "bc": "Bitcoin",
    "tb": "Bitcoin testnet",
    "bcrt": "Bitcoin regtest",
    "ltc": "Litecoin",
    "tltc": "Litecoin testnet",
    "rltc": "Litecoin regtest",
    "dgb": "DigiByte",
    "addr": "Cardano",
}
FOREIGN_VERSIONS = {
    0x00: "Bitcoin",
    0x05: "Bitcoin",
    0x6F: "Bitcoin testnet",
    0xC4: "Bitcoin testnet",
    0x30: "Litecoin",
    0x32: "Litecoin",
    0x1E: "Dogecoin",
    0x16: "Dogecoin",
    0x4C: "Dash",
    0x10: "Dash",
    0x41: "TRON",
}
FOREIGN_SHAPES = (
    ("Ethereum", re.compile(r"0x[0-9a-fA-F]{40}")),
    ("Bitcoin Cash", re.compile(r"(?i:bitcoincash|bchtest|bchreg):[0-9A-Za-z]{42}")),
    ("XRP", re.compile(rf"r[{BASE58}]{{24,34}}")),
    ("Monero", re.compile(rf"[48][{BASE58}]{{94}}")),
    ("Solana", re.compile(rf"[{BASE58}]{{43,44}}")),
    ("TON", re.compile(r"[EUk0]Q[0-9A-Za-z_-]{46}")),
)


class DerivationError(RuntimeError):
    """Two libraries derived different addresses from one key: none of them may be shown."""


class KeyScript(StrEnum):
    """The script that the version bytes of an extended key say its addresses have (SLIP-132)."""

    ANY = "any"
    P2WPKH = "native segwit"
    P2SH_P2WPKH = "wrapped segwit"


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """Version bytes of extended public keys, and the `prefix` that they have as text."""

    version: bytes
    prefix: str
    script: KeyScript


@dataclass(frozen=True, slots=True)
class UtxoNetwork:
    """The facts of one network of one coin.

    The first of `p2sh_versions` is the one that addresses are shown with, the first of
    `key_versions` the one that wallets are kept with. `mweb_hrp` is set where the network has
    MWEB addresses, `explorer` is a template with `{txid}`, `block_interval_s` is None where blocks
    come on demand.
    """

    chain: str
    coin: str
    network: str
    genesis: str
    method: Method
    most_atomic: int
    bech32_hrp: str
    mweb_hrp: str | None
    p2pkh_version: int
    p2sh_versions: tuple[int, ...]
    has_taproot: bool
    address_hint: str
    key_versions: tuple[KeyVersion, ...]
    link_scheme: str
    explorer: str | None
    block_interval_s: int | None

    @property
    def caip2(self) -> str:
        """Its CAIP-2 id, which names a network of this family by half of its genesis hash."""
        return f"bip122:{self.genesis[:32]}"

    @property
    def title(self) -> str:
        """What a person calls it, such as `Litecoin testnet`."""
        return f"{self.coin} {self.network}"


def parse_address(facts: UtxoNetwork, siblings: Iterable[UtxoNetwork], text: str) -> Destination:
    """Return the script that an address of the network pays, and its canonical spelling.

    Reads P2PKH and P2SH in base58, segwit version 0 in bech32 (BIP 173) and taproot in bech32m
    (BIP 350). `siblings` are the coin's other networks. Raises InvalidError (`invalid_address`).
    """
    spelled = text.strip()
    if len(spelled) > TEXT_LIMIT and not _is_mweb(facts, spelled):
        raise _bad_address(facts, "is too long for an address")
    prefix = spelled.lower().rpartition("1")[0]
    if prefix == facts.bech32_hrp:
        return _parse_segwit(facts, spelled)
    for sibling in siblings:
        if prefix == sibling.bech32_hrp:
            raise _other_network(facts, sibling)
    if _is_mweb(facts, spelled):
        raise _bad_address(
            facts,
            "is an MWEB address: payments to it are hidden and cannot be seen by this server. "
            f"Give an address that begins with {facts.address_hint}",
        )
    foreign = FOREIGN_HRPS.get(prefix)
    if foreign is not None:
        raise _other_coin(facts, foreign)
    for coin, shape in FOREIGN_SHAPES:
        if shape.fullmatch(spelled):
            raise _other_coin(facts, coin)
    return _parse_base58(facts, siblings, spelled)


def _is_mweb(facts: UtxoNetwork, text: str) -> bool:
    return facts.mweb_hrp is not None and text.lower().startswith(f"{facts.mweb_hrp}1")


def _parse_segwit(facts: UtxoNetwork, text: str) -> Destination:
    if text not in (text.lower(), text.upper()):
        raise _bad_address(facts, "mixes upper and lower case, which bech32 forbids")
    try:
        version, program = SegwitBech32Decoder.Decode(facts.bech32_hrp, text.lower())
    except Bech32ChecksumError:
        raise _bad_checksum(facts) from None
    except ValueError:
        raise _bad_address(facts, "holds characters or a length that no address has") from None
    is_known = version == 0 or (version == 1 and len(program) == PROGRAM_BYTES)
    if not is_known or (version == 1 and not facts.has_taproot):
        raise _bad_address(facts, f"has the segwit version {version}, which is not in use")
    opcode = 0x50 + version if version else 0
    return Destination(
        key=bytes([opcode, len(program)]) + bytes(program),
        address=str(SegwitBech32Encoder.Encode(facts.bech32_hrp, version, program)),
    )


def _parse_base58(facts: UtxoNetwork, siblings: Iterable[UtxoNetwork], text: str) -> Destination:
    if not re.fullmatch(rf"[{BASE58}]{{26,35}}", text):
        raise _no_address(facts)
    try:
        payload = bytes(Base58Decoder.CheckDecode(text))
    except Base58ChecksumError:
        raise _bad_checksum(facts) from None
    version, content = payload[0], payload[1:]
    if len(content) != HASH_BYTES:
        raise _no_address(facts)
    if version == facts.p2pkh_version:
        return Destination(
            key=b"\x76\xa9\x14" + content + b"\x88\xac",
            address=str(Base58Encoder.CheckEncode(payload)),
        )
    if version in facts.p2sh_versions:
        shown = bytes([facts.p2sh_versions[0]]) + content
        return Destination(
            key=b"\xa9\x14" + content + b"\x87", address=str(Base58Encoder.CheckEncode(shown))
        )
    for sibling in siblings:
        if version in (sibling.p2pkh_version, *sibling.p2sh_versions):
            raise _other_network(facts, sibling)
    foreign = FOREIGN_VERSIONS.get(version)
    raise _other_coin(facts, foreign) if foreign is not None else _no_address(facts)


def parse_wallet(facts: UtxoNetwork, siblings: Iterable[UtxoNetwork], text: str) -> str:
    """Return an account's extended public key with the network's native segwit version bytes.

    Raises InvalidError: `private_key_refused` for anything that can spend, `invalid_wallet` for
    anything else that is not the public key of an account of this network.
    """
    if can_spend(text):
        raise _problem(
            "wallet",
            "private_key_refused",
            "This can spend the money of a wallet, so it was refused and not stored. Give the "
            f"account's extended public key, which begins with {facts.key_versions[0].prefix}, and "
            "never type a key or recovery phrase into a server.",
        )
    payload = _decode_key(facts, text.strip())
    version = payload[:4]
    known = next((known for known in facts.key_versions if known.version == version), None)
    if known is None:
        for sibling in siblings:
            if any(version == theirs.version for theirs in sibling.key_versions):
                raise _bad_wallet(facts, f"belongs to {sibling.title}, not to {facts.title}")
        raise _bad_wallet(facts, f"has a prefix that {facts.title} does not use")
    if known.script is KeyScript.P2SH_P2WPKH:
        raise _bad_wallet(facts, f"({known.prefix}) is of a {known.script} account, not supported")
    depth, child_number = payload[4], int.from_bytes(payload[9:13])
    if depth not in ACCOUNT_DEPTHS or child_number < HARDENED:
        raise _bad_wallet(facts, "is not that of an account: it lies elsewhere in its wallet")
    return str(Base58Encoder.CheckEncode(facts.key_versions[0].version + payload[4:]))


def can_spend(text: str) -> bool:
    """Return whether a text is, or holds, something that can spend: a key, a seed, or its words."""
    if any(secret.search(text) for secret in SPENDABLE):
        return True
    if len([word for word in re.split(r"[\s,;|_-]+", text) if word]) >= PHRASE_WORDS:
        return True
    try:
        payload = _decode_base58(text.strip())
    except (Base58ChecksumError, ValueError):
        return False
    # An extended private key has a zero byte where a public one has 2 or 3.
    return len(payload) == EXTENDED_KEY_BYTES and payload[45] == 0


def _decode_key(facts: UtxoNetwork, text: str) -> bytes:
    """Return the 78 bytes of an extended public key whose point is on the curve."""
    no_key = _bad_wallet(facts, "is no extended public key")
    try:
        payload = _decode_base58(text)
    except Base58ChecksumError:
        if len(text) < EXTENDED_KEY_CHARACTERS:
            raise no_key from None
        raise _bad_wallet(
            facts, "has a wrong checksum: a character is missing or changed; copy it again"
        ) from None
    except ValueError:
        raise no_key from None
    if len(payload) != EXTENDED_KEY_BYTES:
        raise no_key
    try:
        ec.PublicKey.parse(payload[45:])
    except (EmbitError, ValueError):
        raise _bad_wallet(facts, "is no extended public key: it holds no valid point") from None
    return payload


def _decode_base58(text: str) -> bytes:
    """Return the payload of base58check; raises Base58ChecksumError, or ValueError for the rest."""
    if not re.fullmatch(rf"[{BASE58}]{{1,{TEXT_LIMIT}}}", text):
        raise ValueError("not base58")
    return bytes(Base58Decoder.CheckDecode(text))


def derive(facts: UtxoNetwork, wallet: str, index: int) -> Destination:
    """Return receive address `index` (path 0/index below the account, BIP 84) of a wallet.

    `wallet` is what parse_wallet returned, `index` below 2**31. Two libraries derive it: raises
    DerivationError if they differ, ValueError for another index.
    """
    if not 0 <= index < HARDENED:
        raise ValueError(f"a receive address has an index of 0 to {HARDENED - 1}, not {index}")
    first_chain, second_chain = _receive_chains(facts, wallet)
    first_key = first_chain.ChildKey(index).PublicKey().RawCompressed().ToBytes()
    first = str(P2WPKHAddrEncoder.EncodeKey(first_key, hrp=facts.bech32_hrp))
    destination = parse_address(facts, (), first)
    second = p2wpkh(second_chain.child(index).key)
    if destination.key != second.data or first != second.address({"bech32": facts.bech32_hrp}):
        raise DerivationError(
            f"Two libraries disagree on receive address {index} of a {facts.title} wallet."
        )
    return destination


@lru_cache(maxsize=256)
def _receive_chains(facts: UtxoNetwork, wallet: str) -> tuple[Bip32Slip10Secp256k1, HDKey]:
    """Return the parent of a wallet's receive addresses, as each of the two libraries has it."""
    canonical = parse_wallet(facts, (), wallet)
    # The library wants version bytes for private keys too; none is ever read or made with them.
    versions = Bip32KeyNetVersions(facts.key_versions[0].version, b"\x00" * 4)
    first = Bip32Slip10Secp256k1.FromExtendedKey(canonical, versions)
    return first.ChildKey(0), HDKey.from_base58(canonical).child(0)


def _problem(field: str, code: str, message: str) -> InvalidError:
    return InvalidError(Problem(field=field, code=code, message=message))


def _bad_address(facts: UtxoNetwork, why: str) -> InvalidError:
    return _problem("wallet_address", "invalid_address", f"This {facts.coin} address {why}.")


def _bad_checksum(facts: UtxoNetwork) -> InvalidError:
    return _bad_address(
        facts, "has a wrong checksum: a character is missing or changed. Copy it again"
    )


def _no_address(facts: UtxoNetwork) -> InvalidError:
    return _problem(
        "wallet_address",
        "invalid_address",
        f"This is not a {facts.coin} address; those begin with {facts.address_hint}.",
    )


def _other_network(facts: UtxoNetwork, sibling: UtxoNetwork) -> InvalidError:
    return _bad_address(
        facts,
        f"belongs to {sibling.title}, but this server is on {facts.title}. Give one that begins "
        f"with {facts.address_hint}",
    )


def _other_coin(facts: UtxoNetwork, coin: str) -> InvalidError:
    return _problem(
        "wallet_address",
        "invalid_address",
        f"This looks like a {coin} address. Give a {facts.coin} address, which begins with "
        f"{facts.address_hint}.",
    )


def _bad_wallet(facts: UtxoNetwork, why: str) -> InvalidError:
    return _problem(
        "wallet",
        "invalid_wallet",
        f"This key {why}. Give the extended public key of a native segwit account, which begins "
        f"with {facts.key_versions[0].prefix}.",
    )
