"""Two nodes of one chain: what they do not both say is not known."""

from dataclasses import replace

import pytest

from counterfoil.chains.compared import ComparedChain
from counterfoil.core.errors import NodeError
from counterfoil.core.ports import Chain, History, Sighting, Transaction, Transfer
from tests.sim.chain import WorldChain


@pytest.fixture
def first() -> WorldChain:
    node = WorldChain()
    node.mine(3)
    return node


@pytest.fixture
def second(first: WorldChain) -> WorldChain:
    node = WorldChain()
    catch_up(node, first)
    return node


@pytest.fixture
def pair(first: WorldChain, second: WorldChain) -> Chain:
    return ComparedChain(first, second)


def catch_up(node: WorldChain, other: WorldChain) -> None:
    """Let a node see all that another one has."""
    node.blocks, node.pool = list(other.blocks), dict(other.pool)


def test_the_facts_are_those_of_the_chain(pair: Chain, first: WorldChain) -> None:
    assert (pair.name, pair.network, pair.methods) == (first.name, first.network, first.methods)
    assert (pair.genesis, pair.confirmations) == (first.genesis, first.confirmations)
    assert pair.parse_address("w1x") == first.parse_address("w1x")
    assert pair.derive("wallet", 7) == first.derive("wallet", 7)


async def test_two_that_agree_are_as_one(pair: Chain, first: WorldChain) -> None:
    assert await pair.head() == await first.head()
    assert await pair.block_hash(2) == first.blocks[2].hash
    assert await pair.block(first.blocks[2].hash) == first.blocks[2]


async def test_what_either_says_was_used_was_used(
    pair: Chain, first: WorldChain, second: WorldChain
) -> None:
    second.pay(second.derive("wallet", 4).address, 1_000)
    second.mine()
    assert await pair.history("wallet", 0, lambda _percent: None) == History(5, is_whole=True)
    first.pay(first.derive("wallet", 6).address, 1_000)
    first.mine()
    assert await pair.history("wallet", 0, lambda _percent: None) == History(7, is_whole=True)
    first.is_away = True
    with pytest.raises(NodeError):
        await pair.history("wallet", 0, lambda _percent: None)


async def test_the_one_that_lies_behind_sets_the_pace(
    pair: Chain, first: WorldChain, second: WorldChain
) -> None:
    first.mine()
    second.node_up_s, second.is_synced = 5, False
    head = await pair.head()
    assert (head.height, head.node_up_s, head.is_synced) == (3, 5, False)
    assert head.may_lag, "there is a block that is not known yet"
    assert await pair.block_hash(4) is None
    assert await pair.block(first.blocks[4].hash) is None


async def test_two_branches_are_told(pair: Chain, first: WorldChain, second: WorldChain) -> None:
    first.mine()
    second.mine(2)
    with pytest.raises(NodeError, match="differ on block 4"):
        await pair.head()
    with pytest.raises(NodeError, match="differ on block 4"):
        await pair.block_hash(4)


async def test_two_tips_of_one_height_are_told(
    pair: Chain, first: WorldChain, second: WorldChain
) -> None:
    first.mine()
    second.reorg(1, keep=True)
    assert first.height == second.height
    with pytest.raises(NodeError, match="differ on block 4"):
        await pair.head()


async def test_a_block_with_other_contents_is_told(pair: Chain, second: WorldChain) -> None:
    forged = Transaction("f" * 64, (Transfer(0, b"w1thief", "COIN", 10**9),))
    second.blocks[2] = replace(second.blocks[2], transactions=(forged,))
    with pytest.raises(NodeError, match="differ on what block"):
        await pair.block(second.blocks[2].hash)


@pytest.mark.parametrize("away", ["first", "second"])
async def test_one_alone_is_not_enough(
    pair: Chain, first: WorldChain, second: WorldChain, away: str
) -> None:
    (first if away == "first" else second).is_away = True
    for ask in (pair.head(), pair.block_hash(1), pair.mempool((), ())):
        with pytest.raises(NodeError):
            await ask


async def test_a_payment_is_new_when_both_list_it(
    pair: Chain, first: WorldChain, second: WorldChain
) -> None:
    payment = first.pay("w1shop", 5)
    only_one = await pair.mempool((), ())
    assert only_one.fresh == ()
    second.receive(payment)
    both = await pair.mempool((), ())
    assert both.fresh == (payment,)
    assert (await pair.mempool({payment.txid}, ())).fresh == ()


async def test_a_payment_waits_since_both_have_it(
    pair: Chain, first: WorldChain, second: WorldChain
) -> None:
    payment, alone = first.pay("w1shop", 5), first.pay("w1shop", 6)
    second.now += 60_000
    second.receive(payment)
    known = await pair.waiting_since([payment.txid, alone.txid])
    assert known == {payment.txid: second.now}


async def test_what_was_not_recorded_is_shown_again(
    pair: Chain, first: WorldChain, second: WorldChain
) -> None:
    second.receive(payment := first.pay("w1shop", 5))
    assert (await pair.mempool((), ())).fresh == (payment,)
    assert (await pair.mempool((), ())).fresh == (payment,)


async def test_what_one_still_lists_is_not_unknown(
    pair: Chain, first: WorldChain, second: WorldChain
) -> None:
    second.receive(payment := first.pay("w1shop", 5))
    first.drop(payment)
    assert (await pair.mempool({payment.txid}, ())).txids == {payment.txid}


async def test_one_that_decodes_a_transaction_otherwise_is_told(
    pair: Chain, first: WorldChain, second: WorldChain
) -> None:
    payment = first.pay("w1shop", 5)
    second.pool[payment.txid] = replace(payment, transfers=())
    with pytest.raises(NodeError, match=f"differ on transaction {payment.txid}"):
        await pair.mempool((), ())


async def test_a_transaction_is_known_when_both_know_it(
    pair: Chain, first: WorldChain, second: WorldChain
) -> None:
    payment = first.pay("w1shop", 5)
    assert await pair.transaction(payment.txid) == Sighting(None, None, is_whole=True)
    second.receive(payment)
    assert await pair.transaction(payment.txid) == Sighting(payment, None, is_whole=True)
    first.mine()
    # One of them has not seen the block yet.
    assert await pair.transaction(payment.txid) == Sighting(payment, None, is_whole=True)
    catch_up(second, first)
    assert await pair.transaction(payment.txid) == Sighting(payment, 4, is_whole=True)
    second.has_index = False
    assert await pair.transaction(payment.txid) == Sighting(None, None, is_whole=False)


async def test_two_that_decode_one_transaction_otherwise_are_told(
    pair: Chain, first: WorldChain, second: WorldChain
) -> None:
    payment = first.pay("w1shop", 5)
    second.pool[payment.txid] = replace(payment, transfers=())
    with pytest.raises(NodeError, match=f"differ on transaction {payment.txid}"):
        await pair.transaction(payment.txid)
