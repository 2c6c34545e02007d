import pytest

from counterfoil.chains import utxo
from counterfoil.chains.litecoin import LTC, REGTEST, litecoin
from counterfoil.chains.utxo import UtxoChain
from counterfoil.core.errors import NodeError
from counterfoil.core.ports import Block, Chain, Head, Mempool, Transaction, Transfer
from tests.chains.core_answers import (
    ABSENT,
    P2TR,
    P2WPKH,
    block,
    hash_of,
    listed,
    tip,
    unconfirmed,
)
from tests.chains.rpc_server import FaultError, RpcServer


def test_it_is_a_chain(chain: UtxoChain) -> None:
    port: Chain = chain
    assert (port.name, port.network, port.genesis) == ("litecoin", REGTEST.caip2, REGTEST.genesis)
    assert (port.methods, port.confirmations, port.block_interval_s) == (
        (LTC,),
        REGTEST.confirmations,
        None,
    )


# --- the tip ----------------------------------------------------------------------------------


async def test_the_head_is_the_tip_of_the_node(chain: UtxoChain, server: RpcServer) -> None:
    server.answers = tip()
    assert await chain.head() == Head(
        height=7,
        hash=hash_of(7),
        mined_at=1_700_000_000_000,
        is_synced=True,
        node_up_s=900,
    )
    assert server.requests[-1]["params"] == [hash_of(7)]


@pytest.mark.parametrize(
    ("fact", "is_synced"),
    [
        ({"headers": 10}, False),
        ({"headers": 9}, True),
        ({"initialblockdownload": True}, False),
        ({"headers": 6}, True),
    ],
)
async def test_a_node_that_lacks_blocks_is_not_synced(
    chain: UtxoChain, server: RpcServer, fact: dict[str, object], *, is_synced: bool
) -> None:
    server.answers = tip()
    server.answers["getblockchaininfo"].update(fact)
    assert (await chain.head()).is_synced is is_synced


@pytest.mark.parametrize(("headers", "may_lag"), [(9, True), (8, True), (7, False)])
async def test_a_block_that_is_announced_is_awaited(
    chain: UtxoChain, server: RpcServer, headers: int, *, may_lag: bool
) -> None:
    """Its header comes a moment before the block, which is no reason to call a node unsynced."""
    server.answers = tip()
    server.answers["getblockchaininfo"]["headers"] = headers
    head = await chain.head()
    assert (head.is_synced, head.may_lag) == (True, may_lag)


async def test_a_node_that_takes_in_no_transactions_is_in_trouble(
    chain: UtxoChain, server: RpcServer
) -> None:
    server.answers = tip()
    server.answers["getnetworkinfo"]["localrelay"] = False
    assert "blocksonly=1" in ((await chain.head()).trouble or "")


async def test_a_node_that_hears_nobody_is_in_trouble(server: RpcServer) -> None:
    """It answers as ever, and knows nothing of what is paid and mined meanwhile."""
    chain = litecoin("mainnet", server.url("user:password@"))
    server.answers = tip()
    totals = server.answers["getnettotals"]

    async def after(seconds: int, received: int) -> str | None:
        totals["timemillis"] += seconds * 1_000
        totals["totalbytesrecv"] += received
        head = await chain.head()
        return "may lag" if head.may_lag else head.trouble

    # How long it had been silent before is not known.
    assert await after(0, 0) == "may lag"
    assert await after(5, 1) is None
    assert await after(90, 0) is None
    assert await after(90, 0) is None
    assert "has heard nothing from any other node for 4 minutes" in (await after(60, 0) or "")
    # The first byte after that is not yet a block.
    assert "hears other nodes again" in (await after(60, 1) or "")
    assert "hears other nodes again" in (await after(119, 1) or "")
    assert await after(1, 1) is None
    assert await after(180, 0) is None
    # Another process has watched meanwhile.
    assert await after(3_600, 0) == "may lag"
    assert await after(1, 1) is None
    server.answers["uptime"] = 119
    assert "was started a moment ago" in (await after(1, 1) or "")
    server.answers["uptime"] = 120
    assert await after(1, 1) is None
    await chain.close()


