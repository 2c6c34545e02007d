"""An invoice's life as its payers, its chain and its merchant made it, and what that must come to.

It shares no code with the services: what it says is compared with what they have saved and told.
The verdict over the facts is that of the model of `core`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from counterfoil.core.payment import Payment
from counterfoil.core.ports import Transaction
from counterfoil.db.quotes import Quote
from tests.core.lives import MINUTE_MS, facts, payment
from tests.core.model import Verdict, judge
from tests.sim.chain import WorldChain

DEPTH_NEEDED = 2


@dataclass
class Sent:
    """A transfer to the invoice's address; it counts at a quote's price, or what was typed."""

    transaction: Transaction
    place: int
    amount: int
    arrived_at: int
    arrival_value: Fraction
    quote_id: int | None = None
    typed: Fraction | None = None
    is_held: bool = False
    is_stray: bool = False
    depth: int = 0
    missing_since: int | None = None
    is_gone: bool = False
    final_at: int | None = None

    @property
    def is_credited(self) -> bool:
        return self.quote_id is not None or self.typed is not None


@dataclass
class Model:
    """All that has happened to one invoice."""

    amount: Decimal
    tolerance: Decimal
    due_at: int | None
    is_shared: bool
    is_holding: bool
    sent: list[Sent] = field(default_factory=list)
    quotes: Sequence[Quote] = ()
    cancelled_at: int | None = None
    marked_at: int | None = None
    watched_at: int = 0
    status: str = "Unpaid"
    notices: set[str] = field(default_factory=set)

    def watch(self, chain: WorldChain, now: int) -> None:
        """See where the chain has the transfers now."""
        depths = {t.txid: chain.height - b.height + 1 for b in chain.blocks for t in b.transactions}
        spent = {s for txid in {*depths, *chain.pool} for s in chain.made[txid].spends}
        for one in self.sent:
            txid = one.transaction.txid
            one.depth = depths.get(txid, 0)
            if txid in depths or txid in chain.pool:
                one.missing_since, one.is_gone = None, False
            elif not spent.isdisjoint(one.transaction.spends):
                one.is_gone = True
            else:
                one.missing_since = one.missing_since or now
                one.is_gone |= now - one.missing_since >= 30 * MINUTE_MS
        self.watched_at = now

    def match(self, one: Sent) -> None:
        """Credit a transfer that has just been seen to the quote that it pays, if to any."""
        is_exact = any(q.amount_atomic == one.amount for q in self.quotes)
        one.is_stray, one.is_held = self.is_shared and not is_exact, self.is_holding
        one.quote_id = None if one.is_stray else self.price(one)

    def price(self, one: Sent) -> int | None:
        """Return the quote that says what a transfer is worth: of its amount, else of its time."""
        choice = [q for q in self.quotes if q.amount_atomic == one.amount] or self.quotes
        earlier = [q.id for q in choice if q.created_at < one.arrived_at]
        return max(earlier) if earlier else min((q.id for q in choice), default=None)

    def waits_until(self) -> int | None:
        """Return until when it does not expire for what may have been meant for it."""
        likely = [
            stray.arrived_at
            for stray in self.sent
            for q in self.quotes
            if (stray.is_stray and not stray.is_gone)
            and q.created_at < stray.arrived_at <= (self.due_at or 0)
            and abs(q.amount_atomic - stray.amount) <= Fraction(q.amount_atomic, 20)
        ]
        return max(likely) + 24 * 60 * MINUTE_MS if likely else None

    def judge(self, now: int) -> Verdict:
        """Return what all that has happened must come to."""
        known = facts(
            *(self._payment(one, now) for one in self.sent if one.is_credited),
            amount=self.amount,
            tolerance=self.tolerance,
            due_at=self.due_at,
            cancelled_at=self.cancelled_at,
            marked_at=self.marked_at,
            is_watched_past_due=self.due_at is not None and self.watched_at > self.due_at,
            waits_until=self.waits_until(),
        )
        return judge(known, now)

    def _payment(self, one: Sent, now: int) -> Payment:
        one.final_at = one.final_at or (now if one.depth >= DEPTH_NEEDED else None)
        asked = next((q for q in self.quotes if q.id == one.quote_id), None)
        return payment(
            txid=one.transaction.txid,
            spends=frozenset(one.transaction.spends),
            quoted_atomic=asked.amount_atomic if asked else one.amount,
            quoted_fiat=asked.fiat if asked else one.typed,
            due_fiat=asked.due if asked else None,
            lock_until=asked.lock_until if asked else one.arrived_at,
            received_atomic=one.amount,
            arrived_at=one.arrived_at,
            arrival_value=None if one.is_held else one.typed or one.arrival_value,
            is_mined=one.depth > 0,
            depth=one.depth,
            depth_needed=DEPTH_NEEDED,
            final_at=one.final_at,
            gone_at=now if one.is_gone else None,
        )

    def tell(self, verdict: Verdict) -> Iterator[str]:
        """Yield the events that the shop must hear of a change, in order."""
        old, self.status = self.status, verdict.status
        if old != self.status:
            if old == "Paid":
                yield "payment_reversed"
            if self.status in ("Confirming", "Paid"):
                yield "payment_confirmed" if self.status == "Paid" else "payment_detected"
            elif old in ("Confirming", "Paid"):
                yield "payment_failed"
        for name in ("underpaid", "overpaid", "paid_late", "expired", "cancelled"):
            if name in verdict.notices - self.notices:
                yield f"invoice_{name}"
        # These two are told once, whatever comes after.
        self.notices = verdict.notices | (self.notices & {"expired", "cancelled"})
