import asyncio
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from counterfoil.core.ports import Block, Transaction, Transfer
from counterfoil.db import simulator
from counterfoil.db.engine import Database
from counterfoil.db.postgres import Postgres
from counterfoil.db.simulator import GENESIS, Ledger
from counterfoil.db.sqlite import Sqlite
from tests.conftest import FakeClock

T = TypeVar("T")

INTERVAL_MS = 2_000
CONFIRMATIONS = 2
SHOP = b"counterfoil-test:" + bytes(20)


class Chain:
    """The simulated chain of a store, as a watcher and its payers see it."""

    def __init__(self, store: Database, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.ledger = Ledger(store)

    async def pay(self, amount: int = 5, **fate: Any) -> str:
        return await self.store.write(
            lambda connection: simulator.broadcast(
                connection, SHOP, amount, self.clock.now(), **fate
            )
        )

    async def mine(self, count: int = 1) -> None:
        await self.store.write(partial(simulator.mine, now=self.clock.now(), count=count))

    async def reorg(self, depth: int) -> None:
        await self.store.write(partial(simulator.reorg, now=self.clock.now(), depth=depth))

    async def advance(self, milliseconds: int = INTERVAL_MS) -> None:
        await self.ledger.advance(self.clock.advance(milliseconds), INTERVAL_MS, CONFIRMATIONS)

    async def height(self) -> int:
        return (await self.ledger.head())[0]

    async def waiting(self) -> list[str]:
        return [each.txid for each in await self.ledger.mempool()]

    async def blocks(self) -> list[Block]:
        """Return the best chain by following the hashes from the tip, genesis first."""
        height, block_hash, mined_at = await self.ledger.head()
        found: list[Block] = []
        while not found or found[-1].height > 0:
            block = await self.ledger.block(block_hash)
            assert block is not None
            assert block.hash == block_hash
            assert await self.ledger.block_hash(block.height) == block_hash
            found.append(block)
            block_hash = block.parent
        assert (found[0].height, found[0].mined_at) == (height, mined_at)
        assert await self.ledger.block_hash(height + 1) is None
        assert [block.height for block in found] == list(range(height, -1, -1))
        return found[::-1]

    async def mined(self) -> dict[str, int]:
        """Return the height of every transaction that is in a block."""
        blocks = await self.blocks()
        return {each.txid: block.height for block in blocks for each in block.transactions}


@pytest.fixture
def chain(database: Database, clock: FakeClock) -> Chain:
    return Chain(database, clock)


class CountingStore:
    """A store that counts how often it is asked."""

    def __init__(self, store: Database) -> None:
        self._store = store
        self.reads = self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read(self, fn: Callable[[Any], T]) -> T:
        self.reads += 1
        return await self._store.read(fn)

    async def write(self, fn: Callable[[Any], T]) -> T:
        self.writes += 1
        return await self._store.write(fn)


# --- blocks -----------------------------------------------------------------------------------


async def test_a_new_chain_is_its_genesis(chain: Chain) -> None:
    assert await chain.ledger.head() == (0, GENESIS, 0)
    assert await chain.ledger.block_hash(0) == GENESIS
    assert await chain.blocks() == [Block(0, GENESIS, "0" * 64, 0, ())]
    assert await chain.ledger.block("ab" * 32) is None
    assert await chain.ledger.mempool() == ()
    await chain.mine()
    assert (await chain.blocks())[0] == Block(0, GENESIS, "0" * 64, 0, ())


async def test_a_chain_that_nobody_uses_stands_still(database: Database, clock: FakeClock) -> None:
    store = CountingStore(database)
    chain = Chain(store, clock)
    for _ in range(5):
        await chain.advance()
    assert (store.reads, store.writes) == (5, 0)
    assert await chain.height() == 0
    await chain.pay()
    for _ in range(10):
        await chain.advance()
    height, store.reads, store.writes = await chain.height(), 0, 0
    for _ in range(5):
        await chain.advance(60_000)
    assert (store.reads, store.writes) == (5, 0)
    assert await chain.height() == height


async def test_a_payment_waits_for_its_block_and_is_buried(chain: Chain) -> None:
    txid = await chain.pay()
    await chain.advance(INTERVAL_MS - 1)
    assert await chain.waiting() == [txid]
    assert await chain.height() == 0
    await chain.advance(1)
    assert await chain.waiting() == []
    assert await chain.mined() == {txid: 1}
    await chain.advance(INTERVAL_MS - 1)
    assert await chain.height() == 1
    for _ in range(10):
        await chain.advance()
    # As deep as is needed, and one more.
    assert await chain.height() == 1 + CONFIRMATIONS


async def test_a_block_takes_all_that_waits(chain: Chain) -> None:
    first = await chain.pay(1)
    await chain.advance(INTERVAL_MS - 1)
    second = await chain.pay(2)
    await chain.advance(1)
    assert await chain.mined() == {first: 1, second: 1}


async def test_a_late_look_makes_one_block(chain: Chain) -> None:
    await chain.pay()
    await chain.advance(INTERVAL_MS * 50)
    assert await chain.height() == 1
    assert (await chain.ledger.head())[2] == chain.clock.now()
    await chain.advance(0)
    assert await chain.height() == 1


async def test_blocks_come_on_demand(chain: Chain) -> None:
    txid = await chain.pay()
    await chain.mine(3)
    assert await chain.height() == 3
    assert await chain.mined() == {txid: 1}
    await chain.mine()
    assert await chain.height() == 4


async def test_time_never_runs_backwards_on_the_chain(chain: Chain) -> None:
    await chain.mine()
    chain.clock.advance(-10_000)
    await chain.mine()
    times = [block.mined_at for block in await chain.blocks()]
    assert times == sorted(times)


# --- payments ---------------------------------------------------------------------------------


async def test_a_payment_shows_as_it_was_sent(chain: Chain) -> None:
    amount = 10**30
    late_at = chain.clock.now() + 86_400_000
    txid = await chain.pay(amount, first_seen_at=late_at)
    (seen,) = await chain.ledger.mempool()
    assert len(txid) == 64
    assert int(txid, 16)
    (spent,) = seen.spends
    outpoint, _, place = spent.rpartition(":")
    assert len(outpoint) == 64
    assert place == "0"
    assert seen == Transaction(
        txid, (Transfer(0, SHOP, "TEST", amount),), seen.spends, first_seen_at=late_at
    )
    await chain.mine()
    assert (await chain.blocks())[1].transactions == (seen,)


async def test_payments_differ(chain: Chain) -> None:
    txids = {await chain.pay(5) for _ in range(5)}
    assert len(txids) == 5
    assert len({each.spends for each in await chain.ledger.mempool()}) == 5


async def test_the_same_deeds_make_the_same_chain(
    chain: Chain, tmp_path: Path, clock: FakeClock
) -> None:
    other = Chain(Sqlite(tmp_path / "other.db", inline=True), FakeClock(clock.now()))
    await other.store.start()
    await other.store.migrate()
    for each in (chain, other):
        await each.pay(1)
        await each.pay(2, fate="reorged")
        await each.pay(3, fate="replaced", fate_at=each.clock.now() + 10)
        for _ in range(6):
            await each.advance()
        await each.reorg(2)
    assert await chain.blocks() == await other.blocks()
    assert await chain.ledger.mempool() == await other.ledger.mempool()
    await other.store.close()


# --- a payment that is replaced ---------------------------------------------------------------


async def test_a_replaced_payment_goes_unconfirmed(chain: Chain) -> None:
    fate_at = chain.clock.now() + 5 * INTERVAL_MS
    txid = await chain.pay(fate="replaced", fate_at=fate_at)
    (paid,) = await chain.ledger.mempool()
    for _ in range(4):
        await chain.advance()
    await chain.mine()
    assert await chain.waiting() == [txid]
    await chain.advance()
    (rival,) = await chain.ledger.mempool()
    assert rival.txid != txid
    assert rival.spends == paid.spends
    assert rival.transfers == ()
    assert rival.first_seen_at == fate_at
    for _ in range(3):
        await chain.advance()
    assert list(await chain.mined()) == [rival.txid]
    assert await chain.waiting() == []


async def test_others_do_not_wait_for_a_replacement(chain: Chain) -> None:
    doomed = await chain.pay(fate="replaced", fate_at=chain.clock.now() + 60_000)
    other = await chain.pay()
    for _ in range(10):
        await chain.advance()
    assert await chain.mined() == {other: 1}
    assert await chain.waiting() == [doomed]
    # It alone makes no blocks.
    assert await chain.height() == 1 + CONFIRMATIONS


async def test_a_fate_without_a_time_is_due_at_once(chain: Chain) -> None:
    txid = await chain.pay(fate="replaced")
    await chain.advance(0)
    assert txid not in await chain.waiting()


# --- a payment that is undone by a reorg ------------------------------------------------------


async def test_a_reorged_payment_was_final_before(chain: Chain) -> None:
    doomed = await chain.pay(1, fate="reorged")
    other = await chain.pay(2)
    await chain.advance()
    later = await chain.pay(3)
    before = await chain.blocks()
    spent = before[1].transactions[0].spends
    assert await chain.mined() == {doomed: 1, other: 1}
    await chain.advance()
    assert await chain.mined() == {doomed: 1, other: 1, later: 2}
    assert await chain.height() == CONFIRMATIONS
    old = await chain.blocks()
    await chain.advance(1)
    new = await chain.blocks()
    assert len(new) == len(old) + 1
    assert {block.hash for block in old} & {block.hash for block in new} == {GENESIS}
    for block in old[1:]:
        assert await chain.ledger.block(block.hash) is None
    places = await chain.mined()
    (rival,) = places.keys() - {doomed, other, later}
    assert places == {rival: 1, other: 1, later: 2}
    assert [t for t in new[1].transactions if t.txid == rival] == [
        Transaction(rival, (), spent, first_seen_at=chain.clock.now())
    ]
    assert await chain.waiting() == []
    for _ in range(10):
        await chain.advance()
    assert places == await chain.mined()


async def test_a_reorg_waits_for_its_time(chain: Chain) -> None:
    txid = await chain.pay(fate="reorged", fate_at=chain.clock.now() + 60_000)
    for _ in range(29):
        await chain.advance()
    assert await chain.mined() == {txid: 1}
    await chain.advance()
    assert txid not in await chain.mined()


async def test_a_payment_that_is_too_deep_stays(chain: Chain) -> None:
    """A watcher would stop at a reorg that is deeper than the headers it keeps."""
    txid = await chain.pay(fate="reorged", fate_at=chain.clock.now() + 1_000)
    await chain.mine(simulator.REORG_DEPTH_MAX + 1)
    await chain.advance()
    assert await chain.mined() == {txid: 1}
    assert await chain.height() == simulator.REORG_DEPTH_MAX + 1


# --- reorgs on demand -------------------------------------------------------------------------


async def test_a_reorg_puts_transactions_back(chain: Chain) -> None:
    kept = await chain.pay(1)
    await chain.mine()
    undone = await chain.pay(2)
    await chain.mine(2)
    old = await chain.blocks()
    await chain.reorg(2)
    new = await chain.blocks()
    assert len(new) == len(old) + 1
    assert new[:2] == old[:2]
    assert not {block.hash for block in old[2:]} & {block.hash for block in new[2:]}
    assert await chain.mined() == {kept: 1}
    assert await chain.waiting() == [undone]
    await chain.advance()
    assert await chain.mined() == {kept: 1, undone: 5}


@pytest.mark.parametrize("depth", [-1, 0])
async def test_a_reorg_of_nothing_changes_nothing(chain: Chain, depth: int) -> None:
    await chain.mine(2)
    before = await chain.blocks()
    await chain.reorg(depth)
    assert await chain.blocks() == before


async def test_the_genesis_block_stays(chain: Chain) -> None:
    await chain.reorg(5)
    assert await chain.height() == 0
    await chain.mine(2)
    await chain.reorg(5)
    blocks = await chain.blocks()
    assert [block.height for block in blocks] == [0, 1, 2, 3]
    assert blocks[0].hash == GENESIS


async def test_a_hash_never_comes_back(chain: Chain) -> None:
    await chain.mine(2)
    seen = {block.hash for block in await chain.blocks()}
    for _ in range(4):
        await chain.reorg(2)
        new = {block.hash for block in await chain.blocks()} - seen
        assert len(new) >= 3
        seen |= new


# --- more than one process --------------------------------------------------------------------


async def test_two_processes_make_one_block(
    postgres: Postgres, postgres_url: str, clock: FakeClock
) -> None:
    other = Postgres(postgres_url)
    await other.start()
    chains = [Chain(postgres, clock), Chain(other, clock)]
    txids = await gather(*(each.pay() for each in chains * 5))
    assert len(set(txids)) == 10
    clock.advance(INTERVAL_MS)
    await gather(*(each.advance(0) for each in chains * 3))
    assert await chains[0].mined() == dict.fromkeys(txids, 1)
    assert await chains[1].height() == 1
    await other.close()


async def gather(*coroutines: Any) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in coroutines]
    return [task.result() for task in tasks]


