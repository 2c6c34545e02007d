import hashlib
from collections.abc import Sequence

import pytest

from counterfoil.chains.simulator import GENESIS, TEST, SimulatorChain
from counterfoil.core.confirmations import Confirmations
from counterfoil.core.errors import InvalidError
from counterfoil.core.ports import Block, Chain, Mode, Sighting, Transaction, Transfer
from counterfoil.db import simulator as ledger_in_database
from counterfoil.db.simulator import Ledger
from counterfoil.db.sqlite import Sqlite
from tests.conftest import FakeClock

CONTENT = bytes(range(20))
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()[:8]
ADDRESS = f"test1{CONTENT.hex()}{CHECKSUM}"
WALLET = "testwallet-00112233445566778899aabbccddeeff"


class FakeLedger:
    """A ledger with one block and a mempool that tests fill."""

    def __init__(self) -> None:
        self.advances: list[tuple[int, int, int]] = []
        self.waiting: Sequence[Transaction] = ()

    async def advance(self, now: int, block_interval_ms: int, confirmations: int) -> None:
        self.advances.append((now, block_interval_ms, confirmations))

    async def head(self) -> tuple[int, str, int]:
        # What is due has happened before the tip is read.
        return len(self.advances), f"{len(self.advances):064x}", 7

    async def block_hash(self, height: int) -> str | None:
        return GENESIS if height == 0 else None

    async def block(self, block_hash: str) -> Block | None:
        return Block(0, GENESIS, "0" * 64, 0, ()) if block_hash == GENESIS else None

    async def mempool(self) -> tuple[Transaction, ...]:
        return tuple(self.waiting)

    async def transaction(self, txid: str) -> tuple[Transaction, int | None] | None:
        return next(((known, None) for known in self.waiting if known.txid == txid), None)


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()


@pytest.fixture
def chain(ledger: FakeLedger, clock: FakeClock) -> SimulatorChain:
    return SimulatorChain(ledger, clock)


# --- facts ------------------------------------------------------------------------------------


def test_it_is_a_chain_like_any_other(chain: SimulatorChain) -> None:
    same: Chain = chain
    assert (same.name, same.network) == ("simulator", "counterfoil:simulator")
    assert same.methods == (TEST,)
    assert (TEST.id, TEST.symbol, TEST.chain) == ("TEST", "TEST", same.name)
    assert TEST.mode is Mode.TEST
    assert same.confirmations == Confirmations(2)
    assert same.block_interval_s is None
    assert same.explorer_link("ab" * 32) is None


def test_the_ledger_begins_with_its_genesis_block_and_pays_its_method(
    chain: SimulatorChain,
) -> None:
    assert chain.genesis == ledger_in_database.GENESIS
    assert chain.methods[0].id == ledger_in_database.METHOD


# --- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [ADDRESS, ADDRESS.upper(), ADDRESS.title()])
def test_an_address_in_any_case_is_one_destination(chain: SimulatorChain, text: str) -> None:
    destination = chain.parse_address(text)
    assert destination.key == b"counterfoil-test:" + CONTENT
    assert destination.address == ADDRESS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "test1",
        ADDRESS[:-1],
        ADDRESS + "0",
        " " + ADDRESS,
        ADDRESS + "\n",
        ADDRESS.replace("test1", "test2"),
        ADDRESS.replace("0", "g", 1),
        # Letters whose lower case is ASCII: the Kelvin sign, and full-width digits.
        ADDRESS.replace("te", "t\u212a", 1),
        ADDRESS.replace("0", "\uff10"),
        "ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9",
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "test1" + "0" * 100_000,
    ],
)
def test_what_is_no_address_is_refused(chain: SimulatorChain, text: str) -> None:
    with pytest.raises(InvalidError, match="begin with test1") as refused:
        chain.parse_address(text)
    assert (refused.value.field, refused.value.code) == ("wallet_address", "invalid_address")


@pytest.mark.parametrize("place", range(5, len(ADDRESS)))
def test_a_changed_character_is_found(chain: SimulatorChain, place: int) -> None:
    other = "1" if ADDRESS[place] != "1" else "2"
    with pytest.raises(InvalidError, match="wrong checksum") as refused:
        chain.parse_address(ADDRESS[:place] + other + ADDRESS[place + 1 :])
    assert (refused.value.field, refused.value.code) == ("wallet_address", "invalid_address")


# --- wallets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [WALLET, WALLET.upper()])
def test_a_wallet_in_any_case_is_one_wallet(chain: SimulatorChain, text: str) -> None:
    assert chain.parse_wallet(text) == WALLET


