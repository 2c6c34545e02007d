import json
import time
from datetime import datetime
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.core.events import (
    DEFAULT_EVENTS,
    EventID,
    Happening,
    Value,
    body,
    happenings,
    iso,
    next_id,
    told,
)
from counterfoil.core.invoice import MOVES, Assessment, EventType, Notice, Standing, Status
from counterfoil.core.signing import sign_body

# --- which events: the contract's table, row by row -------------------------------------------

# (from, to) -> (sent by default, with the opt-in events), in the contract's own words.
DETECTED = (["payment_detected"], ["payment_detected"])
CONFIRMED = (["payment_confirmed"], ["payment_confirmed"])
FAILED = (["payment_failed"], ["payment_failed"])
REVERSED = (["payment_failed"], ["payment_reversed", "payment_failed"])
TABLE = {
    ("Unpaid", "Confirming"): DETECTED,
    ("Expired", "Confirming"): DETECTED,
    ("Cancelled", "Confirming"): DETECTED,
    ("Unpaid", "Paid"): CONFIRMED,
    ("Expired", "Paid"): CONFIRMED,
    ("Cancelled", "Paid"): CONFIRMED,
    ("Confirming", "Paid"): CONFIRMED,
    ("Confirming", "Unpaid"): FAILED,
    ("Confirming", "Expired"): (["payment_failed"], ["payment_failed", "invoice_expired"]),
    ("Confirming", "Cancelled"): FAILED,
    ("Paid", "Confirming"): (["payment_detected"], ["payment_reversed", "payment_detected"]),
    ("Paid", "Unpaid"): REVERSED,
    ("Paid", "Expired"): (
        ["payment_failed"],
        ["payment_reversed", "payment_failed", "invoice_expired"],
    ),
    ("Paid", "Cancelled"): REVERSED,
    # These are told by opt-in events alone.
    ("Unpaid", "Expired"): ([], ["invoice_expired"]),
    ("Unpaid", "Cancelled"): ([], ["invoice_cancelled"]),
    ("Expired", "Unpaid"): ([], []),
    ("Expired", "Cancelled"): ([], ["invoice_cancelled"]),
}


def standing(status: Status, *notices: Notice) -> Standing:
    return Standing(status, (), frozenset(notices), Fraction(0), Fraction(0))


def assessment(status: Status, *notices: Notice, cause: int | None = 7) -> Assessment:
    return Assessment(standing(status, *notices), dict.fromkeys(EventType, cause))


@pytest.mark.parametrize(("old", "new"), TABLE)
def test_the_contract_s_table(old: str, new: str) -> None:
    before, after = Status(old), Status(new)
    # What holds by itself: Expired is told as it begins, Cancelled was told unless it is new.
    notices = {"Expired": [Notice.EXPIRED], "Cancelled": [Notice.CANCELLED]}
    was_told = [*notices.get(old, [])]
    if new == "Cancelled" and old in ("Confirming", "Paid"):
        was_told.append(Notice.CANCELLED)
    events = happenings(standing(before, *was_told), assessment(after, *notices.get(new, [])))
    by_default, opted = TABLE[old, new]
    assert [event.type.value for event in events] == opted
    assert [event.type.value for event in events if event.type in DEFAULT_EVENTS] == by_default
    for event in events:
        failed = event.type is EventType.FAILED
        assert event.status == ("Unpaid" if failed else new)


def test_the_table_has_all_moves() -> None:
    assert set(TABLE) == {(old.value, new.value) for old, new in MOVES}


@pytest.mark.parametrize("status", Status)
def test_no_change_is_no_event(status: Status) -> None:
    assert happenings(standing(status), assessment(status)) == ()


def test_by_default_a_channel_gets_the_three() -> None:
    assert [event.value for event in DEFAULT_EVENTS] == [
        "payment_detected",
        "payment_confirmed",
        "payment_failed",
    ]


@pytest.mark.parametrize(
    ("notice", "event"),
    [
        (Notice.UNDERPAID, "invoice_underpaid"),
        (Notice.OVERPAID, "invoice_overpaid"),
        (Notice.PAID_LATE, "invoice_paid_late"),
        (Notice.EXPIRED, "invoice_expired"),
        (Notice.CANCELLED, "invoice_cancelled"),
    ],
)
def test_a_notice_is_told_when_it_begins(notice: Notice, event: str) -> None:
    (happening,) = happenings(standing(Status.UNPAID), assessment(Status.UNPAID, notice))
    assert happening == Happening(EventType(event), Status.UNPAID, 7)
    assert happenings(standing(Status.UNPAID, notice), assessment(Status.UNPAID, notice)) == ()


def test_notices_come_after_the_change_of_status_and_in_one_order() -> None:
    events = happenings(standing(Status.CONFIRMING), assessment(Status.PAID, *Notice))
    assert [event.type.value for event in events] == [
        "payment_confirmed",
        "invoice_underpaid",
        "invoice_overpaid",
        "invoice_paid_late",
        "invoice_expired",
        "invoice_cancelled",
    ]


def test_what_no_payment_caused_names_none() -> None:
    after = Assessment(standing(Status.EXPIRED, Notice.EXPIRED), {EventType.DETECTED: 7})
    (expired,) = happenings(standing(Status.UNPAID), after)
    assert expired.payment_id is None


def test_expiry_and_cancelling_are_remembered_and_the_rest_may_come_back() -> None:
    everything = standing(Status.EXPIRED, *Notice)
    assert told(everything, standing(Status.UNPAID)) == {Notice.EXPIRED, Notice.CANCELLED}
    assert told(standing(Status.UNPAID), everything) == set(Notice)
    underpaid = standing(Status.UNPAID, Notice.UNDERPAID)
    assert told(standing(Status.UNPAID), underpaid) == {Notice.UNDERPAID}


