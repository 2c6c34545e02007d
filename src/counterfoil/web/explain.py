"""The endpoint that says why an invoice is not paid."""

from typing import Annotated

from msgspec import Meta, Struct

from counterfoil.core import events
from counterfoil.core.access import Scope
from counterfoil.core.errors import InvalidError
from counterfoil.core.invoice import Condition, Status
from counterfoil.core.payment import Progress
from counterfoil.services import case as facts
from counterfoil.services import diagnosis, invoices
from counterfoil.services.advice import advise
from counterfoil.services.explanation import findings
from counterfoil.web import queries, views
from counterfoil.web.endpoints import Answer, Call, Endpoint, Parameter, answer
from counterfoil.web.fields import PLAIN_LINE
from counterfoil.web.parameters import INVOICE_ID

TXID_LENGTH_MAX = 128
_TXID = "txid"


class Asked(Struct, kw_only=True):
    """What was asked for at a moment."""

    method: str
    address: str
    amount: views.Coins
    fiat: Annotated[str, Meta(examples=["25.00 USD"])]
    due: Annotated[str | None, Meta(description="Set where that was less than can be sent.")]
    rate: str
    made_at: views.Time
    valid_until: views.Time
    open: Annotated[bool, Meta(description="Whether that price is valid now.")]


class Seen(Struct, kw_only=True):
    """A payment that is credited to the invoice."""

    payment_id: views.Id
    method: str
    txid: str
    index: int
    amount: views.Coins
    address: str
    counts: Annotated[
        str | None, Meta(description="The fiat that it counts for; null where it does not count.")
    ]
    state: Annotated[
        Progress,
        Meta(description="displaced: another transaction that spends the same counts instead."),
    ]
    height: Annotated[int | None, Meta(description="The block that it is in.")]
    confirmations: int
    needed: Annotated[int, Meta(description="The confirmations that make it final.")]
    first_seen_at: views.Time
    unknown_since: Annotated[
        views.Time | None,
        Meta(description="Since when the node has not listed it, while it is in no block."),
    ]
    late: bool


class Uncredited(Struct, kw_only=True):
    """A transfer in the inbox that may be meant for the invoice."""

    id: views.Id
    method: str
    txid: str
    amount: views.Coins
    address: str
    height: int | None
    reason: str


class Due(Struct, kw_only=True):
    """What is missing, in coin."""

    method: str
    amount: Annotated[str, Meta(description="In whole coins.", examples=["0.125"])]
    address: str
    valid_until: views.Time
    open: Annotated[bool, Meta(description="Whether that amount can be paid now.")]


class Missing(Struct, kw_only=True):
    """What is missing: to the minor unit, and to the atomic unit."""

    amount: Annotated[str, Meta(examples=["5.00"])]
    currency: str
    coins: list[Due]


class Network(Struct, kw_only=True):
    """A chain on which the invoice asked for money."""

    name: str
    network: Annotated[str | None, Meta(description="CAIP-2; null where it is switched off.")]
    height: Annotated[int | None, Meta(description="The last block that was read.")]
    node_height: Annotated[int | None, Meta(description="The node's newest block.")]
    watched_at: Annotated[views.Time | None, Meta(description="Up to when everything was seen.")]
    trouble: str | None
    seen: Annotated[bool, Meta(description="Whether what happens there now would be seen.")]


class Claim(Struct, kw_only=True):
    """A transaction that a payer named on the pay page."""

    txid: str
    at: views.Time


class Output(Struct, kw_only=True):
    """A transfer of the transaction."""

    method: str
    amount: views.Coins
    address: Annotated[str | None, Meta(description="Null for a script that has no address.")]
    owner: Annotated[
        facts.Owner,
        Meta(description="An address of this invoice, another of the merchant, or neither."),
    ]
    recorded: bool
    invoice_id: Annotated[int | None, Meta(description="The invoice that it is credited to.")]
    reason: Annotated[str | None, Meta(description="Why it lies in the inbox, if it does.")]


class Lookup(Struct, kw_only=True):
    """What a node said of the transaction."""

    chain: str
    txid: str
    answer: Annotated[
        facts.Answer,
        Meta(
            description="not_indexed: the node knows only unconfirmed transactions and unspent "
            "coin, and found neither; away: it did not answer."
        ),
    ]
    trouble: str | None
    height: int | None
    confirmations: int
    outputs: Annotated[
        list[Output],
        Meta(description="Of one that the node does not show, what is recorded of it."),
    ]
    more: Annotated[int, Meta(description="How many outputs to others are not listed.")]


