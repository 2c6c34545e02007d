"""The simulator: a chain without a node, on which one TEST is one unit of any currency.

Its blocks and payments are kept in the database, behind the port `SimulatorLedger`; its addresses
look like nothing that a real wallet would pay.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping

from counterfoil.core import money
from counterfoil.core.confirmations import Confirmations
from counterfoil.core.errors import InvalidError, Problem
from counterfoil.core.ports import (
    Block,
    Clock,
    Destination,
    Head,
    History,
    Mempool,
    Method,
    Mode,
    Sighting,
    SimulatorLedger,
)

TEST = Method(
    id="TEST",
    symbol="TEST",
    name="Test coin",
    chain="simulator",
    decimals=8,
    step_atomic=1,
    least_atomic=1,
    mode=Mode.TEST,
)
# The block at height 0 of every simulated chain; a test holds it against the ledger's.
GENESIS = "f17b35fa040fb6085faf4f363e86209a00b98b838f063485f84180038fbf169f"

KEY_PREFIX = b"counterfoil-test:"
HASH_BYTES = 20
CHECKSUM_BYTES = 4
_ADDRESS = re.compile(r"test1([0-9a-f]{40})([0-9a-f]{8})")
_WALLET = re.compile(r"testwallet-[0-9a-f]{32}")
# A ledger does not forget its mempool in a restart, as a node does that has just come up.
_UP_S = 365 * 86_400


class SimulatorChain:
    """The simulated chain; implements `core.ports.Chain`."""

    def __init__(
        self,
        ledger: SimulatorLedger,
        clock: Clock,
        confirmations: int = 2,
        block_interval_s: float = 2.0,
    ) -> None:
        self.name = "simulator"
        self.network = "counterfoil:simulator"
        self.methods = (TEST,)
        self.confirmations = Confirmations(confirmations)
        # While nobody waits for a block there is none, so the age of the tip says nothing.
        self.block_interval_s: int | None = None
        self.genesis = GENESIS
        self._ledger = ledger
        self._clock = clock
        self._block_interval_ms = round(block_interval_s * 1_000)

    def parse_address(self, text: str) -> Destination:
        """Return the destination that `text` names; see the port."""
        spelled = text.lower() if text.isascii() else text
        match = _ADDRESS.fullmatch(spelled)
        if match is None:
            raise _bad_address(
                "is none: the simulator's begin with test1, and 48 characters of 0-9 and a-f follow"
            )
        content = bytes.fromhex(match[1])
        if _checksum(content) != match[2]:
            raise _bad_address(
                "has a wrong checksum: a character is missing or changed. Copy it again"
            )
        return _destination(content)

    def address_of(self, destination: bytes) -> str | None:
        """Return the address of a destination; see the port."""
        content = destination.removeprefix(KEY_PREFIX)
        return _destination(content).address if content != destination else None

    def parse_wallet(self, text: str) -> str:
        """Return the canonical text of a simulated wallet; see the port."""
        spelled = text.lower() if text.isascii() else text
        if _WALLET.fullmatch(spelled) is None:
            message = (
                "This is no wallet of the simulator: those are testwallet- and 32 characters of "
                "0-9 and a-f. It was not stored."
            )
            raise InvalidError(Problem("wallet", "invalid_wallet", message))
        return spelled

    def derive(self, wallet: str, index: int) -> Destination:
        """Return receive address `index` of a wallet that `parse_wallet` returned."""
        if index < 0:
            raise ValueError(f"a receive address has an index of 0 or more, not {index}")
        return _destination(hashlib.sha256(f"{wallet}/{index}".encode()).digest()[:HASH_BYTES])

    def payment_link(self, method: Method, address: str, amount_atomic: int) -> str:
        """Return a link in the manner of BIP 321, which no wallet app opens."""
        amount = money.format_coin(amount_atomic, method.decimals)
        return f"counterfoil-test:{address}?amount={amount}"

    def explorer_link(self, txid: str) -> str | None:
        """Return None: there is no place to look a simulated transaction up."""
        return None

    async def head(self) -> Head:
        """Let happen what is due, then return the tip: looking is what makes the chain go on."""
        await self._ledger.advance(
            self._clock.now(), self._block_interval_ms, self.confirmations.base
        )
        height, block_hash, mined_at = await self._ledger.head()
        return Head(
            height=height, hash=block_hash, mined_at=mined_at, is_synced=True, node_up_s=_UP_S
        )

    async def block_hash(self, height: int) -> str | None:
        """Return the hash at `height`, None if the chain is not that far."""
        return await self._ledger.block_hash(height)

    async def block(self, block_hash: str) -> Block | None:
        """Return a block of the best chain by its hash."""
        return await self._ledger.block(block_hash)

    async def mempool(self, known: Collection[str], pending: Collection[str]) -> Mempool:
        """Return what is unconfirmed; the ledger lists it all, so `pending` needs no look."""
        waiting = await self._ledger.mempool()
        return Mempool(
            txids=frozenset(each.txid for each in waiting),
            fresh=tuple(each for each in waiting if each.txid not in known),
            is_complete=True,
        )

    async def waiting_since(self, txids: Collection[str]) -> Mapping[str, int]:
        """Return nothing: each transaction says by itself when it came."""
        return {}

    async def transaction(self, txid: str) -> Sighting:
        """Return what the ledger knows of a transaction: what was replaced is not known."""
        found = await self._ledger.transaction(txid.lower())
        return (
            Sighting(found[0], found[1], is_whole=True)
            if found
            else Sighting(None, None, is_whole=True)
        )

    async def history(self, wallet: str, start: int, told: Callable[[int], None]) -> History:
        """Return that nothing was used: nobody but this server knows the wallets made here."""
        return History(start, is_whole=True)

    async def close(self) -> None:
        """Do nothing: the store is not the chain's to close."""


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).digest()[:CHECKSUM_BYTES].hex()


def _destination(content: bytes) -> Destination:
    return Destination(
        key=KEY_PREFIX + content, address=f"test1{content.hex()}{_checksum(content)}"
    )


def _bad_address(why: str) -> InvalidError:
    return InvalidError(Problem("wallet_address", "invalid_address", f"This test address {why}."))
