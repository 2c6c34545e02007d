"""The sentences of what is known, each from the facts that call for it, and from no others."""

from dataclasses import replace

import pytest

from counterfoil.core.inbox import WHY
from counterfoil.core.invoice import Condition, Status
from counterfoil.core.matching import Reason
from counterfoil.core.payment import Progress
from counterfoil.services.case import Answer, Case, Owner
from counterfoil.services.explanation import findings
from tests.services.cases import (
    ASKED,
    AT,
    DUE,
    LATE,
    NETWORK,
    OFF,
    OPEN,
    OURS,
    SEEN,
    STRANGER,
    STRAY,
    TIME,
    case,
    looked_up,
)

PAID = "Transaction ab is in block 40 with 11 confirmations, says the node of litecoin."


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
        "No price was made for it yet, so no amount of a coin was asked for.",
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
    "replaced by a known one": (
        case(seen=(replace(SEEN, progress=Progress.GONE, counts=None, replaced_by="cd"),)),
        (
            f"0.2 LTC to ltc1shop in transaction ab (first seen at {TIME}) was replaced by cd and "
            "does not count."
        ),
    ),
    "displaced": (
        case(seen=(replace(SEEN, progress=Progress.DISPLACED, counts=None, replaced_by="cd"),)),
        (
            f"0.2 LTC to ltc1shop in transaction ab (first seen at {TIME}) spends what cd spends, "
            "which counts instead."
        ),
    ),
    "seen, and listed no more": (
        case(seen=(replace(SEEN, unknown_since=AT),)),
        (
            f"0.2 LTC to ltc1shop in transaction ab (first seen at {TIME}) was seen, but the node "
            f"has not listed it since {TIME}."
        ),
    ),
    "final without a block, and listed no more": (
        case(seen=(replace(SEEN, progress=Progress.FINAL, needed=0, unknown_since=AT),)),
        (
            f"0.2 LTC to ltc1shop in transaction ab (first seen at {TIME}) is in no block yet, and "
            "final as no confirmation is asked for; the node has not listed it since "
            f"{TIME}."
        ),
    ),
    "late": (
        case(seen=(replace(SEEN, is_late=True, counts="18.00"),)),
        (
            "It came after its price or the invoice had ended, so it counts for 18.00 USD; in time "
            "it would have been 20.00 USD."
        ),
    ),
    "late, and worth as much": (
        case(seen=(replace(SEEN, is_late=True),)),
        (
            "It came after its price or the invoice had ended, and counts for 20.00 USD, as it "
            "would have in time."
        ),
    ),
    "late and without a rate": (
        case(seen=(LATE,)),
        (
            "It came after its price or the invoice had ended, and no rate of that moment is "
            "known: it is seen, but settles nothing by itself."
        ),
    ),
    "late and held": (
        case(seen=(replace(LATE, is_held=True),)),
        (
            "It came after its price or the invoice had ended, and late money is held: it is seen, "
            "but settles nothing by itself."
        ),
    ),
    "a value that somebody typed": (
        case(seen=(replace(SEEN, is_late=True, is_by_hand=True, arrival="18.00"),)),
        "Its value was set by hand: 20.00 USD.",
    ),
    "a value that is that of its arrival": (
        case(seen=(replace(SEEN, is_by_hand=True, arrival="20.00"),)),
        "Its value was set at what it was worth when it came: 20.00 USD.",
    ),
    "what is missing, at a price that has ended": (
        case(coins=(replace(DUE, is_open=False),)),
        f"At the last price, which ended at {TIME}, that was 0.25 LTC.",
    ),
    "the least that can be sent": (
        case(coins=(replace(DUE, least="0.33 USD"),)),
        f"That is 0.25 LTC (0.33 USD, since less cannot be sent), valid until {TIME}.",
    ),
    "the least that can be sent, at a price that has ended": (
        case(coins=(replace(DUE, least="0.33 USD", is_open=False),)),
        (
            f"At the last price, which ended at {TIME}, that was 0.25 LTC (0.33 USD, since less "
            "cannot be sent)."
        ),
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
    "set aside": (
        replace(
            looked_up(outputs=(replace(OURS, reason="no_exact_amount", is_ignored=True),)),
            options=" --test",
        ),
        (
            "It pays 0.2 LTC to ltc1shop, an address of this invoice, and was set aside: "
            "`counterfoil inbox list --ignored --test` shows it."
        ),
    ),
    "recorded, and unknown to the node": (
        looked_up(answer=Answer.UNKNOWN, recorded=(replace(OURS, invoice_id=12),)),
        "It pays 0.2 LTC to ltc1shop, an address of this invoice, and is credited to this invoice.",
    ),
    "recorded, and replaced": (
        looked_up(answer=Answer.UNKNOWN, is_gone=True),
        "It was seen before, and was replaced or dropped by the network.",
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
    stray = replace(STRAY, reason=reason.value)
    sentence = f"0.2 LTC to ltc1shop in transaction cd lies in the inbox. {WHY[reason]}"
    assert sentence in findings(case(uncredited=(stray,)))


def test_what_is_paid_misses_nothing() -> None:
    facts = case(status=Status.PAID, missing=None, coins=())
    assert not any("missing" in sentence for sentence in findings(facts))


def test_a_value_set_by_hand_was_not_set_by_coming_late() -> None:
    facts = case(seen=(replace(SEEN, is_late=True, is_by_hand=True),))
    assert not any("after its price" in sentence for sentence in findings(facts))


def test_what_does_not_count_has_no_worth() -> None:
    gone = replace(SEEN, progress=Progress.GONE, counts=None, is_by_hand=True)
    assert not any("value" in sentence for sentence in findings(case(seen=(gone,))))
