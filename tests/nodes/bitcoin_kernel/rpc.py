"""What the node answers: Bitcoin Core's calls, by their names and with its answers and errors.

Only `generatebranch` is not Core's: it mines a rival branch, where a test would otherwise need a
second node, or `invalidateblock`, which the kernel does not have.
"""

import re
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pbk
from embit.base import EmbitError
from embit.script import Script, address_to_scriptpubkey
from embit.transaction import Transaction

from tests.nodes.bitcoin_kernel.blocks import (
    BITS,
    HEADER_BYTES,
    double_sha256,
    make_block,
    subsidy_sats,
)
from tests.nodes.bitcoin_kernel.chain import (
    Block,
    BlockRefusedError,
    KernelChain,
    Outpoint,
)
from tests.nodes.bitcoin_kernel.decoded import decoded, in_coins, txid_of
from tests.nodes.bitcoin_kernel.mempool import Mempool, TransactionRefusedError, outpoints

# Core calls itself in initial download until its tip is younger than this.
LATEST_TIP_AGE_S = 24 * 3_600
FILTERS = "basic block filter index"
RAW = re.compile(r"raw\((?P<script>(?:[0-9a-f]{2})+)\)")
NOT_FOUND = -5
OUT_OF_RANGE = -8
DECODE_FAILED = -22
VERIFY_ERROR = -25
NO_METHOD = -32601


