"""The client of the UTXO family against every node of it that the tests can start."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from counterfoil.chains.bitcoin import bitcoin
from counterfoil.chains.litecoin import litecoin
from counterfoil.chains.utxo import UtxoChain
from counterfoil.core.errors import NodeError
from counterfoil.core.ports import Destination, Sighting, Transfer
from tests.nodes.conftest import node_program
from tests.nodes.litecoind import PASSWORD, USER, Litecoind, Node

pytestmark = pytest.mark.node

OPEN = {"litecoind": litecoin, "bitcoin_kernel": bitcoin}


@pytest.fixture(params=[*OPEN])
def name(request: pytest.FixtureRequest) -> str:
    """The node that a test runs on."""
    name: str = request.param
    return name


@pytest.fixture
def node(name: str, request: pytest.FixtureRequest) -> Node:
    node: Node = request.getfixturevalue(name)
    return node


@pytest.fixture
async def chain(name: str, node: Node) -> AsyncIterator[UtxoChain]:
    made = OPEN[name]("regtest", node.url)
    yield made
    await made.close()


def shop(chain: UtxoChain, node: Node, kind: str = "bech32") -> Destination:
    """Return a destination that nobody has paid to yet."""
    return chain.parse_address(node.new_address(kind))


async def test_the_head_is_the_tip(chain: UtxoChain, node: Node) -> None:
    [tip] = node.mine(1)
    head = await chain.head()
    header = node.rpc("getblockheader", tip)
    assert (head.hash, head.height) == (tip, node.rpc("getblockcount"))
    assert head.mined_at == header["time"] * 1_000
    assert head.is_synced
    assert 0 <= head.node_up_s < 600


async def test_the_hash_chain_leads_to_the_genesis_block(chain: UtxoChain, node: Node) -> None:
    assert await chain.block_hash(0) == chain.genesis
    height = node.rpc("getblockcount")
    assert await chain.block_hash(height) == node.rpc("getbestblockhash")
    assert await chain.block_hash(height + 1) is None
    hashes = [await chain.block_hash(each) for each in range(5)]
    for each, (parent, own) in enumerate(pairwise(hashes), start=1):
        assert own is not None
        block = await chain.block(own)
        assert block is not None
        assert (block.height, block.hash, block.parent) == (each, own, parent)
        assert len(block.transactions) == 1
    genesis = await chain.block(chain.genesis)
    assert genesis is not None
    assert (genesis.height, genesis.parent) == (0, "0" * 64)


async def test_an_unknown_block_is_none(chain: UtxoChain) -> None:
    assert await chain.block("ab" * 32) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("litecoind", "bech32"),
        ("litecoind", "p2sh-segwit"),
        ("litecoind", "legacy"),
        ("bitcoin_kernel", "bech32"),
        ("bitcoin_kernel", "bech32m"),
    ],
)
async def test_a_payment_is_seen_and_then_mined(chain: UtxoChain, node: Node, kind: str) -> None:
    destination = shop(chain, node, kind)
    before = await chain.mempool([], [])
    txid = node.send(destination.address, Decimal("1.23456789"))
    look = await chain.mempool(before.txids, [])
    assert look.txids == before.txids | {txid}
    assert look.is_complete
    [seen] = look.fresh
    assert seen.txid == txid
    [paid] = [each for each in seen.transfers if each.destination == destination.key]
    assert paid == Transfer(paid.index, destination.key, chain.methods[0].id, 123_456_789)
    is_decoded = True
    inputs = node.rpc("getrawtransaction", txid, is_decoded)["vin"]
    assert seen.spends == tuple(f"{each['txid']}:{each['vout']}" for each in inputs)
    assert (await chain.mempool(look.txids, [])).fresh == ()

    [mined] = node.mine(1)
    block = await chain.block(mined)
    assert block is not None
    coinbase, *others = block.transactions
    assert coinbase.spends == ()
    assert len(coinbase.transfers) == 1
    assert seen in others
    assert (await chain.mempool([], [])).txids == frozenset()


async def test_a_replaced_payment_shares_an_outpoint(chain: UtxoChain, node: Node) -> None:
    destination = shop(chain, node)
    first_txid = node.send(destination.address, Decimal("0.5"), is_replaceable=True)
    [first] = (await chain.mempool([], [])).fresh
    second_txid = node.bump(first_txid)
    look = await chain.mempool({first_txid}, [])
    [second] = look.fresh
    assert look.txids == {second_txid}
    assert second.txid == second_txid != first.txid == first_txid
    assert set(first.spends) & set(second.spends)
    node.mine(1)


async def test_a_reorg_shows_in_the_hashes(chain: UtxoChain, node: Node) -> None:
    destination = shop(chain, node)
    txid = node.send(destination.address, Decimal("0.25"))
    old = node.mine(2)
    height = node.rpc("getblockcount") - 1
    assert [await chain.block_hash(each) for each in (height, height + 1)] == old
    stale = await chain.block(old[0])
    assert stale is not None
    assert txid in {transaction.txid for transaction in stale.transactions}

    new = node.branch(stale.parent, 3)
    assert [await chain.block_hash(each) for each in range(height, height + 3)] == new
    head = await chain.head()
    assert (head.hash, head.height, head.is_synced) == (new[2], height + 2, True)
    fork = await chain.block(new[0])
    assert fork is not None
    assert (fork.parent, len(fork.transactions)) == (stale.parent, 1)
    assert await chain.block(old[0]) == stale

    # What the longer branch has not waits for a block again.
    [waiting] = (await chain.mempool([], [])).fresh
    assert waiting in stale.transactions
    [again] = node.mine(1)
    block = await chain.block(again)
    assert block is not None
    assert waiting in block.transactions


async def test_a_node_that_stopped_is_a_node_error(name: str, chain: UtxoChain, node: Node) -> None:
    tip = (await chain.head()).hash
    # A node that stops waits up to 30 s for idle connections: it ends at once if it is asked on.
    stopping = asyncio.create_task(asyncio.to_thread(node.stop))
    while not stopping.done():
        with suppress(NodeError):
            await chain.head()
        await asyncio.sleep(0.05)
    await stopping
    try:
        for ask in (chain.head, lambda: chain.block_hash(1), lambda: chain.mempool([], [])):
            with pytest.raises(NodeError, match="cannot be reached"):
                await ask()
        with pytest.raises(NodeError):
            await chain.block(tip)
    finally:
        node.restart()
    again = OPEN[name]("regtest", node.url)
    found = (await again.head()).hash
    await again.close()
    assert found == tip


async def test_a_wrong_password_is_a_node_error_without_it(name: str, node: Node) -> None:
    wrong = f"not-{PASSWORD}"
    chain = OPEN[name]("regtest", f"http://{USER}:{wrong}@127.0.0.1:{node.port}")
    with pytest.raises(NodeError, match="refuses our user name and password") as caught:
        await chain.head()
    assert wrong not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    await chain.close()


async def test_a_transaction_is_looked_up_by_its_id(chain: UtxoChain, node: Node) -> None:
    destination = shop(chain, node)
    assert await chain.transaction("ab" * 32) == Sighting(None, None, is_whole=True)
    txid = node.send(destination.address, Decimal("0.75"))
    found = await chain.transaction(txid)
    assert found.transaction is not None
    assert found.height is None
    paid = [each for each in found.transaction.transfers if each.destination == destination.key]
    assert [each.amount_atomic for each in paid] == [75_000_000]
    node.mine(2)
    assert await chain.transaction(txid.upper()) == Sighting(
        found.transaction, node.rpc("getblockcount") - 1, is_whole=True
    )


async def test_a_node_without_an_index_finds_what_is_unspent(tmp_path: Path) -> None:
    node = UnindexedLitecoind(node_program("litecoind"), tmp_path)
    chain = litecoin("regtest", node.url)
    try:
        destination = shop(chain, node)
        txid = node.send(destination.address, Decimal("0.75"))
        node.mine(3)
        found = await chain.transaction(txid)
        assert found.transaction is not None
        assert found.height == node.rpc("getblockcount") - 2
        assert destination.key in {each.destination for each in found.transaction.transfers}
        assert await chain.transaction("ab" * 32) == Sighting(None, None, is_whole=False)
    finally:
        await chain.close()
        node.stop()


class UnindexedLitecoind(Litecoind):
    """A litecoind as most people run it: without an index of all transactions."""

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "-txindex=0"]
