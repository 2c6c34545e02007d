"""A chain in memory that does whatever a test asks of it: the other end of the watcher's port.

It is no mock of the watcher's calls but a small chain: blocks are linked by hash, a transaction is
in the mempool, in a block, or nowhere, and a reorg replaces blocks. It has one of the three shapes
in which chains come, and its node can err, lie behind, stay on a branch that was left, or say
nothing.
"""

import hashlib
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

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
# Tokens of one account have many more digits than a float can hold.
TOKEN = Method(
    id="TOKEN-WORLD",
    symbol="TOKEN",
    name="World token",
    chain="world",
    decimals=18,
    step_atomic=10**12,
    least_atomic=10**12,
)
OTHER_TOKEN = replace(TOKEN, id="OTHER-WORLD", symbol="OTHER", name="Another token")
BLOCK_MS = 60_000
# So many unused addresses in a row end the look for those that a wallet has used.
LOOK_AHEAD = 20
TWO_BLOCKS = Confirmations(2)


def _hash(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


class Shape(StrEnum):
    """How a chain moves money.

    On accounts a transaction's logs tell what it moved, its account and nonce are what it uses up,
    it may fail in its block, in one branch and not in another, and nobody can list the mempool.
    """

    OUTPUTS = "outputs"
    LOGS = "logs"
    TAGS = "tags"


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
    may_lag: bool = False
    # Why the node may not know all by now, where it does not.
    trouble: str | None = None
    node_up_s: int = 100_000
    shape: Shape = Shape.OUTPUTS
    # A node that lies behind shows the chain as it was so many blocks ago.
    lag: int = 0
    blocks: list[Block] = field(default_factory=list)
    pool: dict[str, Transaction] = field(default_factory=dict)
    # When the node took what is or was in its mempool in, the last time.
    taken_in_at: dict[str, int] = field(default_factory=dict)
    now: int = 1_767_700_000_123
    # What the settings say the first block is, where that is not what the node has.
    configured_genesis: str | None = None
    # What a node shows that stays on a branch which the others have left.
    stale: list[Block] = field(default_factory=list)
    # So many answers of a hundred come from the stale node, are empty, or do not come.
    stale_percent: int = 0
    empty_percent: int = 0
    silent_percent: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    # Of a hundred transactions on accounts so many fail in their block.
    fail_percent: int = 0
    # What happens in the world while the watcher waits for an answer.
    meanwhile: Callable[[], Awaitable[None]] | None = None
    # All that there ever was: transactions by txid, and each block's parent.
    made: dict[str, Transaction] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    _made: int = 0

    def __post_init__(self) -> None:
        self.blocks.append(Block(0, _hash("genesis"), "", self.now, ()))
        self.parents[self.blocks[0].hash] = ""

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

    def broadcast(
        self,
        *outputs: tuple[str, int],
        spends: tuple[str, ...] = (),
        method: str | None = None,
        tags: tuple[str | None, ...] = (),
    ) -> Transaction:
        """Broadcast a transaction; rivals for an outpoint leave the mempool."""
        self._made += 1
        txid = _hash("tx", self._made)
        # Between the logs that pay us lie those of others.
        spread = 3 if self.shape is Shape.LOGS else 1
        transfers = tuple(
            Transfer(
                place * spread,
                self.parse_address(address).key,
                method or self.methods[0].id,
                amount,
                tags[place] if tags else None,
            )
            for place, (address, amount) in enumerate(outputs)
        )
        payer = _hash("in", txid)
        senders = () if self.shape is Shape.OUTPUTS else (payer.encode(),)
        transaction = Transaction(txid, transfers, spends or (f"{payer}:0",), senders)
        self.made[txid] = transaction
        self.receive(transaction)
        return transaction

    def raise_fee(self, transaction: Transaction) -> Transaction:
        """Broadcast the same payment with a higher fee, which is another transaction."""
        self._made += 1
        raised = replace(transaction, txid=_hash("tx", self._made))
        self.made[raised.txid] = raised
        self.receive(raised)
        return raised

    def receive(self, transaction: Transaction) -> None:
        """Take a transaction into the mempool instead of its rivals."""
        self.pool = {
            txid: other
            for txid, other in self.pool.items()
            if not set(other.spends) & set(transaction.spends)
        }
        self.pool[transaction.txid] = transaction
        self.taken_in_at[transaction.txid] = self.now

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
        block = Block(
            parent.height + 1,
            _hash("block", parent.hash, self._made),
            parent.hash,
            self.now,
            tuple(map(self._executed, transactions)),
        )
        self.blocks.append(block)
        self.parents[block.hash] = parent.hash

    def _executed(self, transaction: Transaction) -> Transaction:
        """Return what a transaction does in a block: all of it or, if it fails, nothing."""
        if self.fail_percent and self.chance.randrange(100) < self.fail_percent:
            return replace(transaction, transfers=())
        return transaction

    def reorg(self, depth: int, *, keep: bool, extra: int = 1) -> None:
        """Replace the last `depth` blocks by `depth + extra` others.

        What was in them is in the new branch again (`keep`), or back in the mempool.
        """
        self.stale = self.blocks
        removed, self.blocks = self.blocks[-depth:], self.blocks[:-depth]
        transactions = tuple(
            self.made.get(t.txid, t) for block in removed for t in block.transactions
        )
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

    def heal(self) -> None:
        """Let the node be well, and one."""
        self.is_away, self.is_synced, self.lag, self.node_up_s = False, True, 0, 100_000
        self.may_lag, self.trouble = False, None
        self.stale, self.meanwhile = [], None
        self.stale_percent = self.empty_percent = self.silent_percent = 0

    @property
    def is_honest(self) -> bool:
        """Whether the node shows the best chain or the beginning of it, if it shows anything."""
        is_one = not self.stale_percent and not self.empty_percent and not self.silent_percent
        return is_one and self.meanwhile is None

    def _draw(self, percent: int) -> bool:
        return percent > 0 and self.chance.randrange(100) < percent

    async def _seen(self) -> list[Block]:
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.is_away or self._draw(self.silent_percent):
            raise NodeError("The node does not answer.")
        if self.stale and self._draw(self.stale_percent):
            return self.stale
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
        tip = (await self._seen())[-1]
        return Head(
            tip.height,
            tip.hash,
            tip.mined_at,
            self.is_synced,
            self.node_up_s,
            self.may_lag,
            self.trouble,
        )

    async def block_hash(self, height: int) -> str | None:
        blocks = await self._seen()
        if self._draw(self.empty_percent):
            return None
        return blocks[height].hash if height < len(blocks) else None

    async def block(self, block_hash: str) -> Block | None:
        blocks = await self._seen()
        if self._draw(self.empty_percent):
            return None
        # From the tip down: it is a new block that is asked for.
        return next((block for block in reversed(blocks) if block.hash == block_hash), None)

    async def mempool(self, known: Collection[str], pending: Collection[str]) -> Mempool:
        await self._seen()
        if self._draw(self.empty_percent):
            return Mempool(frozenset(), (), is_complete=True)
        if self.shape is Shape.LOGS:
            return Mempool(frozenset(self.pool.keys() & pending), (), is_complete=True)
        fresh = tuple(t for txid, t in self.pool.items() if txid not in known)
        return Mempool(frozenset(self.pool), fresh, is_complete=True)

    async def waiting_since(self, txids: Collection[str]) -> Mapping[str, int]:
        await self._seen()
        known = self.pool.keys() & self.taken_in_at.keys() & set(txids)
        return {txid: self.taken_in_at[txid] for txid in known}

    async def transaction(self, txid: str) -> Sighting:
        blocks = await self._seen()
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
        seen = await self._seen()
        paid = {t.destination for b in seen for tx in b.transactions for t in tx.transfers}
        told(100)
        index = next_index = start
        while index < next_index + LOOK_AHEAD:
            index += 1
            if self.derive(wallet, index - 1).key in paid:
                next_index = index
        return History(next_index, is_whole=True)

    async def close(self) -> None:
        return