class RpcError(Exception):
    """An error of the node, with one of Core's codes."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


class Calls:
    """The calls of one node, on its chain and its mempool."""

    def __init__(self, chain: KernelChain) -> None:
        self._chain = chain
        self._mempool = Mempool(chain)
        self._started_at = time.monotonic()
        self._methods: dict[str, Callable[..., Any]] = {
            "generateblock": self._generate_block,
            "generatebranch": self._generate_branch,
            "generatetoaddress": self._generate_to_address,
            "getbestblockhash": lambda: chain.tip.hash,
            "getblock": self._block,
            "getblockchaininfo": self._blockchain_info,
            "getblockcount": lambda: chain.height,
            "getblockhash": self._block_hash,
            "getblockheader": self._block_header,
            "getindexinfo": self._index_info,
            "getmempoolentry": self._mempool_entry,
            "getmempoolinfo": lambda: {"loaded": True, "size": len(self._mempool.entries)},
            # It has no peers, and takes in what it is sent.
            "getnettotals": lambda: {"totalbytesrecv": 0, "timemillis": int(time.time() * 1_000)},
            "getnetworkinfo": lambda: {"localrelay": True, "connections": 0},
            "getrawmempool": lambda: [*self._mempool.entries],
            "getrawtransaction": self._raw_transaction,
            "gettxspendingprevout": self._spending,
            "scanblocks": self._scan_blocks,
            "scantxoutset": self._scan_coins,
            "sendrawtransaction": self._send,
            "submitblock": self._submit_block,
            "uptime": lambda: int(time.monotonic() - self._started_at),
        }

    def call(self, method: str, params: list[Any]) -> Any:
        """Return the result of a call; raises RpcError."""
        if method not in self._methods:
            raise RpcError(NO_METHOD, "Method not found")
        return self._methods[method](*params)

    # --- the chain ----------------------------------------------------------------------------

    def _blockchain_info(self) -> dict[str, Any]:
        tip = self._chain.tip
        return {
            "chain": "regtest",
            "blocks": tip.height,
            "headers": self._chain.best_header_height,
            "bestblockhash": tip.hash,
            "bits": f"{BITS:08x}",
            "time": tip.number(68),
            "initialblockdownload": time.time() - tip.number(68) > LATEST_TIP_AGE_S,
            "pruned": False,
            "warnings": [],
        }

    def _block_hash(self, height: int) -> str:
        if not 0 <= height <= self._chain.height:
            raise RpcError(OUT_OF_RANGE, "Block height out of range")
        return self._chain.at(height).hash

    def _known(self, block_hash: str) -> Block:
        block = self._chain.get(block_hash)
        if block is None:
            raise RpcError(NOT_FOUND, "Block not found")
        return block

    def _block_header(self, block_hash: str) -> dict[str, Any]:
        block = self._known(block_hash)
        depth = self._chain.confirmations(block)
        header = {
            "hash": block.hash,
            "confirmations": depth,
            "height": block.height,
            "version": block.number(0),
            "merkleroot": block.merkle_root,
            "time": block.number(68),
            "nonce": block.number(76),
            "bits": f"{block.number(72):08x}",
            "nTx": len(block.transactions),
        }
        if block.height:
            header["previousblockhash"] = block.parent
        if depth > 1:
            header["nextblockhash"] = self._chain.at(block.height + 1).hash
        return header

    def _block(self, block_hash: str, verbosity: int = 1) -> dict[str, Any]:
        if verbosity not in {1, 2}:
            raise RpcError(OUT_OF_RANGE, "This facade has the verbosities 1 and 2")
        tell: Callable[[Transaction], Any] = decoded if verbosity == 2 else txid_of
        transactions = self._known(block_hash).transactions
        return {**self._block_header(block_hash), "tx": [tell(tx) for tx in transactions]}

    def _index_info(self, name: str = FILTERS) -> dict[str, Any]:
        if name not in (FILTERS, "txindex"):
            return {}
        return {name: {"synced": True, "best_block_height": self._chain.height}}

    # --- transactions -------------------------------------------------------------------------

    def _mempool_entry(self, txid: str) -> dict[str, Any]:
        entry = self._mempool.entries.get(txid)
        if entry is None:
            raise RpcError(NOT_FOUND, "Transaction not in mempool")
        return {"vsize": entry.vbytes, "time": entry.came_at_s}

    def _raw_transaction(self, txid: str, verbose: int = 0) -> Any:
        """Answer as a node with `txindex` does."""
        entry = self._mempool.entries.get(txid)
        if entry is not None:
            return decoded(entry.tx) if verbose else entry.tx.serialize().hex()
        if txid not in self._chain.transactions:
            raise RpcError(
                NOT_FOUND, "No such mempool or blockchain transaction. Use gettransaction."
            )
        tx, block = self._chain.transactions[txid]
        if not verbose:
            return tx.serialize().hex()
        depth = self._chain.confirmations(block)
        where = {"blockhash": block.hash, "confirmations": depth, "blocktime": block.number(68)}
        return {**decoded(tx), **where}

    def _send(self, text: str) -> str:
        try:
            return self._mempool.accept(_parsed(text))
        except TransactionRefusedError as error:
            raise RpcError(error.code, str(error)) from None

    def _spending(self, outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        spenders = {
            outpoint: txid
            for txid, entry in self._mempool.entries.items()
            for outpoint in entry.spends
        }
        told = []
        for output in outputs:
            spender = spenders.get(Outpoint(output["txid"], output["vout"]))
            told.append(output if spender is None else {**output, "spendingtxid": spender})
        return told

    # --- looking for scripts ------------------------------------------------------------------

    def _scan_coins(self, action: str, objects: Iterable[str] = ()) -> dict[str, Any] | None:
        if action != "start":
            return None
        wanted = _scripts(objects)
        found: list[dict[str, Any]] = [
            {
                "txid": outpoint.txid,
                "vout": outpoint.vout,
                "scriptPubKey": coin.script.hex(),
                "desc": f"raw({coin.script.hex()})",
                "amount": in_coins(coin.sats),
                "coinbase": coin.is_coinbase,
                "height": coin.height,
            }
            for outpoint, coin in self._chain.coins.items()
            if coin.script in wanted
        ]
        return {
            "success": True,
            "txouts": len(self._chain.coins),
            "height": self._chain.height,
            "bestblock": self._chain.tip.hash,
            "unspents": found,
            "total_amount": sum((each["amount"] for each in found), Decimal()),
        }

    def _scan_blocks(
        self,
        action: str,
        objects: Iterable[str] = (),
        start: int = 0,
        stop: int | None = None,
        *_: Any,
    ) -> dict[str, Any] | None:
        """Answer as a node with block filters does, without false positives."""
        if action != "start":
            return None
        wanted = _scripts(objects)
        last = self._chain.height if stop is None else stop
        blocks = map(self._chain.at, range(start, last + 1))
        return {
            "from_height": start,
            "to_height": last,
            "relevant_blocks": [each.hash for each in blocks if self._touched(each) & wanted],
            "completed": True,
        }

    def _touched(self, block: Block) -> set[bytes]:
        """Return the scripts that a block of the active chain pays to or spends from."""
        spent = [each for tx in block.transactions[1:] for each in outpoints(tx)]
        outputs = [self._chain.transactions[each.txid][0].vout[each.vout] for each in spent]
        outputs += [output for tx in block.transactions for output in tx.vout]
        return {output.script_pubkey.data for output in outputs}

    # --- mining -------------------------------------------------------------------------------

    def _submit_block(self, text: str) -> str | None:
        """Return None, or in the kernel's words why it refuses a block."""
        try:
            self._submit(bytes.fromhex(text))
        except BlockRefusedError as error:
            return str(error)
        return None

    def _generate_to_address(self, count: int, address: str) -> list[str]:
        script = _payee(address)
        hashes = []
        for _ in range(count):
            waiting = [entry.tx for entry in self._mempool.entries.values()]
            hashes.append(self._mine(self._chain.tip, script, waiting))
        return hashes

    def _generate_block(self, address: str, transactions: list[str]) -> dict[str, str]:
        chosen = [_parsed(text) for text in transactions]
        return {"hash": self._mine(self._chain.tip, _payee(address), chosen)}

    def _generate_branch(
        self, parent: str, count: int, address: str, transactions: list[str]
    ) -> list[str]:
        """Mine blocks after any one that is known, the transactions in the first of them."""
        block, script = self._known(parent), _payee(address)
        chosen = [_parsed(text) for text in transactions]
        hashes: list[str] = []
        for _ in range(count):
            hashes.append(self._mine(block, script, chosen))
            block, chosen = self._known(hashes[-1]), []
        return hashes

    def _mine(self, parent: Block, script: Script, transactions: list[Transaction]) -> str:
        """Mine a block, which leaves the fees to nobody, and return its hash."""
        height = parent.height + 1
        time_s = self._chain.next_time_s(parent)
        raw = make_block(parent.hash, height, time_s, script, subsidy_sats(height), transactions)
        try:
            return self._submit(raw)
        except BlockRefusedError as error:
            raise RpcError(VERIFY_ERROR, f"TestBlockValidity failed: {error}") from None

    def _submit(self, raw: bytes) -> str:
        self._mempool.judge_again(self._chain.submit(raw))
        return double_sha256(raw[:HEADER_BYTES])[::-1].hex()


def _parsed(text: str) -> Transaction:
    """Return a transaction that the kernel can read, as embit reads it."""
    try:
        raw = bytes.fromhex(text)
        pbk.Transaction(raw)
    except (RuntimeError, ValueError):
        raise RpcError(
            DECODE_FAILED, "TX decode failed. Make sure the tx has at least one input."
        ) from None
    return Transaction.parse(raw)


def _payee(address: str) -> Script:
    try:
        return address_to_scriptpubkey(address)
    except EmbitError:
        raise RpcError(NOT_FOUND, "Error: Invalid address") from None


def _scripts(objects: Iterable[str]) -> set[bytes]:
    found = {text: RAW.fullmatch(text) for text in objects}
    for text, match in found.items():
        if match is None:
            raise RpcError(NOT_FOUND, f"This facade reads raw(...) alone, and not '{text}'")
    return {bytes.fromhex(match["script"]) for match in found.values() if match}
