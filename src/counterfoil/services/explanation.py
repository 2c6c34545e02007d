"""Why an invoice is not paid, in plain sentences made from facts; nothing here asks anybody.

`findings` say what was asked for, what was seen and what is missing; `advice` says what to do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from counterfoil.core.events import iso
from counterfoil.core.inbox import WHY
from counterfoil.core.invoice import Condition, Status
from counterfoil.core.money import name_coins
from counterfoil.core.payment import Progress


class Answer(StrEnum):
    """What a node said of a transaction."""

    FOUND = "found"
    UNKNOWN = "unknown"
    NOT_INDEXED = "not_indexed"
    AWAY = "away"


class Owner(StrEnum):
    """Whose an address is, as far as one merchant may know."""

    INVOICE = "invoice"
    MERCHANT = "merchant"
    STRANGER = "stranger"


@dataclass(frozen=True, slots=True)
class Asked:
    """A quote: so much of a method was asked for at an address, for a share of the invoice.

    Here and below `amount` is None where the method is switched off: its decimals are not known.
    `due` is set where that was less than can be sent.
    """

    method: str
    address: str
    amount: str | None
    fiat: str
    rate: str
    made_at: int
    valid_until: int
    is_open: bool
    due: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A payment; `counts` is the fiat that it counts for, None where it does not count."""

    payment_id: int
    method: str
    txid: str
    index: int
    amount: str | None
    address: str
    quoted: str
    counts: str | None
    progress: Progress
    height: int | None
    confirmations: int
    needed: int
    first_seen_at: int
    is_late: bool
    is_settled: bool


