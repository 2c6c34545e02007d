"""Addresses of the UTXO family: from what a person gives to the script that is paid.

P2PKH and P2SH come in base58, segwit version 0 in bech32 (BIP 173), taproot in bech32m (BIP 350),
and any of them in a payment link (BIP 321). Every text is hostile; no error repeats one.
"""

import re
from collections.abc import Sequence

from bip_utils import (
    Base58ChecksumError,
    Base58Decoder,
    Base58Encoder,
    Bech32ChecksumError,
    SegwitBech32Decoder,
    SegwitBech32Encoder,
)
from embit import bech32, ec
from embit.base import EmbitError

from counterfoil.chains.utxo_network import UtxoNetwork, title_of
from counterfoil.core.errors import InvalidError, Problem
from counterfoil.core.ports import Destination

BASE58 = "1-9A-HJ-NP-Za-km-z"
BASE58_LENGTHS = range(26, 36)
# Longer than any address (bech32 allows 90 characters), and the same with a link around it: base58
# takes quadratic time, so nothing longer is decoded.
ADDRESS_LIMIT = 120
LINK_LIMIT = 2_000
HASH_BYTES = 20
PROGRAM_BYTES = 32
TAPROOT = 0x51

# How other coins' addresses look: only to say so to a person, never to accept one.
FOREIGN_HRPS = {
    "bc": "Bitcoin",
    "tb": "Bitcoin testnet",
    "bcrt": "Bitcoin regtest",
    "ltc": "Litecoin",
    "tltc": "Litecoin testnet",
    "rltc": "Litecoin regtest",
    "ltcmweb": "Litecoin",
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
    0x3A: "Litecoin testnet",
    0x1E: "Dogecoin",
    0x16: "Dogecoin",
    0x4C: "Dash",
    0x10: "Dash",
    0x41: "TRON",
}
FOREIGN_SHAPES = (
    ("Bitcoin", re.compile(r"(?i:bitcoin):.+")),
    ("Litecoin", re.compile(r"(?i:litecoin):.+")),
    ("Dogecoin", re.compile(r"(?i:dogecoin):.+")),
    ("Ethereum", re.compile(r"(?:(?i:ethereum):.+|0x[0-9a-fA-F]{40})")),
    ("Bitcoin Cash", re.compile(r"(?i:bitcoincash|bchtest|bchreg):[0-9A-Za-z]{42}")),
    ("XRP", re.compile(rf"r[{BASE58}]{{24,34}}")),
    ("Monero", re.compile(rf"(?:(?i:monero):.+|[48][{BASE58}]{{94}})")),
    ("Solana", re.compile(rf"(?:(?i:solana):.+|[{BASE58}]{{43,44}})")),
    ("TON", re.compile(r"[EUk0]Q[0-9A-Za-z_-]{46}")),
)


def parse_address(facts: UtxoNetwork, siblings: Sequence[UtxoNetwork], text: str) -> Destination:
    """Return the script that an address of the network pays, and its canonical spelling.

    A payment link is read for its address. `siblings` are the coin's other networks. Raises
    InvalidError (`invalid_address`).
    """
    spelled = _without_link(facts, text.strip())
    is_segwit = _has_prefix(spelled, facts.bech32_hrp)
    if not is_segwit:
        _refuse_others(facts, siblings, spelled)
    if len(spelled) > ADDRESS_LIMIT:
        raise _bad_address(facts, "is too long for an address")
    _check_characters(facts, spelled)
    if is_segwit:
        return _parse_segwit(facts, spelled)
    return _parse_base58(facts, siblings, spelled)


def _refuse_others(facts: UtxoNetwork, siblings: Sequence[UtxoNetwork], text: str) -> None:
    """Refuse what is plainly for another network, for another coin, or hidden."""
    if _has_prefix(text, facts.mweb_hrp):
        raise _bad_address(
            facts,
            "is an MWEB address: payments to it are hidden and cannot be seen by this server. "
            f"Give an address that begins with {facts.address_hint}",
        )
    others = [other for other in siblings if _has_prefix(text, other.bech32_hrp)]
    if others:
        raise _other_network(facts, others)
    for prefix, coin in FOREIGN_HRPS.items():
        if _has_prefix(text, prefix):
            raise _other_coin(facts, coin)
    for coin, shape in FOREIGN_SHAPES:
        if coin != facts.coin and shape.fullmatch(text):
            raise _other_coin(facts, coin)


