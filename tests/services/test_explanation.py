"""The sentences of an explanation, each from the facts that call for it, and from no others."""

from dataclasses import replace
from typing import Any

import pytest

from counterfoil.core.inbox import WHY
from counterfoil.core.invoice import Condition, Status
from counterfoil.core.matching import Reason
from counterfoil.core.payment import Progress
from counterfoil.services.explanation import (
    Answer,
    Asked,
    Case,
    Due,
    Lookup,
    Network,
    Output,
    Owner,
    Seen,
    Uncredited,
    advice,
    findings,
)

AT = 1_762_859_460_000
TIME = "2025-11-11T11:11:00.000Z"
ASKED = Asked("LTC", "ltc1shop", "0.25", "25.00 USD", "100", AT, AT, is_open=True)
SEEN = Seen(
    payment_id=7,
    method="LTC",
    txid="ab",
    index=0,
    amount="0.2",
    address="ltc1shop",
    quoted="20.00",
    counts="20.00",
    progress=Progress.SEEN,
    height=None,
    confirmations=0,
    needed=3,
    first_seen_at=AT,
    is_late=False,
    is_settled=True,
)
NETWORK = Network("litecoin", "bip122:12a7", 50, 50, AT, None, is_seen=True)
OFF = Network("litecoin", None, None, None, None, None, is_seen=False)
DUE = Due("LTC", "0.25", "ltc1shop", AT, is_open=True)
OPEN = Case(
    invoice_id=12,
    status=Status.UNPAID,
    conditions=(),
    amount="25.00",
    currency="USD",
    pay_url="https://pay.example/p",
    due_at=None,
    is_overdue=False,
    missing="25.00",
    coins=(DUE,),
    asked=(ASKED,),
    seen=(),
    uncredited=(),
    networks=(NETWORK,),
)
FOUND = Lookup("litecoin", "ab", Answer.FOUND, height=40, confirmations=11, cursor_height=50)
OURS = Output(
    "LTC", "0.2", "ltc1shop", Owner.INVOICE, is_recorded=False, invoice_id=None, reason=None
)
STRANGER = replace(OURS, address="ltc1else", owner=Owner.STRANGER)
PAID = "Transaction ab is in block 40 with 11 confirmations, says the node of litecoin."


def case(**facts: Any) -> Case:
    return replace(OPEN, **facts)


def looked_up(**facts: Any) -> Case:
    return case(lookups=(replace(FOUND, **facts),))


def test_the_whole_of_an_invoice_that_nobody_has_paid() -> None:
    assert findings(OPEN) == [
        "Invoice 12 over 25.00 USD is Unpaid.",
        (
            f"At {TIME} it asked for 0.25 LTC at ltc1shop, for 25.00 USD; that price is valid "
            f"until {TIME}."
        ),
        "No payment of it was seen.",
        "25.00 USD is missing.",
        f"That is 0.25 LTC, valid until {TIME}.",
        (
            f"The node of litecoin (bip122:12a7) is watched: block 50 is read, and all up to "
            f"{TIME} was seen."
        ),
    ]
    assert advice(OPEN) == [f"The payer sends 0.25 LTC to ltc1shop by {TIME}."]


