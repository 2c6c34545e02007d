"""A picture of what has become of everything, in which two ends of a scenario can be compared.

Ids, times and tags are left out: who asks again gets others.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from counterfoil.db.schema import (
    amount_hold,
    api_key,
    chain_transaction,
    channel,
    delivery,
    event,
    header,
    idempotency,
    inbox,
    invoice,
    lease,
    merchant,
    payment,
    transfer,
    wallet,
)
from counterfoil.db.schema_world import rate
from tests.crashes.whole import list_halves


def take_picture(
    connection: sa.Connection, names: Mapping[int, str], *, is_swept: bool
) -> dict[str, Any]:
    """Return what is there, with the acknowledged invoices under their names."""

    def rows(*columns: Any, whole: sa.FromClause | None = None) -> list[tuple[Any, ...]]:
        statement = sa.select(*columns) if whole is None else sa.select(*columns).select_from(whole)
        return [tuple(row) for row in connection.execute(statement)]

    invoices = rows(
        invoice.c.id,
        invoice.c.status,
        invoice.c.conditions,
        invoice.c.seen,
        invoice.c.final,
        invoice.c.paid_at.is_not(None),
        invoice.c.cancelled_at.is_not(None),
    )
    sent = transfer.join(chain_transaction)
    known_as = {
        payment_id: (txid, place)
        for payment_id, txid, place in rows(
            payment.c.id, chain_transaction.c.txid, transfer.c.place, whole=payment.join(sent)
        )
    }
    events = connection.execute(sa.select(event).order_by(event.c.merchant_id, event.c.seq))
    told = [(names.get(e.invoice_id), e.type, e.status, known_as.get(e.payment_id)) for e in events]
    return {
        "half there": list_halves(connection, is_swept=is_swept),
        # Who was not answered asked again: nobody has paid, or heard of, the first one.
        "orphans with a life": [
            i for i, status, *_ in invoices if i not in names and status != "Unpaid"
        ],
        "invoices": sorted((names[i], *rest) for i, *rest in invoices if i in names),
        "payments": sorted(
            (names[i], *rest)
            for i, *rest in rows(
                payment.c.invoice_id,
                chain_transaction.c.txid,
                transfer.c.place,
                transfer.c.amount_atomic,
                payment.c.final_at.is_not(None),
                chain_transaction.c.gone_at.is_not(None),
                chain_transaction.c.block_height,
                whole=payment.join(sent),
            )
        ),
        "inbox": sorted(
            rows(chain_transaction.c.txid, transfer.c.place, inbox.c.reason, whole=inbox.join(sent))
        ),
        "events": [[each for each in told if each[0] == name] for name in (*names.values(), None)],
        "deliveries": sorted(
            rows(
                channel.c.target,
                event.c.type,
                delivery.c.state,
                whole=delivery.join(event).join(channel),
            )
        ),
        "channels": sorted(rows(channel.c.target, channel.c.paused_at.is_not(None))),
        "keys in use": len(rows(api_key.c.id)) - len(rows(api_key.c.revoked_at.is_not(None))),
        "wallets": sorted(rows(wallet.c.method, wallet.c.value, wallet.c.removed_at.is_not(None))),
        "merchants": sorted(rows(merchant.c.name)),
        "amounts held": len(rows(amount_hold.c.amount)),
        "answers kept": sorted(rows(idempotency.c.key)),
        "headers": sorted(rows(header.c.height, header.c.hash)),
        "rates": sorted(rows(rate.c.source, rate.c.base, rate.c.currency, rate.c.price)),
        "leases": sorted(rows(lease.c.name)),
    }
