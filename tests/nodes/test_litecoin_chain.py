import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from embit import base58
from embit.bip32 import HDKey
from embit.networks import NETWORKS

from counterfoil.chains.litecoin import LTC, REGTEST, litecoin
from counterfoil.chains.utxo import UtxoChain
from counterfoil.core.errors import NodeError
from counterfoil.core.ports import Destination, Transfer
from tests.nodes.litecoind import PASSWORD, USER, Litecoind

pytestmark = pytest.mark.node

MANY = 500


@pytest.fixture
async def chain(litecoind: Litecoind) -> AsyncIterator[UtxoChain]:
    made = litecoin("regtest", litecoind.url)
    yield made
    await made.close()


def shop(chain: UtxoChain, litecoind: Litecoind, kind: str = "bech32") -> Destination:
    """Return a destination that nobody has paid to yet."""
    return chain.parse_address(litecoind.new_address(kind))


async def test_the_head_is_the_tip(chain: UtxoChain, litecoind: Litecoind) -> None:
    [tip] = litecoind.mine(1)
    head = await chain.head()
    header = litecoind.rpc("getblockheader", tip)
    assert (head.hash, head.height) == (tip, litecoind.rpc("getblockcount"))
    assert head.mined_at == header["time"] * 1_000
    assert head.is_synced
    assert 0 <= head.node_up_s < 600


async def test_the_hash_chain_leads_to_the_genesis_block(
    chain: UtxoChain, litecoind: Litecoind
) -> None:
    assert await chain.block_hash(0) == chain.genesis == REGTEST.genesis
    height = litecoind.rpc("getblockcount")
    assert await chain.block_hash(height) == litecoind.rpc("getbestblockhash")
    assert await chain.block_hash(height + 1) is None
    hashes = [await chain.block_hash(each) for each in range(5)]
    for each, (parent, own) in enumerate(pairwise(hashes), start=1):
        assert own is not None
        block = await chain.block(own)
        assert block is not None
        assert (block.height, block.hash, block.parent) == (each, own, parent)
        assert len(block.transactions) == 1
    genesis = await chain.block(REGTEST.genesis)
    assert genesis is not None
    assert (genesis.height, genesis.parent) == (0, "0" * 64)


async def test_an_unknown_block_is_none(chain: UtxoChain) -> None:
    assert await chain.block("ab" * 32) is None


@pytest.mark.parametrize("kind", ["bech32", "p2sh-segwit", "legacy"])
async def test_a_payment_is_seen_and_then_mined(
    chain: UtxoChain, litecoind: Litecoind, kind: str
) -> None:
    destination = shop(chain, litecoind, kind)
    before = await chain.mempool([], [])
    txid = litecoind.send(destination.address, Decimal("1.23456789"))
    look = await chain.mempool(before.txids, [])
    assert look.txids == before.txids | {txid}
    assert look.is_complete
    [seen] = look.fresh
    assert seen.txid == txid
    [paid] = [each for each in seen.transfers if each.destination == destination.key]
    assert paid == Transfer(paid.index, destination.key, LTC.id, 123_456_789)
    is_decoded = True
    inputs = litecoind.rpc("getrawtransaction", txid, is_decoded)["vin"]
    assert seen.spends == tuple(f"{each['txid']}:{each['vout']}" for each in inputs)
    assert (await chain.mempool(look.txids, [])).fresh == ()

    [mined] = litecoind.mine(1)
    block = await chain.block(mined)
    assert block is not None
    coinbase, *others = block.transactions
    assert coinbase.spends == ()
    assert len(coinbase.transfers) == 1
    assert seen in others
    assert (await chain.mempool([], [])).txids == frozenset()


async def test_a_replaced_payment_shares_an_outpoint(
    chain: UtxoChain, litecoind: Litecoind
) -> None:
    destination = shop(chain, litecoind)
    first_txid = litecoind.send(destination.address, Decimal("0.5"), is_replaceable=True)
    [first] = (await chain.mempool([], [])).fresh
    second_txid = litecoind.rpc("bumpfee", first_txid)["txid"]
    look = await chain.mempool({first_txid}, [])
    [second] = look.fresh
    assert look.txids == {second_txid}
    assert second.txid == second_txid != first.txid == first_txid
    assert set(first.spends) & set(second.spends)
    litecoind.mine(1)


async def test_a_reorg_shows_in_the_hashes(chain: UtxoChain, litecoind: Litecoind) -> None:
    destination = shop(chain, litecoind)
    txid = litecoind.send(destination.address, Decimal("0.25"))
    old = litecoind.mine(2)
    height = litecoind.rpc("getblockcount") - 1
    assert [await chain.block_hash(each) for each in (height, height + 1)] == old

    litecoind.invalidate(old[0])
    assert await chain.block_hash(height) is None
    assert txid in (await chain.mempool([], [])).txids
    new = litecoind.mine(3)
    assert [await chain.block_hash(each) for each in (height, height + 1)] == new[:2]
    head = await chain.head()
    assert (head.hash, head.is_synced) == (new[2], True)

    fork = await chain.block(new[0])
    stale = await chain.block(old[0])
    assert fork is not None
    assert stale is not None
    assert fork.parent == stale.parent
    assert txid in {transaction.txid for transaction in stale.transactions}
    assert txid in {transaction.txid for transaction in fork.transactions}
    litecoind.reconsider(old[0])
    assert await chain.block_hash(height) == new[0]


def test_the_node_derives_the_same_addresses(chain: UtxoChain, litecoind: Litecoind) -> None:
    account = HDKey.from_seed(bytes(range(32)), version=NETWORKS["test"]["xprv"])
    account = account.derive("m/84h/1h/0h").to_public()
    assert base58.decode_check(account.to_base58())[:4] == NETWORKS["test"]["xpub"]
    wallet = chain.parse_wallet(account.to_base58())
    descriptor = litecoind.rpc("getdescriptorinfo", f"wpkh({account.to_base58()}/0/*)")
    theirs: list[Any] = litecoind.rpc("deriveaddresses", descriptor["descriptor"], [0, MANY - 1])
    assert [chain.derive(wallet, index).address for index in range(MANY)] == theirs
    scripts = [litecoind.rpc("validateaddress", address)["scriptPubKey"] for address in theirs[:20]]
    assert [chain.derive(wallet, index).key.hex() for index in range(20)] == scripts


async def test_a_node_that_stopped_is_a_node_error(chain: UtxoChain, litecoind: Litecoind) -> None:
    tip = (await chain.head()).hash
    # A node that stops waits up to 30 s for idle connections: it ends at once if it is asked on.
    stopping = asyncio.create_task(asyncio.to_thread(litecoind.stop))
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
        litecoind.restart()
    again = litecoin("regtest", litecoind.url)
    found = (await again.head()).hash
    await again.close()
    assert found == tip


async def test_a_wrong_password_is_a_node_error_without_it(litecoind: Litecoind) -> None:
    wrong = f"not-{PASSWORD}"
    chain = litecoin("regtest", f"http://{USER}:{wrong}@127.0.0.1:{litecoind.port}")
    with pytest.raises(NodeError, match="refuses our user name and password") as caught:
        await chain.head()
    assert wrong not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    await chain.close()