FINDINGS: dict[str, tuple[Case, str]] = {
    "what is unusual": (
        case(conditions=(Condition.REVERSED, Condition.UNDERPAID)),
        "Invoice 12 over 25.00 USD is Unpaid (reversed, underpaid).",
    ),
    "a due date": (
        case(due_at=AT),
        f"Invoice 12 over 25.00 USD, to be paid by {TIME} is Unpaid.",
    ),
    "less than can be sent": (
        case(asked=(replace(ASKED, due="0.20 USD"),)),
        (
            f"At {TIME} it asked for 0.25 LTC at ltc1shop, for 25.00 USD (0.20 USD was due, and "
            f"less cannot be sent); that price is valid until {TIME}."
        ),
    ),
    "nobody has opened it": (
        case(asked=()),
        "Nobody has opened its pay page, so no amount and no address were shown.",
    ),
    "a price that has ended": (
        case(asked=(replace(ASKED, is_open=False),)),
        f"At {TIME} it asked for 0.25 LTC at ltc1shop, for 25.00 USD; that price ended at {TIME}.",
    ),
    "an amount of a coin that is switched off": (
        case(asked=(replace(ASKED, amount=None),)),
        (
            f"At {TIME} it asked for an amount of LTC at ltc1shop, for 25.00 USD; that price is "
            f"valid until {TIME}."
        ),
    ),
    "a payment in a coin that is switched off": (
        case(seen=(replace(SEEN, amount=None),)),
        (
            f"An amount of LTC to ltc1shop in transaction ab (first seen at {TIME}) was seen and "
            "waits for its first block."
        ),
    ),
    "seen": (
        case(seen=(SEEN,)),
        (
            f"0.2 LTC to ltc1shop in transaction ab (first seen at {TIME}) was seen and waits for "
            "its first block."
        ),
    ),
    "confirming": (
        case(
            seen=(replace(SEEN, progress=Progress.CONFIRMING, height=49, confirmations=2),),
        ),
        (
            f"0.2 LTC to ltc1shop in transaction ab (first seen at {TIME}) is in block 49 with 2 "
            "of 3 confirmations."
        ),
    ),
    "final": (
        case(seen=(replace(SEEN, progress=Progress.FINAL, height=40),)),
        f"0.2 LTC to ltc1shop in transaction ab (first seen at {TIME}) is in block 40 and final.",
    ),
    "gone": (
        case(seen=(replace(SEEN, progress=Progress.GONE, counts=None),)),
        (
            f"0.2 LTC to ltc1shop in transaction ab (first seen at {TIME}) was replaced or dropped "
            "by the network and does not count."
        ),
    ),
    "displaced": (
        case(seen=(replace(SEEN, progress=Progress.DISPLACED, counts=None),)),
        (
            f"0.2 LTC to ltc1shop in transaction ab (first seen at {TIME}) spends what another "
            "transaction spends, which counts instead."
        ),
    ),
    "late": (
        case(seen=(replace(SEEN, is_late=True, counts="18.00"),)),
        (
            "It came after its price or the invoice had ended, so it counts for 18.00 USD; in time "
            "it would have been 20.00 USD."
        ),
    ),
    "late and without a rate": (
        case(seen=(replace(SEEN, is_late=True, is_settled=False),)),
        (
            "It came after its price or the invoice had ended, and either no rate of that moment "
            "is known or the merchant holds late money: it is seen, but settles nothing by itself."
        ),
    ),
    "what is missing, at a price that has ended": (
        case(coins=(replace(DUE, is_open=False),)),
        f"At the last price, which ended at {TIME}, that was 0.25 LTC.",
    ),
    "a node in trouble": (
        case(networks=(replace(NETWORK, trouble="It is down.", is_seen=False),)),
        (
            f"The node of litecoin (bip122:12a7) is in trouble, all up to {TIME} was seen: It is "
            "down."
        ),
    ),
    "a chain that nobody watches": (
        case(networks=(replace(NETWORK, watched_at=None, is_seen=False),)),
        "The node of litecoin (bip122:12a7) is not being watched; nothing of it was seen yet.",
    ),
    "a chain that is switched off": (
        case(networks=(OFF,)),
        "litecoin is switched off: what is paid there is not seen.",
    ),
    "a chain that is retired": (
        case(networks=(replace(OFF, is_retired=True),)),
        "litecoin is switched off for good: what is paid there is not seen.",
    ),
    "a node that is away": (
        looked_up(answer=Answer.AWAY, trouble="It is down."),
        "The node of litecoin did not answer for transaction ab: It is down.",
    ),
    "an unknown transaction": (
        looked_up(answer=Answer.UNKNOWN),
        "The node of litecoin does not know transaction ab.",
    ),
    "a node without an index": (
        looked_up(answer=Answer.NOT_INDEXED),
        (
            "The node of litecoin does not list transaction ab as unconfirmed, and cannot look "
            "through what was mined: it has no index of it."
        ),
    ),
    "an unconfirmed transaction": (
        looked_up(height=None),
        "Transaction ab is unconfirmed, says the node of litecoin.",
    ),
    "one confirmation": (
        looked_up(confirmations=1),
        "Transaction ab is in block 40 with 1 confirmation, says the node of litecoin.",
    ),
    "a mined transaction": (looked_up(), PAID),
    "what pays others": (looked_up(outputs=(STRANGER,)), "It pays 0.2 LTC to ltc1else."),
    "what pays only others": (
        looked_up(outputs=(STRANGER,)),
        "It pays no address of the merchant.",
    ),
    "a script without an address": (
        looked_up(outputs=(replace(STRANGER, address=None),)),
        "It pays 0.2 LTC to a script.",
    ),
    "many outputs": (
        looked_up(outputs=(STRANGER,), more=3),
        "It has 3 more outputs, none of them to the merchant.",
    ),
    "credited here": (
        looked_up(outputs=(replace(OURS, invoice_id=12),)),
        "It pays 0.2 LTC to ltc1shop, an address of this invoice, and is credited to this invoice.",
    ),
    "credited elsewhere": (
        looked_up(outputs=(replace(OURS, owner=Owner.MERCHANT, invoice_id=13),)),
        (
            "It pays 0.2 LTC to ltc1shop, another address of the merchant, and is credited to "
            "invoice 13."
        ),
    ),
    "final without a block": (
        case(seen=(replace(SEEN, progress=Progress.FINAL, height=None, needed=0),)),
        (
            f"0.2 LTC to ltc1shop in transaction ab (first seen at {TIME}) is in no block yet, "
            "and final as no confirmation is asked for."
        ),
    ),
    "in the inbox": (
        looked_up(outputs=(replace(OURS, reason="no_exact_amount"),)),
        (
            "It pays 0.2 LTC to ltc1shop, an address of this invoice, and lies in the inbox. No "
            "invoice had a price of exactly this amount when it came."
        ),
    ),
    "not recorded": (
        looked_up(outputs=(OURS,)),
        "It pays 0.2 LTC to ltc1shop, an address of this invoice, and is not recorded yet.",
    ),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_a_fact_has_its_sentence(name: str) -> None:
    facts, sentence = FINDINGS[name]
    assert sentence in findings(facts)
    assert name == "a mined transaction" or sentence not in findings(OPEN)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_the_inbox_has_words(reason: Reason) -> None:
    stray = Uncredited("LTC", "cd", "0.2", "ltc1shop", 49, reason.value)
    sentence = f"0.2 LTC to ltc1shop in transaction cd lies in the inbox. {WHY[reason]}"
    assert sentence in findings(case(uncredited=(stray,)))


def test_what_is_paid_misses_nothing() -> None:
    facts = case(status=Status.PAID, missing=None, coins=())
    assert not any("missing" in sentence for sentence in findings(facts))


ADVICE: dict[str, tuple[Case, str]] = {
    "a node in trouble": (
        case(networks=(replace(NETWORK, trouble="It is down.", is_seen=False),)),
        (
            "See to the node of litecoin; `counterfoil doctor` says more. Until it is seen again "
            "nothing new is known, and nothing expires."
        ),
    ),
    "a chain that is switched off": (
        case(networks=(OFF,)),
        (
            "Switch litecoin on again: then what was paid there meanwhile is read. If it is off "
            "for good, `counterfoil chain retire litecoin` ends the wait for it."
        ),
    ),
    "a chain that is retired": (
        case(networks=(replace(OFF, is_retired=True),)),
        (
            "Look in the wallet for what was paid on litecoin: it is retired. If this invoice was "
            "paid there, settle it: `counterfoil invoice mark 12`."
        ),
    ),
    "an unknown transaction": (
        looked_up(answer=Answer.UNKNOWN),
        (
            "Compare the transaction id with the payer's wallet, and the network with litecoin; "
            "what was sent a moment ago may take a minute."
        ),
    ),
    "a node without an index": (
        looked_up(answer=Answer.NOT_INDEXED),
        "Look transaction ab up on an explorer of litecoin, or give the node an index (txindex=1).",
    ),
    "a block that was passed": (
        looked_up(outputs=(STRANGER, OURS), height=50),
        "Run `counterfoil rescan LTC --from 50`: that block was passed while nobody could see it.",
    ),
    "a block that comes": (
        looked_up(outputs=(OURS,), height=51),
        "Wait a moment: the payment will be recorded when the watcher has read that far.",
    ),
    "an unconfirmed payment": (
        looked_up(outputs=(OURS,), height=None),
        "Wait a moment: the payment will be recorded when the watcher has read that far.",
    ),
    "something in the inbox": (
        case(uncredited=(Uncredited("LTC", "cd", "0.2", "ltc1shop", 49, "no_exact_amount"),)),
        (
            "Look with `counterfoil inbox list` whether what lies there was meant for this "
            "invoice; if it was, credit it: `counterfoil inbox attach ID 12`."
        ),
    ),
    "late and without a rate": (
        case(seen=(replace(SEEN, is_late=True, is_settled=False),)),
        (
            "Decide what the late payment is worth to you: `counterfoil inbox detach "
            f"{SEEN.payment_id}`, and attach it again."
        ),
    ),
    "overpaid": (
        case(status=Status.PAID, conditions=(Condition.OVERPAID,)),
        "It is paid, and too much came: what to send back is for you to decide.",
    ),
    "paid": (case(status=Status.PAID), "It is paid: there is nothing to do."),
    "confirming": (
        case(status=Status.CONFIRMING),
        "Wait: enough has come, and is being confirmed.",
    ),
    "expired": (
        case(status=Status.EXPIRED),
        (
            "Make a new invoice if it is still to be paid. Its addresses stay watched: what is "
            "paid there after all is recorded."
        ),
    ),
    "cancelled": (
        case(status=Status.CANCELLED),
        (
            "Make a new invoice if it is still to be paid. Its addresses stay watched: what is "
            "paid there after all is recorded."
        ),
    ),
    "overdue": (
        case(is_overdue=True),
        (
            "Its time to pay is over: make a new invoice, or settle it by hand with `counterfoil "
            "invoice mark 12`."
        ),
    ),
    "no price": (
        case(coins=(replace(DUE, is_open=False),)),
        "Send the payer to https://pay.example/p: opening it makes a price to pay.",
    ),
}


def test_a_retired_chain_is_nothing_to_an_invoice_that_is_paid() -> None:
    paid = case(status=Status.PAID, networks=(replace(OFF, is_retired=True),))
    assert advice(paid) == ["It is paid: there is nothing to do."]


@pytest.mark.parametrize("name", ADVICE)
def test_a_fact_has_its_advice(name: str) -> None:
    facts, sentence = ADVICE[name]
    assert sentence in advice(facts)
    assert sentence not in advice(OPEN)


def test_what_is_recorded_needs_no_rescan() -> None:
    facts = looked_up(outputs=(replace(OURS, is_recorded=True, invoice_id=12), STRANGER))
    assert advice(facts) == advice(OPEN)
