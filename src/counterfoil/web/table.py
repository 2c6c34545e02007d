"""All endpoints. What is not in this table is not reachable, and what is stands in the document."""

from functools import cache

from counterfoil.web import acts, api, explain, health, inbox, openapi, rates, wallets
from counterfoil.web.endpoints import Answer, Call, Endpoint


async def get_openapi(_call: Call) -> Answer:
    """Return the description of this API."""
    return Answer(200, _document())


@cache
def _document() -> bytes:
    return openapi.encode(ENDPOINTS)


ENDPOINTS: tuple[Endpoint, ...] = (
    *api.ENDPOINTS,
    *explain.ENDPOINTS,
    *acts.ENDPOINTS,
    *inbox.ENDPOINTS,
    *rates.ENDPOINTS,
    *wallets.ENDPOINTS,
    *health.ENDPOINTS,
    Endpoint(
        "GET",
        "/api/openapi.json",
        get_openapi,
        scope=None,
        tag="Operation",
        summary="This document",
        description="Describes the API in OpenAPI 3.1.",
        answers={},
    ),
)
