"""Wallets of the UTXO family: from what a merchant gives to one canonical text.

They give an account's extended public key (BIP 32, with the version bytes of SLIP-132) or an output
descriptor (BIP 380 to 386, 389). Both become the same descriptor of the receive addresses, so that
one wallet is one text. Every text is hostile, may be a secret, and no error repeats one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bip_utils import Base58ChecksumError, Base58Decoder, Base58Encoder
from embit import ec
from embit.base import EmbitError
from embit.descriptor.checksum import add_checksum, checksum
from embit.descriptor.errors import DescriptorError

from counterfoil.chains.utxo_addresses import BASE58
from counterfoil.chains.utxo_network import KeyVersion, Script, UtxoNetwork, title_of
from counterfoil.core.errors import InvalidError, Problem

# Longer than any extended key (111): base58 takes quadratic time, so nothing longer is decoded.
KEY_LIMIT = 120
# That of one key has 150 to 250; those of many keys are refused for what they are.
DESCRIPTOR_LIMIT = 10_000
EXTENDED_KEY_BYTES = 78
# Whole it has 111; below this a text is not a key that was copied badly, but something else.
EXTENDED_KEY_CHARACTERS = 100
HARDENED = 1 << 31
DEPTH_MAX = 253
# An account lies at depth 3 by BIP 44 and BIP 84; the segwit wallets of Electrum keep theirs at 1.
ACCOUNT_DEPTHS = frozenset({1, 3})
# A recovery phrase has at least 12 words; one that lost a word is still as good as spendable.
PHRASE_WORDS = 11
WORD_LETTERS = 30

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

RECEIVE_PATH = "/0/*"
# Receive and change addresses in one descriptor (BIP 389): the first of the two receive.
RECEIVE_PATHS = (RECEIVE_PATH, "/<0;1>/*")
CHANGE_PATH = "/1/*"
KEY_EXPRESSION = re.compile(
    rf"(?:\[[0-9a-fA-F]{{8}}(?:/[0-9]{{1,10}}[hH']?)*\])?(?P<key>[{BASE58}]+)(?P<path>(?:/[0-9*<;>hH']+)*)"
)
SINGLE = (
    "names a single address, and none that is fresh for each invoice: give that address itself as "
    "the wallet"
)
# Descriptors that are right, and not for this: how they look, and why.
OTHER_KINDS = (
    (re.compile(r"(?:addr|raw|rawtr)\("), SINGLE),
    (re.compile(r"pk\("), "has no addresses: it is of bare keys"),
    (re.compile(r"combo\("), "stands for several kinds of addresses: give one of them, as wpkh()"),
    (re.compile(r".*\b(?:sorted)?multi(?:_a)?\("), "needs several signatures (multisig)"),
    (re.compile(r"tr\(.*,"), "holds scripts beside its key: give tr() of the key alone"),
    (re.compile(r"(?:wsh|sh)\((?!wpkh)"), "holds conditions beside a key"),
    (re.compile(r".*,"), "names more than one key"),
    (re.compile(r".*\((?:\[[^\]]*\])?(?:0[23][0-9a-fA-F]{64}|04[0-9a-fA-F]{128})\)"), SINGLE),
)


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet as it is understood; `key` has the version bytes of descriptors (xpub or tpub)."""

    script: Script
    key: str

    def __str__(self) -> str:
        """Return the canonical text: the descriptor of the receive addresses, with its checksum.

        The origin of the key is left out. It changes no address, and not everybody gives it.
        """
        return str(add_checksum(self.script.format(self.key + RECEIVE_PATH)))


def parse_wallet(facts: UtxoNetwork, siblings: Sequence[UtxoNetwork], text: str) -> str:
    """Return the canonical text of a wallet, which is a descriptor; raises as read_wallet does."""
    return str(read_wallet(facts, siblings, text))


def read_wallet(facts: UtxoNetwork, siblings: Sequence[UtxoNetwork], text: str) -> Wallet:
    """Return the wallet that an extended public key or a descriptor means.

    A key whose version bytes say nothing of its addresses (xpub) is read as BIP 84 does. Raises
    InvalidError: `private_key_refused` for anything that can spend, `invalid_wallet` for anything
    else that is not the public side of a wallet of this network.
    """
    spelled = text.strip()
    if can_spend(spelled):
        raise _spendable(facts)
    if "(" in spelled:
        return _read_descriptor(facts, siblings, spelled)
    if spelled.startswith("["):
        raise _bad_key(
            facts,
            "has its origin in front, and does not say which addresses it is for: put it into a "
            "descriptor, as wpkh(), or leave the origin out",
        )
    payload = _decode_key(facts, spelled)
    known = _version(facts, siblings, payload)
    depth, child_number = payload[4], int.from_bytes(payload[9:13])
    if depth not in ACCOUNT_DEPTHS or child_number < HARDENED:
        raise _bad_key(
            facts,
            "is not that of an account: it lies elsewhere in its wallet. If that is meant, give it "
            "in a descriptor, which says so",
        )
    return _wallet(facts, known.script or Script.P2WPKH, payload)


def can_spend(text: str) -> bool:
    """Return whether a text looks like, or holds, what can spend: a key, a seed, or its words."""
    if any(secret.search(text) for secret in SPENDABLE):
        return True
    words = [word for word in re.split(r"[\s,;|_-]+", text) if 0 < len(word) <= WORD_LETTERS]
    return len(words) >= PHRASE_WORDS


# --- descriptors -------------------------------------------------------------------------------


