"""The chain, as Bitcoin Core's own code sees it: libbitcoinkernel keeps and validates the blocks.

What is ours here is an index of the active chain, since the kernel can be asked for blocks and not
for coins. It is read from the kernel's blocks again after every reorg, so it cannot differ from
them for long.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from statistics import median_high
from typing import Any, NamedTuple

import pbk
from embit.transaction import Transaction

from tests.nodes.bitcoin_kernel.decoded import OP_RETURN

MEDIAN_BLOCKS = 11
# How the kernel's log tells what it thinks of a block; its callbacks say only yes or no.
CHECKED = re.compile(r"BlockChecked: block hash=[0-9a-f]{64} state=(?P<words>.*)")


class BlockRefusedError(Exception):
    """The kernel refused a block; the words are its own."""


class Outpoint(NamedTuple):
    """An output, by the transaction that made it."""

    txid: str
    vout: int


class Coin(NamedTuple):
    """An unspent output; `height` is None while its transaction is unconfirmed."""

    sats: int
    script: bytes
    height: int | None
    is_coinbase: bool


@dataclass(frozen=True)
class Block:
    """A block that the kernel has, of the active chain or not."""

    hash: str
    height: int
    header: bytes
    transactions: tuple[Transaction, ...]

    @property
    def parent(self) -> str:
        return self.header[4:36][::-1].hex()

    @property
    def merkle_root(self) -> str:
        return self.header[36:68][::-1].hex()

    def number(self, start: int) -> int:
        """Return one of the header's numbers: version 0, time 68, bits 72, nonce 76."""
        return int.from_bytes(self.header[start : start + 4], "little")


class KernelChain:
    """A regtest chain in a folder, which holds it still after the process was killed."""

    def __init__(self, folder: Path) -> None:
        self._words = ""
        self._refusals: list[str] = []
        pbk.set_log_level_category(pbk.LogCategory.ALL, pbk.LogLevel.DEBUG)
        pbk.enable_log_category(pbk.LogCategory.VALIDATION)
        self._log = pbk.LoggingConnection(self._hear)
        callbacks = pbk.ValidationInterfaceCallbacks(block_checked=self._judge)
        context = pbk.make_context(pbk.ChainType.REGTEST, callbacks)
        options = pbk.chain.ChainstateManagerOptions(context, str(folder), str(folder / "blocks"))
        # The kernel writes blocks at once and its databases seldom. Whoever was killed has lost
        # these, so they are always made again from the blocks: validated again, that is.
        options.set_wipe_dbs(wipe_block_tree_db=True, wipe_chainstate_db=True)
        self._manager = pbk.ChainstateManager(options)
        self._manager.import_blocks([])
        self._active = self._manager.get_active_chain()
        self._blocks: dict[str, Block] = {}
        self._read_again()

    def _hear(self, line: str) -> None:
        if found := CHECKED.search(line):
            self._words = found["words"]

    def _judge(self, _: object, __: object, state: Any) -> None:
        if state.validation_mode is not pbk.ValidationMode.VALID:
            self._refusals.append(self._words)

    def _read_again(self) -> None:
        """Make the index of the active chain anew."""
        self.coins: dict[Outpoint, Coin] = {}
        self.transactions: dict[str, tuple[Transaction, Block]] = {}
        for block in self.active():
            self._connect(block)

    def _connect(self, block: Block) -> None:
        for number, tx in enumerate(block.transactions):
            txid = tx.txid().hex()
            for entry in tx.vin:
                self.coins.pop(Outpoint(entry.txid.hex(), entry.vout), None)
            for index, output in enumerate(tx.vout):
                script = output.script_pubkey.data
                if block.height and script[:1] != bytes([OP_RETURN]):
                    coin = Coin(output.value, script, block.height, number == 0)
                    self.coins[Outpoint(txid, index)] = coin
            self.transactions[txid] = (tx, block)

    @property
    def height(self) -> int:
        height: int = self._active.height
        return height

    @property
    def best_header_height(self) -> int:
        height: int = self._manager.best_entry.height
        return height

    @property
    def tip(self) -> Block:
        return self.at(self.height)

    def at(self, height: int) -> Block:
        """Return a block of the active chain."""
        return self._read(self._active.block_tree_entries[height])

    def active(self) -> Iterator[Block]:
        """Yield the blocks of the active chain, the genesis block first."""
        return map(self.at, range(self.height + 1))

    def get(self, block_hash: str) -> Block | None:
        """Return a block, also one of another branch; None if there is none."""
        entry = self._entry(block_hash)
        return None if entry is None else self._read(entry)

    def confirmations(self, block: Block) -> int:
        """Return how deep a block is in the active chain, -1 if it is in another branch."""
        is_active = block.height <= self.height and self.at(block.height).hash == block.hash
        return self.height - block.height + 1 if is_active else -1

    def next_time_s(self, parent: Block) -> int:
        """Return the time for a block on `parent`: now, or the earliest that is valid."""
        times = [each.number(68) for each in islice(self._back_from(parent), MEDIAN_BLOCKS)]
        return max(median_high(times) + 1, int(time.time()))

    def submit(self, raw: bytes) -> list[Transaction]:
        """Hand a block to the kernel, and return the transactions of those it took out for it.

        Raises BlockRefusedError. A block of a branch with less work is kept, and judged when the
        branch has most: the kernel says so as it takes the last of its blocks.
        """
        before = self.tip
        self._refusals.clear()
        try:
            # What it returns says only that the block is new: the callback hears the verdict.
            self._manager.process_block(pbk.Block(raw))
        except pbk.ProcessBlockException as error:
            raise BlockRefusedError(*self._refusals or [str(error)]) from None
        if self._refusals:
            raise BlockRefusedError(*self._refusals)
        if self.tip.parent == before.hash:
            self._connect(self.tip)
        elif self.tip.hash != before.hash:
            self._read_again()
        removed = takewhile(lambda each: self.confirmations(each) < 0, self._back_from(before))
        return [tx for each in reversed([*removed]) for tx in each.transactions[1:]]

    def _back_from(self, block: Block | None) -> Iterator[Block]:
        """Yield a block and those before it, down to the genesis block."""
        while block is not None:
            yield block
            block = self.get(block.parent)

    def _entry(self, block_hash: str) -> Any:
        try:
            return self._manager.block_tree_entries[pbk.BlockHash(bytes.fromhex(block_hash)[::-1])]
        except KeyError:
            return None

    def _read(self, entry: Any) -> Block:
        block_hash = str(entry.block_hash)
        if block_hash not in self._blocks:
            raw = self._manager.blocks[entry]
            self._blocks[block_hash] = Block(
                block_hash,
                entry.height,
                bytes(raw.block_header),
                tuple(Transaction.parse(bytes(tx)) for tx in raw.transactions),
            )
        return self._blocks[block_hash]
