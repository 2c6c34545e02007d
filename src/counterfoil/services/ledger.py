"""The ledger: what came in a period, for the books, with the evidence of what it was worth.

It has every transfer to an address that was shown which is in a block by now, credited or not, so
its sums are what came there to the last atomic unit. A transfer belongs to the period in which it
was first seen. Its `state` tells how deep a payment lies and not whether it settles: held late
money can be final here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from counterfoil.core import money
from counterfoil.core.events import iso
from counterfoil.core.ports import Mode
from counterfoil.core.quote import Rate
from counterfoil.db import ledger, loops
from counterfoil.db.engine import Connection
from counterfoil.db.ledger import Entry
from counterfoil.services.context import Context

COLUMNS = (
    "first_seen_at",
    "state",
    "method",
    "chain",
    "txid",
    "index",
    "block_height",
    "confirmations",
    "address",
    "amount",
    "amount_atomic",
    "payment_id",
    "invoice_id",
    "order_id",
    "inbox_reason",
    "confirmed_at",
    "fiat_currency",
    *(
        f"{moment}_{name}"
        for moment in ("quote", "arrival", "confirmation")
        for name in ("value", "rate", "rate_sources", "rate_at")
    ),
)

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Ledger:
    """The rows, each with all columns as text, and by method the sums of what came.

    `unconfirmed` transfers of the period are not listed yet, since they are in no block.
    """

    rows: Sequence[Row]
    credited_atomic: Counter[str]
    inbox_atomic: Counter[str]
    unconfirmed: int


async def read(context: Context, merchant_id: int, mode: Mode, start: int, end: int) -> Ledger:
    """Return what came to a merchant from `start` on and before `end`."""

    def load(connection: Connection) -> tuple[list[Entry], int, dict[str, int]]:
        unconfirmed = ledger.count_unconfirmed(connection, merchant_id, mode, start, end)
        entries = ledger.list_entries(connection, merchant_id, mode, start, end)
        states = loops.list_chains(connection, sorted({entry.chain for entry in entries}))
        return entries, unconfirmed, {state.name: state.height for state in states}

    entries, unconfirmed, heights = await context.store.read(load)
    credited, inbox = Counter[str](), Counter[str]()
    for entry in entries:
        (credited if entry.credit else inbox)[entry.method] += entry.amount_atomic
    rows = [_row(context, entry, heights.get(entry.chain, 0)) for entry in entries]
    return Ledger(rows, credited, inbox, unconfirmed)


def _row(context: Context, entry: Entry, height: int) -> Row:
    depth = max(height - entry.block_height + 1, 0)
    row = dict.fromkeys(COLUMNS, "")
    row |= {
        "first_seen_at": iso(entry.first_seen_at),
        "state": "inbox",
        "method": entry.method,
        "chain": entry.chain,
        "txid": entry.txid,
        "index": str(entry.place),
        "block_height": str(entry.block_height),
        "confirmations": str(depth),
        "address": entry.address,
        # The decimals of a method that is switched off are not known: its atomic units are.
        "amount": context.methods.format_coin(entry.method, entry.amount_atomic) or "",
        "amount_atomic": str(entry.amount_atomic),
        "inbox_reason": entry.reason or "",
    }
    credit = entry.credit
    if credit is None:
        return row
    row |= {
        "state": "final" if depth >= credit.depth_needed else "confirming",
        "payment_id": str(credit.payment_id),
        "invoice_id": str(credit.invoice_id),
        "order_id": credit.order_id,
        "confirmed_at": "" if credit.final_at is None else iso(credit.final_at),
        "fiat_currency": credit.currency,
    }
    # What was credited by hand may have a value that no rate says.
    row |= _evidence("quote", credit.value, credit.quoted, credit.currency)
    for moment, worth in (("arrival", credit.arrival), ("confirmation", credit.final)):
        if worth is not None:
            row |= _evidence(moment, worth.value, worth.rate, credit.currency)
    return row


def _evidence(moment: str, value: Fraction, rate: Rate | None, currency: str) -> Row:
    row = {f"{moment}_value": str(money.floor_to_minor(value, currency))}
    if rate is not None:
        row |= {
            f"{moment}_rate": money.format_rate(rate.price),
            f"{moment}_rate_sources": " ".join(rate.sources),
            f"{moment}_rate_at": iso(rate.at) if rate.at else "",
        }
    return row