@pytest.mark.parametrize(
    "refusal", [FaultError(-32601, "Method not found"), FaultError(-1, "no"), ABSENT, {}, 403]
)
async def test_a_node_that_keeps_to_itself_whom_it_hears_is_believed(
    server: RpcServer, refusal: object
) -> None:
    """One that others keep answers of the chain alone, or one of ours by its whitelist."""
    chain = litecoin("mainnet", server.url("user:password@"))
    server.answers = tip() | listed()
    kept = ("getnettotals", "getnetworkinfo", "getmempoolinfo")
    if refusal == 403:
        server.refused = frozenset(kept)
    else:
        server.answers |= dict.fromkeys(kept, refusal)
    head = await chain.head()
    assert (head.trouble, head.may_lag) == (None, False)
    assert (await chain.mempool([], [])).is_complete
    await chain.close()


async def test_where_blocks_come_on_demand_nobody_need_be_heard(
    chain: UtxoChain, server: RpcServer
) -> None:
    server.answers = tip()
    server.answers["uptime"] = 1
    assert (await chain.head()).trouble is None
    server.answers["getnettotals"]["timemillis"] += 3_600_000
    assert (await chain.head()).trouble is None


async def test_a_pruned_block_is_told_with_what_to_do(chain: UtxoChain, server: RpcServer) -> None:
    server.answers["getblock"] = FaultError(-1, "Block not available (pruned data)")
    with pytest.raises(
        NodeError, match=r"since it is pruned\. Let chains\.litecoin\.rpc be a node"
    ):
        await chain.block(hash_of(5))


@pytest.mark.parametrize("header", [{"hash": hash_of(8)}, {"height": 8}, {"height": "7"}])
async def test_the_header_must_be_that_of_the_tip(
    chain: UtxoChain, server: RpcServer, header: dict[str, object]
) -> None:
    server.answers = tip()
    server.answers["getblockheader"].update(header)
    with pytest.raises(NodeError, match="header is of another block"):
        await chain.head()


async def test_a_node_that_warms_up_is_a_node_error(chain: UtxoChain, server: RpcServer) -> None:
    server.answers = tip()
    server.answers["getblockchaininfo"] = FaultError(-28, "Loading block index...")
    with pytest.raises(NodeError, match="Loading block index"):
        await chain.head()


# --- hashes and blocks ------------------------------------------------------------------------


async def test_a_height_has_a_hash(chain: UtxoChain, server: RpcServer) -> None:
    server.answers["getblockhash"] = hash_of
    assert await chain.block_hash(12) == hash_of(12)


async def test_a_height_beyond_the_tip_has_none(chain: UtxoChain, server: RpcServer) -> None:
    server.answers["getblockhash"] = FaultError(-8, "Block height out of range")
    assert await chain.block_hash(12) is None


@pytest.mark.parametrize(
    "answer", [None, 12, "", "00", hash_of(1) + "0", hash_of(10).upper(), "g" * 64, [hash_of(1)]]
)
async def test_a_hash_of_another_shape_is_a_node_error(
    chain: UtxoChain, server: RpcServer, answer: object
) -> None:
    server.answers["getblockhash"] = answer
    with pytest.raises(NodeError):
        await chain.block_hash(12)


def transfer(index: int, amount_atomic: int, script: str = P2WPKH) -> Transfer:
    return Transfer(index, bytes.fromhex(script), "LTC", amount_atomic)


async def test_a_block_tells_what_it_pays_and_spends(chain: UtxoChain, server: RpcServer) -> None:
    server.answers["getblock"] = block()
    assert await chain.block(hash_of(100)) == Block(
        height=50,
        hash=hash_of(100),
        parent=hash_of(99),
        mined_at=1_700_000_150_000,
        transactions=(
            Transaction(hash_of(1), (transfer(0, 1_250_008_500),)),
            Transaction(
                hash_of(2),
                (transfer(0, 1, P2TR), transfer(1, 8_399_999_999_999_999)),
                (f"{hash_of(901)}:0", f"{hash_of(902)}:17"),
            ),
            Transaction(hash_of(3), (), (f"{hash_of(903)}:1",)),
            Transaction(hash_of(4), (transfer(1, 250_000_000),), (f"{hash_of(3)}:0",)),
        ),
    )
    assert server.requests[-1]["params"] == [hash_of(100), 2]


async def test_a_block_that_is_not_known_is_none(chain: UtxoChain, server: RpcServer) -> None:
    server.answers["getblock"] = FaultError(-5, "Block not found")
    assert await chain.block(hash_of(100)) is None


async def test_a_block_that_was_pruned_is_a_node_error(chain: UtxoChain, server: RpcServer) -> None:
    server.answers["getblock"] = FaultError(-1, "Block not available (pruned data)")
    with pytest.raises(NodeError, match="pruned"):
        await chain.block(hash_of(100))


