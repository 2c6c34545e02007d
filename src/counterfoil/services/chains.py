"""Chains that this server has ever watched, and switching one off for good.

While a chain cannot be seen no invoice that asked for it expires, since its payer may have paid. Of
a chain that nobody will ever watch again nothing more is heard, so that wait must be ended by hand.
"""

from dataclasses import dataclass

from counterfoil.core.errors import ConflictError, NotFoundError
from counterfoil.core.ports import Mode
from counterfoil.db import loops
from counterfoil.db.engine import Connection
from counterfoil.db.loops import ChainState
from counterfoil.services.context import Context


@dataclass(frozen=True, slots=True)
class Known:
    """How a chain stands, whether it is switched on here, and how many payments on it are open.

    Open are those that are neither final nor gone: they wait for blocks of that chain.
    """

    state: ChainState
    is_on: bool
    open_payments: int


async def list_all(context: Context) -> list[Known]:
    """Return the chains that were ever switched on, by name."""

    def read(connection: Connection) -> list[Known]:
        states = loops.list_all_chains(connection)
        waiting = loops.count_open_payments(connection)
        return [
            Known(state, state.name in context.methods.chains, waiting.get(state.name, 0))
            for state in states
        ]

    return await context.store.read(read)


def _why_not(context: Context, state: ChainState, now: int) -> str | None:
    """Return why a chain cannot be retired, None where it can."""
    chain = context.methods.chains.get(state.name)
    if chain is not None and all(method.mode is Mode.TEST for method in chain.methods):
        return f"The chain {state.name} belongs to test mode: it costs nothing and stays."
    if chain is not None:
        return (
            f"The chain {state.name} is switched on. Take chains.{state.name} out of the settings, "
            "start the servers again, and retire it a minute later."
        )
    if state.is_looked_at(now):
        return (
            f"The chain {state.name} was watched until a moment ago. If every server runs without "
            "it now, retire it in a minute."
        )
    return None


async def retire(context: Context, name: str, now: int) -> Known:
    """Wait no longer for a chain that is switched off for good; return how it stands.

    Its invoices expire when they are due, as if it had been watched. If it is switched on again,
    the watcher goes on where it stopped, and what was paid meanwhile is credited after all. Raises
    NotFoundError, and ConflictError where a server may still watch it.
    """

    def write(connection: Connection) -> None:
        states = {state.name: state for state in loops.list_all_chains(connection)}
        if name not in states:
            known = ", ".join(states) or "none"
            message = f"This database has never watched a chain called {name}; it knows: {known}."
            raise NotFoundError("unknown_chain", message)
        reason = _why_not(context, states[name], now)
        if reason is not None:
            raise ConflictError("chain_switched_on", reason)
        loops.retire(connection, name, now)

    await context.store.write(write)
    (found,) = [each for each in await list_all(context) if each.state.name == name]
    return found
