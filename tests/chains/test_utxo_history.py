"""The look for used addresses, against a node that answers what a test tells it to."""

import asyncio
import json
from typing import Any

import pytest

from counterfoil.chains import utxo_history
from counterfoil.chains.litecoin import litecoin
from counterfoil.chains.utxo import UtxoChain
from counterfoil.core.errors import NodeError
from counterfoil.core.ports import History
from tests.chains.core_answers import hash_of, output
from tests.chains.rpc_server import FaultError, RpcServer
from tests.house import ROOT

VECTORS = ROOT / "tests" / "vectors" / "litecoin" / "wallets.json"
WALLET: str = json.loads(VECTORS.read_text(encoding="utf-8"))["regtest"][0]["canonical"]
SYNCED = {"basic block filter index": {"synced": True, "best_block_height": 7}}


class Node:
    """What a node has: unspent coin on some addresses, and, if it keeps filters, old blocks."""

    def __init__(self, chain: UtxoChain, server: RpcServer) -> None:
        self.chain = chain
        self.server = server
        server.answers["scantxoutset"] = self.scan_coin
        self.unspent: set[str] = set()
        self.rounds: list[int] = []

    def script(self, index: int) -> str:
        return self.chain.derive(WALLET, index).key.hex()

    def scan_coin(self, action: str, objects: Any = None) -> Any:
        if action == "status":
            return {"progress": 50}
        scripts = [each.removeprefix("raw(").removesuffix(")") for each in objects]
        self.rounds.append(len(scripts))
        found = [{"scriptPubKey": each} for each in scripts if each in self.unspent]
        return {"success": True, "unspents": found}

    def keep_filters(self, *spent: int) -> None:
        """Let it have paid to some addresses that hold nothing now, a block each."""
        blocks = {hash_of(100 + index): index for index in spent}
        scripts = {hash_of(100 + index): self.script(index) for index in spent}

        def scan_blocks(action: str, objects: Any = (), *_: Any) -> Any:
            if action == "status":
                return None
            relevant = [each for each, script in scripts.items() if f"raw({script})" in objects]
            return {
                "from_height": 0,
                "to_height": 7,
                "relevant_blocks": relevant,
                "completed": True,
            }

        def block(block_hash: str, _verbosity: int) -> Any:
            outputs = [output(0, 1, scripts[block_hash]), output(1, 1, "00" * 22)]
            return {
                "hash": block_hash,
                "height": blocks[block_hash] + 1,
                "previousblockhash": hash_of(1),
                "time": 1_700_000_000,
                "tx": [{"txid": hash_of(2), "vin": [{"coinbase": "00"}], "vout": outputs}],
            }

        answers = {"scanblocks": scan_blocks, "getindexinfo": SYNCED, "getblock": block}
        self.server.answers |= answers


@pytest.fixture
def node(chain: UtxoChain, server: RpcServer) -> Node:
    return Node(chain, server)


async def look(chain: UtxoChain, start: int = 0) -> History:
    return await chain.history(WALLET, start, lambda _percent: None)


@pytest.mark.parametrize(
    ("used", "start", "next_index"),
    [
        ([], 0, 0),
        ([], 7, 7),
        ([0], 0, 1),
        ([0, 3, 5], 0, 6),
        # Below where the look begins nothing is asked for.
        ([3], 5, 5),
        # Too little of the round is left to be sure.
        ([90, 105], 0, 106),
        # Further than any wallet looks ahead.
        ([70, 105], 0, 71),
    ],
)
async def test_the_next_index_follows_the_last_that_was_used(
    chain: UtxoChain, node: Node, used: list[int], start: int, next_index: int
) -> None:
    node.unspent = {node.script(index) for index in used}
    assert await look(chain, start) == History(next_index, is_whole=False)


async def test_the_rounds_grow(chain: UtxoChain, node: Node) -> None:
    node.unspent = {node.script(index) for index in (99, 299)}
    assert (await look(chain)).next_index == 300
    assert node.rounds == [100, 200, 400]


