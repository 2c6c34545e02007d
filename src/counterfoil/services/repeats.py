"""Requests that may come twice: an idempotency key gets the first answer again (wire, section 7).

The key is taken in the transaction that does what was asked, so an error keeps nothing, and a twin
that is still running is waited for.
"""

import hashlib
from dataclasses import dataclass

from counterfoil.core.errors import ConflictError
from counterfoil.core.ports import Mode, Store
from counterfoil.db import idempotency
from counterfoil.db.engine import Connection
from counterfoil.db.idempotency import KeptAnswer, Scope


@dataclass(frozen=True, slots=True)
class Request:
    """A request with an idempotency key: where the key is unique, and what the body digests to."""

    scope: Scope
    body_digest: str

    @classmethod
    def of(cls, merchant_id: int, mode: Mode, endpoint: str, key: str, body: bytes) -> "Request":
        """Return a request by what it was sent as."""
        digest = hashlib.sha256(body).hexdigest()
        return cls(Scope(merchant_id, mode, endpoint, key), digest)

    def answer_again(self, kept: KeptAnswer | None) -> str | None:
        """Return a kept answer; raises ConflictError where it was given to another body."""
        if kept is None:
            return None
        if kept.body_digest != self.body_digest:
            message = (
                "This Idempotency-Key was used for a different request in the last 24 hours; "
                "use a new key for a new request."
            )
            raise ConflictError("idempotency_mismatch", message)
        return kept.answer


def take(connection: Connection, request: Request | None, now: int) -> str | None:
    """Return what a request was answered before; None if its key is new, and now taken.

    Raises ConflictError (`idempotency_mismatch`).
    """
    if request is None:
        return None
    return request.answer_again(
        idempotency.claim(connection, request.scope, request.body_digest, now)
    )


def keep(connection: Connection, request: Request | None, answer: str) -> None:
    """Keep what a request is answered."""
    if request is not None:
        idempotency.keep(connection, request.scope, answer)


async def earlier(store: Store, request: Request) -> str | None:
    """Return what a request was answered before, None where its key is new.

    Asked before anything is checked: what was good then is not refused now because its due date has
    passed or a coin was switched off meanwhile. Raises ConflictError (`idempotency_mismatch`).
    """
    kept = await store.read(lambda connection: idempotency.get(connection, request.scope))
    return request.answer_again(kept)
