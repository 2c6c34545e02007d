"""Whoever acts by hand, and the record of what they did."""

from dataclasses import dataclass

from counterfoil.core.access import Principal
from counterfoil.core.ports import Mode, Store
from counterfoil.db import audit
from counterfoil.db.audit import Deed
from counterfoil.db.engine import Connection

# What is returned of the record.
Entry = audit.Entry


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts for a merchant, in a mode: a key, or somebody at the command line."""

    merchant_id: int
    mode: Mode
    name: str


def with_key(principal: Principal) -> Actor:
    """Return who acts with an API key."""
    return Actor(principal.merchant_id, principal.mode, f"key {principal.key_id}")


def at_terminal(merchant_id: int, mode: Mode) -> Actor:
    """Return who acts at the command line, for any merchant of the server."""
    return Actor(merchant_id, mode, "cli")


def record(connection: Connection, who: Actor, deed: Deed, now: int) -> None:
    """Write down an act, in the transaction of the act itself."""
    audit.insert(connection, who.merchant_id, who.mode, who.name, deed, now)


async def list_last(
    store: Store, who: Actor, *, invoice_id: int | None = None, limit: int
) -> list[Entry]:
    """Return what was done by hand for a merchant, to one invoice or at all, the last first."""
    return await store.read(
        lambda connection: audit.list_last(connection, who.merchant_id, who.mode, invoice_id, limit)
    )
