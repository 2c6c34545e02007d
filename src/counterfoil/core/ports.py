"""The ports: what the product asks of the world, and the values that cross them.

`db`, `chains`, `rates` and `channels` implement these protocols and never import one another.
All times are milliseconds UTC, all coin amounts integers of atomic units.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from counterfoil.core.confirmations import Confirmations

T = TypeVar("T")


class Mode(StrEnum):
    """Live money or the simulator's; what belongs to one is invisible to the other."""

    LIVE = "live"
    TEST = "test"


class Clock(Protocol):
    """Where time comes from; the seeded world hands in one that it turns itself."""

    def now(self) -> int:
        """Return the time in milliseconds UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""


class Entropy(Protocol):
    """Where chance comes from."""

    def token(self, size_bytes: int) -> bytes:
        """Return unguessable bytes."""

    def below(self, limit: int) -> int:
        """Return an integer in [0, limit), all equally likely."""


# --- chains -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Method:
    """A way to pay: a coin on a network, such as LTC, or USDT-TRON.

    `step_atomic` is the finest amount that exchanges' withdrawal forms take, `least_atomic` the
    smallest payment that the network relays.
    """

    id: str
    symbol: str
    name: str
    chain: str
    decimals: int
    step_atomic: int
    least_atomic: int
    mode: Mode = Mode.LIVE


@dataclass(frozen=True, slots=True)
class Destination:
    """Where coin is sent: `key` is the canonical script or key bytes, `address` how it is shown.

    Two spellings of one address have one key. Matching uses the key alone.
    """

    key: bytes
    address: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """The unit that is credited: one output, one log, or one instruction of a transaction.

    `index` is its place within its transaction. Chains come in three shapes, and one value serves
    all: *outputs* (`destination` is the script), *logs on accounts* (`destination` is the account,
    `method` tells the token), and *tags* (an account, and a `tag` that names the payment).
    """

    index: int
    destination: bytes
    method: str
    amount_atomic: int
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a transaction moves.

    `spends` are the outpoints ("txid:index") that it uses up: of transactions that share one, only
    one can count; account chains put their account and nonce here. `senders` are the paying
    accounts where the chain names them. `first_seen_at` is set where the chain itself knows it (the
    simulator does), or its node was asked; otherwise arrival is when the watcher saw it.
    """

    txid: str
    transfers: tuple[Transfer, ...]
    spends: tuple[str, ...] = ()
    senders: tuple[bytes, ...] = ()
    first_seen_at: int | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block with its transactions; `parent` is the hash of the one before it."""

    height: int
    hash: str
    parent: str
    mined_at: int
    transactions: tuple[Transaction, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """What a node says of itself: its tip, whether it is synced, and how long it has been up.

    `may_lag`: it may lack what is newest, for a moment; `trouble`: why it may not know all.
    """

    height: int
    hash: str
    mined_at: int
    is_synced: bool
    node_up_s: int
    may_lag: bool = False
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Mempool:
    """The unconfirmed transactions of a node.

    `txids` are all that it lists now, `fresh` new ones with all that they move: their block shows
    no more. `is_complete` is False where it had more than one look takes, or still `is_loading`.
    """

    txids: frozenset[str]
    fresh: tuple[Transaction, ...]
    is_complete: bool
    is_loading: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """What a node knows of the past of a wallet: no receive address from `next_index` on was used.

    `is_whole` is False where the node sees unspent coin alone: an address that was used and emptied
    looks like one that nobody ever used.
    """

    next_index: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a node knows of one transaction: nothing, or that it is unconfirmed, or its block.

    `is_whole` is False where the node cannot look through all that was mined: what it does not know
    may be there all the same.
    """

    transaction: Transaction | None
    height: int | None
    is_whole: bool


class Chain(Protocol):
    """One chain on one network: its facts, which need no node, and its node.

    The facts (`parse_address`, `address_of`, `parse_wallet`, `derive`, `payment_link`,
    `explorer_link`) never touch the network. The node's answers are hostile input: they come back
    checked, or as `NodeError`, which means unknown. Any of the node's methods may be called at any
    time and again.
    """

    @property
    def name(self) -> str:
        """The name in settings and in the database, such as `litecoin`."""

    @property
    def network(self) -> str:
        """The CAIP-2 id of the network."""

    @property
    def methods(self) -> tuple[Method, ...]:
        """What can be paid with on this chain."""

    @property
    def confirmations(self) -> Confirmations:
        """How deep a payment must be to be final, by the coin at stake."""

    @property
    def block_interval_s(self) -> int | None:
        """The usual time between blocks; None where blocks come on demand, so a tip has no age."""

    @property
    def genesis(self) -> str:
        """The hash of the block at height 0, which the node must agree with."""

    def parse_address(self, text: str) -> Destination:
        """Return the destination that `text` names, in its canonical spelling.

        Raises InvalidError (code `invalid_address`, field `wallet_address`) that says what is
        wrong: a broken checksum, another network, another coin, or no address at all.
        """

    def address_of(self, destination: bytes) -> str | None:
        """Return how a destination is shown, None for a script that has no address."""

    def parse_wallet(self, text: str) -> str:
        """Return the canonical text of a wallet: an extended public key, or a descriptor.

        However it was spelled, one wallet has one text.

        Raises InvalidError (`private_key_refused` for anything that can spend, `invalid_wallet`
        otherwise, field `wallet`) in words that never repeat the text.
        """

    def derive(self, wallet: str, index: int) -> Destination:
        """Return receive address number `index` of a wallet, derived twice."""

    def payment_link(self, method: Method, address: str, amount_atomic: int) -> str:
        """Return what a wallet app opens (BIP 321, ERC-681, ...): the same text is the QR code."""

    def explorer_link(self, txid: str) -> str | None:
        """Return where a person can look a transaction up, if there is such a place."""

    async def head(self) -> Head:
        """Return the node's tip."""

    async def block_hash(self, height: int) -> str | None:
        """Return the hash at `height` of the node's best chain, None if it is not that far."""

    async def block(self, block_hash: str) -> Block | None:
        """Return a block by its hash, None if the node does not know it."""

    async def mempool(self, known: Collection[str], pending: Collection[str]) -> Mempool:
        """Return what is unconfirmed, decoding what is not in `known`.

        `pending` are the transactions that we wait for: a node that cannot list its mempool
        answers for these.
        """

    async def waiting_since(self, txids: Collection[str]) -> Mapping[str, int]:
        """Return when the node took in those unconfirmed transactions of which it can tell."""

    async def transaction(self, txid: str) -> Sighting:
        """Return what the node knows of a transaction that a person names.

        A text that can be no id is one that no node knows.
        """

    async def history(self, wallet: str, start: int, told: Callable[[int], None]) -> History:
        """Ask the node which of a wallet's receive addresses were used, from index `start` on.

        The one call that may take many minutes: `told` hears now and then how far it is, in percent
        of the round that runs. A round of addresses is asked for after another, until a gap of
        unused ones as long as wallets look ahead.
        """

    async def close(self) -> None:
        """Let go of connections."""


