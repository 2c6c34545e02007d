import copy
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from counterfoil.chains.utxo import UtxoChain
from counterfoil.core.errors import NodeError
from tests.chains.core_answers import ABSENT, P2WPKH, block, hash_of, tip, unconfirmed
from tests.chains.rpc_server import FaultError, RpcServer, http

WRONG_BLOCKS: dict[str, Callable[[Any], object]] = {
    "another block": lambda b: b.update(hash=hash_of(101)),
    "no hash": lambda b: b.pop("hash"),
    "a negative height": lambda b: b.update(height=-1),
    "height 0": lambda b: b.update(height=0),
    "a height that is true": lambda b: b.update(height=True),
    "a height with a point": lambda b: b.update(height=50.0),
    "a height beyond bounds": lambda b: b.update(height=1 << 31),
    "no parent": lambda b: b.pop("previousblockhash"),
    "a parent in upper case": lambda b: b.update(previousblockhash="AB" * 32),
    "a time of words": lambda b: b.update(time="now"),
    "a time in milliseconds": lambda b: b.update(time=1_700_000_150_000),
    "txids alone": lambda b: b.update(tx=[hash_of(1)]),
    "no transactions": lambda b: b.pop("tx"),
    "a transaction twice": lambda b: b["tx"].append(b["tx"][0]),
    "a short txid": lambda b: b["tx"][1].update(txid="00"),
    "no inputs": lambda b: b["tx"][1].pop("vin"),
    "an input of nothing": lambda b: b["tx"][1]["vin"].append({}),
    "an input with a short txid": lambda b: b["tx"][1]["vin"][0].update(txid="ff"),
    "an input with a negative index": lambda b: b["tx"][1]["vin"][0].update(vout=-1),
    "an output number twice": lambda b: b["tx"][1]["vout"][1].update(n=0),
    "an output number of text": lambda b: b["tx"][1]["vout"][1].update(n="1"),
    "no amount": lambda b: b["tx"][1]["vout"][1].pop("value"),
    "an amount of text": lambda b: b["tx"][1]["vout"][1].update(value="1.0"),
    "a negative amount": lambda b: b["tx"][1]["vout"][1].update(value=-0.1),
    "a ninth decimal": lambda b: b["tx"][1]["vout"][1].update(value=0.000000001),
    "more than there is": lambda b: b["tx"][1]["vout"][1].update(value=84000000.00000001),
    "an amount of true": lambda b: b["tx"][1]["vout"][1].update(value=True),
    "an amount that is infinite": lambda b: b["tx"][1]["vout"][1].update(value=float("inf")),
    "an amount that is none": lambda b: b["tx"][1]["vout"][1].update(value=float("nan")),
    "an integer amount beyond bounds": lambda b: b["tx"][1]["vout"][1].update(value=10**60),
    "no script": lambda b: b["tx"][1]["vout"][1].pop("scriptPubKey"),
    "a script that is text": lambda b: b["tx"][1]["vout"][1].update(scriptPubKey=P2WPKH),
    "a script without hex": lambda b: b["tx"][1]["vout"][1]["scriptPubKey"].pop("hex"),
    "half a byte": lambda b: b["tx"][1]["vout"][1]["scriptPubKey"].update(hex=P2WPKH[:-1]),
    "hex with blanks": lambda b: b["tx"][1]["vout"][1]["scriptPubKey"].update(hex="00 14"),
    "hex in upper case": lambda b: b["tx"][1]["vout"][1]["scriptPubKey"].update(hex="AB"),
    "hex with a line end": lambda b: b["tx"][1]["vout"][1]["scriptPubKey"].update(hex="ab\n"),
}


@pytest.mark.parametrize("spoil", WRONG_BLOCKS.values(), ids=WRONG_BLOCKS)
async def test_a_wrong_block_is_a_node_error(
    chain: UtxoChain, server: RpcServer, spoil: Callable[[Any], object]
) -> None:
    wrong = block()
    spoil(wrong)
    server.answers["getblock"] = wrong
    with pytest.raises(NodeError):
        await chain.block(hash_of(100))


@pytest.mark.parametrize("number", [b"1e-99999999", b"1e99999999", b"0e99999999", b"-0e-99999999"])
async def test_a_hostile_exponent_is_refused_at_once(
    chain: UtxoChain, server: RpcServer, number: bytes
) -> None:
    body = (
        b'{"id": 0, "error": null, "result": {"hash": "%b", "height": 5, "time": 1,'
        b' "previousblockhash": "%b", "tx": [{"txid": "%b", "vin": [], "vout":'
        b' [{"n": 0, "value": %b, "scriptPubKey": {"hex": "00"}}]}]}}'
    )
    texts = [hash_of(each).encode() for each in (100, 99, 1)]
    server.raw = http(body % (*texts, number))
    with pytest.raises(NodeError, match="amount"):
        await chain.block(hash_of(100))


WRONG_MEMPOOLS: list[tuple[object, object]] = [
    ({}, ABSENT),
    ([1], ABSENT),
    (["00"], ABSENT),
    ([hash_of(1)], None),
    ([hash_of(1)], "0200"),
    ([hash_of(1)], FaultError(-1, "oops")),
    ([hash_of(1)], unconfirmed(hash_of(2))),
    ([hash_of(1)], unconfirmed(hash_of(1)) | {"vout": None}),
]


@pytest.mark.parametrize(("listed", "answer"), WRONG_MEMPOOLS)
async def test_a_wrong_mempool_is_a_node_error(
    chain: UtxoChain, server: RpcServer, listed: object, answer: object
) -> None:
    info = {"loaded": True}
    server.answers = {
        "getrawmempool": listed,
        "getmempoolinfo": info,
        "getrawtransaction": answer,
    }
    with pytest.raises(NodeError):
        await chain.mempool([], [])


# --- anything at all ---------------------------------------------------------------------------

JUNK: list[object] = [None, True, -1, 1 << 70, 0.5, 1e300, "", "zz", "\x00", [], [[]], {}, {"a": 1}]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key) in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def spoiled(answer: Any) -> Iterator[Any]:
    """Yield an answer with each of its parts in turn replaced by junk, and with it left out."""
    for number, _ in enumerate(places(answer)):
        for junk in JUNK:
            wrong = copy.deepcopy(answer)
            container, key = list(places(wrong))[number]
            container[key] = copy.deepcopy(junk)
            yield wrong
        wrong = copy.deepcopy(answer)
        container, key = list(places(wrong))[number]
        del container[key]
        yield wrong


async def survives(ask: Callable[[], Awaitable[object]]) -> bool:
    """Ask, and return whether the answer was believed; nothing but NodeError may be raised."""
    try:
        await ask()
    except NodeError:
        return False
    return True


async def test_junk_anywhere_is_a_node_error_or_harmless(
    chain: UtxoChain, server: RpcServer
) -> None:
    mempool = {
        "getrawmempool": [hash_of(1)],
        "getmempoolinfo": {"loaded": True},
        "getrawtransaction": unconfirmed(hash_of(1)),
    }
    cases: list[tuple[Any, Callable[[], Awaitable[object]]]] = [
        (tip(), chain.head),
        ({"getblock": block()}, lambda: chain.block(hash_of(100))),
        (mempool, lambda: chain.mempool([], [])),
    ]
    for answers, ask in cases:
        outcomes = set()
        for wrong in spoiled(answers):
            server.answers = wrong
            outcomes.add(await survives(ask))
        # Junk in a part that nobody reads is believed, junk in any other is not.
        assert outcomes == {True, False}
