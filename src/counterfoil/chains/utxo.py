"""The UTXO family over the JSON-RPC dialect of Bitcoin Core: one node of one network.

Everything that the node says is checked before it is believed: what does not fit is a NodeError,
which means unknown. A network is a `UtxoNetwork` of facts, see `utxo_network`.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from decimal import Decimal

from counterfoil.chains.rpc import (
    AbsentError,
    JsonRpc,
    PrunedError,
    as_flag,
    as_integer,
    as_list,
    as_object,
    as_text,
)
from counterfoil.chains.utxo_addresses import address_of, parse_address
from counterfoil.chains.utxo_derivation import derive
from counterfoil.chains.utxo_hearing import SETTLES_S, Hearing
from counterfoil.chains.utxo_history import UsedAddresses
from counterfoil.chains.utxo_lookup import Lookup
from counterfoil.chains.utxo_network import UtxoNetwork
from counterfoil.chains.utxo_wallets import parse_wallet
from counterfoil.core.confirmations import Confirmations
from counterfoil.core.errors import NodeError, SettingsError
from counterfoil.core.money import format_coin
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

# One look at the mempool decodes so many new transactions, and the next look the rest: a flood
# must not keep the watcher from the blocks.
FRESH_LIMIT = 1_000
# One standard transaction may fill 2 MB of JSON, so 25 of them stay below the client's size limit.
BATCH_SIZE = 25
HASH = re.compile(r"[0-9a-f]{64}")
HEX = re.compile(r"(?:[0-9a-f]{2})*")
NO_PARENT = "0" * 64
# Consensus forbids spending a script that is longer or begins with OP_RETURN.
SCRIPT_LIMIT_BYTES = 10_000
OP_RETURN = 0x6A
MWEB_TYPES = ("witness_mweb_pegin", "witness_mweb_hogaddr")
# What is paid out of MWEB has no number of its own yet; no transaction has so many outputs.
FIRST_PEGOUT = 1 << 24
HEIGHT_LIMIT = (1 << 31) - 1
UINT32_LIMIT = (1 << 32) - 1
UPTIME_LIMIT_S = 1 << 40
# A full block is some 15 MB of JSON, which takes its time from a node at home.
BLOCK_TIMEOUT_S = 180.0
# So many blocks may be announced and not be there yet, for a moment, at a node that is synced.
ANNOUNCED_MAX = 2


def open_network(
    networks: Mapping[str, UtxoNetwork],
    network: str,
    rpc_url: str,
    confirmations: Confirmations | None = None,
    explorer: str | None = None,
) -> "UtxoChain":
    """Return one of a coin's networks by its name, with its node at `rpc_url`.

    `confirmations` and `explorer` (a link template with `{txid}`) replace the network's own. Raises
    SettingsError:
    `unknown_network`, or `invalid_rpc_url` for another shape than http://user:password@host:port.
    """
    facts = networks.get(network)
    if facts is None:
        coin = next(iter(networks.values())).coin
        raise SettingsError(
            "unknown_network", f"{coin} has no such network; it has {', '.join(networks)}."
        )
    siblings = tuple(other for other in networks.values() if other is not facts)
    return UtxoChain(facts, siblings, JsonRpc(rpc_url), confirmations, explorer)


class UtxoChain:
    """One network of the family and its node; implements `core.ports.Chain`.

    `siblings` are the coin's other networks, named in errors. `confirmations` and `explorer`
    replace the network's own.
    """

    def __init__(
        self,
        facts: UtxoNetwork,
        siblings: tuple[UtxoNetwork, ...],
        rpc: JsonRpc,
        confirmations: Confirmations | None,
        explorer: str | None,
    ) -> None:
        self.name = facts.chain
        self.network = facts.caip2
        self.methods = (facts.method,)
        self.confirmations = facts.confirmations if confirmations is None else confirmations
        self.block_interval_s = facts.block_interval_s
        self.genesis = facts.genesis
        self._facts = facts
        self._siblings = siblings
        self._rpc = rpc
        self._explorer = explorer if explorer is not None else facts.explorer
        self._hearing = Hearing()

    def parse_address(self, text: str) -> Destination:
        """Return the script that `text` pays and its canonical spelling; see the port."""
        return parse_address(self._facts, self._siblings, text)

    def address_of(self, destination: bytes) -> str | None:
        """Return the address of a script, None for one that has none."""
        return address_of(self._facts, destination)

    def parse_wallet(self, text: str) -> str:
        """Return the canonical text of a wallet, which is a descriptor; see the port."""
        return parse_wallet(self._facts, self._siblings, text)

    def derive(self, wallet: str, index: int) -> Destination:
        """Return receive address `index` of a wallet, derived by two libraries."""
        return derive(self._facts, wallet, index)

    def payment_link(self, method: Method, address: str, amount_atomic: int) -> str:
        """Return a BIP 321 link such as `litecoin:ltc1...?amount=0.5`, with the amount in coins."""
        amount = format_coin(amount_atomic, method.decimals)
        return f"{self._facts.link_scheme}:{address}?amount={amount}"

    def explorer_link(self, txid: str) -> str | None:
        """Return where a person can look a transaction up, None where there is no such place."""
        return None if self._explorer is None else self._explorer.replace("{txid}", txid)

    async def head(self) -> Head:
        """Return the node's tip; it is not synced while it lacks the blocks of some headers."""
        answer, uptime = await self._rpc.batch([("getblockchaininfo", ()), ("uptime", ())])
        up_s = as_integer(uptime, "uptime", most=UPTIME_LIMIT_S)
        may_lag, trouble = await self._hear(up_s)
        info = as_object(answer, "getblockchaininfo")
        tip = _hash(info.get("bestblockhash"), "bestblockhash")
        height = as_integer(info.get("blocks"), "blocks", most=HEIGHT_LIMIT)
        headers = as_integer(info.get("headers"), "headers", most=HEIGHT_LIMIT)
        is_loading = as_flag(info.get("initialblockdownload"), "initialblockdownload")
        header = as_object(await self._rpc.call("getblockheader", tip), "a block header")
        if header.get("hash") != tip or header.get("height") != height:
            raise NodeError("The node's answer is wrong: its tip's header is of another block.")
        return Head(
            height=height,
            hash=tip,
            mined_at=_time(header, "a block's time"),
            is_synced=not is_loading and headers <= height + ANNOUNCED_MAX,
            node_up_s=up_s,
            may_lag=headers > height or may_lag,
            trouble=trouble,
        )

    async def _hear(self, up_s: int) -> tuple[bool, str | None]:
        """Tell whether the node may lack what is newest, and what keeps it from hearing of it.

        Where blocks come on demand there may be nobody to hear from.
        """
        told = await self._rpc.batch_if_told([("getnettotals", ()), ("getnetworkinfo", ())])
        if told is not None and as_object(told[1], "getnetworkinfo").get("localrelay") is False:
            return False, (
                "The node takes in no unconfirmed transactions (blocksonly=1), so nobody can be "
                "seen to have paid in time. Start it without that."
            )
        if self.block_interval_s is None:
            return False, None
        if up_s < SETTLES_S:
            return False, (
                "The node was started a moment ago, and may not have heard of all blocks yet."
            )
        totals = {} if told is None else as_object(told[0], "getnettotals")
        received, at_ms = totals.get("totalbytesrecv"), totals.get("timemillis")
        if not isinstance(received, int) or not isinstance(at_ms, int):
            return False, None
        self._hearing.note(received, at_ms)
        return not self._hearing.has_heard, self._hearing.trouble(at_ms)

    async def block_hash(self, height: int) -> str | None:
        """Return the hash at `height` of the node's best chain, None if it is not that far."""
        try:
            return _hash(await self._rpc.call("getblockhash", height), "a block hash")
        except AbsentError:
            return None

    async def block(self, block_hash: str) -> Block | None:
        """Return a block by its hash, also one of a stale branch; None if it is not known."""
        return await self._block(block_hash, BLOCK_TIMEOUT_S)

    async def _block(self, block_hash: str, timeout_s: float | None = None) -> Block | None:
        try:
            answer = await self._rpc.call("getblock", block_hash, 2, timeout_s=timeout_s)
        except AbsentError:
            return None
        except PrunedError:
            raise NodeError(
                f"The node keeps block {block_hash} no more, since it is pruned. Let "
                f"chains.{self.name}.rpc be a node that has it until it is read."
            ) from None
        fields = as_object(answer, "a block")
        if fields.get("hash") != block_hash:
            raise NodeError("The node's answer is wrong: it is not the block that was asked for.")
        height = as_integer(fields.get("height"), "a block's height", most=HEIGHT_LIMIT)
        if (height == 0) != (block_hash == self.genesis):
            raise NodeError("The node's answer is wrong: only the genesis block has height 0.")
        parent = _hash(fields.get("previousblockhash"), "a parent") if height else NO_PARENT
        transactions = tuple(self._transaction(tx) for tx in as_list(fields.get("tx"), "tx"))
        if len({transaction.txid for transaction in transactions}) != len(transactions):
            raise NodeError("The node's answer is wrong: a block has one transaction twice.")
        return Block(
            height=height,
            hash=block_hash,
            parent=parent,
            mined_at=_time(fields, "a block's time"),
            transactions=transactions,
        )

    async def mempool(self, known: Collection[str], pending: Collection[str]) -> Mempool:
        """Return what is unconfirmed, with at most 1,000 transactions that are not in `known`.

        `pending` is not needed: this node lists its whole mempool.
        """
        # For a while after its start a node lists only what it has read from its disk so far. Asked
        # before the list, which else might be of a moment before it had all.
        told = await self._rpc.batch_if_told([("getmempoolinfo", ())])
        is_loaded = not told or as_object(told[0], "getmempoolinfo").get("loaded") is not False
        answer = as_list(await self._rpc.call("getrawmempool"), "getrawmempool")
        listed = {_hash(txid, "a txid") for txid in answer}
        # In an order that any other node has too: two that are compared then decode the same ones.
        unknown = sorted(listed.difference(known))
        wanted = unknown[:FRESH_LIMIT]
        fresh = []
        for start in range(0, len(wanted), BATCH_SIZE):
            fresh += await self._unconfirmed(wanted[start : start + BATCH_SIZE])
        # What was replaced or mined between the two questions is in the mempool no more.
        vanished = set(wanted) - {transaction.txid for transaction in fresh}
        return Mempool(
            txids=frozenset(listed - vanished),
            fresh=tuple(fresh),
            is_complete=is_loaded and len(wanted) == len(unknown),
            is_loading=not is_loaded,
        )

    async def waiting_since(self, txids: Collection[str]) -> Mapping[str, int]:
        """Return when the node took transactions into its mempool; see the port."""
        wanted = sorted(txids)
        found = {}
        for start in range(0, len(wanted), BATCH_SIZE):
            some = wanted[start : start + BATCH_SIZE]
            answers = await self._rpc.batch([("getmempoolentry", (txid,)) for txid in some])
            for txid, answer in zip(some, answers, strict=True):
                if not isinstance(answer, AbsentError):
                    entry = as_object(answer, "an entry of the mempool")
                    found[txid] = _time(entry, "an entry's time")
        return found

    async def transaction(self, txid: str) -> Sighting:
        """Return what the node knows of a transaction; see the port."""
        # Somebody waits for the answer: the block must come as soon as anything else.
        return await Lookup(self._rpc, self._looked_up, self._block).look_up(txid)

    async def history(self, wallet: str, start: int, told: Callable[[int], None]) -> History:
        """Ask the node which addresses of a wallet were used; see the port."""
        look = UsedAddresses(self._rpc, lambda index: self.derive(wallet, index), self.block, told)
        return await look.look_up(start)

    async def close(self) -> None:
        """Let go of connections."""
        await self._rpc.close()

    async def _unconfirmed(self, txids: list[str]) -> list[Transaction]:
        """Return those of the transactions that the node still knows."""
        answers = await self._rpc.batch([("getrawtransaction", (txid, True)) for txid in txids])
        found = []
        for txid, answer in zip(txids, answers, strict=True):
            if isinstance(answer, AbsentError):
                continue
            transaction = self._transaction(answer)
            if transaction.txid != txid:
                raise NodeError("The node's answer is wrong: it is another transaction.")
            found.append(transaction)
        return found

    def _transaction(self, value: object) -> Transaction:
        """Return a decoded transaction of the node (getblock 2, getrawtransaction)."""
        fields = as_object(value, "a transaction")
        outputs = (
            self._transfer(as_object(output, "an output"))
            for output in as_list(fields.get("vout"), "vout")
        )
        inputs = (
            _outpoint(as_object(entry, "an input")) for entry in as_list(fields.get("vin"), "vin")
        )
        transfers = tuple(transfer for transfer in outputs if transfer is not None)
        if len({transfer.index for transfer in transfers}) != len(transfers):
            raise NodeError("The node's answer is wrong: two outputs have one number.")
        return Transaction(
            txid=_hash(fields.get("txid"), "a txid"),
            transfers=transfers,
            spends=tuple(outpoint for outpoint in inputs if outpoint is not None),
        )

    def _looked_up(self, value: object) -> Transaction:
        """Return a decoded transaction that somebody names, with what it pays out of MWEB.

        That is not credited from here: its block pays it in a transaction of the miner's. But its
        payer knows it by this id, and is not to hear that it pays nobody.
        """
        transaction = self._transaction(value)
        kernels = as_list(as_object(value, "a transaction").get("vkern", []), "vkern")
        paid = [
            as_object(each, "a peg-out")
            for kernel in kernels
            for each in as_list(as_object(kernel, "a kernel").get("pegout", []), "pegout")
        ]
        outputs = (self._transfer(each | {"n": n}) for n, each in enumerate(paid, FIRST_PEGOUT))
        pegouts = tuple(output for output in outputs if output is not None)
        return replace(transaction, transfers=(*transaction.transfers, *pegouts))

    def _transfer(self, output: dict[str, object]) -> Transfer | None:
        """Return an output, None if it pays nothing to a script that can be spent from.

        Outputs inside the MWEB extension block have neither amount nor script; those that carry
        coin into it or along it belong to the extension block.
        """
        if _is_of_mweb(output):
            return None
        script = as_object(output.get("scriptPubKey"), "scriptPubKey")
        code = as_text(script.get("hex"), "a script")
        if HEX.fullmatch(code) is None:
            raise NodeError("The node's answer is wrong: a script is not hex.")
        index = as_integer(output.get("n"), "an output's number", most=UINT32_LIMIT)
        amount_atomic = self._atomic(output.get("value"))
        destination = bytes.fromhex(code)
        is_unspendable = destination[:1] == bytes([OP_RETURN])
        if not amount_atomic or is_unspendable or len(destination) > SCRIPT_LIMIT_BYTES:
            return None
        if script.get("type") in MWEB_TYPES:
            return None
        return Transfer(
            index=index,
            destination=destination,
            method=self._facts.method.id,
            amount_atomic=amount_atomic,
        )

    def _atomic(self, value: object) -> int:
        """Return an amount of coins in atomic units, exactly."""
        decimals = self._facts.method.decimals
        if isinstance(value, Decimal | int) and not isinstance(value, bool):
            coins = Decimal(value)
            exponent = coins.as_tuple().exponent
            # The exponent comes first: arithmetic with a hostile one could take for ever.
            if isinstance(exponent, int) and -decimals <= exponent <= decimals:
                amount_atomic = int(coins * 10**decimals)
                if 0 <= amount_atomic <= self._facts.most_atomic:
                    return amount_atomic
        raise NodeError("The node's answer is wrong: an amount is not one of this coin.")


def _hash(value: object, what: str) -> str:
    """Return a block hash or txid, as nodes write it: 64 hex digits in lower case."""
    text = as_text(value, what)
    if HASH.fullmatch(text) is None:
        raise NodeError(f"The node's answer is wrong: {what} is not 64 digits of hex.")
    return text


def _time(fields: dict[str, object], what: str) -> int:
    """Return the time of a block, or of an entry of the mempool, in milliseconds."""
    return as_integer(fields.get("time"), what, most=UINT32_LIMIT) * 1_000


def _is_of_mweb(entry: dict[str, object]) -> bool:
    """Tell whether an input or output lies in the extension block: newer nodes say no `ismweb`."""
    return entry.get("ismweb") is True or "output_id" in entry


def _outpoint(entry: dict[str, object]) -> str | None:
    """Return what an input spends, None for new coin and for inputs inside MWEB."""
    if "coinbase" in entry or _is_of_mweb(entry):
        return None
    index = as_integer(entry.get("vout"), "an input's vout", most=UINT32_LIMIT)
    return f"{_hash(entry.get('txid'), 'an input')}:{index}"
