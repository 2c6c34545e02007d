"""What must hold in any database that a crash has left, on both stores."""

import json
from typing import Any

import sqlalchemy as sa

from counterfoil.core.invoice import MOVES, Status

# The statuses that an event of a type leads to.
_LEADS_TO: dict[str, set[str]] = {}
for (_, _new), _kinds in MOVES.items():
    for _kind in _kinds:
        _LEADS_TO.setdefault(_kind.value, set()).add(_new.value)
_WITHOUT_MONEY = {Status.UNPAID.value, Status.EXPIRED.value, Status.CANCELLED.value}

# Each finds what is half there: a sentence, and the rows that it is true of.
_HALVES = {
    "an event has no invoice": """
        SELECT e.seq FROM event e LEFT JOIN invoice i ON i.id = e.invoice_id
        WHERE e.invoice_id IS NOT NULL AND i.id IS NULL
    """,
    "an event has no cause": """
        SELECT e.seq FROM event e LEFT JOIN payment p ON p.id = e.payment_id
        WHERE e.type IN ('payment_detected', 'payment_confirmed')
          AND (p.id IS NULL OR p.invoice_id <> e.invoice_id)
    """,
    "an event was not handed to the courier": """
        SELECT e.seq, c.id FROM event e JOIN channel c ON c.merchant_id = e.merchant_id
        WHERE e.at >= c.created_at AND c.events LIKE '%"' || e.type || '"%'
          AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event_id = e.id AND d.channel_id = c.id)
    """,
    "a delivery has no event": """
        SELECT d.id FROM delivery d LEFT JOIN event e ON e.id = d.event_id WHERE e.id IS NULL
    """,
    "a transfer does not count once": """
        SELECT t.id FROM transfer t
        WHERE (SELECT count(*) FROM payment p
               WHERE p.transfer_id = t.id AND p.detached_at IS NULL)
            + (SELECT count(*) FROM inbox i WHERE i.transfer_id = t.id) <> 1
    """,
    "the headers have gaps": """
        SELECT chain FROM header GROUP BY chain HAVING count(*) <> max(height) - min(height) + 1
    """,
    "an amount is held by no quote": """
        SELECT h.amount FROM amount_hold h LEFT JOIN quote q ON q.id = h.quote_id WHERE q.id IS NULL
    """,
}
_HALVES_OF_A_LOG = {
    "a log has gaps": """
        SELECT merchant_id, mode FROM event GROUP BY merchant_id, mode
        HAVING count(*) <> max(seq) OR min(seq) <> 1
    """,
    "a log's end is not where its merchant says": """
        SELECT m.id FROM merchant m
        WHERE m.seq_live <> (SELECT coalesce(max(e.seq), 0) FROM event e
                             WHERE e.merchant_id = m.id AND e.mode = 'live')
    """,
    "an end was not told": """
        SELECT i.id, i.status FROM invoice i
        WHERE (i.status = 'Expired' AND NOT EXISTS (
                   SELECT 1 FROM event e WHERE e.invoice_id = i.id AND e.type = 'invoice_expired'))
           OR (i.cancelled_at IS NOT NULL AND NOT EXISTS (
                   SELECT 1 FROM event e
                   WHERE e.invoice_id = i.id AND e.type = 'invoice_cancelled'))
    """,
}
_LAST_TOLD = """
    SELECT i.id, i.status, e.type FROM invoice i
    LEFT JOIN event e ON e.id = (SELECT max(id) FROM event
                                 WHERE invoice_id = i.id AND status IS NOT NULL AND type IN ({}))
"""
_IDENTITIES = "SELECT id, share_token, created_at FROM invoice"


def list_halves(connection: sa.Connection, *, is_swept: bool = False) -> list[str]:
    """Return what is there in part: all of it was written in one commit, so none may be.

    From a log that was swept the oldest events are missing, and that is right.
    """
    found = []
    for sentence, statement in (_HALVES if is_swept else _HALVES | _HALVES_OF_A_LOG).items():
        rows = [tuple(row) for row in connection.execute(sa.text(statement))]
        if rows:
            found.append(f"{sentence}: {rows}")
    return found + _unanswered(connection) + ([] if is_swept else _untold(connection))


def _untold(connection: sa.Connection) -> list[str]:
    """Return the invoices that are in a status of which the last event does not tell."""
    kinds = ", ".join(f"'{kind}'" for kind in _LEADS_TO)
    rows: Any = connection.execute(sa.text(_LAST_TOLD.format(kinds)))
    return [
        f"invoice {invoice_id} is {status} and was last told {kind}"
        for invoice_id, status, kind in rows
        if status not in _LEADS_TO.get(kind, _WITHOUT_MONEY)
    ]


def _unanswered(connection: sa.Connection) -> list[str]:
    """Return the answers that are kept for a repeated request and name no invoice."""
    there = {tuple(row) for row in connection.execute(sa.text(_IDENTITIES))}
    answers = connection.execute(sa.text("SELECT answer FROM idempotency")).scalars()
    return [f"no invoice: {each}" for each in answers if tuple(json.loads(each)) not in there]
