"""API keys and what they may do (wire contract, section 4).

A key is `cf_live_` or `cf_test_`, 32 base62 characters, and 6 of their CRC-32, so that a scanner or
a person can tell a typo from a wrong key without asking anybody. Only its digest is stored: a key
has full entropy, so one round of SHA-256 is enough and a slow hash would only invite floods.
"""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from counterfoil.core.ports import Mode

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_LENGTH = 32
_CHECK_LENGTH = 6


class Scope(StrEnum):
    """What a key may do; each scope includes the ones before it."""

    READ = "read"
    AUTOMATE = "automate"
    FULL = "full"

    @property
    def label(self) -> str:
        """The scope's name as the contract and people write it."""
        return _LABELS[self]

    def includes(self, other: "Scope") -> bool:
        """Tell whether a key of this scope may do what needs `other`."""
        ladder = list(Scope)
        return ladder.index(self) >= ladder.index(other)


_LABELS = {
    Scope.READ: "Read analytics",
    Scope.AUTOMATE: "Automate payments",
    Scope.FULL: "Full control",
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the key, its merchant, its mode and its scope.

    `tolerance` is how much of an invoice of the merchant may be missing, in per cent. It comes
    along, so that making an invoice reads nothing.
    """

    key_id: int
    merchant_id: int
    mode: Mode
    scope: Scope
    tolerance: Decimal = Decimal(0)


def make_key(mode: Mode, below: Callable[[int], int]) -> str:
    """Return a new key; `below(n)` is an unguessable integer in [0, n)."""
    body = "".join(_BASE62[below(62)] for _ in range(_SECRET_LENGTH))
    prefix = f"cf_{mode}_"
    return prefix + body + _check(prefix + body)


def is_well_formed(key: str) -> bool:
    """Tell whether a text is a key as we make them, its check characters included."""
    prefix, rest = key[:8], key[8:]
    return (
        prefix in ("cf_live_", "cf_test_")
        and len(rest) == _SECRET_LENGTH + _CHECK_LENGTH
        and all(letter in _BASE62 for letter in rest)
        and key[-_CHECK_LENGTH:] == _check(key[:-_CHECK_LENGTH])
    )


def digest(key: str) -> str:
    """Return the SHA-256 of a key in hex, which is all that is stored of it."""
    return hashlib.sha256(key.encode()).hexdigest()


def _check(text: str) -> str:
    number = zlib.crc32(text.encode())
    letters = []
    for _ in range(_CHECK_LENGTH):
        number, place = divmod(number, 62)
        letters.append(_BASE62[place])
    return "".join(reversed(letters))
