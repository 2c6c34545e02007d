"""What must be true at every moment, also between a fact and its meaning: checked after each step.

It is read by plain SQL on a connection of its own, and most of it only as far as it is new.
"""

import hashlib
import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterfoil.core.invoice import MOVES, EventType, Status
from tests.sim.worth import Credit, list_accounts

if TYPE_CHECKING:
    from tests.sim.server import Server

_OF_MOVES = frozenset(kind.value for kinds in MOVES.values() for kind in kinds)
_BURIED = frozenset({EventType.DETECTED.value, EventType.CONFIRMED.value})
# Where an act by hand leaves a transfer: credited, in the inbox, set aside there.
_PLACES = {
    "attach": (True, False, False),
    "detach": (False, True, False),
    "ignore": (False, True, True),
}


@dataclass(frozen=True, slots=True)
class Intent:
    """For which invoice a payer paid, and whether the amount, the address or the tag tells it."""

    invoice_id: int
    is_told: bool


@dataclass
class Steps:
    """The invariants of a step, and how far they have been read."""

    world: "Server"
    faults: list[str] = field(default_factory=list)
    _connection: sqlite3.Connection | None = None
    # When a node last answered, by the clock as it is since: the server's own word is not enough.
    _looked_at: int = 0
    _witness_id: int = 0
    _event_id: int = 0
    _transfer_id: int = 0
    _destination_id: int = 0
    _audit_id: int = 0
    _in_time: set[int] = field(default_factory=set)
    _last: tuple[int, int] = (0, 0)
    _last_seq: int = 0
    # Whether the step began with a node that told the truth, and with nothing left to assess.
    _is_settled: bool = False
    _tip: tuple[int, str] | None = None
    _wanted: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    _told: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def open(self, path: Path) -> None:
        """Look at the database of a new process."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA query_only=ON")

    def close(self) -> None:
        """Let go of it."""
        if self._connection is not None:
            self._connection.close()

    def rows(self, statement: str, *parameters: Any) -> list[Any]:
        """Run a statement on the database of the process that lives."""
        assert self._connection is not None
        return self._connection.execute(statement, parameters).fetchall()

    def unsettle(self) -> None:
        """Take note that much happens in this step: its end does not say what was true within."""
        self._is_settled = False

    def note_look(self) -> None:
        """Take note that a look begins, if there is a node to look at that knows all."""
        chain = self.world.chain
        is_blind = chain.is_away or chain.may_lag or chain.trouble is not None
        if chain.is_synced and not is_blind:
            self._looked_at = self.world.clock.now()

    def note_set_back(self) -> None:
        """Take note that our clock was set back: nobody has looked at what it shows from now on."""
        self._looked_at = min(self._looked_at, self.world.clock.now())

    def _note(self, figure: str | None, fault: str) -> None:
        """Keep what is wrong, once, and count it."""
        if fault not in self.faults:
            self.faults.append(fault)
            if figure is not None:
                setattr(self.world.tally, figure, getattr(self.world.tally, figure) + 1)

    def check(self) -> None:
        """Look at everything that is new, and at the little that may change at any time."""
        self._check_transfers()
        self._check_raised_fees()
        self._check_in_time()
        self._check_destinations()
        self._check_acts_by_hand()
        changed = self._check_changes()
        self._check_events(changed)
        self._check_cursor()
        is_assessed = not self.rows("SELECT 1 FROM due_reassess LIMIT 1")
        if is_assessed:
            self._check_paid()
        self._is_settled = is_assessed and self.world.chain.is_honest

    def _check_transfers(self) -> None:
        """Each transfer counts once, is what was sent, and belongs to whom it was meant for."""
        for transfer_id, count in self.rows(_COUNTS):
            figure = "credited_twice" if count > 1 else "lost"
            self._note(figure, f"transfer {transfer_id} counts {count} times")
        for row in self.rows(_TRANSFERS, self._transfer_id):
            transfer_id, txid, place, key, method, amount, invoice_id, kind, is_moved = row
            self._transfer_id = transfer_id
            sent = {each.index: each for each in self.world.chain.made[txid].transfers}.get(place)
            if sent is None or (sent.destination.hex(), sent.method, str(sent.amount_atomic)) != (
                key,
                method,
                amount,
            ):
                self._note("lost", f"transfer {transfer_id} is not what was sent: {sent}")
            meant = self.world.intents.get((txid, place))
            is_ours = kind == "exclusive" and method == self.world.method.id
            if is_moved or meant is None or not (meant.is_told or is_ours):
                continue
            if invoice_id is None:
                self._note("lost", f"transfer {transfer_id} is not credited")
            elif invoice_id != meant.invoice_id:
                fault = f"transfer {transfer_id} of {meant.invoice_id} went to {invoice_id}"
                self._note("credited_twice", fault)

    def _check_raised_fees(self) -> None:
        """What takes the place of an unconfirmed payment and is the same came no later."""
        for txid, first in self.world.first_of.items():
            for came_at, first_came_at in self.rows(_RAISED, first, txid):
                fault = f"{txid} came at {came_at}, and {first} before it at {first_came_at}"
                self._note("lost", fault)

    def _check_in_time(self) -> None:
        """What came while its price held is never late for that price afterwards."""
        in_time = {payment_id for (payment_id,) in self.rows(_IN_TIME)}
        for payment_id in self._in_time - in_time:
            self._note("lost", f"payment {payment_id} came in time for its price, and is late now")
        self._in_time |= in_time

    def _check_destinations(self) -> None:
        """A shown address is that of its wallet, told by other code than that which showed it."""
        for destination_id, address, value, index in self.rows(_SHOWN, self._destination_id):
            self._destination_id = destination_id
            derived = "w1" + hashlib.sha256(f"{value}/{index}".encode()).hexdigest()[:20]
            if address != derived:
                self._note("lost", f"{address} is not number {index} of {value}")

    def _check_acts_by_hand(self) -> None:
        """What was moved or marked by hand is where it was put, and is as it was left."""
        for transfer_id, act, put, holder, *inbox in self.rows(_MOVED_BY_HAND):
            is_as_put = (holder is not None, *map(bool, inbox)) == _PLACES[act]
            if not is_as_put or (act == "attach" and put != holder):
                self._note("lost", f"transfer {transfer_id} is not where {act} has put it")
        for invoice_id, act, marked_at in self.rows(_MARKED_BY_HAND):
            if (act == "mark") != (marked_at is not None):
                self._note("lost", f"invoice {invoice_id} is not as {act} has left it")

    def _check_changes(self) -> set[int]:
        """No change of a status is told that the chain denies; return the invoices that changed."""
        changed = set()
        by_hand = {invoice_id for (invoice_id,) in self.rows(_ACTED_ON, self._audit_id)}
        ((self._audit_id,),) = self.rows("SELECT coalesce(max(id), 0) FROM audit")
        for witness_id, invoice_id, old, new in self.rows(_WITNESSED, self._witness_id):
            self._witness_id = witness_id
            changed.add(invoice_id)
            self._wanted[invoice_id] += [each.value for each in MOVES[Status(old), Status(new)]]
            if new == Status.EXPIRED.value and not self._is_watched(invoice_id):
                self._note("lost", f"invoice {invoice_id} expired while nobody could see the chain")
            # Money that was moved by hand in this step may have come after it was told.
            is_by_chain = old == Status.PAID.value and invoice_id not in by_hand
            if is_by_chain and self._is_covered_on_chain(invoice_id):
                self._note("events_lost", f"invoice {invoice_id} was reversed and holds its money")
        return changed

    def _is_watched(self, invoice_id: int) -> bool:
        """Tell whether the chain has been watched past an invoice's due date, if it was shown."""
        return not self.rows(_UNWATCHED, invoice_id, self._looked_at)

    def _is_covered_on_chain(self, invoice_id: int) -> bool:
        """Tell whether an honest node's chain holds an invoice's money, deep enough.

        Its blocks up to the height that had been read when the step began: what lies above is read
        later, and until then a payment that has moved up there is not deep.
        """
        chain = self.world.chain
        if not (self._is_settled and chain.is_honest) or self._tip is None:
            return False
        seen = chain.blocks[: min(len(chain.blocks) - chain.lag, self._tip[0] + 1)]
        depths = {
            (t.txid, transfer.index): seen[-1].height - block.height + 1
            for block in seen
            for t in block.transactions
            for transfer in t.transfers
        }
        account = list_accounts(self.rows)[invoice_id]
        return account.settled(lambda paid: depths.get((paid.txid, paid.place), 0)) >= account.need

    def _check_events(self, changed: set[int]) -> None:
        """The log is dense and grows; each change has its events, and each of them its cause."""
        for row in self.rows(_EVENTS, self._event_id):
            self._event_id, seq, at, number, kind, invoice_id, payment_id, payer_of = row
            last_seq = self._last_seq
            if seq != last_seq + 1:
                self._note("events_lost", f"event {seq} follows {last_seq}")
            if (at, number) <= self._last:
                self._note("out_of_order", f"the id of event {seq} does not grow")
            self._last, self._last_seq = (at, number), seq
            if kind in _BURIED and payment_id is None:
                self._note("events_lost", f"event {seq} has no cause")
            if payment_id is not None and payer_of != invoice_id:
                self._note("events_lost", f"event {seq} tells of another invoice's payment")
            if kind in _OF_MOVES:
                changed.add(invoice_id)
                self._told[invoice_id].append(kind)
        for invoice_id in sorted(changed):
            if self._wanted[invoice_id] != self._told[invoice_id]:
                wanted, told = self._wanted[invoice_id], self._told[invoice_id]
                self._note("events_lost", f"invoice {invoice_id} went {wanted} and told {told}")

    def _check_cursor(self) -> None:
        """The headers hang together, and what is in a block is in one of theirs."""
        rows = self.rows("SELECT height, hash FROM header ORDER BY height")
        if not rows or rows[-1] == self._tip:
            return
        self._tip = rows[-1]
        parents = self.world.chain.parents
        for (below, parent), (height, block_hash) in pairwise(rows):
            if height != below + 1 or parents[block_hash] != parent:
                self._note("lost", f"header {height} does not follow header {below}")
        for (txid,) in self.rows(_ASTRAY):
            self._note("lost", f"transaction {txid} is in a block that is not ours")

    def _check_paid(self) -> None:
        """An invoice is Paid where, and only where, its payments are as deep as they must be.

        What is saved as final is what those are worth. Between a block and the assessments that it
        calls for it may not be so yet.
        """
        if self._tip is None:
            return
        height = self._tip[0]

        def depth_of(paid: Credit) -> int:
            if paid.block_height is None or paid.is_gone:
                return 0
            return height - paid.block_height + 1

        for invoice_id, account in list_accounts(self.rows).items():
            held, saved = account.settled(depth_of), account.final
            if account.is_paid(depth_of) != (account.status == Status.PAID.value):
                figure = "credited_twice" if account.status == Status.PAID.value else "lost"
                sums = f"{float(held):.2f} of {float(account.need):.2f}"
                self._note(figure, f"invoice {invoice_id} is {account.status} with {sums}")
            elif held != saved:
                figure = "credited_twice" if saved > held else "lost"
                self._note(figure, f"invoice {invoice_id} has saved {saved} as final, not {held}")

    def hear(self, event_id: str) -> None:
        """See that what is heard for the first time comes after all before it, of its invoice."""
        at, _, number = event_id.partition("-")
        for (seq,) in self.rows(_EARLIER, int(at), int(number)):
            self._note("out_of_order", f"event {event_id} was heard before event {seq}")


