"""The mempool, which the kernel has none of: the policy is ours, the scripts are the kernel's.

The rules that a merchant's server meets are here: no coin twice, new coin only after 100 blocks, a
least fee, and replacement by whoever pays more (BIP 125 without the signal, as Core has it now).
Limits of size, packages and time locks are not: a block that breaks those is refused by the kernel.
"""

import time
from contextlib import suppress
from dataclasses import dataclass, field

import pbk
from embit.transaction import Transaction

from tests.nodes.bitcoin_kernel.blocks import MATURITY_BLOCKS
from tests.nodes.bitcoin_kernel.chain import Coin, KernelChain, Outpoint

# As Core has it since version 30: 100 sats for 1,000 vbytes, to come in and to replace.
RELAY_SATS_PER_KVB = 100
# Error codes of Core's sendrawtransaction.
MISSING = -25
REJECTED = -26
ALREADY_MINED = -27


class TransactionRefusedError(Exception):
    """A transaction that does not come in; `code` and words are Core's."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


@dataclass(frozen=True)
class Entry:
    """A transaction that waits for a block."""

    tx: Transaction
    fee_sats: int
    vbytes: int
    came_at_s: int = field(default_factory=lambda: int(time.time()))

    @property
    def spends(self) -> set[Outpoint]:
        return outpoints(self.tx)


class Mempool:
    """What waits for a block; `entries` has parents before their children."""

    def __init__(self, chain: KernelChain) -> None:
        self.entries: dict[str, Entry] = {}
        self._chain = chain

    def accept(self, tx: Transaction) -> str:
        """Take a transaction in and return its txid; raises TransactionRefusedError."""
        txid: str = tx.txid().hex()
        if txid in self.entries:
            return txid
        if txid in self._chain.transactions:
            raise TransactionRefusedError(ALREADY_MINED, "Transaction outputs already in utxo set")
        entry = self._judge(tx)
        replaced = self._replaced_by(entry)
        for each in replaced:
            del self.entries[each]
        self.entries[txid] = entry
        return txid

    def judge_again(self, returned: list[Transaction]) -> None:
        """Look at everything anew after the chain has changed; `returned` comes from its blocks."""
        waiting = [*returned, *(entry.tx for entry in self.entries.values())]
        self.entries = {}
        for tx in waiting:
            with suppress(TransactionRefusedError):
                self.accept(tx)

    def _judge(self, tx: Transaction) -> Entry:
        """Return what there is to know of a transaction; raises TransactionRefusedError."""
        coins = [self._coin(outpoint) for outpoint in _inputs(tx)]
        spent = [coin for coin in coins if coin is not None]
        if len(spent) < len(coins):
            raise TransactionRefusedError(MISSING, "bad-txns-inputs-missingorspent")
        height = self._chain.height + 1
        if any(c.is_coinbase and height - (c.height or 0) < MATURITY_BLOCKS for c in spent):
            raise TransactionRefusedError(REJECTED, "bad-txns-premature-spend-of-coinbase")
        fee_sats = sum(coin.sats for coin in spent) - sum(output.value for output in tx.vout)
        if fee_sats < 0:
            raise TransactionRefusedError(REJECTED, "bad-txns-in-belowout")
        _verify_scripts(tx, spent)
        vbytes = _vbytes(tx)
        if fee_sats * 1_000 < RELAY_SATS_PER_KVB * vbytes:
            raise TransactionRefusedError(REJECTED, "min relay fee not met")
        return Entry(tx, fee_sats, vbytes)

    def _coin(self, outpoint: Outpoint) -> Coin | None:
        """Return what an input spends, also if another transaction that waits spends it."""
        parent = self.entries.get(outpoint.txid)
        if parent is None:
            return self._chain.coins.get(outpoint)
        if outpoint.vout >= len(parent.tx.vout):
            return None
        output = parent.tx.vout[outpoint.vout]
        return Coin(output.value, output.script_pubkey.data, None, is_coinbase=False)

    def _replaced_by(self, entry: Entry) -> list[str]:
        """Return the rivals that have to go, with their children; raises if it pays too little."""
        gone = [txid for txid, other in self.entries.items() if other.spends & entry.spends]
        rivals = [self.entries[txid] for txid in gone]
        for txid, other in self.entries.items():
            if txid not in gone and {each.txid for each in other.spends} & {*gone}:
                gone.append(txid)
        if {each.txid for each in entry.spends} & {*gone}:
            raise TransactionRefusedError(REJECTED, "bad-txns-spends-conflicting-tx")
        least_sats = sum(self.entries[txid].fee_sats for txid in gone)
        extra_sats = -(-RELAY_SATS_PER_KVB * entry.vbytes // 1_000)
        is_denser = all(
            entry.fee_sats * rival.vbytes > rival.fee_sats * entry.vbytes for rival in rivals
        )
        if gone and not (is_denser and entry.fee_sats >= least_sats + extra_sats):
            raise TransactionRefusedError(REJECTED, "insufficient fee")
        return gone


def outpoints(tx: Transaction) -> set[Outpoint]:
    """Return what a transaction spends."""
    return set(_inputs(tx))


def _inputs(tx: Transaction) -> list[Outpoint]:
    return [Outpoint(entry.txid.hex(), entry.vout) for entry in tx.vin]


def _verify_scripts(tx: Transaction, spent: list[Coin]) -> None:
    """Let the kernel check every signature, taproot's among them."""
    ours = pbk.Transaction(tx.serialize())
    scripts = [pbk.ScriptPubkey(coin.script) for coin in spent]
    outputs = [
        pbk.TransactionOutput(script, coin.sats)
        for script, coin in zip(scripts, spent, strict=True)
    ]
    data = pbk.script.PrecomputedTransactionData(ours, outputs)
    rules = pbk.ScriptVerificationFlags.ALL
    for number, (script, coin) in enumerate(zip(scripts, spent, strict=True)):
        if not script.verify(coin.sats, ours, data, number, rules):
            raise TransactionRefusedError(
                REJECTED, f"mempool-script-verify-flag-failed, input {number}"
            )


def _vbytes(tx: Transaction) -> int:
    """Return the size that fees are reckoned by: witnesses count for a quarter (BIP 141)."""
    whole = len(tx.serialize())
    witnesses = sum(len(entry.witness.serialize()) for entry in tx.vin) + 2 if tx.is_segwit else 0
    return -(-(whole * 4 - witnesses * 3) // 4)
