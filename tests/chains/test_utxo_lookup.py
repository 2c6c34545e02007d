"""Looking a transaction up: in the mempool, by the index, by its unspent coin, or not at all."""

from typing import Any

import pytest

from counterfoil.chains.utxo import UtxoChain
from counterfoil.core.errors import NodeError
from counterfoil.core.ports import Sighting
from tests.chains.core_answers import ABSENT, P2WPKH, block, hash_of, unconfirmed
from tests.chains.rpc_server import FaultError, RpcServer

UNKNOWN = Sighting(None, None, is_whole=True)
NO_METHOD = FaultError(-32601, "Method not found")
INDEX = {"txindex": {"synced": True, "best_block_height": 60}}
HEADER = {"hash": hash_of(100), "height": 50, "confirmations": 11}


def told(**extra: Any) -> dict[str, Any]:
    return unconfirmed(hash_of(2)) | extra


def coin(confirmations: int = 11) -> dict[str, Any]:
    return {"bestblock": hash_of(110), "confirmations": confirmations, "value": 1}


def without_index(coins: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return a node that knows unspent coin and no transaction by its id."""
    return {
        "getrawtransaction": ABSENT,
        "gettxout": lambda _txid, n, _with_mempool: coins.get(n),
        "getblockheader": {"hash": hash_of(110), "height": 60, "confirmations": 1},
        "getblockhash": hash_of(100),
        "getblock": block(),
        "getindexinfo": {},
    }


async def test_an_unconfirmed_one(chain: UtxoChain, server: RpcServer) -> None:
    server.answers = {"getrawtransaction": told()}
    found = await chain.transaction(hash_of(2).upper())
    assert found.transaction is not None
    assert (found.transaction.txid, found.height) == (hash_of(2), None)
    assert server.requests[-1]["params"] == [hash_of(2), True]


async def test_one_that_pays_out_of_mweb(chain: UtxoChain, server: RpcServer) -> None:
    """It is not in any block by this id, and whoever asks for it is told whom it pays."""
    paid = {"value": 2.5, "scriptPubKey": {"hex": P2WPKH, "type": "witness_v0_keyhash"}}
    kernels = [{"kernel_id": hash_of(9), "fee": 0.0001}, {"pegout": [paid, paid | {"value": 1}]}]
    hidden = {"vin": [{"output_id": hash_of(8)}], "vout": [], "vkern": kernels}
    server.answers = {"getrawtransaction": told(**hidden)}
    found = (await chain.transaction(hash_of(2))).transaction
    assert found is not None
    assert [each.amount_atomic for each in found.transfers] == [250_000_000, 100_000_000]
    assert {each.destination.hex() for each in found.transfers} == {P2WPKH}
    junk: list[Any] = [{}, [1], [{"pegout": {}}], [{"pegout": [{"value": 1}]}]]
    for wrong in junk:
        server.answers = {"getrawtransaction": told(**(hidden | {"vkern": wrong}))}
        with pytest.raises(NodeError):
            await chain.transaction(hash_of(2))


async def test_a_mined_one_by_the_index(chain: UtxoChain, server: RpcServer) -> None:
    server.answers = {
        "getrawtransaction": told(blockhash=hash_of(100)),
        "getblockheader": HEADER,
    }
    found = await chain.transaction(hash_of(2))
    assert found.transaction is not None
    assert found.height == 50


async def test_one_of_a_branch_that_lost_is_not_known(chain: UtxoChain, server: RpcServer) -> None:
    server.answers = {
        "getrawtransaction": told(blockhash=hash_of(100)),
        "getblockheader": HEADER | {"confirmations": -1},
        "gettxout": None,
        "getindexinfo": INDEX,
    }
    assert await chain.transaction(hash_of(2)) == UNKNOWN


async def test_a_mined_one_without_an_index_by_its_unspent_coin(
    chain: UtxoChain, server: RpcServer
) -> None:
    server.answers = without_index({1: coin(), 2: coin()})
    server.answers["getblockhash"] = lambda height: {50: hash_of(100)}[height]
    found = await chain.transaction(hash_of(2))
    assert found.transaction is not None
    assert (found.transaction.txid, found.height) == (hash_of(2), 50)
    assert [transfer.index for transfer in found.transaction.transfers] == [0, 1]


async def test_one_that_is_spent_needs_an_index(chain: UtxoChain, server: RpcServer) -> None:
    server.answers = without_index({})
    assert await chain.transaction(hash_of(2)) == Sighting(None, None, is_whole=False)


@pytest.mark.parametrize(
    ("index", "is_whole"),
    [(INDEX, True), ({"txindex": {"synced": False}}, False), ({}, False), (NO_METHOD, False)],
)
async def test_one_that_the_node_does_not_know(
    chain: UtxoChain, server: RpcServer, index: object, *, is_whole: bool
) -> None:
    server.answers = {"getrawtransaction": ABSENT, "gettxout": None, "getindexinfo": index}
    assert await chain.transaction(hash_of(2)) == Sighting(None, None, is_whole)


async def test_a_node_without_that_call(chain: UtxoChain, server: RpcServer) -> None:
    server.answers = {"getrawtransaction": ABSENT, "getindexinfo": INDEX}
    assert await chain.transaction(hash_of(2)) == UNKNOWN


@pytest.mark.parametrize("text", ["", "12", "g" * 64, "ab" * 33, "é" * 64])
async def test_what_can_be_no_id_is_not_asked_for(
    chain: UtxoChain, server: RpcServer, text: str
) -> None:
    assert await chain.transaction(text) == UNKNOWN
    assert server.requests == []


async def test_a_chain_that_changes_meanwhile_is_unknown(
    chain: UtxoChain, server: RpcServer
) -> None:
    server.answers = without_index({0: coin()})
    with pytest.raises(NodeError, match="changed its chain"):
        await chain.transaction(hash_of(55))


@pytest.mark.parametrize(
    "answers",
    [
        {"getrawtransaction": []},
        {"getrawtransaction": unconfirmed(hash_of(3))},
        {"getrawtransaction": FaultError(-1, "busy")},
        {"getrawtransaction": told(blockhash=7)},
        {"getrawtransaction": told(blockhash=hash_of(9)), "getblockheader": {"height": "7"}},
        without_index({0: {"confirmations": -1, "bestblock": hash_of(110)}}),
        without_index({0: {"confirmations": 1, "bestblock": 5}}),
        without_index({}) | {"getindexinfo": []},
        without_index({}) | {"getindexinfo": {"txindex": {"synced": "yes"}}},
        without_index({}) | {"gettxout": "coin"},
    ],
)
async def test_a_wrong_answer_is_an_error(
    chain: UtxoChain, server: RpcServer, answers: dict[str, Any]
) -> None:
    server.answers = answers
    with pytest.raises(NodeError):
        await chain.transaction(hash_of(2))