def _read_descriptor(facts: UtxoNetwork, siblings: Sequence[UtxoNetwork], text: str) -> Wallet:
    if len(text) > DESCRIPTOR_LIMIT:
        raise _bad_descriptor("is too long")
    script, key, path = _parts(_without_checksum(text))
    if script is Script.P2TR and not facts.has_taproot:
        raise _bad_descriptor(f"is of taproot, which {facts.coin} has not")
    payload = _decode_key(facts, key)
    known = _version(facts, siblings, payload)
    if known.script not in (None, script):
        raise _bad_descriptor(
            f"contradicts itself: a key that begins with {known.prefix} belongs into "
            f"{known.script.format('')}"
        )
    _check_path(path)
    return _wallet(facts, script, payload)


def _without_checksum(text: str) -> str:
    body, mark, given = text.partition("#")
    try:
        is_right = not mark or checksum(body) == given
    except DescriptorError:
        raise _bad_descriptor("holds a character that no descriptor has") from None
    if not is_right:
        raise _bad_descriptor(
            "has a wrong checksum: a character is missing or changed; copy it again"
        )
    return body


def _parts(body: str) -> tuple[Script, str, str]:
    """Return the kind of script of a descriptor, its key, and the path that follows the key."""
    for script in Script:
        before, after = script.split("{}")
        if body.startswith(before) and body.endswith(after):
            match = KEY_EXPRESSION.fullmatch(body.removeprefix(before).removesuffix(after))
            if match is not None:
                return script, match["key"], match["path"]
    for kind, why in OTHER_KINDS:
        if kind.match(body):
            raise _other_descriptor(why)
    raise _other_descriptor("is none of those that are known here, or was cut short")


def _check_path(path: str) -> None:
    """Refuse steps after the key that lead to anything else than receive addresses."""
    if path in RECEIVE_PATHS:
        return
    if re.search(r"[hH']", path):
        raise _bad_descriptor(
            "has hardened steps after its key, which nobody can take without the private key"
        )
    if not path.endswith("/*"):
        raise _other_descriptor(SINGLE)
    if path == CHANGE_PATH:
        raise _bad_descriptor(
            "is of the addresses that the wallet keeps for its own change. Give that of the "
            f"receive addresses, which ends in {RECEIVE_PATH}",
        )
    raise _other_descriptor("has another path after its key")


# --- keys --------------------------------------------------------------------------------------


def _decode_key(facts: UtxoNetwork, text: str) -> bytes:
    """Return the 78 bytes of an extended public key whose point is on the curve."""
    no_key = _bad_key(facts, "is no extended public key")
    try:
        payload = _decode_base58(text)
    except Base58ChecksumError:
        if len(text) < EXTENDED_KEY_CHARACTERS:
            raise no_key from None
        raise _bad_key(
            facts, "has a wrong checksum: a character is missing or changed; copy it again"
        ) from None
    except ValueError:
        raise no_key from None
    if len(payload) != EXTENDED_KEY_BYTES:
        raise no_key
    # A private key has a zero byte where a public one has 2 or 3, whatever it begins with.
    if payload[45] == 0:
        raise _spendable(facts)
    # A key without a parent names none (BIP 32), and addresses are two steps below a key.
    depth, origin = payload[4], payload[5:13]
    if (depth == 0 and any(origin)) or depth > DEPTH_MAX:
        raise no_key
    try:
        ec.PublicKey.parse(payload[45:])
    except (EmbitError, ValueError):
        raise _bad_key(facts, "is no extended public key: it holds no valid point") from None
    return payload


def _decode_base58(text: str) -> bytes:
    """Return the payload of base58check; raises Base58ChecksumError, or ValueError for the rest."""
    if not re.fullmatch(rf"[{BASE58}]{{1,{KEY_LIMIT}}}", text):
        raise ValueError("not base58")
    return bytes(Base58Decoder.CheckDecode(text))


def _version(facts: UtxoNetwork, siblings: Sequence[UtxoNetwork], payload: bytes) -> KeyVersion:
    """Return what the version bytes of a key say; refuses those of other networks and coins."""
    for known in facts.key_versions:
        if payload.startswith(known.version):
            return known
    others = [
        other
        for other in siblings
        if any(payload.startswith(theirs.version) for theirs in other.key_versions)
    ]
    if others:
        raise _bad_key(facts, f"belongs to {title_of(others)}, not to {facts.title}")
    raise _bad_key(facts, f"has a prefix that {facts.title} does not use")


def _wallet(facts: UtxoNetwork, script: Script, payload: bytes) -> Wallet:
    key = Base58Encoder.CheckEncode(facts.key_versions[0].version + payload[4:])
    return Wallet(script, str(key))


# --- errors ------------------------------------------------------------------------------------


def _problem(code: str, message: str) -> InvalidError:
    return InvalidError(Problem("wallet", code, message))


def _wanted(facts: UtxoNetwork) -> str:
    *others, last = (known.prefix for known in facts.key_versions)
    return (
        "Give an account's extended public key, which begins with "
        f"{', '.join(others)} or {last}, or its descriptor."
    )


def _spendable(facts: UtxoNetwork) -> InvalidError:
    return _problem(
        "private_key_refused",
        "This can spend the money of a wallet, so it was refused and not stored. "
        f"{_wanted(facts)} Never type a key or recovery phrase into a server.",
    )


def _bad_key(facts: UtxoNetwork, why: str) -> InvalidError:
    return _problem("invalid_wallet", f"This key {why}. {_wanted(facts)}")


def _bad_descriptor(why: str) -> InvalidError:
    return _problem("invalid_wallet", f"This descriptor {why}.")


def _other_descriptor(why: str) -> InvalidError:
    kinds = ", ".join(script.format("KEY") for script in Script)
    return _bad_descriptor(
        f"{why}. Those of one extended public key are supported: {kinds}, with "
        f"{' or '.join(RECEIVE_PATHS)} at the end of KEY"
    )
