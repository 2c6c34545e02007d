"""Whether the server lives, and whether it can do its work: for whoever starts and watches it.

Neither needs a key, so neither says anything of merchants or invoices.
"""

from collections.abc import Iterable

from counterfoil.core import events
from counterfoil.services import rates, watching
from counterfoil.web import views
from counterfoil.web.endpoints import Answer, Call, Endpoint, answer


async def healthz(_call: Call) -> Answer:
    """Answer: that is all it takes to live."""
    return answer(views.Health(status="ok"))


async def readyz(call: Call) -> Answer:
    """Look at the database, every enabled chain, and the age of the prices."""
    context = call.deps.context
    if not await call.deps.is_ready():
        nothing = views.RateHealth(last_good_at=None, without_rate=[], sources=[])
        return answer(
            views.Readiness(ready=False, database=False, chains=[], rates=nothing), status=503
        )
    states = {state.name: state for state in await watching.list_states(context)}
    chains = [
        _chain(chain.name, chain.network, states.get(chain.name), call.now)
        for chain in context.methods.chains.values()
    ]
    prices = await rates.standing(context, call.now)
    is_ready = _are_well(chains)
    return answer(
        views.Readiness(
            ready=is_ready,
            database=True,
            chains=chains,
            rates=_rates(prices),
        ),
        status=200 if is_ready else 503,
    )


def _are_well(chains: Iterable[views.ChainHealth]) -> bool:
    return all(chain.trouble is None for chain in chains)


def _chain(
    name: str, network: str, state: watching.ChainState | None, now: int
) -> views.ChainHealth:
    """Return how a chain stands; one that nobody has looked at lately is in trouble too."""
    height = state.cursor.height if state and state.cursor else None
    node_height = state.node_height if state else None
    trouble = state.trouble if state else None
    if trouble is None and (state is None or state.checked_at is None or height is None):
        trouble = "It has not been looked at yet."
    elif trouble is None and state and not state.is_looked_at(now):
        trouble = "It is not being watched: no process has looked at it for over a minute."
    return views.ChainHealth(
        name=name,
        network=network,
        height=height,
        node_height=node_height,
        lag=None if height is None or node_height is None else max(node_height - height, 0),
        watched_at=_iso(state.watched_at) if state else None,
        trouble=trouble,
    )


def _rates(prices: rates.Standing) -> views.RateHealth:
    return views.RateHealth(
        last_good_at=_iso(prices.last_good_at),
        without_rate=list(prices.without_rate),
        sources=[
            views.SourceHealth(name=each.name, good_at=_iso(each.good_at), trouble=each.trouble)
            for each in prices.sources
        ],
    )


def _iso(at: int | None) -> str | None:
    return None if at is None else events.iso(at)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/healthz",
        healthz,
        scope=None,
        tag="Operation",
        summary="Is the process alive?",
        description="Answers as long as the process does, whatever the rest of the world is like.",
        answers={200: views.Health},
    ),
    Endpoint(
        "GET",
        "/readyz",
        readyz,
        scope=None,
        tag="Operation",
        summary="Can the server do its work?",
        description="503 when the database does not answer, or a chain is in trouble. Prices "
        "that are missing are shown and are no reason: invoices are made without them.",
        answers={200: views.Readiness, 503: views.Readiness},
    ),
)