# --- the simulator's ledger --------------------------------------------------------------------


class Outcome(StrEnum):
    """What a simulated payment does."""

    EXACT = "exact"
    UNDER = "under"
    OVER = "over"
    LATE = "late"
    REPLACED = "replaced"
    REORGED = "reorged"


class SimulatorLedger(Protocol):
    """The simulated chain as it is kept in the database."""

    async def advance(self, now: int, block_interval_ms: int, confirmations: int) -> None:
        """Let what is due happen: a block, a replacement, a reorg."""

    async def head(self) -> tuple[int, str, int]:
        """Return (height, hash, mined_at) of the tip."""

    async def block_hash(self, height: int) -> str | None:
        """Return the hash at a height of the best chain."""

    async def block(self, block_hash: str) -> Block | None:
        """Return a block of the best chain by its hash."""

    async def mempool(self) -> tuple[Transaction, ...]:
        """Return the unconfirmed transactions."""

    async def transaction(self, txid: str) -> tuple[Transaction, int | None] | None:
        """Return a transaction that counts, and the height of its block if it is in one."""


# --- rates ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick:
    """One source's price: 1 `base` costs `price` of `currency`, as of `at`.

    A fixing is made once a working day and stands until the next one; any other price is of the
    moment.
    """

    source: str
    base: str
    currency: str
    price: Decimal
    at: int
    is_fixing: bool = False


class RateSource(Protocol):
    """A place that knows prices."""

    @property
    def name(self) -> str:
        """Its name in settings, quotes and reports."""

    @property
    def currencies(self) -> frozenset[str]:
        """The fiat currencies that it lists, known without asking it."""

    @property
    def every_s(self) -> int:
        """How often it is asked."""

    async def fetch(self, now: int) -> Sequence[Tick]:
        """Return the current prices; raises UnavailableError where there are none to be had.

        It has a time limit of its own, and answers or raises within it.
        """


# --- channels ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """An event on its way to one endpoint: the exact bytes, and what to sign them with."""

    event_id: str
    body: bytes
    target: str
    secret: str
    sent_at: int


class Answer(StrEnum):
    """What an attempt came to."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REFUSED = "refused"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What happened when a message was sent: `status` is the HTTP status or None.

    `excerpt` is at most the first kilobyte of the answer, `error` a sentence where there was none.
    """

    answer: Answer
    status: int | None
    duration_ms: int
    excerpt: str
    error: str | None
    retry_after_s: int | None = None


class Channel(Protocol):
    """A way to tell a merchant's systems of an event."""

    @property
    def kind(self) -> str:
        """Its name in the database, such as `webhook`."""

    def parse_target(self, text: str) -> str:
        """Return the endpoint in canonical form; raises InvalidError that says what is wrong."""

    async def send(self, message: Message) -> Attempt:
        """Send once; never raises for what the other side does."""

    async def close(self) -> None:
        """Let go of connections."""


# --- the store --------------------------------------------------------------------------------


class Bell(Protocol):
    """A hint that something has changed since its owner last waited."""

    async def wait(self, timeout_s: float) -> None:
        """Return when the bell was rung since the last wait, or after `timeout_s`."""


class Store(Protocol):
    """The database, SQLite or PostgreSQL.

    `fn` is plain synchronous code on a connection. It may be run again, so it has no other effect
    than on the database and on what it returns.
    """

    async def read(self, fn: Callable[[Any], T]) -> T:
        """Run `fn` in a transaction that only reads."""

    async def write(self, fn: Callable[[Any], T]) -> T:
        """Run `fn` in a transaction and return after it is durable."""

    async def insert_invoice(self, row: Mapping[str, Any]) -> int:
        """Add an invoice at the speed of the driver and return its id after it is durable.

        Rows that arrive together share a commit. None of them takes part in a larger transaction.
        """

    async def find_invoice(
        self, invoice_id: int, merchant_id: int, mode: Mode
    ) -> Sequence[Any] | None:
        """Return the row of an invoice, its columns in their order, at the speed of the driver.

        An unknown id is None, and so is one of another merchant or mode.
        """

    async def find_key(self, digest: str) -> Sequence[Any] | None:
        """Return the row of the API key with this digest, None where none in use has it."""

    def listen(self, topic: str) -> Bell:
        """Return a bell that rings when `topic` is woken: "outbox", "pages" or "chains"."""

    def wake(self, topic: str) -> None:
        """Hint to every process that something of `topic` has changed; the database is truth."""
