"""Looking one transaction up on a node of the family, with or without an index of all of them."""

import re
from collections.abc import Awaitable, Callable

from counterfoil.chains.rpc import (
    AbsentError,
    JsonRpc,
    NoMethodError,
    as_flag,
    as_integer,
    as_object,
    as_text,
)
from counterfoil.core.errors import NodeError
from counterfoil.core.ports import Block, Sighting, Transaction

TXID = re.compile(r"[0-9a-f]{64}")
HEIGHT_LIMIT = (1 << 31) - 1
INDEX = "txindex"
# Without an index a mined transaction is found by what is unspent of it: a payment to a shop is
# among its first outputs nearly always, and one of them is enough.
OUTPUTS_ASKED = 25
WITHOUT_MEMPOOL = False


class Lookup:
    """One look for a transaction; `decode` and `read_block` are those of the chain."""

    def __init__(
        self,
        rpc: JsonRpc,
        decode: Callable[[object], Transaction],
        read_block: Callable[[str], Awaitable[Block | None]],
    ) -> None:
        self._rpc = rpc
        self._decode = decode
        self._read_block = read_block

    async def look_up(self, txid: str) -> Sighting:
        """Return what the node knows of a transaction; raises NodeError."""
        name = txid.lower()
        if TXID.fullmatch(name) is None:
            return Sighting(None, None, is_whole=True)
        found = await self._told(name) or await self._unspent(name)
        return found or Sighting(None, None, is_whole=await self._has_index())

    async def _told(self, txid: str) -> Sighting | None:
        """Return what is unconfirmed or in the index; None for what the node does not tell of."""
        try:
            answer = as_object(
                await self._rpc.call("getrawtransaction", txid, True),  # noqa: FBT003  # the node's own parameter
                "a transaction",
            )
        except AbsentError:
            return None
        transaction = self._decode(answer)
        if transaction.txid != txid:
            raise NodeError("The node's answer is wrong: it is another transaction.")
        block_hash = answer.get("blockhash")
        if block_hash is None:
            return Sighting(transaction, None, is_whole=True)
        height, is_in_chain = await self._place(as_text(block_hash, "a block hash"))
        # An index may still hold what was in a block of a branch that lost.
        return Sighting(transaction, height, is_whole=True) if is_in_chain else None

    async def _unspent(self, txid: str) -> Sighting | None:
        """Return a mined transaction of whose first outputs one is unspent."""
        requests = [("gettxout", (txid, n, WITHOUT_MEMPOOL)) for n in range(OUTPUTS_ASKED)]
        try:
            answers = await self._rpc.batch(requests)
        except NoMethodError:
            return None
        coins = [as_object(answer, "unspent coin") for answer in answers if answer is not None]
        if not coins:
            return None
        depth = as_integer(coins[0].get("confirmations"), "confirmations", most=HEIGHT_LIMIT)
        tip, _ = await self._place(as_text(coins[0].get("bestblock"), "a block hash"))
        block_hash = await self._rpc.call("getblockhash", max(tip - depth + 1, 0))
        block = await self._read_block(as_text(block_hash, "a block hash"))
        if block is not None:
            for transaction in block.transactions:
                if transaction.txid == txid:
                    return Sighting(transaction, block.height, is_whole=True)
        raise NodeError("The node changed its chain while it was asked for a transaction.")

    async def _place(self, block_hash: str) -> tuple[int, bool]:
        """Return the height of a block, and whether the node's best chain holds it."""
        header = as_object(await self._rpc.call("getblockheader", block_hash), "a block header")
        height = as_integer(header.get("height"), "a block's height", most=HEIGHT_LIMIT)
        confirmations = header.get("confirmations")
        return height, isinstance(confirmations, int) and confirmations > 0

    async def _has_index(self) -> bool:
        """Tell whether the node knows all mined transactions by their ids."""
        try:
            answer = await self._rpc.call("getindexinfo", INDEX)
        except NoMethodError:
            return False
        index = as_object(answer, "getindexinfo").get(INDEX)
        return index is not None and as_flag(as_object(index, INDEX).get("synced"), "synced")
