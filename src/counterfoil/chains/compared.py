"""Two nodes of one chain: what they do not both say is not known.

A node that was taken over, or stands on a fork of its own, can by itself neither make a payment nor
take one back. Where the two differ on a block nothing is recorded, nothing expires, and the
operator is told. An unconfirmed transaction that one alone lists is waited for, and holds up
nothing: anybody could send one that the other node does not relay.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from counterfoil.core.errors import NodeError
from counterfoil.core.ports import Block, Chain, Head, History, Mempool, Sighting, Transaction

T = TypeVar("T")


class ComparedChain:
    """A chain that is read from two nodes; implements `core.ports.Chain`.

    `first` and `second` have the same facts. Both must answer: to go on with one alone would let
    whoever can stop the other choose what we believe.
    """

    def __init__(self, first: Chain, second: Chain) -> None:
        self.name = first.name
        self.network = first.network
        self.methods = first.methods
        self.confirmations = first.confirmations
        self.block_interval_s = first.block_interval_s
        self.genesis = first.genesis
        self.parse_address = first.parse_address
        self.address_of = first.address_of
        self.parse_wallet = first.parse_wallet
        self.derive = first.derive
        self.payment_link = first.payment_link
        self.explorer_link = first.explorer_link
        self._nodes = (first, second)
        # What one node has shown and the other one not yet, so that it is decoded only once.
        self._halves: tuple[dict[str, Transaction], dict[str, Transaction]] = ({}, {})

    async def head(self) -> Head:
        """Return the tip of the node that is less far; raises NodeError unless both hold it."""
        first, second = self._nodes
        heads = await asyncio.gather(first.head(), second.head())
        lower, higher = sorted(heads, key=lambda head: head.height)
        if lower.hash != higher.hash and lower.hash != await self.block_hash(lower.height):
            raise self._differ(f"block {lower.height}")
        return Head(
            height=lower.height,
            hash=lower.hash,
            mined_at=lower.mined_at,
            is_synced=lower.is_synced and higher.is_synced,
            node_up_s=min(lower.node_up_s, higher.node_up_s),
            # Whichever is less far lacks a block that the other one has.
            may_lag=lower.may_lag or higher.may_lag or lower.height < higher.height,
            trouble=lower.trouble or higher.trouble,
        )

    async def block_hash(self, height: int) -> str | None:
        """Return the hash that both have at a height, None while one of them is not that far."""
        first, second = self._nodes
        answers = await asyncio.gather(first.block_hash(height), second.block_hash(height))
        return self._same(*answers, what=f"block {height}")

    async def block(self, block_hash: str) -> Block | None:
        """Return a block that both know, and know to hold the same."""
        first, second = self._nodes
        answers = await asyncio.gather(first.block(block_hash), second.block(block_hash))
        return self._same(*answers, what=f"what block {block_hash} holds")

    async def mempool(self, known: Collection[str], pending: Collection[str]) -> Mempool:
        """Return as new what both list; what only one still lists is not unknown."""
        looks = await asyncio.gather(
            *(
                node.mempool({*known, *half}, pending)
                for node, half in zip(self._nodes, self._halves, strict=True)
            )
        )
        for look, half in zip(looks, self._halves, strict=True):
            half |= {transaction.txid: transaction for transaction in look.fresh}
            for txid in half.keys() - look.txids:
                del half[txid]
        first, second = self._halves
        fresh = [
            self._same(first.pop(txid), second.pop(txid), what=f"transaction {txid}")
            for txid in first.keys() & second.keys()
        ]
        return Mempool(
            txids=looks[0].txids | looks[1].txids,
            fresh=tuple(transaction for transaction in fresh if transaction is not None),
            is_complete=all(look.is_complete for look in looks),
            is_loading=any(look.is_loading for look in looks),
        )

    async def waiting_since(self, txids: Collection[str]) -> Mapping[str, int]:
        """Return since when both have had unconfirmed transactions."""
        first, second = await asyncio.gather(*(node.waiting_since(txids) for node in self._nodes))
        return {txid: max(first[txid], second[txid]) for txid in first.keys() & second.keys()}

    async def transaction(self, txid: str) -> Sighting:
        """Return what both know of a transaction: mined, once it is so for both."""
        first, second = self._nodes
        one, other = await asyncio.gather(first.transaction(txid), second.transaction(txid))
        is_whole = one.is_whole and other.is_whole
        known = self._same(one.transaction, other.transaction, what=f"transaction {txid}")
        if known is None:
            return Sighting(None, None, is_whole)
        height = one.height if one.height == other.height else None
        return Sighting(known, height, is_whole)

    async def history(self, wallet: str, start: int, told: Callable[[int], None]) -> History:
        """Return as used what either node says was used: one that hides it hides nothing."""
        first, second = self._nodes
        histories = await asyncio.gather(
            first.history(wallet, start, told), second.history(wallet, start, told)
        )
        return History(
            next_index=max(each.next_index for each in histories),
            is_whole=all(each.is_whole for each in histories),
        )

    async def close(self) -> None:
        """Let go of the connections to both."""
        for node in self._nodes:
            await node.close()

    def _same(self, one: T | None, other: T | None, *, what: str) -> T | None:
        """Return what both nodes answered, None where one has no answer yet; raises NodeError."""
        if one is None or other is None:
            return None
        if one != other:
            raise self._differ(what)
        return one

    def _differ(self, what: str) -> NodeError:
        return NodeError(
            f"The two nodes of {self.name} differ on {what}. Nothing is recorded until they agree; "
            "look which of them is on a fork, or is not to be trusted."
        )
