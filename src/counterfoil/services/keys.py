"""API keys: making, revoking, and telling whose one is."""

import asyncio
from dataclasses import dataclass

from counterfoil.core import access
from counterfoil.core.access import Principal, Scope
from counterfoil.core.errors import ForbiddenError, NotFoundError, UnauthenticatedError
from counterfoil.core.ports import Entropy, Mode, Store
from counterfoil.db import merchants
from counterfoil.db.engine import Connection

_HINT_LENGTH = 12
# A revoked key is refused everywhere within this time; until then a process may remember it.
_REMEMBERED_MS = 1_000
# So long before that it is asked again, and the requests of a busy shop need not wait for it.
_ASK_AHEAD_MS = 500
_REMEMBERED_MAX = 1_000


@dataclass(frozen=True, slots=True)
class _Remembered:
    principal: Principal
    until: int


class Keyring:
    """Tells whose key a request carries, and remembers when each was last used."""

    def __init__(self, store: Store) -> None:
        """Start with nothing remembered."""
        self._store = store
        # By the digest of the whole header, of which there are a few for each key.
        self._remembered: dict[str, _Remembered] = {}
        self._used_at: dict[int, int] = {}
        self._looking_up: dict[str, asyncio.Task[Principal]] = {}

    async def authenticate(self, header: str | None, now: int) -> Principal:
        """Return who asks, by the `Authorization` header: the bare key, or `Bearer <key>`.

        Raises UnauthenticatedError. A key with a typo is told apart without asking the database.
        """
        if not header:
            message = "Send your API key in the Authorization header."
            raise UnauthenticatedError("missing_key", message)
        principal = self.known(header, now)
        if principal is None:
            task = self._look_up_once(access.digest(header), header, now)
            # Whoever goes away does not take the answer of the others along.
            principal = await asyncio.shield(task)
            self._used_at[principal.key_id] = now
        return principal

    def known(self, header: str, now: int) -> Principal | None:
        """Return who asks where that is known from a moment ago, as it is of most requests."""
        asked = access.digest(header)
        remembered = self._remembered.get(asked)
        # Nor is it known from a time that is still to come: then the clock has been set back.
        if remembered is None or not 0 < remembered.until - now <= _REMEMBERED_MS:
            return None
        if now >= remembered.until - _ASK_AHEAD_MS:
            self._look_up_once(asked, header, now)
        self._used_at[remembered.principal.key_id] = now
        return remembered.principal

    def _look_up_once(self, asked: str, header: str, now: int) -> asyncio.Task[Principal]:
        """Look a key up for all who ask for it now; raises UnauthenticatedError where it is none.

        When a busy shop's key has been remembered long enough, dozens of its requests find that out
        before the first has its answer.
        """
        task = self._looking_up.get(asked)
        if task is None:
            look_up = self._look_up(asked, _digest_of_key(header), now)
            task = self._looking_up[asked] = asyncio.create_task(look_up)
            task.add_done_callback(lambda done: self._looked_up(asked, done))
        return task

    def _looked_up(self, asked: str, task: asyncio.Task[Principal]) -> None:
        del self._looking_up[asked]
        if not task.cancelled():
            # Asked for here, so that nobody misses it where all who waited have gone.
            task.exception()

    async def _look_up(self, asked: str, digest: str, now: int) -> Principal:
        row = await self._store.find_key(digest)
        if row is None:
            self._remembered.pop(asked, None)
            raise UnauthenticatedError("bad_key", "This API key is unknown or has been revoked.")
        if len(self._remembered) >= _REMEMBERED_MAX:
            self._remembered.clear()
        principal = merchants.principal(row)
        self._remembered[asked] = _Remembered(principal, now + _REMEMBERED_MS)
        return principal

    async def save_last_used(self) -> None:
        """Write when keys were last used: once for many requests."""
        used_at = dict(self._used_at)
        if not used_at:
            return
        await self._store.write(lambda connection: merchants.save_last_used(connection, used_at))
        # What was used meanwhile, or could not be written, is written the next time.
        self._used_at = {key: at for key, at in self._used_at.items() if at != used_at.get(key)}


def _digest_of_key(header: str) -> str:
    scheme, _, rest = header.partition(" ")
    key = rest.strip() if scheme.lower() == "bearer" else header.strip()
    if not access.is_well_formed(key):
        message = "This is not a Counterfoil API key, or it has a typo in it."
        raise UnauthenticatedError("bad_key", message)
    return access.digest(key)


def require(principal: Principal, scope: Scope) -> None:
    """Raise ForbiddenError, which names the scope, where a key's own is too small."""
    if not principal.scope.includes(scope):
        higher = "" if scope is Scope.FULL else " or higher"
        message = (
            f"This needs a key with the scope {scope.label}{higher}; "
            f"yours has {principal.scope.label}."
        )
        raise ForbiddenError("scope_too_small", message)


def require_live(principal: Principal) -> None:
    """Raise ForbiddenError for a test key: what it is asked for belongs to the merchant's money."""
    if principal.mode is not Mode.LIVE:
        message = "This changes where live money goes, so it needs a live key; yours is a test key."
        raise ForbiddenError("live_key_needed", message)


async def create(
    store: Store, entropy: Entropy, merchant_id: int, mode: Mode, scope: Scope, now: int
) -> str:
    """Make a key and return it: the only time that it is shown."""
    key = access.make_key(mode, entropy.below)

    def write(connection: Connection) -> None:
        merchants.insert_key(
            connection,
            merchant_id=merchant_id,
            mode=mode,
            scope=scope,
            digest=access.digest(key),
            hint=key[:_HINT_LENGTH],
            now=now,
        )

    await store.write(write)
    return key


async def list_all(store: Store, merchant_id: int) -> list[merchants.Key]:
    """Return a merchant's keys, the revoked ones too."""
    return await store.read(lambda connection: merchants.list_keys(connection, merchant_id))


async def revoke(store: Store, merchant_id: int, key_id: int, now: int) -> None:
    """Let a key open nothing any more; raises NotFoundError."""
    is_done = await store.write(
        lambda connection: merchants.revoke_key(connection, merchant_id, key_id, now)
    )
    if not is_done:
        raise NotFoundError("unknown_key", f"This merchant has no key {key_id} in use.")
