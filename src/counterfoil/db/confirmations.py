"""How deep merchants want payments to be, where they have said so themselves."""

from collections.abc import Collection

import sqlalchemy as sa

from counterfoil.core.confirmations import Confirmations, parse
from counterfoil.db.schema import merchant_confirmations
from counterfoil.db.sql import upsert

_OF_MERCHANTS = sa.select(merchant_confirmations).where(
    merchant_confirmations.c.merchant_id.in_(sa.bindparam("merchant_ids", expanding=True))
)


def list_of_merchants(
    connection: sa.Connection, merchant_ids: Collection[int]
) -> dict[tuple[int, str], Confirmations]:
    """Return the policies of some merchants, by merchant and method; most have none."""
    found = connection.execute(_OF_MERCHANTS, {"merchant_ids": list(merchant_ids)})
    return {(row.merchant_id, row.method): parse(row.policy, least=0) for row in found}


def put(connection: sa.Connection, merchant_id: int, method: str, policy: Confirmations) -> None:
    """Set a merchant's policy for a method."""
    row = {"merchant_id": merchant_id, "method": method, "policy": str(policy)}
    statement = upsert(connection, merchant_confirmations).values(row)
    key = [merchant_confirmations.c.merchant_id, merchant_confirmations.c.method]
    connection.execute(
        statement.on_conflict_do_update(index_elements=key, set_={"policy": row["policy"]})
    )


def drop(connection: sa.Connection, merchant_id: int, method: str) -> None:
    """Let the chain's own policy hold again."""
    connection.execute(
        sa.delete(merchant_confirmations).where(
            merchant_confirmations.c.merchant_id == merchant_id,
            merchant_confirmations.c.method == method,
        )
    )
