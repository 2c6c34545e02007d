"""Who asks.

A key has about 190 bits, so it cannot be guessed; what is limited are requests with bad keys, so
that nobody fills logs or the database with them. A good key is never limited: many shops can stand
behind one address, and one of them with an old key must not lock out the others.
"""

from ipaddress import IPv6Address, ip_address

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import Scope as Request

from counterfoil.core.access import Principal
from counterfoil.core.errors import LimitedError, UnauthenticatedError
from counterfoil.services.keys import Keyring

_MINUTE_S = 60


class Gate:
    """Lets requests in by their key."""

    def __init__(self, keyring: Keyring, failures_per_minute: int) -> None:
        """Take the keys, and how many bad ones an address may send in a minute."""
        self._keyring = keyring
        self._limit = RateLimitItemPerMinute(failures_per_minute)
        # Of a moving window the storage would keep every address for ever; counters it drops.
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def admit(self, request: Request, header: bytes | None, now: int) -> Principal:
        """Return whose key the `Authorization` header holds.

        Raises UnauthenticatedError, and LimitedError (`too_many_failures`).
        """
        text = None if header is None else header.decode("latin-1")
        try:
            return await self._keyring.authenticate(text, now)
        except UnauthenticatedError:
            self._count(address_of(request), now)
            raise

    def known(self, header: bytes, now: int) -> Principal | None:
        """Return whose key the `Authorization` header holds, if nobody need be asked for it."""
        return self._keyring.known(header.decode("latin-1"), now)

    def _count(self, address: str, now: int) -> None:
        """Count a failure; raises LimitedError where an address has had too many."""
        if self._limiter.hit(self._limit, "key", address):
            return
        again_at = self._limiter.get_window_stats(self._limit, "key", address).reset_time
        wait_s = min(max(int(again_at - now / 1000) + 1, 1), _MINUTE_S)
        message = f"Too many requests without a valid API key; wait {wait_s} seconds."
        raise LimitedError("too_many_failures", message, retry_after_s=wait_s)


def address_of(request: Request) -> str:
    """Return what stands for the sender: the address, of IPv6 the network that one customer has."""
    client = request.get("client")
    if client is None:
        return "unknown"
    try:
        address = ip_address(client[0])
    except ValueError:
        return str(client[0])
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(IPv6Address(int(address) >> 64 << 64))
    return str(address)
