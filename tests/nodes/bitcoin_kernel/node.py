"""The node that tests start: the process of `__main__`, and a payer's wallet beside it."""

import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.nodes.bitcoin_kernel.blocks import MATURITY_BLOCKS
from tests.nodes.bitcoin_kernel.wallet import Unspent, Wallet
from tests.nodes.litecoind import PASSWORD, USER, Node

# Each payment spends one ripe coin until the next block.
FIRST_BLOCKS = MATURITY_BLOCKS + 20
FEE_SATS = 1_000
RIVAL_FEE_SATS = 10 * FEE_SATS
SATS = 10**8


class KernelNode(Node):
    """Bitcoin Core's consensus engine behind an RPC facade of ours, on regtest."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.wallet = Wallet(folder.as_posix())
        self.start()
        self.mine(FIRST_BLOCKS)

    def command(self) -> Sequence[str | Path]:
        """Return how the node is started on `port`."""
        package = __name__.rpartition(".")[0]
        return [sys.executable, "-m", package, self.folder, str(self.port), USER, PASSWORD]

    def kill(self) -> None:
        """End the process as a loss of power does."""
        process, self.process = self.process, None
        assert process is not None
        process.kill()
        process.wait()

    def new_address(self, kind: str = "bech32") -> str:
        """Return a fresh address of the wallet: bech32 (P2WPKH) or bech32m (P2TR)."""
        return self.wallet.new_address(kind)

    def send(self, address: str, amount: Decimal, *, is_replaceable: bool = False) -> str:
        """Pay an amount out of mined coin and return the txid; every payment can be replaced."""
        sats = int(amount * SATS)
        coin = next(each for each in self.unspent() if each.sats >= sats + FEE_SATS)
        return str(self.rpc("sendrawtransaction", self._signed([coin], address, sats, FEE_SATS)))

    def bump(self, txid: str) -> str:
        """Replace a transaction by one that pays more fee, and return its txid."""
        [paid, _] = self._told(txid)["vout"]
        again = self.rival(txid, paid["scriptPubKey"]["address"], paid["value"])
        return str(self.rpc("sendrawtransaction", again))

    def unspent(self) -> list[Unspent]:
        """Return the wallet's coins that may be spent in the next block, and are not yet."""
        scripts = [f"raw({script.hex()})" for script in self.wallet.scripts]
        found = self.rpc("scantxoutset", "start", scripts)
        ripe = [
            Unspent(
                each["txid"],
                each["vout"],
                int(each["amount"] * SATS),
                bytes.fromhex(each["scriptPubKey"]),
            )
            for each in found["unspents"]
            if not each["coinbase"] or found["height"] + 1 - each["height"] >= MATURITY_BLOCKS
        ]
        asked = [{"txid": coin.txid, "vout": coin.vout} for coin in ripe]
        spending = self.rpc("gettxspendingprevout", asked)
        return [
            coin for coin, each in zip(ripe, spending, strict=True) if "spendingtxid" not in each
        ]

    def rival(self, txid: str, address: str, amount: Decimal) -> str:
        """Return a signed transaction that spends the coins of another one, and pays more fee.

        It is not sent. What is left of the coins goes back to the wallet.
        """
        coins = [self._output(entry["txid"], entry["vout"]) for entry in self._told(txid)["vin"]]
        return self._signed(coins, address, int(amount * SATS), RIVAL_FEE_SATS)

    def branch(self, parent: str, count: int, *transactions: str) -> list[str]:
        """Mine blocks after any block; the transactions are in the first of them."""
        address = self.new_address()
        return [
            str(each) for each in self.rpc("generatebranch", parent, count, address, transactions)
        ]

    def _signed(self, coins: list[Unspent], address: str, sats: int, fee_sats: int) -> str:
        change_sats = sum(coin.sats for coin in coins) - sats - fee_sats
        return self.wallet.pay(coins, {address: sats, self.new_address(): change_sats})

    def _told(self, txid: str) -> dict[str, Any]:
        is_verbose = True
        answer: dict[str, Any] = self.rpc("getrawtransaction", txid, is_verbose)
        return answer

    def _output(self, txid: str, vout: int) -> Unspent:
        output = self._told(txid)["vout"][vout]
        script = bytes.fromhex(output["scriptPubKey"]["hex"])
        return Unspent(txid, vout, int(output["value"] * SATS), script)
