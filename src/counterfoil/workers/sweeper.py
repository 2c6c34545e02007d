"""Clears away what is kept for a time only, and writes down what is written in batches."""

from counterfoil.core.ports import Clock
from counterfoil.services.context import Context
from counterfoil.services.keys import Keyring
from counterfoil.services.upkeep import sweep

_EVERY_S = 60.0


async def sweep_up(context: Context, keyring: Keyring, clock: Clock) -> None:
    """Sweep once a minute, for ever."""
    while True:
        await sweep(context, clock.now())
        await keyring.save_last_used()
        await clock.sleep(_EVERY_S)