def _without_link(facts: UtxoNetwork, text: str) -> str:
    """Return the address in a payment link of the coin, or the text as it is.

    What else the link asks for is the payer's business, but a link with a parameter that must be
    understood is as good as none to whoever does not understand it (BIP 321).
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() != facts.link_scheme:
        return text
    if len(text) > LINK_LIMIT:
        raise _bad_address(facts, "is too long for an address, and for a link with one")
    address, _, query = rest.partition("?")
    if any(each.lower().startswith("req-") for each in query.split("&")):
        raise _bad_address(facts, "is a link that asks for more than a payment to an address")
    if not address:
        raise _bad_address(facts, "is a link without an address")
    return address


def _has_prefix(text: str, hrp: str | None) -> bool:
    """Tell whether a text is bech32 with this prefix, right or wrong.

    Some base58 begins like it, such as Litecoin's with `LTc1`: that is shorter, and of mixed case.
    """
    if hrp is None or not text.lower().startswith(f"{hrp}1"):
        return False
    return len(text) not in BASE58_LENGTHS or text in (text.lower(), text.upper())


def _check_characters(facts: UtxoNetwork, text: str) -> None:
    """Refuse what no address has: blanks, and letters of other alphabets that look alike."""
    for place, character in enumerate(text, 1):
        if character.isspace():
            raise _bad_address(facts, f"has a blank within it, as its character {place}")
        if not character.isascii() or not character.isalnum():
            raise _bad_address(
                facts,
                f"has something within it, as its character {place}, that is neither a digit nor "
                "one of the letters a to z, though it may look like one",
            )


def _parse_segwit(facts: UtxoNetwork, text: str) -> Destination:
    if text not in (text.lower(), text.upper()):
        raise _bad_address(facts, "mixes upper and lower case, which bech32 forbids")
    try:
        version, program = SegwitBech32Decoder.Decode(facts.bech32_hrp, text.lower())
    except Bech32ChecksumError:
        # The other library reads either checksum, whatever the version.
        if bech32.bech32_decode(text.lower())[0] is None:
            raise _bad_checksum(facts) from None
        raise _bad_address(
            facts,
            "has the checksum of another version of segwit (BIP 350): the program that made it is "
            "too old, or at fault",
        ) from None
    except ValueError:
        raise _bad_address(facts, "holds characters or a length that no address has") from None
    is_taproot = version == 1 and len(program) == PROGRAM_BYTES and facts.has_taproot
    if version and not is_taproot:
        raise _bad_address(
            facts,
            f"has the segwit version {version} with {len(program)} bytes, which is not in use: "
            "money that is sent to it may be lost",
        )
    if is_taproot:
        try:
            ec.PublicKey.from_xonly(program)
        except EmbitError:
            raise _bad_address(
                facts, "is of taproot without a valid key: money that is sent to it would be lost"
            ) from None
    opcode = 0x50 + version if version else 0
    return Destination(
        key=bytes([opcode, len(program)]) + bytes(program),
        address=str(SegwitBech32Encoder.Encode(facts.bech32_hrp, version, program)),
    )


def _parse_base58(facts: UtxoNetwork, siblings: Sequence[UtxoNetwork], text: str) -> Destination:
    if len(text) not in BASE58_LENGTHS:
        raise _no_address(facts)
    misread = re.search(r"[0OIl]", text)
    if misread:
        raise _bad_address(
            facts,
            f"has {misread[0]} as its character {misread.start() + 1}: addresses of this kind have "
            "none of 0, O, I and l, so one was misread",
        )
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
    others = [other for other in siblings if version in (other.p2pkh_version, *other.p2sh_versions)]
    if others:
        raise _other_network(facts, others)
    foreign = FOREIGN_VERSIONS.get(version)
    raise _other_coin(facts, foreign) if foreign is not None else _no_address(facts)


def address_of(facts: UtxoNetwork, script: bytes) -> str | None:
    """Return the canonical address of a script, None for a script of another kind."""
    if script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac":
        return str(Base58Encoder.CheckEncode(bytes([facts.p2pkh_version]) + script[3:23]))
    if script[:2] == b"\xa9\x14" and script[22:] == b"\x87":
        return str(Base58Encoder.CheckEncode(bytes([facts.p2sh_versions[0]]) + script[2:22]))
    version, program = script[0] if script else -1, script[2:]
    is_program = len(script) > 1 and script[1] == len(program)
    if is_program and version == 0 and len(program) in (HASH_BYTES, PROGRAM_BYTES):
        return str(SegwitBech32Encoder.Encode(facts.bech32_hrp, 0, program))
    if is_program and version == TAPROOT and len(program) == PROGRAM_BYTES and facts.has_taproot:
        return str(SegwitBech32Encoder.Encode(facts.bech32_hrp, 1, program))
    return None


def _problem(message: str) -> InvalidError:
    return InvalidError(Problem("wallet_address", "invalid_address", message))


def _bad_address(facts: UtxoNetwork, why: str) -> InvalidError:
    return _problem(f"This {facts.coin} address {why}.")


def _bad_checksum(facts: UtxoNetwork) -> InvalidError:
    return _bad_address(
        facts, "has a wrong checksum: a character is missing or changed. Copy it again"
    )


def _no_address(facts: UtxoNetwork) -> InvalidError:
    return _problem(f"This is not a {facts.coin} address; those begin with {facts.address_hint}.")


def _other_network(facts: UtxoNetwork, others: Sequence[UtxoNetwork]) -> InvalidError:
    return _bad_address(
        facts,
        f"belongs to {title_of(others)}, but this server is on {facts.title}. "
        f"Give one that begins with {facts.address_hint}",
    )


def _other_coin(facts: UtxoNetwork, coin: str) -> InvalidError:
    return _problem(
        f"This looks like a {coin} address. Give a {facts.coin} address, which begins with "
        f"{facts.address_hint}."
    )
