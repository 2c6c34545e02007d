"""What to do, each sentence from the facts that call for it, and from no others."""

from dataclasses import replace

import pytest

from counterfoil.core.invoice import Status
from counterfoil.core.payment import Progress
from counterfoil.services.advice import advise
from counterfoil.services.case import Answer, Case, Owner
from tests.services.cases import (
    AGAIN,
    AT,
    GONE,
    IN_INBOX,
    LATE,
    NETWORK,
    OFF,
    OPEN,
    OURS,
    PAY,
    SEEN,
    STRANGER,
    STRAY,
    case,
    looked_up,
)

ELSEWHERE = replace(OURS, owner=Owner.MERCHANT, is_recorded=True, invoice_id=13, payment_id=8)
REPLACED = (
    "Transaction ab was replaced or dropped. Ask the payer for the one that replaced it: "
    "`counterfoil explain 12 --txid ID` with its id says what it is."
)
ADVICE: dict[str, tuple[Case, str]] = {
    "a chain that is switched off": (
        case(networks=(OFF,)),
        (
            "Switch litecoin on again: then what was paid there meanwhile is read. If it is off "
            "for good, `counterfoil chain retire litecoin` ends the wait for it."
        ),
    ),
    "a chain that is retired": (
        case(networks=(replace(OFF, is_retired=True),), options=" --test"),
        (
            "Look in the wallet for what was paid on litecoin: it is retired. If this invoice was "
            "paid there, settle it: `counterfoil invoice mark 12 --test`."
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
    "what pays only others": (
        looked_up(outputs=(STRANGER,)),
        "Compare the address in the payer's wallet with the one above.",
    ),
    "what is credited to another invoice": (
        replace(looked_up(outputs=(ELSEWHERE,)), options=" --test"),
        (
            "If 0.2 LTC in transaction ab was meant for this invoice: "
            "`counterfoil inbox detach 8 --test`, and then `counterfoil inbox attach ID 12 --test` "
            "with the number that it prints."
        ),
    ),
    "what was set aside": (
        looked_up(outputs=(replace(IN_INBOX, is_ignored=True),)),
        (
            "If 0.2 LTC in transaction ab was meant for this invoice: "
            "`counterfoil inbox attach 6 12`."
        ),
    ),
    "what was dropped": (looked_up(answer=Answer.UNKNOWN, is_gone=True), REPLACED),
    "what was dropped, says a node without an index": (
        looked_up(answer=Answer.NOT_INDEXED, is_gone=True),
        REPLACED,
    ),
    "what is displaced": (
        replace(
            looked_up(answer=Answer.UNKNOWN, recorded=(OURS,)),
            seen=(replace(GONE, progress=Progress.DISPLACED, replaced_by="cd"),),
        ),
        "Transaction ab was replaced: look at cd, which counts instead.",
    ),
    "late money, worth less when it came": (
        case(seen=(replace(LATE, arrival="18.00"),), options=" --test"),
        (
            "Decide what the late payment of 0.2 LTC is worth to you: "
            "`counterfoil inbox detach 7 --test` takes it off and prints its number in the inbox; "
            "with that as ID, `counterfoil inbox attach ID 12 --value 20.00 --test` credits it at "
            "its price of 20.00 USD, and "
            "`counterfoil inbox attach ID 12 --value 18.00 --test` at the 18.00 USD that it was "
            "worth when it came."
        ),
    ),
    "late money, worth the same when it came": (
        case(seen=(replace(LATE, arrival="20.00"),)),
        (
            "Decide what the late payment of 0.2 LTC is worth to you: "
            "`counterfoil inbox detach 7` takes it off and prints its number in the inbox; with "
            "that as ID, `counterfoil inbox attach ID 12 --value 20.00` credits it at its price of "
            "20.00 USD, which it was worth when it came as well."
        ),
    ),
    "late money without a rate": (
        case(seen=(LATE,)),
        (
            "Decide what the late payment of 0.2 LTC is worth to you: "
            "`counterfoil inbox detach 7` takes it off and prints its number in the inbox; with "
            "that as ID, `counterfoil inbox attach ID 12 --value 20.00` credits it at its price of "
            "20.00 USD; what it was worth when it came is not known."
        ),
    ),
    "late money that is worth nothing": (
        case(seen=(replace(LATE, quoted="0.00"),)),
        (
            "The late payment of 0.2 LTC is worth nothing in USD: `counterfoil inbox detach 7` "
            "takes it off, and `counterfoil inbox ignore ID` with the number that it prints sets "
            "it aside."
        ),
    ),
    "late money that was worth nothing when it came": (
        case(seen=(replace(LATE, arrival="0.00"),)),
        (
            "Decide what the late payment of 0.2 LTC is worth to you: "
            "`counterfoil inbox detach 7` takes it off and prints its number in the inbox; with "
            "that as ID, `counterfoil inbox attach ID 12 --value 20.00` credits it at its price of "
            "20.00 USD; it was worth nothing when it came."
        ),
    ),
    "late money beside what is enough": (
        case(status=Status.PAID, seen=(LATE,)),
        "It is paid without that.",
    ),
    "late money that is enough": (
        case(status=Status.CONFIRMING, seen=(LATE,)),
        "What has come is enough once you have decided about the late payment.",
    ),
    "a claim": (
        case(claims=(("cd", AT),)),
        (
            "Look at the transaction that a payer named: `counterfoil explain 12 --txid cd` says "
            "what it is."
        ),
    ),
    "a claim that a shell would take apart": (
        case(claims=(("c'd", AT),)),
        (
            "Look at the transaction that a payer named: "
            """`counterfoil explain 12 --txid 'c'"'"'d'` says what it is."""
        ),
    ),
    "an invoice of which one chain is on": (
        case(status=Status.EXPIRED, networks=(NETWORK, replace(OFF, name="bitcoin"))),
        (
            f"{AGAIN} Its addresses on litecoin stay watched: what is paid there after all is "
            "recorded."
        ),
    ),
    "an invoice of which no chain is on": (case(status=Status.EXPIRED, networks=(OFF,)), AGAIN),
}


@pytest.mark.parametrize("name", ADVICE)
def test_a_fact_has_its_advice(name: str) -> None:
    facts, sentence = ADVICE[name]
    assert sentence in advise(facts)
    assert sentence not in advise(OPEN)


@pytest.mark.parametrize("name", [name for name in ADVICE if "replaced" in ADVICE[name][1]])
def test_what_was_replaced_is_neither_compared_nor_waited_for(name: str) -> None:
    facts, _ = ADVICE[name]
    said = " ".join(advise(facts))
    assert "Compare" not in said
    assert "may take a minute" not in said
    assert "explorer" not in said


def test_two_nodes_that_know_nothing_are_one_sentence() -> None:
    (lookup,) = looked_up(answer=Answer.UNKNOWN).lookups
    compare, pay = advise(case(lookups=(lookup, replace(lookup, chain="bitcoin"))))
    assert "the network with litecoin or bitcoin;" in compare
    assert pay == PAY


def test_nothing_is_compared_where_no_address_was_shown() -> None:
    facts = replace(looked_up(outputs=(STRANGER,)), asked=())
    assert not any("the one above" in sentence for sentence in advise(facts))


@pytest.mark.parametrize("status", [Status.UNPAID, Status.EXPIRED, Status.PAID])
def test_a_claim_of_what_is_known_or_paid_needs_no_look(status: Status) -> None:
    named = [(txid, AT) for txid in ("ab", "cd", "ef")]
    facts = replace(
        looked_up(txid="ef", outputs=(replace(OURS, is_recorded=True, invoice_id=12),)),
        status=status,
        seen=(SEEN,),
        uncredited=(STRAY,),
        claims=tuple(named if status is not Status.PAID else [*named, ("gh", AT)]),
    )
    assert not any("--txid" in sentence for sentence in advise(facts))


def test_of_many_of_a_kind_some_are_named() -> None:
    strays = tuple(replace(STRAY, inbox_id=number) for number in range(9))
    claims = tuple((f"claim{number}", AT) for number in (*range(9), 8))
    said = advise(case(uncredited=strays, claims=claims, options=" --test"))
    assert sum("inbox attach" in sentence for sentence in said) == 5
    assert "There is more in the inbox: `counterfoil inbox list --test` shows it." in said
    # Those that were named last, each once.
    looks = [sentence for sentence in said if "--txid" in sentence]
    assert len(looks) == 5
    for number, look in zip((8, 7, 6, 5, 4), looks, strict=True):
        assert f"--txid claim{number}`" in look