# --- ids --------------------------------------------------------------------------------------


def test_an_id_is_its_millisecond_and_a_number() -> None:
    assert str(next_id(EventID(0, 0), 17_000_000_000)) == "17000000000-0"


def test_ids_grow_when_the_clock_stands_still_or_goes_back() -> None:
    last = EventID(1_000, 0)
    given_out = []
    for now in (1_000, 1_000, 900, 1, 1_001, 1_001, 1_000, 5_000):
        last = next_id(last, now)
        given_out.append(str(last))
    assert given_out == [
        "1000-1",
        "1000-2",
        "1000-3",
        "1000-4",
        "1001-0",
        "1001-1",
        "1001-2",
        "5000-0",
    ]


@given(st.lists(st.integers(0, 50), max_size=60))
def test_ids_grow_whatever_the_clock_does(times: list[int]) -> None:
    ids = [EventID(0, 0)]
    for now in times:
        ids.append(next_id(ids[-1], now))
        assert ids[-1].at >= now
    assert all(before < after for before, after in pairwise(ids))


def test_ids_are_compared_as_integers() -> None:
    assert EventID(9, 0) < EventID(10, 0)
    assert EventID(10, 9) < EventID(10, 10)


# --- times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_762_859_460_000, "2025-11-11T11:11:00.000Z"),
        (1_762_859_460_007, "2025-11-11T11:11:00.007Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_is_written_with_milliseconds(at: int, text: str) -> None:
    assert iso(at) == text


def test_a_time_is_utc_wherever_the_server_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Pacific/Kiritimati")
        time.tzset()
        text = iso(0)
    time.tzset()
    assert text == "1970-01-01T00:00:00.000Z"


@given(st.integers(0, 253_402_300_799_999))
def test_a_time_is_read_back(at: int) -> None:
    text = iso(at)
    assert len(text) == len("2025-11-11T11:11:00.000Z")
    moment = datetime.fromisoformat(text)
    assert int(moment.timestamp()) * 1_000 + moment.microsecond // 1_000 == at


# --- bytes ------------------------------------------------------------------------------------

PAID = Happening(EventType.CONFIRMED, Status.PAID, 6789)


def test_the_contract_s_bytes() -> None:
    made = body(PAID, 12345)
    assert made == (
        b'{"event":"payment_confirmed","invoice_id":"12345","status":"Paid","payment_id":"6789"}'
    )
    assert sign_body("SHARED_SECRET", made).startswith("779e0bce85b25f41")


def test_no_payment_is_an_empty_id() -> None:
    made = body(Happening(EventType.EXPIRED, Status.EXPIRED, None), 1)
    assert made == (
        b'{"event":"invoice_expired","invoice_id":"1","status":"Expired","payment_id":""}'
    )


def test_an_event_without_an_invoice_has_empty_texts() -> None:
    made = body(Happening(EventType.INBOX, None, None), None)
    assert made == b'{"event":"inbox_received","invoice_id":"","status":"","payment_id":""}'


def test_extra_keys_follow_in_their_order() -> None:
    extra: dict[str, Value] = {
        "seq": "1",
        "paid_at": None,
        "test": True,
        "payment": {"coin": "BTC", "amount": "0.5", "fiat_value": None},
    }
    assert body(PAID, 1, extra).endswith(
        b'"payment_id":"6789","seq":"1","paid_at":null,"test":true,'
        b'"payment":{"coin":"BTC","amount":"0.5","fiat_value":null}}'
    )


def test_letters_of_all_alphabets_stand_as_they_are() -> None:
    made = body(PAID, 1, {"note": "é€😀\u2028"})
    assert made.endswith(',"note":"é€😀\u2028"}'.encode())


ESCAPES = {'"': '\\"', "\\": "\\\\"} | {
    chr(code): f"\\u{code:04x}" for code in (*range(0x20), *range(0xD800, 0xE000))
}
ESCAPES |= {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def stringify(value: object) -> str:
    """Write JSON as ECMAScript's JSON.stringify does (QuoteJSONString and its neighbours)."""
    match value:
        case dict():
            pairs = (f"{stringify(key)}:{stringify(each)}" for key, each in value.items())
            return "{" + ",".join(pairs) + "}"
        case str():
            return '"' + "".join(ESCAPES.get(letter, letter) for letter in value) + '"'
        case None | True | False:
            return {None: "null", True: "true", False: "false"}[value]
    message = f"{value!r} has no place in an event"
    raise TypeError(message)


any_text = st.text(st.characters(codec=None) | st.sampled_from(list(ESCAPES)))
plain = st.none() | any_text
keys = st.text(min_size=1).filter(lambda key: not key.isdigit()).map(lambda key: f"_{key}")


@given(st.dictionaries(keys, plain | st.booleans() | st.dictionaries(keys, plain)))
def test_the_bytes_are_those_of_the_published_verifier(extra: dict[str, Value]) -> None:
    """It parses the body, writes it again, and compares: whatever a text may hold."""
    made = body(PAID, 1, extra)
    assert stringify(json.loads(made)).encode() == made


@pytest.mark.parametrize("half", ["\ud800", "a\udfffb", "\udc00\ud800"])
def test_half_a_surrogate_pair_does_not_stop_an_event(half: str) -> None:
    made = body(PAID, 1, {"note": half})
    assert json.loads(made)["note"] == half
    assert stringify(json.loads(made)).encode() == made