@dataclass(frozen=True, slots=True)
class Uncredited:
    """A transfer in the inbox that came to an address of the invoice, or nearly fits it."""

    method: str
    txid: str
    amount: str | None
    address: str
    height: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Network:
    """A chain on which the invoice asked for money; `trouble` is what its node suffers from.

    `network` is None where the chain has been switched off since, `is_retired` says for good.
    """

    name: str
    network: str | None
    height: int | None
    node_height: int | None
    watched_at: int | None
    trouble: str | None
    is_seen: bool
    is_retired: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """What is missing, in coin: at a price that is open, or at the last one that was."""

    method: str
    amount: str
    address: str
    valid_until: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class Output:
    """A transfer of a transaction that was looked up, and where it lies."""

    method: str
    amount: str | None
    address: str | None
    owner: Owner
    is_recorded: bool
    invoice_id: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Lookup:
    """What one node said of a transaction; `more` outputs are not listed."""

    chain: str
    txid: str
    answer: Answer
    trouble: str | None = None
    height: int | None = None
    confirmations: int = 0
    cursor_height: int | None = None
    outputs: tuple[Output, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """All the facts about an invoice that an explanation is made from.

    `claims` are the transactions that payers named, and when.
    """

    invoice_id: int
    status: Status
    conditions: tuple[Condition, ...]
    amount: str
    currency: str
    pay_url: str
    due_at: int | None
    is_overdue: bool
    missing: str | None
    coins: tuple[Due, ...]
    asked: tuple[Asked, ...]
    seen: tuple[Seen, ...]
    uncredited: tuple[Uncredited, ...]
    networks: tuple[Network, ...]
    claims: tuple[tuple[str, int], ...] = ()
    lookups: tuple[Lookup, ...] = ()


# In words why a transfer lies in the inbox.
_WHY = {reason.value: words for reason, words in WHY.items()}


def findings(case: Case) -> list[str]:
    """Return what is known, one sentence for each fact."""
    return [
        _standing(case),
        *_asked(case.asked),
        *_seen(case),
        *(_uncredited(each) for each in case.uncredited),
        *_missing(case),
        *(_network(network) for network in case.networks),
        *(f"At {iso(at)} a payer named transaction {txid}." for txid, at in case.claims),
        *(sentence for lookup in case.lookups for sentence in _looked_up(lookup, case.invoice_id)),
    ]


def advice(case: Case) -> list[str]:
    """Return what to do, the most pressing first; there is always something to say."""
    return [
        *(_mend(each, case.invoice_id) for each in case.networks if _may_matter(each, case)),
        *(sentence for lookup in case.lookups for sentence in _act_on(lookup)),
        *_decide(case),
        _go_on(case),
    ]


# --- what is known -----------------------------------------------------------------------------


def _standing(case: Case) -> str:
    unusual = f" ({', '.join(case.conditions)})" if case.conditions else ""
    due = f", to be paid by {iso(case.due_at)}" if case.due_at is not None else ""
    return (
        f"Invoice {case.invoice_id} over {case.amount} {case.currency}{due} is "
        f"{case.status}{unusual}."
    )


def _asked(asked: Sequence[Asked]) -> Iterator[str]:
    if not asked:
        yield "Nobody has opened its pay page, so no amount and no address were shown."
    for each in asked:
        end = "is valid until" if each.is_open else "ended at"
        least = f" ({each.due} was due, and less cannot be sent)" if each.due else ""
        yield (
            f"At {iso(each.made_at)} it asked for {_amount(each)} at {each.address}, "
            f"for {each.fiat}{least}; that price {end} {iso(each.valid_until)}."
        )


def _seen(case: Case) -> Iterator[str]:
    if not case.seen:
        yield "No payment of it was seen."
    for each in case.seen:
        where = {
            Progress.SEEN: "was seen and waits for its first block",
            Progress.CONFIRMING: f"is in block {each.height} with {each.confirmations} of "
            f"{each.needed} confirmations",
            Progress.FINAL: "is in no block yet, and final as no confirmation is asked for"
            if each.height is None
            else f"is in block {each.height} and final",
            Progress.GONE: "was replaced or dropped by the network and does not count",
            Progress.DISPLACED: "spends what another transaction spends, which counts instead",
        }[each.progress]
        yield (
            f"{_capital(_amount(each))} to {each.address} in transaction {each.txid} "
            f"(first seen at {iso(each.first_seen_at)}) {where}."
        )
        if each.is_late and not each.is_settled:
            yield (
                "It came after its price or the invoice had ended, and either no rate of that "
                "moment is known or the merchant holds late money: it is seen, but settles nothing "
                "by itself."
            )
        elif each.is_late and each.counts is not None:
            yield (
                f"It came after its price or the invoice had ended, so it counts for {each.counts} "
                f"{case.currency}; in time it would have been {each.quoted} {case.currency}."
            )


def _uncredited(each: Uncredited) -> str:
    return (
        f"{_capital(_amount(each))} to {each.address} in transaction {each.txid} lies in the "
        f"inbox. {_WHY[each.reason]}"
    )


def _missing(case: Case) -> Iterator[str]:
    if case.missing is None:
        return
    yield f"{case.missing} {case.currency} is missing."
    for due in case.coins:
        if due.is_open:
            yield f"That is {due.amount} {due.method}, valid until {iso(due.valid_until)}."
        else:
            yield (
                f"At the last price, which ended at {iso(due.valid_until)}, that was "
                f"{due.amount} {due.method}."
            )


def _network(network: Network) -> str:
    if network.network is None:
        for_good = " for good" if network.is_retired else ""
        return f"{network.name} is switched off{for_good}: what is paid there is not seen."
    place = f"The node of {network.name} ({network.network})"
    seen = "nothing of it was seen yet"
    if network.watched_at is not None:
        seen = f"all up to {iso(network.watched_at)} was seen"
    if network.trouble is not None:
        return f"{place} is in trouble, {seen}: {network.trouble}"
    if not network.is_seen:
        return f"{place} is not being watched; {seen}."
    return f"{place} is watched: block {network.height} is read, and {seen}."


def _looked_up(lookup: Lookup, invoice_id: int) -> Iterator[str]:
    node = f"The node of {lookup.chain}"
    match lookup.answer:
        case Answer.AWAY:
            yield f"{node} did not answer for transaction {lookup.txid}: {lookup.trouble}"
        case Answer.UNKNOWN:
            yield f"{node} does not know transaction {lookup.txid}."
        case Answer.NOT_INDEXED:
            yield (
                f"{node} does not list transaction {lookup.txid} as unconfirmed, and cannot look "
                "through what was mined: it has no index of it."
            )
        case Answer.FOUND:
            place = (
                "is unconfirmed"
                if lookup.height is None
                else f"is in block {lookup.height} with {_count(lookup.confirmations)}"
            )
            yield f"Transaction {lookup.txid} {place}, says the node of {lookup.chain}."
            yield from (_output(output, invoice_id) for output in lookup.outputs)
            if lookup.more:
                yield f"It has {lookup.more} more outputs, none of them to the merchant."
            if all(output.owner is Owner.STRANGER for output in lookup.outputs):
                yield "It pays no address of the merchant."


def _output(output: Output, invoice_id: int) -> str:
    whose = {
        Owner.INVOICE: ", an address of this invoice",
        Owner.MERCHANT: ", another address of the merchant",
        Owner.STRANGER: "",
    }[output.owner]
    sentence = f"It pays {_amount(output)} to {output.address or 'a script'}{whose}"
    if output.owner is Owner.STRANGER:
        return f"{sentence}."
    if output.invoice_id == invoice_id:
        return f"{sentence}, and is credited to this invoice."
    if output.invoice_id is not None:
        return f"{sentence}, and is credited to invoice {output.invoice_id}."
    if output.reason is not None:
        return f"{sentence}, and lies in the inbox. {_WHY[output.reason]}"
    return f"{sentence}, and is not recorded yet."


def _amount(each: Asked | Seen | Uncredited | Output) -> str:
    return name_coins(each.amount, each.method)


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _count(confirmations: int) -> str:
    return "1 confirmation" if confirmations == 1 else f"{confirmations} confirmations"


# --- what to do --------------------------------------------------------------------------------


def _may_matter(network: Network, case: Case) -> bool:
    """Tell whether what cannot be seen of a chain may matter to the invoice still."""
    return not network.is_seen and not (network.is_retired and case.status is Status.PAID)


def _mend(network: Network, invoice_id: int) -> str:
    if network.is_retired:
        return (
            f"Look in the wallet for what was paid on {network.name}: it is retired. If this "
            f"invoice was paid there, settle it: `counterfoil invoice mark {invoice_id}`."
        )
    if network.network is None:
        return (
            f"Switch {network.name} on again: then what was paid there meanwhile is read. If it is "
            f"off for good, `counterfoil chain retire {network.name}` ends the wait for it."
        )
    return (
        f"See to the node of {network.name}; `counterfoil doctor` says more. Until it is seen "
        "again nothing new is known, and nothing expires."
    )


def _act_on(lookup: Lookup) -> Iterator[str]:
    if lookup.answer is Answer.UNKNOWN:
        yield (
            f"Compare the transaction id with the payer's wallet, and the network with "
            f"{lookup.chain}; what was sent a moment ago may take a minute."
        )
    elif lookup.answer is Answer.NOT_INDEXED:
        yield (
            f"Look transaction {lookup.txid} up on an explorer of {lookup.chain}, or give the node "
            "an index (txindex=1)."
        )
    unrecorded = [
        output
        for output in lookup.outputs
        if output.owner is not Owner.STRANGER and not output.is_recorded
    ]
    if unrecorded and is_passed(lookup):
        yield (
            f"Run `counterfoil rescan {unrecorded[0].method} --from {lookup.height}`: that block "
            "was passed while nobody could see it."
        )
    elif unrecorded:
        yield "Wait a moment: the payment will be recorded when the watcher has read that far."


def is_passed(lookup: Lookup) -> bool:
    """Tell whether the cursor has passed the block of a transaction."""
    return (
        lookup.height is not None
        and lookup.cursor_height is not None
        and lookup.height <= lookup.cursor_height
    )


def _decide(case: Case) -> Iterator[str]:
    if case.uncredited:
        yield (
            "Look with `counterfoil inbox list` whether what lies there was meant for this "
            f"invoice; if it was, credit it: `counterfoil inbox attach ID {case.invoice_id}`."
        )
    if any(each.is_late and not each.is_settled for each in case.seen):
        late = next(each for each in case.seen if each.is_late and not each.is_settled)
        yield (
            "Decide what the late payment is worth to you: `counterfoil inbox detach "
            f"{late.payment_id}`, and attach it again."
        )


def _go_on(case: Case) -> str:
    match case.status:
        case Status.PAID if Condition.OVERPAID in case.conditions:
            return "It is paid, and too much came: what to send back is for you to decide."
        case Status.PAID:
            return "It is paid: there is nothing to do."
        case Status.CONFIRMING if any(each.is_late and not each.is_settled for each in case.seen):
            return "What has come is enough once you have decided about the late payment."
        case Status.CONFIRMING:
            return "Wait: enough has come, and is being confirmed."
        case Status.EXPIRED | Status.CANCELLED:
            return (
                "Make a new invoice if it is still to be paid. Its addresses stay watched: what is "
                "paid there after all is recorded."
            )
    if case.is_overdue:
        return (
            "Its time to pay is over: make a new invoice, or settle it by hand with `counterfoil "
            f"invoice mark {case.invoice_id}`."
        )
    price = next((due for due in case.coins if due.is_open), None)
    if price is None:
        return f"Send the payer to {case.pay_url}: opening it makes a price to pay."
    return (
        f"The payer sends {price.amount} {price.method} to {price.address} by "
        f"{iso(price.valid_until)}."
    )