async def test_a_node_with_filters_knows_what_was_spent(chain: UtxoChain, node: Node) -> None:
    node.keep_filters(0, 4, 12)
    node.unspent = {node.script(9)}
    assert await look(chain) == History(13, is_whole=True)
    (scan,) = [each for each in node.server.requests if each["params"][:1] == ["start"]][1:]
    assert scan["method"] == "scanblocks"
    assert scan["params"][2:] == [0, None, "basic", {"filter_false_positives": True}]


@pytest.mark.parametrize(
    "answers",
    [
        {"getindexinfo": SYNCED},
        {"scanblocks": None},
        {"scanblocks": None, "getindexinfo": {}},
        {"scanblocks": None, "getindexinfo": {"basic block filter index": {"synced": False}}},
    ],
)
async def test_a_node_without_filters_is_not_asked_for_them(
    chain: UtxoChain, node: Node, answers: Any
) -> None:
    node.server.answers |= answers
    assert await look(chain) == History(0, is_whole=False)


async def test_a_scan_that_takes_long_tells_how_far_it_is(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utxo_history, "TELL_EVERY_S", 0.01)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            request = json.loads(await reader.readexactly(length))
            if request["params"][:1] == ["start"]:
                await ended.wait()
            writer.write(node.server.response(request))

    slow = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = slow.sockets[0].getsockname()[1]
    chain = litecoin("regtest", f"http://user:password@127.0.0.1:{port}", None, None)
    told: list[int] = []

    def tell(percent: int) -> None:
        told.append(percent)
        if len(told) == 3:
            ended.set()

    assert await chain.history(WALLET, 0, tell) == History(0, is_whole=False)
    assert told[:3] == [50, 50, 50]
    await chain.close()
    slow.close()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"success": False, "unspents": []},
        {"success": 1, "unspents": []},
        {"success": True},
        {"success": True, "unspents": {}},
        {"success": True, "unspents": [1]},
        {"success": True, "unspents": [{}]},
        {"success": True, "unspents": [{"scriptPubKey": "zz"}]},
        {"success": True, "unspents": [{"scriptPubKey": {"hex": "00"}}]},
        # Coin that was not asked for.
        {"success": True, "unspents": [{"scriptPubKey": "0014" + "00" * 20}]},
        FaultError(-8, 'Scan already in progress, use action "abort" or "status"'),
        FaultError(-32601, "Method not found"),
    ],
)
async def test_a_wrong_answer_is_a_node_error(chain: UtxoChain, node: Node, answer: Any) -> None:
    node.server.answers["scantxoutset"] = answer
    with pytest.raises(NodeError):
        await look(chain)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scanblocks": "yes"},
        {"scanblocks": {"completed": False, "relevant_blocks": []}},
        {"scanblocks": {"completed": True, "relevant_blocks": [1]}},
        {"scanblocks": {"completed": True}},
        {"getblock": FaultError(-5, "Block not found")},
        {"getblock": FaultError(-1, "Block not available (pruned data)")},
        {"getindexinfo": []},
        {"getindexinfo": {"basic block filter index": {"synced": "yes"}}},
    ],
)
async def test_a_wrong_answer_about_blocks_is_a_node_error(
    chain: UtxoChain, node: Node, wrong: Any
) -> None:
    node.keep_filters(3)
    node.server.answers |= wrong
    with pytest.raises(NodeError):
        await look(chain)


async def test_a_node_that_has_used_everything_is_not_believed(
    chain: UtxoChain, server: RpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utxo_history, "ADDRESSES_MAX", 500)

    def all_of_them(_action: str, objects: list[str]) -> Any:
        scripts = [each.removeprefix("raw(").removesuffix(")") for each in objects]
        return {"success": True, "unspents": [{"scriptPubKey": each} for each in scripts]}

    server.answers["scantxoutset"] = all_of_them
    with pytest.raises(NodeError, match="more than 500"):
        await look(chain)


async def test_a_node_that_never_answers_is_given_up(
    chain: UtxoChain, server: RpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(utxo_history, "TIMEOUT_S", 0.2)
    server.raw = b""
    server.is_stalling = True
    with pytest.raises(NodeError, match=r"within 0\.2 s"):
        await look(chain)
