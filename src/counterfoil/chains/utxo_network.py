"""What tells one network of the UTXO family from another, and the scripts that its wallets have."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from counterfoil.core.confirmations import Confirmations
from counterfoil.core.ports import Method


class Script(StrEnum):
    """A kind of script that one key pays to, written as its output descriptor (BIP 381, 382, 386).

    `{}` stands for the key.
    """

    P2PKH = "pkh({})"
    P2SH_P2WPKH = "sh(wpkh({}))"
    P2WPKH = "wpkh({})"
    P2TR = "tr({})"


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """Version bytes of extended public keys, and the `prefix` that they have as text.

    `script` is what SLIP-132 says of the addresses, None where the version says nothing of them.
    """

    version: bytes
    prefix: str
    script: Script | None


# Every coin of the family has these; the first is the one that descriptors are written with.
MAIN_KEYS = (
    KeyVersion(bytes.fromhex("0488b21e"), "xpub", None),
    KeyVersion(bytes.fromhex("049d7cb2"), "ypub", Script.P2SH_P2WPKH),
    KeyVersion(bytes.fromhex("04b24746"), "zpub", Script.P2WPKH),
)
TEST_KEYS = (
    KeyVersion(bytes.fromhex("043587cf"), "tpub", None),
    KeyVersion(bytes.fromhex("044a5262"), "upub", Script.P2SH_P2WPKH),
    KeyVersion(bytes.fromhex("045f1cf6"), "vpub", Script.P2WPKH),
)


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
    confirmations: Confirmations

    @property
    def caip2(self) -> str:
        """Its CAIP-2 id, which names a network of this family by half of its genesis hash."""
        return f"bip122:{self.genesis[:32]}"

    @property
    def title(self) -> str:
        """What a person calls it, such as `Litecoin testnet`."""
        return title_of([self])


def title_of(networks: Sequence[UtxoNetwork]) -> str:
    """Return what a person calls some networks of one coin, as `Litecoin testnet or regtest`."""
    *others, last = (facts.network for facts in networks)
    names = f"{', '.join(others)} or {last}" if others else last
    return f"{networks[0].coin} {names}"
