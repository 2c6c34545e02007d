"""Why an invoice is not paid, in plain sentences made from facts; nothing here asks anybody.

`findings` say what was asked for, what was seen and what is missing; what to do is for
`services.advice` to say.
"""

from collections.abc import Iterator, Sequence

from counterfoil.core.events import iso
from counterfoil.core.inbox import WHY
from counterfoil.core.money import name_coins
from counterfoil.core.payment import Progress
from counterfoil.services.case import (
    Answer,
    Asked,
    Case,
    Lookup,
    Network,
    Output,
    Owner,
    Seen,
    Uncredited,
)

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
        *(sentence for lookup in case.lookups for sentence in _looked_up(lookup, case)),
    ]


def _standing(case: Case) -> str:
    unusual = f" ({', '.join(case.conditions)})" if case.conditions else ""
    due = f", to be paid by {iso(case.due_at)}" if case.due_at is not None else ""
    return (
        f"Invoice {case.invoice_id} over {case.amount} {case.currency}{due} is "
        f"{case.status}{unusual}."
    )


def _asked(asked: Sequence[Asked]) -> Iterator[str]:
    if not asked:
        yield "No price was made for it yet, so no amount of a coin was asked for."
    for each in asked:
        end = "is valid until" if each.is_open else "ended at"
        least = f" ({each.due} was due, and less cannot be sent)" if each.due else ""
        yield (
            f"At {iso(each.made_at)} it asked for {coins(each)} at {each.address}, "
            f"for {each.fiat}{least}; that price {end} {iso(each.valid_until)}."
        )


def _seen(case: Case) -> Iterator[str]:
    if not case.seen:
        yield "No payment of it was seen."
    for each in case.seen:
        yield (
            f"{_capital(coins(each))} to {each.address} in transaction {each.txid} "
            f"(first seen at {iso(each.first_seen_at)}) {_progress(each)}."
        )
        if each.counts is not None:
            yield from _worth(each, case.currency)


def _progress(each: Seen) -> str:
    unlisted = ""
    if each.unknown_since is not None:
        unlisted = f"the node has not listed it since {iso(each.unknown_since)}"
    match each.progress:
        case Progress.SEEN if unlisted:
            return f"was seen, but {unlisted}"
        case Progress.SEEN:
            return "was seen and waits for its first block"
        case Progress.CONFIRMING:
            count = f"{each.confirmations} of {each.needed} confirmations"
            return f"is in block {each.height} with {count}"
        case Progress.FINAL if each.height is None:
            final = "is in no block yet, and final as no confirmation is asked for"
            return f"{final}; {unlisted}" if unlisted else final
        case Progress.FINAL:
            return f"is in block {each.height} and final"
        case Progress.DISPLACED:
            other = each.replaced_by or "another transaction"
            return f"spends what {other} spends, which counts instead"
        case Progress.GONE:
            by = f" by {each.replaced_by}" if each.replaced_by else " or dropped by the network"
            return f"was replaced{by} and does not count"


def _worth(each: Seen, currency: str) -> Iterator[str]:
    """Say what a payment counts for where that is not simply its price."""
    late = "It came after its price or the invoice had ended"
    if each.is_by_hand:
        how = "at what it was worth when it came" if each.counts == each.arrival else "by hand"
        yield f"Its value was set {how}: {each.counts} {currency}."
    elif each.is_undecided:
        why = "late money is held" if each.is_held else "no rate of that moment is known"
        yield f"{late}, and {why}: it is seen, but settles nothing by itself."
    elif each.is_late and each.counts == each.quoted:
        yield f"{late}, and counts for {each.counts} {currency}, as it would have in time."
    elif each.is_late:
        yield (
            f"{late}, so it counts for {each.counts} {currency}; in time it would have been "
            f"{each.quoted} {currency}."
        )


def _uncredited(each: Uncredited) -> str:
    return (
        f"{_capital(coins(each))} to {each.address} in transaction {each.txid} lies in the "
        f"inbox. {_WHY[each.reason]}"
    )


def _missing(case: Case) -> Iterator[str]:
    if case.missing is None:
        return
    yield f"{case.missing} {case.currency} is missing."
    for due in case.coins:
        least = f" ({due.least}, since less cannot be sent)" if due.least else ""
        amount, until = f"{due.amount} {due.method}{least}", iso(due.valid_until)
        if due.is_open:
            yield f"That is {amount}, valid until {until}."
        else:
            yield f"At the last price, which ended at {until}, that was {amount}."


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


def _looked_up(lookup: Lookup, case: Case) -> Iterator[str]:
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
            yield from (_output(output, case) for output in lookup.outputs)
            if lookup.more:
                yield f"It has {lookup.more} more outputs, none of them to the merchant."
            if all(output.owner is Owner.STRANGER for output in lookup.outputs):
                yield "It pays no address of the merchant."
    if lookup.is_gone:
        yield "It was seen before, and was replaced or dropped by the network."
    yield from (_output(output, case) for output in lookup.recorded)


def _output(output: Output, case: Case) -> str:
    whose = {
        Owner.INVOICE: ", an address of this invoice",
        Owner.MERCHANT: ", another address of the merchant",
        Owner.STRANGER: "",
    }[output.owner]
    sentence = f"It pays {coins(output)} to {output.address or 'a script'}{whose}"
    if output.owner is Owner.STRANGER:
        return f"{sentence}."
    if output.invoice_id == case.invoice_id:
        return f"{sentence}, and is credited to this invoice."
    if output.invoice_id is not None:
        return f"{sentence}, and is credited to invoice {output.invoice_id}."
    if output.is_ignored:
        return f"{sentence}, and was set aside: {case.command('inbox list --ignored')} shows it."
    if output.reason is not None:
        return f"{sentence}, and lies in the inbox. {_WHY[output.reason]}"
    return f"{sentence}, and is not recorded yet."


def coins(each: Asked | Seen | Uncredited | Output) -> str:
    """Return an amount and its method, as far as it is known."""
    return name_coins(each.amount, each.method)


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _count(confirmations: int) -> str:
    return "1 confirmation" if confirmations == 1 else f"{confirmations} confirmations"