@pytest.mark.parametrize(
    "text",
    [
        "",
        WALLET[:-1],
        WALLET + "0",
        WALLET + "\n",
        WALLET.replace("-", "_"),
        WALLET.replace("0", "g", 1),
        WALLET.replace("0", "\uff10"),
        ADDRESS,
        "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUk",
    ],
)
def test_what_is_no_wallet_is_refused_without_repeating_it(
    chain: SimulatorChain, text: str
) -> None:
    with pytest.raises(InvalidError, match="testwallet-") as refused:
        chain.parse_wallet(text)
    assert (refused.value.field, refused.value.code) == ("wallet", "invalid_wallet")
    assert not text or text not in refused.value.message


def test_a_wallet_gives_addresses_of_its_own(chain: SimulatorChain) -> None:
    other = WALLET.replace("testwallet-00", "testwallet-01")
    derived = [chain.derive(wallet, index) for wallet in (WALLET, other) for index in range(50)]
    assert len({each.key for each in derived}) == 100
    assert [chain.parse_address(each.address) for each in derived] == derived
    assert chain.derive(WALLET, 3) == derived[3]
    # Addresses were shown to people: the way to them may never change.
    content = hashlib.sha256(f"{WALLET}/3".encode()).digest()[:20]
    assert derived[3].key == b"counterfoil-test:" + content
    with pytest.raises(ValueError, match="index"):
        chain.derive(WALLET, -1)


@pytest.mark.parametrize(
    ("amount_atomic", "amount"), [(150_000_000, "1.5"), (1, "0.00000001"), (25 * 10**8, "25")]
)
def test_a_payment_link_names_the_amount(
    chain: SimulatorChain, amount_atomic: int, amount: str
) -> None:
    link = chain.payment_link(TEST, ADDRESS, amount_atomic)
    assert link == f"counterfoil-test:{ADDRESS}?amount={amount}"


# --- the node that there is not ---------------------------------------------------------------


async def test_a_look_at_the_tip_lets_the_chain_go_on(ledger: FakeLedger, clock: FakeClock) -> None:
    chain = SimulatorChain(ledger, clock, confirmations=6, block_interval_s=0.25)
    head = await chain.head()
    assert ledger.advances == [(clock.now(), 250, 6)]
    assert (head.height, head.hash, head.mined_at) == (1, f"{1:064x}", 7)
    assert head.is_synced
    # A node that has just come up is not believed when it knows nothing of a transaction.
    assert head.node_up_s > 3_600


async def test_blocks_come_from_the_ledger(chain: SimulatorChain) -> None:
    assert await chain.block_hash(0) == GENESIS
    assert await chain.block_hash(1) is None
    assert await chain.block(GENESIS) == Block(0, GENESIS, "0" * 64, 0, ())
    assert await chain.block("ab" * 32) is None
    await chain.close()


async def test_the_mempool_decodes_what_is_new(chain: SimulatorChain, ledger: FakeLedger) -> None:
    known, fresh = (Transaction(txid, (Transfer(0, b"key", "TEST", 5),)) for txid in ("a", "b"))
    ledger.waiting = [known, fresh]
    mempool = await chain.mempool({"a", "gone"}, {"a"})
    assert mempool.txids == {"a", "b"}
    assert mempool.fresh == (fresh,)
    assert mempool.is_complete


async def test_a_payment_goes_all_the_way(sqlite: Sqlite, clock: FakeClock) -> None:
    chain = SimulatorChain(Ledger(sqlite), clock)
    to = chain.parse_address(ADDRESS)
    txid = await sqlite.write(
        lambda connection: ledger_in_database.broadcast(connection, to.key, 5, clock.now())
    )
    head = await chain.head()
    assert (head.height, head.hash) == (0, chain.genesis)
    assert [each.txid for each in (await chain.mempool((), ())).fresh] == [txid]
    for _ in range(10):
        await clock.sleep(1)
        head = await chain.head()
    assert head.height == 1 + chain.confirmations.base
    block_hash = await chain.block_hash(1)
    assert block_hash is not None
    block = await chain.block(block_hash)
    assert block is not None
    assert [each.txid for each in block.transactions] == [txid]
    assert block.transactions[0].transfers == (Transfer(0, to.key, TEST.id, 5),)


async def test_a_transaction_is_found_in_any_spelling(
    chain: SimulatorChain, ledger: FakeLedger
) -> None:
    known = Transaction("ab" * 32, ())
    ledger.waiting = [known]
    assert await chain.transaction("AB" * 32) == Sighting(known, None, is_whole=True)
    assert await chain.transaction("cd" * 32) == Sighting(None, None, is_whole=True)


def test_a_destination_is_shown_as_its_address(chain: SimulatorChain) -> None:
    assert chain.address_of(chain.parse_address(ADDRESS).key) == ADDRESS
    assert chain.address_of(CONTENT) is None