_COUNTS = """
    SELECT id, count FROM (
        SELECT t.id, (SELECT count(*) FROM payment p
                      WHERE p.transfer_id = t.id AND p.detached_at IS NULL)
                   + (SELECT count(*) FROM inbox i WHERE i.transfer_id = t.id) AS count
        FROM transfer t
    ) WHERE count <> 1
"""
_TRANSFERS = """
    SELECT t.id, x.txid, t.place, d.key, t.method, t.amount_atomic, p.invoice_id, d.kind,
           EXISTS (SELECT 1 FROM audit a WHERE a.transfer_id = t.id AND a.act <> 'ignore')
    FROM transfer t
    JOIN chain_transaction x ON x.id = t.transaction_id
    JOIN destination d ON d.id = t.destination_id
    LEFT JOIN payment p ON p.transfer_id = t.id AND p.detached_at IS NULL
    WHERE t.id > ? ORDER BY t.id
"""
_IN_TIME = """
    SELECT p.id FROM payment p JOIN quote q ON q.id = p.quote_id
    WHERE p.arrived_at <= q.lock_until + 120000
"""
# A transaction is matched in the look in which it is recorded, and in which its rival is gone.
_RAISED = """
    SELECT DISTINCT x.first_seen_at, f.first_seen_at
    FROM chain_transaction f
    JOIN chain_transaction x ON x.chain = f.chain
    JOIN transfer t ON t.transaction_id = x.id
    LEFT JOIN payment p ON p.transfer_id = t.id
    LEFT JOIN inbox i ON i.transfer_id = t.id
    WHERE f.txid = ? AND x.txid = ? AND f.gone_at = coalesce(p.created_at, i.created_at)
      AND x.first_seen_at > f.first_seen_at
"""
_SHOWN = """
    SELECT d.id, d.address, w.value, d.derivation_index
    FROM destination d JOIN wallet w ON w.id = d.wallet_id
    WHERE d.id > ? AND d.derivation_index IS NOT NULL ORDER BY d.id
"""
_WITNESSED = "SELECT id, invoice_id, old, new FROM witness WHERE id > ? ORDER BY id"
_UNWATCHED = """
    SELECT 1 FROM invoice i JOIN quote q ON q.invoice_id = i.id JOIN chain c ON c.name = q.chain
    WHERE i.id = ? AND (c.watched_at IS NULL OR c.watched_at <= i.due_at OR i.due_at >= ?)
"""
_MOVED_BY_HAND = """
    SELECT a.transfer_id, a.act, a.invoice_id, p.invoice_id,
           i.id IS NOT NULL, i.ignored_at IS NOT NULL
    FROM audit a
    LEFT JOIN payment p ON p.transfer_id = a.transfer_id AND p.detached_at IS NULL
    LEFT JOIN inbox i ON i.transfer_id = a.transfer_id
    WHERE a.id IN (SELECT max(id) FROM audit WHERE transfer_id IS NOT NULL GROUP BY transfer_id)
"""
_MARKED_BY_HAND = """
    SELECT i.id, a.act, i.marked_at FROM audit a JOIN invoice i ON i.id = a.invoice_id
    WHERE a.id IN (SELECT max(id) FROM audit WHERE act IN ('mark', 'unmark') GROUP BY invoice_id)
"""
_ACTED_ON = "SELECT DISTINCT invoice_id FROM audit WHERE id > ? AND invoice_id IS NOT NULL"
_EVENTS = """
    SELECT e.id, e.seq, e.at, e.number, e.type, e.invoice_id, e.payment_id,
           coalesce(p.invoice_id, a.invoice_id)
    FROM event e
    LEFT JOIN payment p ON p.id = e.payment_id
    LEFT JOIN audit a ON a.payment_id = e.payment_id AND a.act = 'mark'
    WHERE e.id > ? ORDER BY e.seq
"""
_ASTRAY = """
    SELECT x.txid FROM chain_transaction x
    LEFT JOIN header h ON h.chain = x.chain AND h.height = x.block_height
    WHERE x.block_height IS NOT NULL AND h.hash IS NOT NULL AND h.hash <> x.block_hash
"""
_EARLIER = """
    SELECT earlier.seq FROM event e
    JOIN event earlier ON earlier.invoice_id = e.invoice_id AND earlier.id < e.id
    JOIN delivery d ON d.event_id = earlier.id
    WHERE e.at = ? AND e.number = ? AND d.state = 'due'
"""