async def test_the_genesis_block_has_no_parent(chain: UtxoChain, server: RpcServer) -> None:
    genesis = block() | {"hash": REGTEST.genesis, "height": 0}
    del genesis["previousblockhash"]
    server.answers["getblock"] = genesis
    found = await chain.block(REGTEST.genesis)
    assert found is not None
    assert (found.height, found.parent) == (0, "0" * 64)


# --- the mempool ------------------------------------------------------------------------------


def decoded(txid: str) -> Transaction:
    return Transaction(txid, (transfer(0, 25_000_000),), (f"{hash_of(901)}:0",))


async def test_the_mempool_decodes_what_is_not_known(chain: UtxoChain, server: RpcServer) -> None:
    known, new = hash_of(1), hash_of(2)
    server.answers |= listed(known, new)
    server.answers["getrawtransaction"] = lambda txid, _: unconfirmed(txid)
    assert await chain.mempool([known, hash_of(3)], [hash_of(4)]) == Mempool(
        txids=frozenset({known, new}), fresh=(decoded(new),), is_complete=True
    )
    assert server.requests[-1][0]["params"] == [new, True]


async def test_the_node_tells_since_when_it_has_had_what_waits(
    chain: UtxoChain, server: RpcServer
) -> None:
    one, gone = hash_of(1), hash_of(2)
    server.answers["getmempoolentry"] = lambda txid: (
        ABSENT if txid == gone else {"time": 1_700_000_123, "height": 7}
    )
    assert await chain.waiting_since([one, gone]) == {one: 1_700_000_123_000}
    assert await chain.waiting_since([]) == {}
    server.answers["getmempoolentry"] = lambda _: {"time": "yesterday"}
    with pytest.raises(NodeError, match="an entry's time"):
        await chain.waiting_since([one])


async def test_an_empty_mempool_is_one_question(chain: UtxoChain, server: RpcServer) -> None:
    server.answers |= listed()
    assert await chain.mempool([], []) == Mempool(frozenset(), (), is_complete=True)
    assert server.methods() == ["getmempoolinfo", "getrawmempool"]


async def test_a_mempool_that_is_still_read_from_disk_is_not_whole(
    chain: UtxoChain, server: RpcServer
) -> None:
    server.answers |= listed(hash_of(1))
    server.answers["getrawtransaction"] = lambda txid, _: unconfirmed(txid)
    server.answers["getmempoolinfo"] = {"loaded": False, "size": 1}
    assert await chain.mempool([], []) == Mempool(
        frozenset({hash_of(1)}), (decoded(hash_of(1)),), is_complete=False, is_loading=True
    )


async def test_what_vanishes_meanwhile_is_left_out(chain: UtxoChain, server: RpcServer) -> None:
    server.answers |= listed(hash_of(1), hash_of(2), hash_of(3))
    server.answers["getrawtransaction"] = lambda txid, _: (
        ABSENT if txid == hash_of(2) else unconfirmed(txid)
    )
    assert await chain.mempool([], []) == Mempool(
        txids=frozenset({hash_of(1), hash_of(3)}),
        fresh=(decoded(hash_of(1)), decoded(hash_of(3))),
        is_complete=True,
    )


async def test_one_look_takes_a_thousand(chain: UtxoChain, server: RpcServer) -> None:
    txids = [hash_of(number) for number in range(1, 1_202)]
    server.answers |= listed(*txids)
    server.answers["getrawtransaction"] = lambda txid, _: unconfirmed(txid)
    first = await chain.mempool([hash_of(1)], [])
    assert (len(first.fresh), first.is_complete) == (utxo.FRESH_LIMIT, False)
    assert first.txids == set(txids)
    assert max(len(request) for request in server.requests[1:]) == utxo.BATCH_SIZE
    known = {hash_of(1), *(transaction.txid for transaction in first.fresh)}
    second = await chain.mempool(known, [])
    assert (len(second.fresh), second.is_complete) == (200, True)


async def test_a_thousand_is_still_complete(chain: UtxoChain, server: RpcServer) -> None:
    server.answers |= listed(*(hash_of(number) for number in range(utxo.FRESH_LIMIT)))
    server.answers["getrawtransaction"] = lambda txid, _: unconfirmed(txid)
    assert (await chain.mempool([], [])).is_complete
