from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from counterfoil.chains.litecoin import LTC, litecoin
from counterfoil.chains.utxo import UtxoChain
from counterfoil.core.ports import Transfer
from tests.nodes.litecoind import FIRST_BLOCKS, Litecoind

pytestmark = pytest.mark.node

LAST_BEFORE_MWEB = 431
# Coin that moved into the extension block, or out of it, may move on 6 blocks later.
PEG_BLOCKS = 6


@pytest.fixture
async def chain(mweb_litecoind: Litecoind) -> AsyncIterator[UtxoChain]:
    made = litecoin("regtest", mweb_litecoind.url)
    yield made
    await made.close()


async def test_coin_goes_through_mweb_and_comes_out_as_a_payment(
    chain: UtxoChain, mweb_litecoind: Litecoind
) -> None:
    node = mweb_litecoind
    node.mine(LAST_BEFORE_MWEB - FIRST_BLOCKS)

    # Into the extension block: an output that names a kernel, and outputs that have no amount.
    hidden = node.new_address("mweb")
    fee_from_amount = True
    peg_in = node.rpc("sendtoaddress", hidden, node.rpc("getbalance"), "", "", fee_from_amount)
    [seen] = (await chain.mempool([], [])).fresh
    assert (seen.txid, seen.transfers) == (peg_in, ())
    assert len(seen.spends) > 1
    [mined] = node.mine(1)
    block = await chain.block(mined)
    assert block is not None
    _, own, hogex = block.transactions
    assert own == seen
    assert (hogex.transfers, hogex.spends) == ((), (f"{peg_in}:0",))
    node.mine(PEG_BLOCKS)

    # Within it: neither inputs nor outputs that concern anybody else.
    moved = node.send(node.new_address("mweb"), Decimal(3))
    [inside] = (await chain.mempool([], [])).fresh
    assert (inside.txid, inside.transfers, inside.spends) == (moved, (), ())
    [mined] = node.mine(1)
    block = await chain.block(mined)
    assert block is not None
    assert moved not in {transaction.txid for transaction in block.transactions}
    node.mine(PEG_BLOCKS)

    # Out of it, to an ordinary address: the block's last transaction pays it.
    destination = chain.parse_address(node.new_address())
    left = node.send(destination.address, Decimal(2_000))
    look = await chain.mempool([], [])
    # Whom it pays is seen once it is mined, in a transaction of the miner's.
    assert look.txids == {left}
    assert not any(each.transfers for each in look.fresh)
    # Its payer knows it by this id, and asks for it by that.
    named = (await chain.transaction(left)).transaction
    assert named is not None
    paid_out = [(each.destination, each.amount_atomic) for each in named.transfers]
    assert paid_out == [(destination.key, 2_000 * 10**8)]
    [mined] = node.mine(1)
    block = await chain.block(mined)
    assert block is not None
    hogex = block.transactions[-1]
    assert hogex.txid != left
    paid = [each for each in hogex.transfers if each.destination == destination.key]
    assert paid == [Transfer(paid[0].index, destination.key, LTC.id, 2_000 * 10**8)]
