"""What to do about an invoice, in plain sentences made from the facts of an explanation.

A command stands in them as it is typed. Nobody is told to pay, while what may be that payment waits
for somebody to decide.
"""

from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from shlex import quote

from counterfoil.core.events import iso
from counterfoil.core.invoice import Condition, Status
from counterfoil.core.payment import Progress
from counterfoil.services.case import (
    Answer,
    Case,
    Lookup,
    Network,
    Output,
    Owner,
    Page,
    Seen,
    Uncredited,
    is_passed,
)
from counterfoil.services.explanation import coins

# Anybody can send dust, and name transactions, a hundred times: so many sentences of a kind do.
_NAMED_MAX = 5


def advise(case: Case) -> list[str]:
    """Return what to do, the most pressing first; there is always something to say."""
    return [
        *(_mend(each, case) for each in case.networks if _may_matter(each, case)),
        *_compare_ids(case),
        *(sentence for lookup in case.lookups for sentence in _act_on(lookup, case)),
        *islice(_send_again(case), _NAMED_MAX),
        *islice(_judge_late(case), _NAMED_MAX),
        *_attach(case),
        *_look_at_claims(case),
        *_go_on(case),
    ]


# --- networks ----------------------------------------------------------------------------------


def _may_matter(network: Network, case: Case) -> bool:
    """Tell whether what cannot be seen of a chain may matter to the invoice still."""
    return not network.is_seen and not (network.is_retired and case.status is Status.PAID)