class Explanation(Struct, kw_only=True):
    """Why an invoice is as it is."""

    success: views.Success
    invoice_id: views.Id
    status: Status
    exceptions: list[Condition]
    findings: Annotated[list[str], Meta(description="What is known, a sentence for each fact.")]
    advice: Annotated[list[str], Meta(description="What to do, the most pressing first.")]
    asked: list[Asked]
    seen: list[Seen]
    inbox: list[Uncredited]
    missing: Missing | None
    chains: list[Network]
    claims: list[Claim]
    lookups: list[Lookup]


async def explain_invoice(call: Call) -> Answer:
    """Say what was asked for, what was seen, what is missing, and what to do."""
    fields = queries.parse(call.query, (_TXID,))
    txid = fields.text(_TXID, TXID_LENGTH_MAX).strip() or None
    if fields.problems:
        raise InvalidError(*fields.problems)
    context = call.deps.context
    invoice = await invoices.get(context, call.who(), call.invoice_id())
    case = await diagnosis.examine(context, invoice, txid, call.now)
    return answer(_view(case))


def _view(case: facts.Case) -> Explanation:
    return Explanation(
        success=True,
        invoice_id=case.invoice_id,
        status=case.status,
        exceptions=list(case.conditions),
        findings=findings(case),
        advice=advise(case),
        asked=[_asked(each) for each in case.asked],
        seen=[_seen(each) for each in case.seen],
        inbox=[
            Uncredited(
                id=each.inbox_id,
                method=each.method,
                txid=each.txid,
                amount=each.amount,
                address=each.address,
                height=each.height,
                reason=each.reason,
            )
            for each in case.uncredited
        ],
        missing=None
        if case.missing is None
        else Missing(
            amount=case.missing,
            currency=case.currency,
            coins=[_due(each) for each in case.coins],
        ),
        chains=[_network(each) for each in case.networks],
        claims=[Claim(txid=txid, at=events.iso(at)) for txid, at in case.claims],
        lookups=[_lookup(each) for each in case.lookups],
    )


def _asked(each: facts.Asked) -> Asked:
    return Asked(
        method=each.method,
        address=each.address,
        amount=each.amount,
        fiat=each.fiat,
        due=each.due,
        rate=each.rate,
        made_at=events.iso(each.made_at),
        valid_until=events.iso(each.valid_until),
        open=each.is_open,
    )


def _seen(each: facts.Seen) -> Seen:
    return Seen(
        payment_id=each.payment_id,
        method=each.method,
        txid=each.txid,
        index=each.index,
        amount=each.amount,
        address=each.address,
        counts=each.counts,
        state=each.progress,
        height=each.height,
        confirmations=each.confirmations,
        needed=each.needed,
        first_seen_at=events.iso(each.first_seen_at),
        unknown_since=None if each.unknown_since is None else events.iso(each.unknown_since),
        late=each.is_late,
    )


def _due(each: facts.Due) -> Due:
    return Due(
        method=each.method,
        amount=each.amount,
        address=each.address,
        valid_until=events.iso(each.valid_until),
        open=each.is_open,
    )


def _network(each: facts.Network) -> Network:
    return Network(
        name=each.name,
        network=each.network,
        height=each.height,
        node_height=each.node_height,
        watched_at=None if each.watched_at is None else events.iso(each.watched_at),
        trouble=each.trouble,
        seen=each.is_seen,
    )


def _lookup(each: facts.Lookup) -> Lookup:
    return Lookup(
        chain=each.chain,
        txid=each.txid,
        answer=each.answer,
        trouble=each.trouble,
        height=each.height,
        confirmations=each.confirmations,
        outputs=[
            Output(
                method=output.method,
                amount=output.amount,
                address=output.address,
                owner=output.owner,
                recorded=output.is_recorded,
                invoice_id=output.invoice_id,
                reason=output.reason,
            )
            for output in (*each.outputs, *each.recorded)
        ],
        more=each.more,
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/invoice/{id}/explain",
        explain_invoice,
        scope=Scope.AUTOMATE,
        tag="Invoices",
        summary="Explain why an invoice is not paid",
        description="Says in sentences and in facts what was asked for, what was seen on which "
        "chain, what is missing, and what to do. With a txid the nodes are asked for that "
        "transaction.",
        answers={200: Explanation},
        parameters=(
            INVOICE_ID,
            Parameter(
                _TXID,
                "query",
                "A transaction that the payer names.",
                {"type": "string", "maxLength": TXID_LENGTH_MAX, "pattern": PLAIN_LINE},
                "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082",
            ),
        ),
        errors={
            404: ("not_found",),
            422: ("too_long", "invalid_characters", "repeated_parameter", "too_many"),
        },
    ),
)
