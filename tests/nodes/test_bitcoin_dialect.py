"""The facade's HTTP and JSON, held against a litecoind, which has them from Bitcoin Core."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.nodes.bitcoin_kernel.node import KernelNode
from tests.nodes.litecoind import PASSWORD, USER, Litecoind, Node

pytestmark = pytest.mark.node

UNKNOWN = "ab" * 32
# What Bitcoin Core has added or changed since it was the model of litecoind 0.21.
NEWER = (
    "getblockchaininfo.result.bits",
    "getblockchaininfo.result.time",
    "getblockchaininfo.result.warnings",
    "scantxoutset.result.unspents[].coinbase",
    "scriptPubKey.address",
)

Post = Callable[..., httpx2.Response]


@pytest.fixture
def post() -> Iterator[Post]:
    """What sends one HTTP request to a node, as it is."""
    with httpx2.Client(trust_env=False) as client:

        def post(node: Node, body: bytes | object, password: str = PASSWORD) -> httpx2.Response:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            url = f"http://127.0.0.1:{node.port}"
            return client.post(url, content=content, auth=(USER, password))

        yield post


def asks(node: Node) -> list[tuple[str, list[Any]]]:
    """Return calls that succeed, and calls that fail, with what this node knows."""
    [block] = node.mine(1)
    tx = node.rpc("getblock", block, 2)["tx"][0]
    waiting = node.send(node.new_address(), Decimal(1))
    script = f"raw({tx['vout'][0]['scriptPubKey']['hex']})"
    return [
        ("getblockchaininfo", []),
        ("uptime", []),
        ("getblockcount", []),
        ("getbestblockhash", []),
        ("getblockhash", [1]),
        ("getblockhash", [1_000_000]),
        ("getblockhash", [-1]),
        ("getblockheader", [block]),
        ("getblockheader", [UNKNOWN]),
        ("getblock", [block]),
        ("getblock", [block, 2]),
        ("getblock", [UNKNOWN, 2]),
        ("getrawmempool", []),
        ("getmempoolinfo", []),
        ("getnettotals", []),
        ("getnetworkinfo", []),
        ("getmempoolentry", [waiting]),
        ("getmempoolentry", [UNKNOWN]),
        ("getrawtransaction", [waiting, True]),
        ("getrawtransaction", [waiting]),
        ("getrawtransaction", [tx["txid"], True]),
        ("getrawtransaction", [UNKNOWN, True]),
        ("sendrawtransaction", ["00"]),
        ("sendrawtransaction", [tx["hex"]]),
        ("scantxoutset", ["start", [script]]),
        ("scantxoutset", ["status"]),
        ("nosuchmethod", []),
    ]


def shape(value: object) -> object:
    """Return the kinds of values in an answer, by their names."""
    match value:
        case dict():
            return {key: shape(each) for key, each in value.items()}
        case list():
            return [shape(value[0])] if value else []
        case Decimal():
            return "number with decimals"
    return type(value).__name__


def lacking(ours: object, theirs: object, where: str) -> list[str]:
    """Return the parts of our answer that theirs has not, or has otherwise."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        parts = [lacking(each, theirs.get(key), f"{where}.{key}") for key, each in ours.items()]
        return [part for found in parts for part in found]
    if isinstance(ours, list) and isinstance(theirs, list) and ours and theirs:
        return lacking(ours[0], theirs[0], f"{where}[]")
    return [] if ours == theirs or where.endswith(NEWER) else [f"{where}: {ours}, not {theirs}"]


def test_the_answers_are_those_of_a_core_node(
    post: Post, bitcoin_kernel: KernelNode, litecoind: Litecoind
) -> None:
    differences = []
    pairs = zip(asks(bitcoin_kernel), asks(litecoind), strict=True)
    for (method, ours), (_, theirs) in pairs:
        answers = []
        for node, params in ((bitcoin_kernel, ours), (litecoind, theirs)):
            response = post(node, {"id": 7, "method": method, "params": params})
            body = json.loads(response.text, parse_float=Decimal)
            code = (body["error"] or {}).get("code")
            answers.append((response.status_code, code, shape(body)))
        (status, code, told), (their_status, their_code, their_told) = answers
        if (status, code) != (their_status, their_code):
            differences.append(f"{method}: {status} {code}, not {their_status} {their_code}")
        differences += lacking(told, their_told, method)
    assert differences == []
    bitcoin_kernel.mine(1)
    litecoind.mine(1)


def test_json_rpc_2_has_its_errors_under_http_200(post: Post, bitcoin_kernel: KernelNode) -> None:
    for method, params, code in (
        ("getblockhash", [1_000_000], -8),
        ("getblock", [UNKNOWN], -5),
        ("nosuchmethod", [], -32601),
    ):
        call = {"jsonrpc": "2.0", "id": "a", "method": method, "params": params}
        answer = post(bitcoin_kernel, call)
        assert answer.status_code == 200
        body = answer.json()
        assert (body["jsonrpc"], body["id"], body["error"]["code"]) == ("2.0", "a", code)
        assert "result" not in body
    told = post(bitcoin_kernel, {"jsonrpc": "2.0", "id": 1, "method": "getblockcount"})
    assert told.json().keys() == {"jsonrpc", "id", "result"}


def test_a_batch_is_answered_in_one_list(post: Post, bitcoin_kernel: KernelNode) -> None:
    calls: list[dict[str, Any]] = [
        {"id": 0, "method": "getblockhash", "params": [1_000_000]},
        {"id": 1, "method": "getblockcount", "params": []},
    ]
    answer = post(bitcoin_kernel, calls)
    assert answer.status_code == 200
    first, second = answer.json()
    assert (first["id"], first["error"]["code"]) == (0, -8)
    assert (second["id"], second["error"]) == (1, None)
    assert isinstance(second["result"], int)
    assert post(bitcoin_kernel, []).json() == []


def test_strangers_are_sent_away(
    post: Post, bitcoin_kernel: KernelNode, litecoind: Litecoind
) -> None:
    for node in (bitcoin_kernel, litecoind):
        answer = post(node, {"id": 1, "method": "uptime", "params": []}, password="wrong")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="jsonrpc"'
        assert answer.content == b""


def test_what_is_no_json_is_an_error(
    post: Post, bitcoin_kernel: KernelNode, litecoind: Litecoind
) -> None:
    for node in (bitcoin_kernel, litecoind):
        answer = post(node, b"{")
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, -32700)
