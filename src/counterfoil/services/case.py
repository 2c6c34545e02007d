"""The facts about one invoice from which it is explained, gathered by `services.diagnosis`."""

from dataclasses import dataclass
from enum import StrEnum

from counterfoil.core.invoice import Condition, Status
from counterfoil.core.payment import Progress


class Answer(StrEnum):
    """What a node said of a transaction."""

    FOUND = "found"
    UNKNOWN = "unknown"
    NOT_INDEXED = "not_indexed"
    AWAY = "away"


class Owner(StrEnum):
    """Whose an address is, as far as one merchant may know."""

    INVOICE = "invoice"
    MERCHANT = "merchant"
    STRANGER = "stranger"


class Page(StrEnum):
    """What the pay page does for a payer who opens it while no price is open."""

    PRICE = "makes a price"
    CHOICE = "asks for a coin"
    RENEWAL = "offers a new price"
    UNSEEN = "waits for a network"
    NOTHING = "has no coin"


@dataclass(frozen=True, slots=True)
class Asked:
    """A quote: so much of a method was asked for at an address, for a share of the invoice.

    Here and below `amount` is None where the method is switched off: its decimals are not known.
    `due` is set where that was less than can be sent.
    """

    method: str
    address: str
    amount: str | None
    fiat: str
    rate: str
    made_at: int
    valid_until: int
    is_open: bool
    due: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A payment; `counts` is the fiat that it counts for, None where it does not count.

    `quoted` is what it is worth at its price, `arrival` what it was worth when it came, None if
    nobody knew. `unknown_since` is since when the node has not listed it, while it is in no block.
    `replaced_by` is a transaction that counts and spends what this one spends.
    """

    payment_id: int
    method: str
    txid: str
    index: int
    amount: str | None
    address: str
    quoted: str
    counts: str | None
    progress: Progress
    height: int | None
    confirmations: int
    needed: int
    first_seen_at: int
    is_late: bool
    is_settled: bool
    arrival: str | None = None
    is_held: bool = False
    is_by_hand: bool = False
    unknown_since: int | None = None
    replaced_by: str | None = None

    @property
    def is_undecided(self) -> bool:
        """Whether it came late, and the merchant has to say what it is worth."""
        return self.is_late and not self.is_settled


@dataclass(frozen=True, slots=True)
class Uncredited:
    """A transfer in the inbox that came to an address of the invoice, or nearly fits it."""

    inbox_id: int
    method: str
    txid: str
    amount: str | None
    address: str
    height: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Network:
    """A chain on which the invoice asks for money; `trouble` is what its node suffers from.

    `network` is None where the chain has been switched off since, `is_retired` says for good.
    """

    name: str
    network: str | None
    height: int | None
    node_height: int | None
    watched_at: int | None
    trouble: str | None
    is_seen: bool
    is_retired: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """What is missing, in coin: at a price that is open, or at the last one that was.

    `least` is what that is worth where it is more than is missing: less cannot be sent.
    """

    method: str
    amount: str
    address: str
    valid_until: int
    is_open: bool
    least: str | None = None


@dataclass(frozen=True, slots=True)
class Surplus:
    """Money that is not the merchant's to keep: too much, or all that came of a closed invoice.

    `noted` of it was noted as sent back, `left` is the rest; each is None where it is nothing.
    """

    amount: str
    noted: str | None
    left: str | None
    is_final: bool


@dataclass(frozen=True, slots=True)
class Output:
    """A transfer of a transaction that was looked up, and where it lies.

    `is_shared` says that its address is the invoice's, and that of others besides.
    """

    method: str
    amount: str | None
    address: str | None
    owner: Owner
    is_recorded: bool
    invoice_id: int | None
    reason: str | None
    is_shared: bool = False
    payment_id: int | None = None
    inbox_id: int | None = None
    is_ignored: bool = False


@dataclass(frozen=True, slots=True)
class Lookup:
    """What one node said of a transaction; `more` outputs are not listed.

    `recorded` is what we know of one that the node does not show: `is_gone` says that it was
    replaced or dropped, `unknown_since` as in `Seen`.
    """

    chain: str
    txid: str
    answer: Answer
    trouble: str | None = None
    height: int | None = None
    confirmations: int = 0
    cursor_height: int | None = None
    outputs: tuple[Output, ...] = ()
    more: int = 0
    recorded: tuple[Output, ...] = ()
    is_gone: bool = False
    unknown_since: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """All the facts about an invoice that an explanation is made from.

    `options` are those that a command about it needs. `waits_until` is until when it does not
    expire for what lies in the inbox. `claims` are the transactions that payers named, and when.
    """

    invoice_id: int
    status: Status
    conditions: tuple[Condition, ...]
    amount: str
    currency: str
    pay_url: str
    due_at: int | None
    is_overdue: bool
    missing: str | None
    coins: tuple[Due, ...]
    asked: tuple[Asked, ...]
    seen: tuple[Seen, ...]
    uncredited: tuple[Uncredited, ...]
    networks: tuple[Network, ...]
    page: Page = Page.PRICE
    options: str = ""
    waits_until: int | None = None
    surplus: Surplus | None = None
    claims: tuple[tuple[str, int], ...] = ()
    lookups: tuple[Lookup, ...] = ()

    def command(self, words: str) -> str:
        """Return a command about the merchant of this invoice, as it is typed."""
        return f"`counterfoil {words}{self.options}`"


def is_passed(lookup: Lookup) -> bool:
    """Tell whether the cursor has passed the block of a transaction."""
    return (
        lookup.height is not None
        and lookup.cursor_height is not None
        and lookup.height <= lookup.cursor_height
    )
