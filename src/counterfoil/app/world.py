"""The machine's clock and chance: the only file that asks for them."""

import asyncio
import secrets
import time


class SystemClock:
    """The machine's clock; implements `core.ports.Clock`."""

    def now(self) -> int:
        """Return the time in milliseconds UTC."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)


class SystemEntropy:
    """The machine's chance; implements `core.ports.Entropy`."""

    def token(self, size_bytes: int) -> bytes:
        """Return unguessable bytes."""
        return secrets.token_bytes(size_bytes)

    def below(self, limit: int) -> int:
        """Return an integer in [0, limit), all equally likely."""
        return secrets.randbelow(limit)
