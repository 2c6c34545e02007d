"""Which receive addresses of a wallet were used already, as far as the node of a UTXO chain knows.

Every node of the Core dialect looks through the coin that is unspent now (`scantxoutset`). What was
spent since is found only by one that keeps block filters and has `scanblocks`: Bitcoin Core from 25
on with `-blockfilterindex=1`. Either look takes minutes on a main network, however few addresses it
is for, so they are asked for in few and large rounds.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from counterfoil.chains.rpc import (
    JsonRpc,
    NoMethodError,
    as_flag,
    as_integer,
    as_list,
    as_object,
    as_text,
)
from counterfoil.core.errors import NodeError
from counterfoil.core.ports import Block, Destination, History

# Wallets look so many unused addresses ahead (BIP 44), and so do we.
LOOK_AHEAD = 20
# Each round is twice as large as the one before it.
FIRST_ROUND = 100
# Whoever has used more says so with an index: a node that lies could keep us here for ever.
ADDRESSES_MAX = 10_000
TIMEOUT_S = 3_600.0
TELL_EVERY_S = 1.0
FILTERS = "basic block filter index"
SCRIPT = re.compile(r"(?:[0-9a-f]{2})+")

# The indexes of addresses by their scripts.
Places = Mapping[bytes, int]


class UsedAddresses:
    """One look for the used addresses of one wallet.

    `derive` gives the address of an index, `read_block` a block by its hash; `told` hears how far a
    round is, in percent.
    """

    def __init__(
        self,
        rpc: JsonRpc,
        derive: Callable[[int], Destination],
        read_block: Callable[[str], Awaitable[Block | None]],
        told: Callable[[int], None],
    ) -> None:
        self._rpc = rpc
        self._derive = derive
        self._read_block = read_block
        self._told = told

    async def look_up(self, start: int) -> History:
        """Return what was used from index `start` on; raises NodeError."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._look_up(start)
        except TimeoutError:
            raise NodeError(
                f"The node did not tell which addresses were used within {TIMEOUT_S:g} s."
            ) from None

    async def _look_up(self, start: int) -> History:
        is_whole = await self._has_filters()
        index = next_index = start
        size = FIRST_ROUND
        while index < next_index + LOOK_AHEAD:
            if index - start > ADDRESSES_MAX:
                raise NodeError(
                    f"The node says that more than {ADDRESSES_MAX} addresses were used."
                )
            # Keys are derived twice each, which takes a millisecond: the loop goes on meanwhile.
            places = await asyncio.to_thread(self._places, index, size)
            used = await self._unspent(places)
            if is_whole:
                used |= await self._mined(places)
            next_index = max([next_index, *(places[script] + 1 for script in used)])
            index += size
            size *= 2
        return History(next_index, is_whole)

    def _places(self, index: int, size: int) -> Places:
        return {self._derive(each).key: each for each in range(index, index + size)}

    async def _has_filters(self) -> bool:
        """Tell whether the node can look through what was spent: it has the call and the index."""
        try:
            await self._rpc.call("scanblocks", "status")
            answer = await self._rpc.call("getindexinfo", FILTERS)
        except NoMethodError:
            return False
        index = as_object(answer, "getindexinfo").get(FILTERS)
        return index is not None and as_flag(as_object(index, FILTERS).get("synced"), "synced")

    async def _unspent(self, places: Places) -> set[bytes]:
        """Return the scripts that hold coin now."""
        answer = await self._scan("scantxoutset", _descriptors(places))
        if not as_flag(answer.get("success"), "success"):
            raise NodeError("The node was stopped while it looked through the unspent coin.")
        unspent = as_list(answer.get("unspents"), "unspents")
        found = {_script(as_object(each, "unspent coin")) for each in unspent}
        if not found <= places.keys():
            raise NodeError("The node's answer is wrong: it tells of coin that was not asked for.")
        return found

    async def _mined(self, places: Places) -> set[bytes]:
        """Return the scripts that coin was ever paid to."""
        whole_chain = (0, None)
        options = {"filter_false_positives": True}
        answer = await self._scan(
            "scanblocks", _descriptors(places), *whole_chain, "basic", options
        )
        if not as_flag(answer.get("completed"), "completed"):
            raise NodeError("The node was stopped while it looked through its blocks.")
        found: set[bytes] = set()
        for block_hash in as_list(answer.get("relevant_blocks"), "relevant_blocks"):
            block = await self._read_block(as_text(block_hash, "a block hash"))
            if block is None:
                raise NodeError("The node's answer is wrong: it names a block that it has not.")
            paid = {t.destination for each in block.transactions for t in each.transfers}
            found |= paid & places.keys()
        return found

    async def _scan(self, method: str, *params: object) -> dict[str, object]:
        """Return what a scan of the node found, and tell meanwhile how far it is."""
        scan = asyncio.ensure_future(self._rpc.call(method, "start", *params, timeout_s=TIMEOUT_S))
        try:
            while not (await asyncio.wait({scan}, timeout=TELL_EVERY_S))[0]:
                await self._tell(method)
            return as_object(await scan, method)
        finally:
            scan.cancel()

    async def _tell(self, method: str) -> None:
        # Not to know how far it is, is no reason to give up.
        with suppress(NodeError):
            status = await self._rpc.call(method, "status")
            if status is not None:
                progress = as_object(status, "status").get("progress")
                self._told(as_integer(progress, "progress", most=100))


def _descriptors(places: Places) -> list[str]:
    """Return the scripts as every node reads them, whatever kinds of keys and scripts it knows."""
    return [f"raw({script.hex()})" for script in places]


def _script(coin: dict[str, object]) -> bytes:
    text = as_text(coin.get("scriptPubKey"), "a script")
    if SCRIPT.fullmatch(text) is None:
        raise NodeError("The node's answer is wrong: a script is not hex.")
    return bytes.fromhex(text)