def _mend(network: Network, case: Case) -> str:
    if network.is_retired:
        return (
            f"Look in the wallet for what was paid on {network.name}: it is retired. If this "
            f"invoice was paid there, settle it: {_mark(case)}."
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


# --- a transaction that was looked up ----------------------------------------------------------


def _compare_ids(case: Case) -> Iterator[str]:
    chains = [
        lookup.chain
        for lookup in case.lookups
        if lookup.answer is Answer.UNKNOWN and not (lookup.recorded or _is_lost(lookup, case))
    ]
    if chains:
        yield (
            "Compare the transaction id with the payer's wallet, and the network with "
            f"{' or '.join(chains)}; what was sent a moment ago may take a minute."
        )


def _act_on(lookup: Lookup, case: Case) -> Iterator[str]:
    if _is_lost(lookup, case):
        yield _find_replacement(lookup, case)
        return
    if lookup.answer is Answer.NOT_INDEXED and not lookup.recorded:
        yield (
            f"Look transaction {lookup.txid} up on an explorer of {lookup.chain}, or give the node "
            "an index (txindex=1)."
        )
    if lookup.answer is Answer.FOUND:
        yield from _act_on_found(lookup, case)
    outputs = (*lookup.outputs, *lookup.recorded)
    yield from islice(_take_from_others(outputs, lookup.txid, case), _NAMED_MAX)


def _is_lost(lookup: Lookup, case: Case) -> bool:
    """Tell whether a transaction that a node does not show was replaced, or dropped."""
    counts_for_nothing = any(each.txid == lookup.txid and each.counts is None for each in case.seen)
    return lookup.answer is not Answer.FOUND and (lookup.is_gone or counts_for_nothing)


def _find_replacement(lookup: Lookup, case: Case) -> str:
    others = (each.replaced_by for each in case.seen if each.txid == lookup.txid)
    other = next(others, None)
    if other is not None:
        return f"Transaction {lookup.txid} was replaced: look at {other}, which counts instead."
    return (
        f"Transaction {lookup.txid} was replaced or dropped. Ask the payer for the one that "
        f"replaced it: `counterfoil explain {case.invoice_id} --txid ID` with its id says what it "
        "is."
    )


def _act_on_found(lookup: Lookup, case: Case) -> Iterator[str]:
    if case.asked and all(output.owner is Owner.STRANGER for output in lookup.outputs):
        yield "Compare the address in the payer's wallet with the one above."
    missed = _list_missed(lookup)
    if missed and is_passed(lookup):
        yield (
            f"Run `counterfoil rescan {missed[0].method} --from {lookup.height}`: that block "
            "was passed without it."
        )
    elif missed:
        yield "Wait a moment: the payment will be recorded when the watcher has read that far."


def _list_missed(lookup: Lookup) -> list[Output]:
    """Return what a transaction pays to the merchant and is not recorded yet."""
    return [
        output
        for output in lookup.outputs
        if output.owner is not Owner.STRANGER and not output.is_recorded
    ]


def _take_from_others(outputs: tuple[Output, ...], txid: str, case: Case) -> Iterator[str]:
    """Say how what was credited to another invoice, or set aside, would be credited to this one."""
    for output in outputs:
        what = f"If {coins(output)} in transaction {txid} was meant for this invoice"
        if output.invoice_id not in (None, case.invoice_id):
            yield (
                f"{what}: {case.command(f'inbox detach {output.payment_id}')}, and then "
                f"{case.command(f'inbox attach ID {case.invoice_id}')} with the number that it "
                "prints."
            )
        elif output.is_ignored:
            attach = case.command(f"inbox attach {output.inbox_id} {case.invoice_id}")
            yield f"{what}: {attach}."


# --- what has come -----------------------------------------------------------------------------


def _send_again(case: Case) -> Iterator[str]:
    for txid, since in _list_unlisted(case).items():
        yield (
            f"The node has not listed transaction {txid} since {iso(since)}; the payer should have "
            "the wallet send it again."
        )


def _list_unlisted(case: Case) -> dict[str, int]:
    """Return the transactions that count and are not listed by the node, and since when."""
    since = {each.txid: each.unknown_since for each in case.seen}
    for lookup in case.lookups:
        if lookup.answer is Answer.FOUND:
            since[lookup.txid] = None
        elif not _is_lost(lookup, case):
            since.setdefault(lookup.txid, lookup.unknown_since)
    return {txid: at for txid, at in since.items() if at is not None}


def _judge_late(case: Case) -> Iterator[str]:
    for each in case.seen:
        if each.is_undecided:
            yield _judge(each, case)


def _judge(late: Seen, case: Case) -> str:
    """Say what a late payment was worth when, and how to credit it at either."""
    detach = case.command(f"inbox detach {late.payment_id}")
    if not Decimal(late.quoted):
        return (
            f"The late payment of {coins(late)} is worth nothing in {case.currency}: {detach} "
            f"takes it off, and {case.command('inbox ignore ID')} with the number that it prints "
            "sets it aside."
        )
    attach = f"inbox attach ID {case.invoice_id} --value"
    at_price = case.command(f"{attach} {late.quoted}")
    if late.arrival is None:
        arrival = "; what it was worth when it came is not known"
    elif late.arrival == late.quoted:
        arrival = ", which it was worth when it came as well"
    elif not Decimal(late.arrival):
        arrival = "; it was worth nothing when it came"
    else:
        at_arrival = case.command(f"{attach} {late.arrival}")
        arrival = (
            f", and {at_arrival} at the {late.arrival} {case.currency} that it was worth when it "
            "came"
        )
    return (
        f"Decide what the late payment of {coins(late)} is worth to you: {detach} takes it off and "
        f"prints its number in the inbox; with that as ID, {at_price} credits it at its price of "
        f"{late.quoted} {case.currency}{arrival}."
    )


def _list_waiting(case: Case) -> dict[int, tuple[Uncredited | Output, str]]:
    """Return what waits in the inbox and may be meant for the invoice, and in which transactions.

    Also what somebody asked about that came to another address, or of a quite different amount.
    """
    looked_up = {
        output.inbox_id: (output, lookup.txid)
        for lookup in case.lookups
        if not lookup.is_gone
        for output in (*lookup.outputs, *lookup.recorded)
        if output.inbox_id is not None and not output.is_ignored
    }
    return looked_up | {each.inbox_id: (each, each.txid) for each in case.uncredited}


def _attach(case: Case) -> Iterator[str]:
    waiting = _list_waiting(case)
    for inbox_id, (each, txid) in islice(waiting.items(), _NAMED_MAX):
        yield (
            f"Decide whether {coins(each)} in transaction {txid}, which lies in the inbox, was "
            "meant for this invoice: "
            f"{case.command(f'inbox attach {inbox_id} {case.invoice_id}')} credits it, "
            f"{case.command(f'inbox ignore {inbox_id}')} sets it aside."
        )
    if len(waiting) > _NAMED_MAX:
        yield f"There is more in the inbox: {case.command('inbox list')} shows it."


def _look_at_claims(case: Case) -> Iterator[str]:
    """Point out the transactions that payers named and nobody has seen, those named last first."""
    if case.status is Status.PAID:
        return
    known = {each.txid for each in case.seen} | {each.txid for each in case.uncredited}
    known |= {lookup.txid for lookup in case.lookups}
    named = dict.fromkeys(txid for txid, _ in reversed(case.claims) if txid not in known)
    for txid in islice(named, _NAMED_MAX):
        look = f"`counterfoil explain {case.invoice_id} --txid {quote(txid)}`"
        yield f"Look at the transaction that a payer named: {look} says what it is."


# --- how to go on ------------------------------------------------------------------------------


def _go_on(case: Case) -> Iterator[str]:
    match case.status:
        case Status.PAID:
            yield _of_paid(case)
            return
        case Status.CONFIRMING:
            yield _of_confirming(case)
            return
    is_reversed = Condition.REVERSED in case.conditions
    if is_reversed:
        yield (
            "The chain took back a payment that had been confirmed, and may confirm it again. If "
            "the order was delivered, ask the payer about it before anything is paid again."
        )
    if _is_to_be_decided(case):
        wait = f" It does not expire before {iso(case.waits_until)}." if case.waits_until else ""
        yield f"Until then ask for no other payment, and make no new invoice.{wait}"
        return
    yield from _of_surplus(case)
    if not is_reversed:
        is_closed = case.is_overdue or case.status is not Status.UNPAID
        yield from _of_closed(case) if is_closed else _of_open(case)


def _is_to_be_decided(case: Case) -> bool:
    """Tell whether what may be a payment of the invoice is not credited to it so far."""
    is_missed = any(
        output.owner is Owner.INVOICE for lookup in case.lookups for output in _list_missed(lookup)
    )
    return is_missed or bool(_list_waiting(case))


def _of_paid(case: Case) -> str:
    if Condition.OVERPAID in case.conditions:
        return _of_overpaid(case)
    unlisted = _list_unlisted(case)
    if any(each.progress is Progress.FINAL and each.txid in unlisted for each in case.seen):
        return "It is paid, as no confirmation is asked for, until its payment is dropped."
    if _list_waiting(case) or any(each.is_undecided for each in case.seen):
        return "It is paid without that."
    return "It is paid: there is nothing to do."


def _of_overpaid(case: Case) -> str:
    surplus, decide = case.surplus, "what to send back is for you to decide"
    if surplus is None:
        return f"It is paid, and too much came: {decide}."
    much = f"It is paid, and {surplus.amount} {case.currency} too much came"
    if surplus.left is None:
        return f"{much}; as much is noted as sent back: there is nothing to do."
    noted = (
        f" {surplus.noted} {case.currency} of it is noted as sent back." if surplus.noted else ""
    )
    note = case.command(f"invoice refund {case.invoice_id} {surplus.left}")
    return f"{much}: {decide}.{noted} Note what you have sent: {note}."


def _of_confirming(case: Case) -> str:
    unlisted = _list_unlisted(case)
    if any(each.is_undecided for each in case.seen):
        return "What has come is enough once you have decided about the late payment."
    if any(each.txid in unlisted for each in case.seen):
        return (
            "Enough was seen, but the node does not list all of it: do not count on it before it "
            "is confirmed."
        )
    if Condition.REVERSED in case.conditions:
        return (
            "Wait: the chain took back a payment that had been confirmed. What there is now is "
            "enough, and is being confirmed."
        )
    return "Wait: enough has come, and is being confirmed."


def _of_surplus(case: Case) -> Iterator[str]:
    """Say what to do about money that came for what is cancelled or overdue."""
    surplus = case.surplus
    if surplus is None:
        return
    over = "It is cancelled" if case.status is Status.CANCELLED else "Its time to pay is over"
    came = f"{over}, and {surplus.amount} {case.currency} came"
    if surplus.left is None:
        yield f"{came}; as much is noted as sent back."
        return
    rest = "it"
    if surplus.noted:
        came += f", of which {surplus.noted} {case.currency} is noted as sent back"
        rest = "the rest"
    wait = "" if surplus.is_final else " Send nothing back before it is confirmed."
    yield (
        f"{came}. Send {rest} back, and note that: "
        f"{case.command(f'invoice refund {case.invoice_id} {surplus.left}')}; or take it as enough "
        f"and settle the invoice: {_mark(case)}.{wait}"
    )


def _of_closed(case: Case) -> Iterator[str]:
    """Say how what is cancelled, expired or overdue may be paid after all."""
    if case.surplus is None and case.status is Status.UNPAID:
        yield f"Its time to pay is over: make a new invoice, or settle it by hand: {_mark(case)}."
    else:
        yield f"Make a new invoice if it is still to be paid.{_watched(case)}"


def _mark(case: Case) -> str:
    return case.command(f"invoice mark {case.invoice_id}")


def _watched(case: Case) -> str:
    """Say which of the invoice's addresses are watched still."""
    on = [network.name for network in case.networks if network.network is not None]
    if not case.asked or not on:
        return ""
    where = "" if len(on) == len(case.networks) else f" on {' and '.join(on)}"
    return f" Its addresses{where} stay watched: what is paid there after all is recorded."


def _of_open(case: Case) -> Iterator[str]:
    price = next((due for due in case.coins if due.is_open), None)
    if price is not None:
        yield (
            f"The payer sends {price.amount} {price.method} to {price.address} by "
            f"{iso(price.valid_until)}."
        )
        return
    send = f"Send the payer to {case.pay_url}:"
    match case.page:
        case Page.PRICE:
            yield f"{send} opening it makes a price to pay."
        case Page.CHOICE:
            yield f"{send} there they choose a coin, and see a price."
        case Page.RENEWAL:
            yield f"{send} there they ask for a new price."
        case Page.NOTHING:
            yield (
                "It can be paid with no coin at the moment. Switch its coin on, or add a wallet: "
                "`counterfoil wallet add --help` says how."
            )
