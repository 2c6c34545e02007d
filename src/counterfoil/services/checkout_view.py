"""What the payer of an invoice may see of it.

The types here are views of their own. They never hold the invoice's id, its memo, anything of other
merchants, keys or wallets, and nothing that is meant for the operator: a share token opens this and
nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from counterfoil.core.payment import Progress


class State(StrEnum):
    """What the page is about; what is unusual stands beside it, in the `Note`s."""

    CHOOSE = "choose"
    OPEN = "open"
    ENDED = "ended"
    PARTIAL = "partial"
    OVERDUE = "overdue"
    SEEN = "seen"
    CONFIRMING = "confirming"
    PAID = "paid"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


PAYABLE = frozenset({State.CHOOSE, State.OPEN, State.ENDED, State.PARTIAL})


class Note(StrEnum):
    """What a payer must know besides the state."""

    OVERPAID = "overpaid"
    LATE = "late"
    REVIEW = "review"
    FAILED = "failed"
    REVERSED = "reversed"
    MARKED = "marked"
    # Something of another amount has come, which may be this payer's.
    STRAY = "stray"


@dataclass(frozen=True, slots=True)
class Offer:
    """A method that the payer may choose."""

    method: str
    symbol: str
    name: str
    network: str


@dataclass(frozen=True, slots=True)
class Price:
    """What to pay now, and where; `link` is what a wallet opens and what the QR code holds.

    `is_least` tells that less is due, and that less cannot be sent.
    """

    offer: Offer
    address: str
    amount: str
    fiat: str
    is_least: bool
    rate: str
    link: str
    lock_until: int
    is_ending: bool


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as its payer knows it; `amount` is None for a coin that is switched off."""

    symbol: str
    amount: str | None
    txid: str
    explorer: str | None
    progress: Progress
    confirmations: int
    needed: int
    is_late: bool


@dataclass(frozen=True, slots=True)
class Unseen:
    """A network that cannot be seen now, and until when it was."""

    network: str
    since: int | None


@dataclass(frozen=True, slots=True)
class View:
    """All that the page shows.

    `received`, `due` and `excess` are amounts of the invoice's currency, None where there is
    nothing to say. `problem` is the code of what kept us from asking for money.
    """

    share_token: str
    rev: int
    version: str
    state: State
    notes: tuple[Note, ...]
    amount: str
    currency: str
    merchant: str
    title: str
    message: str
    offers: tuple[Offer, ...]
    chosen: Offer | None
    price: Price | None
    payments: tuple[Payment, ...]
    received: str | None
    due: str | None
    excess: str | None
    confirmations: int
    needed: int
    wait_s: int | None
    unseen: tuple[Unseen, ...]
    problem: str | None
    due_at: int | None
    paid_at: int | None
    is_test: bool
    redirect_url: str | None


# --- what a view was made of -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pulse:
    """What open pages compare: revisions by invoice, and by chain (height, whether it is seen)."""

    revs: Mapping[int, int]
    chains: Mapping[str, tuple[int, bool]]


@dataclass(frozen=True, slots=True)
class Basis:
    """What a view was made of; where it no longer holds, the view is made anew.

    `until` is when time alone will change the view, `heights` are those that confirmations were
    counted from, `sights` tells of each network that matters whether it was seen.
    """

    invoice_id: int
    rev: int
    until: int | None
    heights: tuple[tuple[str, int], ...]
    sights: tuple[tuple[str, bool], ...]

    def holds(self, pulse: Pulse, now: int) -> bool:
        """Tell whether a view made of this is still what would be made now."""
        return (
            pulse.revs.get(self.invoice_id) == self.rev
            and (self.until is None or now < self.until)
            and all(_height(pulse, name) == height for name, height in self.heights)
            and all(_is_seen(pulse, name) == is_seen for name, is_seen in self.sights)
        )


@dataclass(frozen=True, slots=True)
class Look:
    """A view for the payer, and what it was made of, which stays on the server."""

    view: View
    basis: Basis


def _height(pulse: Pulse, chain: str) -> int:
    return pulse.chains.get(chain, (0, False))[0]


def _is_seen(pulse: Pulse, chain: str) -> bool:
    return pulse.chains.get(chain, (0, False))[1]
