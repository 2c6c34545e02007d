"""A chain in memory that does whatever a test asks of it: the other end of the watcher's port.

It is no mock of the watcher's calls but a small chain: blocks are linked by hash, a transaction is
in the mempool, in a block, or nowhere, and a reorg replaces blocks.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from counterfoil.core.confirmations import Confirmations
from counterfoil.core.errors import InvalidError, NodeError, Problem
from counterfoil.core.ports import (
    Block,
    Destination,
    Head,
    History,
    Mempool,
    Method,
    Sighting,
    Transaction,
    Transfer,
)

COIN = Method(
    id="COIN",
    symbol="COIN",
    name="World coin",
    chain="world",
    decimals=8,
    step_atomic=1,
    least_atomic=1_000,
)
BLOCK_MS = 60_000
# So many unused addresses in a row end the look for those that a wallet has used.
LOOK_AHEAD = 20
TWO_BLOCKS = Confirmations(2)


def _hash(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


@dataclass
class WorldChain:
    """Implements `core.ports.Chain`."""

    name: str = "world"
    network: str = "test:world"
    methods: tuple[Method, ...] = (COIN,)
    confirmations: Confirmations = TWO_BLOCKS
    block_interval_s: int | None = None
    is_away: bool = False
    # A node without one knows unconfirmed transactions alone by their ids.
    has_index: bool = True
    is_synced: bool = True
    node_up_s: int = 100_000
    # A node that lies behind shows the chain as it was so many blocks ago.
    lag: int = 0
    blocks: list[Block] = field(default_factory=list)
    pool: dict[str, Transaction] = field(default_factory=dict)
    now: int = 1_767_700_000_123
    # What the settings say the first block is, where that is not what the node has.
    configured_genesis: str | None = None
    _made: int = 0

    def __post_init__(self) -> None:
        self.blocks.append(Block(0, _hash("genesis"), "", self.now, ()))

    # --- what the world does ---

    @property
    def genesis(self) -> str:
        return self.configured_genesis or self.blocks[0].hash

    @property
    def height(self) -> int:
        return self.blocks[-1].height

    def pay(self, address: str, amount_atomic: int, spends: tuple[str, ...] = ()) -> Transaction:
        """Broadcast a payment; `spends` makes it a rival of another one."""
        return self.broadcast((address, amount_atomic), spends=spends)

    def broadcast(self, *outputs: tuple[str, int], spends: tuple[str, ...] = ()) -> Transaction:
        """Broadcast a transaction; rivals for an outpoint leave the mempool."""
        self._made += 1
        txid = _hash("tx", self._made)
        transfers = tuple(
            Transfer(index, self.parse_address(address).key, COIN.id, amount)
            for index, (address, amount) in enumerate(outputs)
        )
        transaction = Transaction(txid, transfers, spends or (f"{_hash('in', txid)}:0",))
        self.receive(transaction)
        return transaction

    def receive(self, transaction: Transaction) -> None:
        """Take a transaction into the mempool instead of its rivals."""
        self.pool = {
            txid: other
            for txid, other in self.pool.items()
            if not set(other.spends) & set(transaction.spends)
        }
        self.pool[transaction.txid] = transaction

    def mine(self, count: int = 1, *, empty: bool = False) -> None:
        """Add blocks; the first one takes the whole mempool."""
        for _ in range(count):
            taken = () if empty else tuple(self.pool.values())
            if not empty:
                self.pool = {}
            self._add(taken)

    def _add(self, transactions: tuple[Transaction, ...]) -> None:
        self._made += 1
        parent = self.blocks[-1]
        self.blocks.append(
            Block(
                parent.height + 1,
                _hash("block", parent.hash, self._made),
                parent.hash,
                self.now,
                transactions,
            )
        )

    def reorg(self, depth: int, *, keep: bool, extra: int = 1) -> None:
        """Replace the last `depth` blocks by `depth + extra` others.

        What was in them is in the new branch again (`keep`), or back in the mempool.
        """
        removed, self.blocks = self.blocks[-depth:], self.blocks[:-depth]
        transactions = tuple(t for block in removed for t in block.transactions)
        if keep:
            self._add(transactions)
        else:
            for transaction in transactions:
                self.receive(transaction)
            self._add(())
        for _ in range(depth + extra - 1):
            self._add(())

    def drop(self, transaction: Transaction) -> None:
        """Forget an unconfirmed transaction, as a node does whose mempool is full."""
        self.pool.pop(transaction.txid, None)

    # --- the port ---

    def _seen(self) -> list[Block]:
        if self.is_away:
            raise NodeError("The node does not answer.")
        return self.blocks[: len(self.blocks) - self.lag]

    def parse_address(self, text: str) -> Destination:
        if not text.lower().startswith("w1"):
            message = "This is no address of the test world."
            raise InvalidError(Problem("wallet_address", "invalid_address", message))
        return Destination(text.lower().encode(), text.lower())

    def address_of(self, destination: bytes) -> str | None:
        return destination.decode()

    def parse_wallet(self, text: str) -> str:
        return text

    def derive(self, wallet: str, index: int) -> Destination:
        return self.parse_address(f"w1{_hash(wallet, index)[:20]}")

    def payment_link(self, method: Method, address: str, amount_atomic: int) -> str:
        return f"{method.chain}:{address}?amount={amount_atomic}"

    def explorer_link(self, txid: str) -> str | None:
        return f"https://explorer.example/{txid}"

    async def head(self) -> Head:
        tip = self._seen()[-1]
        return Head(tip.height, tip.hash, tip.mined_at, self.is_synced, self.node_up_s)

    async def block_hash(self, height: int) -> str | None:
        blocks = self._seen()
        return blocks[height].hash if height < len(blocks) else None

    async def block(self, block_hash: str) -> Block | None:
        return next((block for block in self._seen() if block.hash == block_hash), None)

    async def mempool(self, known: Collection[str], pending: Collection[str]) -> Mempool:
        self._seen()
        fresh = tuple(t for txid, t in self.pool.items() if txid not in known)
        return Mempool(frozenset(self.pool), fresh, is_complete=True)

    async def transaction(self, txid: str) -> Sighting:
        blocks = self._seen()
        if txid in self.pool:
            return Sighting(self.pool[txid], None, is_whole=True)
        mined = ((t, b.height) for b in blocks for t in b.transactions if t.txid == txid)
        found = next(mined, None) if self.has_index else None
        return (
            Sighting(found[0], found[1], self.has_index)
            if found
            else Sighting(None, None, self.has_index)
        )

    async def history(self, wallet: str, start: int, told: Callable[[int], None]) -> History:
        paid = {t.destination for b in self._seen() for tx in b.transactions for t in tx.transfers}
        told(100)
        index = next_index = start
        while index < next_index + LOOK_AHEAD:
            index += 1
            if self.derive(wallet, index - 1).key in paid:
                next_index = index
        return History(next_index, is_whole=True)

    async def close(self) -> None:
        return