# --- whatever happens -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_the_chain_holds_together(
    seed: int, tmp_path: Path, clock: FakeClock
) -> None:
    """Every transaction is in one place, and of those that spend the same one counts."""
    chance = random.Random(seed)
    chain = Chain(Sqlite(tmp_path / "chain.db", inline=True), clock)
    await chain.store.start()
    await chain.store.migrate()
    fates = ("replaced", "reorged", None, None)
    paid: dict[str, str | None] = {}
    seen: dict[str, Block] = {}
    for _ in range(60):
        match chance.choice(("pay", "advance", "advance", "advance", "mine", "reorg")):
            case "pay":
                fate = chance.choice(fates)
                fate_at = clock.now() + chance.randrange(20_000)
                paid[await chain.pay(chance.randrange(1, 9), fate=fate, fate_at=fate_at)] = fate
            case "advance":
                await chain.advance(chance.randrange(3_000))
            case "mine":
                await chain.mine(chance.randrange(1, 3))
            case "reorg":
                await chain.reorg(chance.randrange(1, 4))
        if chance.random() < 0.2:
            await check(chain, paid, seen)
    for _ in range(30):
        await chain.advance()
    places = await check(chain, paid, seen)
    assert await chain.waiting() == []
    assert {txid for txid, fate in paid.items() if fate is None} <= places.keys()
    assert not {txid for txid, fate in paid.items() if fate == "replaced"} & places.keys()
    await chain.store.close()


async def check(
    chain: Chain, paid: dict[str, str | None], seen: dict[str, Block]
) -> dict[str, int]:
    blocks, waiting = await chain.blocks(), await chain.ledger.mempool()
    present = [each for block in blocks for each in block.transactions] + list(waiting)
    assert len({each.txid for each in present}) == len(present)
    assert len({each.spends for each in present}) == len(present)
    # Those that were lost have a rival each, so the number stays.
    assert len(present) == len(paid)
    assert {txid for txid, fate in paid.items() if fate is None} <= {t.txid for t in present}
    for block in blocks:
        assert seen.setdefault(block.hash, block) == block
    return await chain.mined()


async def test_a_transaction_is_found_by_its_id(chain: Chain) -> None:
    kept, taken_back = await chain.pay(), await chain.pay(fate=simulator.REPLACED)
    await chain.advance()
    (known, height) = await chain.ledger.transaction(kept) or (None, None)
    assert known is not None
    assert (known.txid, height) == (kept, (await chain.mined())[kept])
    assert await chain.ledger.transaction(taken_back) is None
