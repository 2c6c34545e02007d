"""How to go on with an invoice: all that is said of it, and that none is to be paid twice."""

from dataclasses import replace

import pytest

from counterfoil.core.invoice import Condition, Status
from counterfoil.core.payment import Progress
from counterfoil.services.advice import advise
from counterfoil.services.case import Answer, Case, Page, Surplus
from tests.services.cases import (
    AGAIN,
    AT,
    DUE,
    GONE,
    IN_INBOX,
    NETWORK,
    OFF,
    OPEN,
    OURS,
    PAY,
    SEEN,
    STRANGER,
    STRAY,
    TIME,
    case,
    looked_up,
)

ENDED = replace(DUE, is_open=False)
ALL_CAME = Surplus("20.00", None, "20.00", is_final=True)
RESEND = (
    f"The node has not listed transaction ab since {TIME}; the payer should have the wallet send "
    "it again."
)
UNTIL_THEN = "Until then ask for no other payment, and make no new invoice."
NOTHING = "It is paid: there is nothing to do."
WATCHED = "Its addresses stay watched: what is paid there after all is recorded."
REVERSED = (
    "The chain took back a payment that had been confirmed, and may confirm it again. If the order "
    "was delivered, ask the payer about it before anything is paid again."
)


def of_inbox(inbox_id: int, txid: str, options: str = "") -> str:
    return (
        f"Decide whether 0.2 LTC in transaction {txid}, which lies in the inbox, was meant for "
        f"this invoice: `counterfoil inbox attach {inbox_id} 12{options}` credits it, "
        f"`counterfoil inbox ignore {inbox_id}{options}` sets it aside."
    )


def test_whoever_has_an_open_price_pays_it() -> None:
    assert advise(OPEN) == [PAY]


