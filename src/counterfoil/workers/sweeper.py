"""Clears away what is kept for a time only, and writes down what is written in batches."""

from counterfoil.core.ports import Clock
from counterfoil.services.context import Context
from counterfoil.services.keys import Keyring
from counterfoil.services.upkeep import sweep

_EVERY_S = 60.0
# Between two batches the others have the database to themselves for at least as long.
_PAUSE_S = 0.05


async def sweep_up(context: Context, keyring: Keyring, clock: Clock) -> None:
    """Sweep once a minute, for ever."""
    while True:
        while await sweep(context, clock.now()):
            await clock.sleep(_PAUSE_S)
        await keyring.save_last_used()
        await clock.sleep(_EVERY_S)
