"""A real litecoind on regtest, in a folder and on a port of its own; what all nodes are, `Node`."""

import base64
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any

USER = "counterfoil"
PASSWORD = "regtest-password"
WALLET = "test"
START_LIMIT_S = 60
# It waits up to 30 s for idle connections; what is killed loses its last blocks.
STOP_LIMIT_S = 45
# New coin can be spent 100 blocks later.
FIRST_BLOCKS = 110
RIVAL_FEE = Decimal("0.005")


class RpcFaultError(Exception):
    """The node refused a call; the message is its own."""


class Node(ABC):
    """A node that this process started, which has coin to pay with; times and amounts are real."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Return how the node is started on `port`."""

    @abstractmethod
    def new_address(self, kind: str = "bech32") -> str:
        """Return an address of the node's own coin that nobody was told of."""

    @abstractmethod
    def send(self, address: str, amount: Decimal, *, is_replaceable: bool = False) -> str:
        """Pay an amount of coins and return the txid."""

    @abstractmethod
    def bump(self, txid: str) -> str:
        """Replace a transaction by one that pays more fee, and return its txid."""

    @abstractmethod
    def branch(self, parent: str, count: int, *transactions: str) -> list[str]:
        """Mine a branch after a block; signed transactions are in its first block, no others."""

    @abstractmethod
    def rival(self, txid: str, address: str, amount: Decimal) -> str:
        """Return a signed transaction that spends the coins of another one, and pays more fee.

        It is not sent. What is left of the coins goes back to the node's wallet.
        """

    def mine(self, count: int) -> list[str]:
        """Mine blocks to the node's own wallet and return their hashes."""
        return [str(each) for each in self.rpc("generatetoaddress", count, self.new_address())]

    def mine_only(self, *transactions: str) -> str:
        """Mine a block that holds these signed transactions and nothing of the mempool."""
        block: dict[str, str] = self.rpc("generateblock", self.new_address(), transactions)
        return block["hash"]

    def replace_blocks(self, first: str, *transactions: str) -> str:
        """Put a longer branch in place of a block and all on top; return the branch's first block.

        It holds these signed transactions and nothing of the mempool.
        """
        block = self.rpc("getblockheader", first)
        length = block["confirmations"] + 1
        return self.branch(block["previousblockhash"], length, *transactions)[0]

    @property
    def url(self) -> str:
        """Where the node answers, with the credentials in it."""
        return f"http://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    def start(self, port: int | None = None) -> None:
        """Start the node and return when it answers, on a new port if none is given."""
        self.port = port or free_port()
        with (self.folder / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.wait_until_ready(self.process)

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Return when the node answers calls."""
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                self.rpc("getblockcount")
            except (OSError, RpcFaultError):
                time.sleep(0.05)
            else:
                return
        self.stop()
        raise RuntimeError(f"the node did not start: {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what the node printed."""
        return (self.folder / "output.log").read_text(errors="replace")[-2_000:]

    def stop(self) -> None:
        """End the process that `start` began, and only that one."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Stop the node and start it again on the same chain; its address changes."""
        self.stop()
        self.start()

    def rpc(self, method: str, *params: Any) -> Any:
        """Return the result of a call; raises RpcFaultError with the node's words."""
        body = json.dumps({"id": 0, "method": method, "params": params}, default=str).encode()
        credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}", body, {"Authorization": f"Basic {credentials}"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as response:
                answer = json.loads(response.read(), parse_float=Decimal)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise RpcFaultError(f"HTTP {error.code}") from None
                answer = json.loads(error.read())
        if answer["error"] is not None:
            raise RpcFaultError(answer["error"]["message"])
        return answer["result"]


class Litecoind(Node):
    """A litecoind with a wallet that has coin, unless without `has_coin` it is given other blocks.

    MWEB is switched off unless `has_mweb`: with it, regtest needs a peg-in to get past block 431.
    """

    def __init__(
        self, program: Path, folder: Path, *, has_mweb: bool = False, has_coin: bool = True
    ) -> None:
        super().__init__(folder)
        self.program = program
        self.has_mweb = has_mweb
        self.start()
        if has_coin:
            self.rpc("createwallet", WALLET)
            self.mine(FIRST_BLOCKS)

    def command(self) -> Sequence[str | Path]:
        """Return how the node is started on `port`."""
        flags = [
            "-regtest",
            f"-datadir={self.folder}",
            "-server",
            "-listen=0",
            "-dnsseed=0",
            "-fallbackfee=0.0002",
            "-rpcbind=127.0.0.1",
            "-rpcallowip=127.0.0.1",
            f"-rpcport={self.port}",
            f"-rpcuser={USER}",
            f"-rpcpassword={PASSWORD}",
            "-txindex=1",
            "-mempoolreplacement=1",
        ]
        if not self.has_mweb:
            flags.append("-vbparams=mweb:0:0")
        return [self.program, *flags]

    def restart(self) -> None:
        """Stop the node and start it again on the same chain; its address changes."""
        super().restart()
        self.rpc("loadwallet", WALLET)

    def new_address(self, kind: str = "bech32") -> str:
        """Return an address of the node's own wallet: bech32, p2sh-segwit, legacy or mweb."""
        return str(self.rpc("getnewaddress", "", kind))

    def send(self, address: str, amount: Decimal, *, is_replaceable: bool = False) -> str:
        """Pay an amount of coins and return the txid."""
        no_words = ("", "")
        fee_from_amount = False
        answer = self.rpc(
            "sendtoaddress", address, amount, *no_words, fee_from_amount, is_replaceable
        )
        return str(answer)

    def bump(self, txid: str) -> str:
        """Replace a transaction by one that pays more fee, and return its txid."""
        return str(self.rpc("bumpfee", txid)["txid"])

    def branch(self, parent: str, count: int, *transactions: str) -> list[str]:
        """Mine a branch after a block; signed transactions are in its first block, no others."""
        height = self.rpc("getblockheader", parent)["height"]
        first = self.rpc("getblockhash", height + 1)
        self.invalidate(first)
        hashes = [self.mine_only(*transactions), *(self.mine_only() for _ in range(count - 1))]
        self.reconsider(first)
        return hashes

    def rival(self, txid: str, address: str, amount: Decimal) -> str:
        """Return a signed transaction that spends the coins of another one, and pays more fee.

        It is not sent. What is left of the coins goes back to the node's wallet.
        """
        spent = [
            {"txid": each["txid"], "vout": each["vout"]}
            for each in self.rpc("getrawtransaction", txid, 1)["vin"]
        ]
        coins = []
        for each in spent:
            output = self.rpc("getrawtransaction", each["txid"], 1)["vout"][each["vout"]]
            script = output["scriptPubKey"]["hex"]
            coins.append(each | {"scriptPubKey": script, "amount": output["value"]})
        left = sum(coin["amount"] for coin in coins) - amount - RIVAL_FEE
        paid = {address: amount, self.new_address(): left}
        unsigned = self.rpc("createrawtransaction", spent, paid)
        signed: dict[str, str] = self.rpc("signrawtransactionwithwallet", unsigned, coins)
        return signed["hex"]

    def invalidate(self, block_hash: str) -> None:
        """Make the node give up a block and all that follow it."""
        self.rpc("invalidateblock", block_hash)

    def reconsider(self, block_hash: str) -> None:
        """Make the node take back what `invalidate` took away."""
        self.rpc("reconsiderblock", block_hash)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