# All of the advice, where there is no other than what is said of the network or of how to go on.
ALONE: dict[str, tuple[Case, list[str]]] = {
    "paid": (case(status=Status.PAID), [NOTHING]),
    "paid, on a chain that is retired": (
        case(status=Status.PAID, networks=(replace(OFF, is_retired=True),)),
        [NOTHING],
    ),
    "paid with what no node lists": (
        case(status=Status.PAID, seen=(replace(SEEN, progress=Progress.FINAL, unknown_since=AT),)),
        [
            RESEND,
            "It is paid, as no confirmation is asked for, until its payment is dropped.",
        ],
    ),
    "paid, and more is seen that no node lists": (
        case(status=Status.PAID, seen=(replace(SEEN, unknown_since=AT),)),
        [RESEND, NOTHING],
    ),
    "paid without what lies in the inbox": (
        case(status=Status.PAID, uncredited=(STRAY,)),
        [of_inbox(5, "cd"), "It is paid without that."],
    ),
    "overpaid": (
        case(
            status=Status.PAID,
            conditions=(Condition.OVERPAID,),
            surplus=Surplus("5.00", None, "5.00", is_final=True),
            options=" --test",
        ),
        [
            (
                "It is paid, and 5.00 USD too much came: what to send back is for you to decide. "
                "Note what you have sent: `counterfoil invoice refund 12 5.00 --test`."
            )
        ],
    ),
    "overpaid, and some of it sent back": (
        case(
            status=Status.PAID,
            conditions=(Condition.OVERPAID,),
            surplus=Surplus("5.00", "2.00", "3.00", is_final=True),
        ),
        [
            (
                "It is paid, and 5.00 USD too much came: what to send back is for you to decide. "
                "2.00 USD of it is noted as sent back. Note what you have sent: "
                "`counterfoil invoice refund 12 3.00`."
            )
        ],
    ),
    "overpaid, and all of it sent back": (
        case(
            status=Status.PAID,
            conditions=(Condition.OVERPAID,),
            surplus=Surplus("5.00", "5.00", None, is_final=True),
        ),
        [
            (
                "It is paid, and 5.00 USD too much came; as much is noted as sent back: there is "
                "nothing to do."
            )
        ],
    ),
    "overpaid by nobody knows how much": (
        case(status=Status.PAID, conditions=(Condition.OVERPAID,)),
        ["It is paid, and too much came: what to send back is for you to decide."],
    ),
    "confirming": (
        case(status=Status.CONFIRMING, seen=(SEEN,)),
        ["Wait: enough has come, and is being confirmed."],
    ),
    "confirming what no node lists": (
        case(status=Status.CONFIRMING, seen=(replace(SEEN, unknown_since=AT),)),
        [
            RESEND,
            (
                "Enough was seen, but the node does not list all of it: do not count on it before "
                "it is confirmed."
            ),
        ],
    ),
    "confirming what the node lists again": (
        replace(
            looked_up(height=None, outputs=(replace(OURS, is_recorded=True, invoice_id=12),)),
            status=Status.CONFIRMING,
            seen=(replace(SEEN, unknown_since=AT),),
        ),
        ["Wait: enough has come, and is being confirmed."],
    ),
    "confirming again": (
        case(status=Status.CONFIRMING, conditions=(Condition.REVERSED,)),
        [
            (
                "Wait: the chain took back a payment that had been confirmed. What there is now is "
                "enough, and is being confirmed."
            )
        ],
    ),
    "reversed": (case(conditions=(Condition.REVERSED,)), [REVERSED]),
    "reversed and cancelled, with some money": (
        case(
            status=Status.CANCELLED,
            conditions=(Condition.REVERSED, Condition.UNDERPAID),
            surplus=ALL_CAME,
        ),
        [
            REVERSED,
            (
                "It is cancelled, and 20.00 USD came. Send it back, and note that: "
                "`counterfoil invoice refund 12 20.00`; or take it as enough and settle the "
                "invoice: `counterfoil invoice mark 12`."
            ),
        ],
    ),
    "expired": (case(status=Status.EXPIRED), [f"{AGAIN} {WATCHED}"]),
    "cancelled": (case(status=Status.CANCELLED), [f"{AGAIN} {WATCHED}"]),
    "cancelled before anybody opened it": (case(status=Status.CANCELLED, asked=()), [AGAIN]),
    "cancelled, with some money": (
        case(status=Status.CANCELLED, surplus=replace(ALL_CAME, is_final=False)),
        [
            (
                "It is cancelled, and 20.00 USD came. Send it back, and note that: "
                "`counterfoil invoice refund 12 20.00`; or take it as enough and settle the "
                "invoice: `counterfoil invoice mark 12`. Send nothing back before it is confirmed."
            ),
            f"{AGAIN} {WATCHED}",
        ],
    ),
    "cancelled, and all of it sent back": (
        case(status=Status.CANCELLED, surplus=Surplus("20.00", "20.00", None, is_final=True)),
        [
            "It is cancelled, and 20.00 USD came; as much is noted as sent back.",
            f"{AGAIN} {WATCHED}",
        ],
    ),
    "overdue": (
        case(is_overdue=True, options=" --test"),
        [
            (
                "Its time to pay is over: make a new invoice, or settle it by hand: "
                "`counterfoil invoice mark 12 --test`."
            )
        ],
    ),
    "overdue, with some money": (
        case(is_overdue=True, surplus=Surplus("20.00", "5.00", "15.00", is_final=True)),
        [
            (
                "Its time to pay is over, and 20.00 USD came, of which 5.00 USD is noted as sent "
                "back. Send the rest back, and note that: `counterfoil invoice refund 12 15.00`; "
                "or take it as enough and settle the invoice: `counterfoil invoice mark 12`."
            ),
            f"{AGAIN} {WATCHED}",
        ],
    ),
    "no price was ever made": (
        case(coins=(), asked=()),
        ["Send the payer to https://pay.example/p: opening it makes a price to pay."],
    ),
    "no price, and several coins": (
        case(coins=(), asked=(), page=Page.CHOICE),
        ["Send the payer to https://pay.example/p: there they choose a coin, and see a price."],
    ),
    "a price that has ended": (
        case(coins=(ENDED,), page=Page.RENEWAL),
        ["Send the payer to https://pay.example/p: there they ask for a new price."],
    ),
    "no price, and no network in sight": (
        case(
            coins=(ENDED,),
            page=Page.UNSEEN,
            networks=(replace(NETWORK, trouble="It is down.", is_seen=False),),
        ),
        [
            (
                "See to the node of litecoin; `counterfoil doctor` says more. Until it is seen "
                "again nothing new is known, and nothing expires."
            )
        ],
    ),
    "no coin": (
        case(coins=(), asked=(), networks=(), page=Page.NOTHING),
        [
            (
                "It can be paid with no coin at the moment. Switch its coin on, or add a wallet: "
                "`counterfoil wallet add --help` says how."
            )
        ],
    ),
    "something in the inbox": (
        case(uncredited=(STRAY,), options=" --test --merchant 'A B'"),
        [of_inbox(5, "cd", " --test --merchant 'A B'"), UNTIL_THEN],
    ),
    "something in the inbox, for which expiry waits": (
        case(is_overdue=True, uncredited=(STRAY,), waits_until=AT),
        [of_inbox(5, "cd"), f"{UNTIL_THEN} It does not expire before {TIME}."],
    ),
    "something in the inbox of what is cancelled": (
        case(status=Status.CANCELLED, uncredited=(STRAY,)),
        [of_inbox(5, "cd"), UNTIL_THEN],
    ),
    "something in the inbox that was looked up": (
        looked_up(outputs=(IN_INBOX,)),
        [of_inbox(6, "ab"), UNTIL_THEN],
    ),
    "the same in the inbox": (
        replace(
            looked_up(txid="cd", outputs=(replace(IN_INBOX, inbox_id=5),)), uncredited=(STRAY,)
        ),
        [of_inbox(5, "cd"), UNTIL_THEN],
    ),
    "a block that was passed": (
        looked_up(outputs=(STRANGER, OURS), height=50),
        [
            ("Run `counterfoil rescan LTC --from 50`: that block was passed without it."),
            UNTIL_THEN,
        ],
    ),
    "a block that comes": (
        looked_up(outputs=(OURS,), height=51),
        [
            "Wait a moment: the payment will be recorded when the watcher has read that far.",
            UNTIL_THEN,
        ],
    ),
    "an unconfirmed payment": (
        looked_up(outputs=(OURS,), height=None),
        [
            "Wait a moment: the payment will be recorded when the watcher has read that far.",
            UNTIL_THEN,
        ],
    ),
    "what is recorded": (
        looked_up(outputs=(replace(OURS, is_recorded=True, invoice_id=12), STRANGER)),
        [PAY],
    ),
    "what is recorded, and unknown to the node": (
        looked_up(
            answer=Answer.UNKNOWN, recorded=(replace(OURS, is_recorded=True, invoice_id=12),)
        ),
        [PAY],
    ),
    "what is recorded, and unknown to a node without an index": (
        looked_up(
            answer=Answer.NOT_INDEXED, recorded=(replace(OURS, is_recorded=True, invoice_id=12),)
        ),
        [PAY],
    ),
    "what came elsewhere, and is listed no more": (
        looked_up(answer=Answer.UNKNOWN, recorded=(IN_INBOX,), unknown_since=AT),
        [RESEND, of_inbox(6, "ab"), UNTIL_THEN],
    ),
    "what was replaced by a known one": (
        replace(
            looked_up(answer=Answer.UNKNOWN, recorded=(OURS,), is_gone=True),
            seen=(replace(GONE, replaced_by="cd"),),
        ),
        ["Transaction ab was replaced: look at cd, which counts instead.", PAY],
    ),
}


@pytest.mark.parametrize("name", ALONE)
def test_facts_have_this_advice_and_no_other(name: str) -> None:
    facts, sentences = ALONE[name]
    assert advise(facts) == sentences
