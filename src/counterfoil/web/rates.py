"""The endpoint of rates: what the methods cost now, and which have no rate."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from counterfoil.core import events, money
from counterfoil.core.access import Scope
from counterfoil.core.errors import InvalidError
from counterfoil.services import rates
from counterfoil.web import queries, views
from counterfoil.web.endpoints import Answer, Call, Endpoint, Parameter, answer

_CURRENCY = "fiat_currency"


class Rate(Struct, kw_only=True):
    """What one whole coin costs now."""

    method: Annotated[str, Meta(examples=["LTC"])]
    coin_symbol: Annotated[str, Meta(examples=["LTC"])]
    fiat_currency: Annotated[str, Meta(examples=["USD"])]
    rate: Annotated[str, Meta(examples=["80.25"])]
    sources: Annotated[list[str], Meta(description="Who says so.", examples=[["kraken", "ecb"]])]
    at: Annotated[views.Time, Meta(description="How old the oldest price in it is.")]


class NoRate(Struct, kw_only=True):
    """A method that has no rate now."""

    method: Annotated[str, Meta(examples=["LTC"])]
    coin_symbol: Annotated[str, Meta(examples=["LTC"])]
    fiat_currency: Annotated[str, Meta(examples=["USD"])]
    code: Literal["rate_unavailable"]
    message: views.Sentence


class RatesAnswer(Struct, kw_only=True):
    """What the methods cost in one currency."""

    success: views.Success
    rates: list[Rate]
    unavailable: Annotated[list[NoRate], Meta(description="The methods without a rate now.")]


async def list_rates(call: Call) -> Answer:
    """Return the rates of all methods in one currency."""
    fields = queries.parse(call.query, (_CURRENCY,))
    currency = None
    if fields.given(_CURRENCY) is not None:
        currency = fields.currency(_CURRENCY)
    if fields.problems:
        raise InvalidError(*fields.problems)
    priced = await rates.list_rates(call.deps.context, call.who(), currency, call.now)
    return answer(
        RatesAnswer(
            success=True,
            rates=[
                Rate(
                    method=each.method.id,
                    coin_symbol=each.method.symbol,
                    fiat_currency=each.currency,
                    rate=money.format_rate(each.rate.price),
                    sources=list(each.rate.sources),
                    at=events.iso(each.rate.at),
                )
                for each in priced
                if each.rate is not None
            ],
            unavailable=[
                NoRate(
                    method=each.method.id,
                    coin_symbol=each.method.symbol,
                    fiat_currency=each.currency,
                    code="rate_unavailable",
                    message=rates.unavailable(each.method, each.currency).message,
                )
                for each in priced
                if each.rate is None
            ],
        )
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/rates",
        list_rates,
        scope=Scope.READ,
        tag="Invoices",
        summary="List the rates",
        description="Returns what one whole coin of each method of the key's mode costs now, as a "
        "quote would have it, and the methods that cannot be priced now. Nobody outside is asked: "
        "it is what the sources said last.",
        answers={200: RatesAnswer},
        parameters=(
            Parameter(
                _CURRENCY,
                "query",
                "The currency; the merchant's own if not given.",
                {"type": "string", "pattern": "^([A-Za-z]{3})?$"},
                "USD",
            ),
        ),
        errors={
            422: ("invalid_currency", "unsupported_currency", "repeated_parameter", "too_many")
        },
    ),
)
