import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.core import money
from counterfoil.core.currencies import MINOR_DIGITS
from counterfoil.core.errors import InvalidError
from counterfoil.core.ports import Method

currencies = st.sampled_from(sorted(MINOR_DIGITS))
prices = st.decimals(min_value="1e-12", max_value="1e9", places=12)


def method(decimals: int, step_atomic: int = 1, least_atomic: int = 1) -> Method:
    return Method("TEST", "TEST", "Test", "simulator", decimals, step_atomic, least_atomic)


@st.composite
def methods(draw: st.DrawFn) -> Method:
    decimals = draw(st.integers(0, 18))
    step = 10 ** draw(st.integers(0, decimals))
    return method(decimals, step, draw(st.integers(1, 10**6)))


@st.composite
def amounts(draw: st.DrawFn) -> tuple[Decimal, str]:
    currency = draw(currencies)
    minor = draw(st.integers(1, 10 ** (15 + MINOR_DIGITS[currency]) - 1))
    return Decimal(minor).scaleb(-MINOR_DIGITS[currency], context=money.EXACT), currency


# --- what a request may say -------------------------------------------------------------------

NOT_A_NUMBER = [
    "", " ", "NaN", "nan", "sNaN", "Infinity", "-Infinity", "inf", "true", "null", "1_000",
    " 25 ", "25 ", "25\n", "\t25", "+25", "25.", ".5", ".", "-", "--1", "0x19", "1,000", "1.000,00",
    "1'000", "25€", "$25", "١٢", "२५", "２５", "1e", "1e+", "e5", "1e5.5", "1e400", "1E+1000000",
    "1e999999999", "1E-400", "1e-999999999", "1e100", "025", "00", "-01", "1" * 41,
    "0." + "0" * 41, "1" * 100_000, "0x1p3", "½", "25\u200b", "\ufeff25", "2\x005", "1/3", "²",
]  # fmt: skip
NOT_POSITIVE = ["0", "-0", "0.00", "-0.00", "0e5", "0e99", "-5", "-25.00", "-1e99", "0." + "0" * 40]
TOO_LARGE = ["1E+99", "1e15", "1" * 16, "1" * 19, "1" * 40, "1000000000000000.00", "9.99e15"]


@pytest.mark.parametrize("token", [*NOT_A_NUMBER, *NOT_POSITIVE, *TOO_LARGE])
def test_hostile_amounts_are_refused(token: str) -> None:
    with pytest.raises(InvalidError) as caught:
        money.parse_fiat(token, "USD")
    (problem,) = caught.value.problems
    assert (problem.field, problem.code) == ("amount", "invalid_amount")
    assert problem.message.startswith("amount ")
    assert len(problem.message) < 100, "the token is not repeated"


def test_the_refusal_says_what_is_wrong() -> None:
    def message(token: str, currency: str = "USD") -> str:
        with pytest.raises(InvalidError) as caught:
            money.parse_fiat(token, currency, field="price")
        assert caught.value.field == "price"
        return str(caught.value)

    assert message("NaN") == "price must be a decimal number such as 25.00."
    assert message("-5") == "price must be more than zero."
    assert message("1e15") == "price may have at most 15 digits before the point."
    assert message("0.5", "JPY") == "price may have no decimal places in JPY."
    assert message("25.001") == "price may have at most 2 decimal places in USD."


@pytest.mark.parametrize(
    ("token", "currency"),
    [
        ("25.001", "USD"), ("25.000", "USD"), ("25.000000001", "EUR"), ("0.5", "JPY"),
        ("5.0", "JPY"), ("1.0000", "KWD"), ("1.00000", "CLF"), ("1e-3", "USD"), ("2500e-3", "USD"),
        ("0.001", "USD"), ("1e-99", "USD"), ("0." + "0" * 39 + "1", "USD"),
    ],
)  # fmt: skip
def test_more_decimals_than_the_currency_has_are_refused(token: str, currency: str) -> None:
    with pytest.raises(InvalidError, match="decimal place"):
        money.parse_fiat(token, currency)


@pytest.mark.parametrize(
    ("token", "currency", "expected"),
    [
        ("25", "USD", "25.00"), ("25.0", "USD", "25.00"), ("25.00", "USD", "25.00"),
        ("0.01", "USD", "0.01"), ("2.5e1", "USD", "25.00"), ("2500E-2", "USD", "25.00"),
        ("1e2", "JPY", "100"), ("1e14", "JPY", "100000000000000"), ("1.5e+3", "JPY", "1500"),
        ("1.234", "KWD", "1.234"), ("0.0001", "CLF", "0.0001"),
        ("999999999999999.99", "USD", "999999999999999.99"),
    ],
)  # fmt: skip
def test_amounts_are_read_exactly(token: str, currency: str, expected: str) -> None:
    assert str(money.parse_fiat(token, currency)) == expected


def test_a_huge_exponent_is_refused_before_any_arithmetic() -> None:
    started_s = time.process_time()
    for token in ("1e999999999", "1E+1000000", "9" * 1_000_000, "1e-999999999", "1E+99"):
        with pytest.raises(InvalidError):
            money.parse_fiat(token, "USD")
        assert money.parse_rate(token) is None
    assert time.process_time() - started_s < 0.5


@given(st.text())
def test_any_text_is_an_amount_or_refused(token: str) -> None:
    try:
        amount = money.parse_fiat(token, "USD")
    except InvalidError:
        return
    assert token.isascii()
    assert 0 < amount < 10**15


@given(amounts())
def test_what_is_formatted_is_read_back(drawn: tuple[Decimal, str]) -> None:
    amount, currency = drawn
    text = str(money.ceil_to_minor(Fraction(amount), currency))
    assert text == str(money.floor_to_minor(Fraction(amount), currency))
    assert money.parse_fiat(text, currency) == amount
    assert str(money.parse_fiat(text, currency)) == text
    assert "E" not in text


def test_what_is_due_is_rounded_up_and_what_came_is_rounded_down() -> None:
    assert money.ceil_to_minor(Fraction(24_991, 1_000), "USD") == Decimal("25.00")
    assert money.floor_to_minor(Fraction(24_999, 1_000), "USD") == Decimal("24.99")


@pytest.mark.parametrize("text", ["USD", "usd", "Usd"])
def test_a_currency_is_read_in_any_case(text: str) -> None:
    assert money.parse_currency(text) == "USD"


@pytest.mark.parametrize(
    "text",
    [
        "", "US", "USDT", "XAU", "XXX", "ZZZ", " USD", "USD\n", "USD\0",
        # Letters whose upper cases are ASCII: the long s, the i without a dot, the sharp s.
        "u\u017fd", "\u0131dr", "\u00dfp",
    ],
)  # fmt: skip
def test_what_is_no_currency_is_refused(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        money.parse_currency(text)
    assert (caught.value.code, caught.value.field) == ("invalid_currency", "fiat_currency")
    assert caught.value.message == (
        "fiat_currency must be a 3-letter ISO 4217 code such as USD or EUR."
    )


# --- minor units ------------------------------------------------------------------------------


@pytest.mark.parametrize(("currency", "unit"), [("USD", "0.01"), ("JPY", "1"), ("KWD", "0.001")])
def test_minor_unit(currency: str, unit: str) -> None:
    assert str(money.minor_unit(currency)) == unit


@given(st.fractions(min_value=0, max_value=10**20), currencies)
def test_rounding_up_is_the_least_amount_not_below(value: Fraction, currency: str) -> None:
    rounded = Fraction(money.ceil_to_minor(value, currency))
    assert value <= rounded < value + Fraction(money.minor_unit(currency))


def test_rounding_up_is_exact_however_large_the_value() -> None:
    value = Fraction(2**256 - 1)
    assert Fraction(money.ceil_to_minor(value, "USD")) == value


# --- fiat to coin and back --------------------------------------------------------------------


@given(amounts(), prices, methods())
def test_the_merchant_is_never_short_by_a_rounding(
    drawn: tuple[Decimal, str], rate: Decimal, paid_in: Method
) -> None:
    fiat, _ = drawn
    asked = money.to_atomic(fiat, rate, paid_in)
    exact = Fraction(fiat) / Fraction(rate) * 10**paid_in.decimals
    assert asked % paid_in.step_atomic == 0
    assert asked >= exact
    assert asked >= paid_in.least_atomic
    # One step less would be too little, or too little to be relayed.
    less = asked - paid_in.step_atomic
    assert less < exact or less < paid_in.least_atomic


@given(amounts(), prices, methods())
def test_what_was_asked_for_is_worth_what_is_due(
    drawn: tuple[Decimal, str], rate: Decimal, paid_in: Method
) -> None:
    fiat, _ = drawn
    asked = money.to_atomic(fiat, rate, paid_in)
    assert money.to_fiat(asked, rate, paid_in.decimals) >= fiat


@given(amounts(), prices, methods())
def test_a_price_says_what_its_amount_is_worth(
    drawn: tuple[Decimal, str], rate: Decimal, paid_in: Method
) -> None:
    due, currency = drawn
    fiat = money.payable_fiat(due, currency, rate, paid_in)
    asked = money.to_atomic(fiat, rate, paid_in)
    one_step = money.to_fiat(paid_in.step_atomic, rate, paid_in.decimals)
    # It is off by the rounding to a step alone, and not by the least amount.
    assert 0 <= money.to_fiat(asked, rate, paid_in.decimals) - Fraction(fiat) < one_step
    if fiat != due:
        least = money.to_atomic(due, rate, paid_in)
        worth = money.to_fiat(least, rate, paid_in.decimals)
        assert worth <= fiat < worth + Fraction(money.minor_unit(currency))


def test_a_whole_number_of_steps_is_not_rounded() -> None:
    bitcoin = method(8, step_atomic=1, least_atomic=546)
    assert money.to_atomic(Decimal("25.00"), Decimal(100_000), bitcoin) == 25_000
    assert money.to_atomic(Decimal("0.01"), Decimal(100_000), bitcoin) == 546


def test_what_is_asked_for_is_rounded_up_to_a_payable_step() -> None:
    coarse = method(8, step_atomic=100, least_atomic=546)
    assert money.to_atomic(Decimal("25.01"), Decimal(100_000), coarse) == 25_100


def test_no_digit_of_a_large_amount_is_lost() -> None:
    ether = method(18)
    asked = money.to_atomic(Decimal("999999999999999.99"), Decimal(3), ether)
    assert asked == 333_333_333_333_333_330_000_000_000_000_000


def test_an_amount_of_any_length_gets_all_its_decimals() -> None:
    assert f"{money.quantize(Decimal(10**40), 'USD'):f}" == f"1{'0' * 40}.00"


def test_the_least_amount_is_a_whole_number_of_steps_too() -> None:
    coarse = method(8, step_atomic=100, least_atomic=546)
    assert money.to_atomic(Decimal("0.01"), Decimal(100_000), coarse) == 600


def test_to_fiat_is_exact() -> None:
    assert money.to_fiat(1, Decimal("0.1"), 18) == Fraction(1, 10**19)


@given(st.integers(0, 2**256 - 1), st.integers(0, 18))
def test_an_amount_of_coin_is_read_back(amount_atomic: int, decimals: int) -> None:
    text = money.format_coin(amount_atomic, decimals)
    assert Fraction(text) * 10**decimals == amount_atomic
    assert set(text) <= set("0123456789.")
    assert "." not in text or not text.endswith(("0", "."))


@pytest.mark.parametrize(
    ("amount_atomic", "decimals", "text"),
    [
        (150_000_000, 8, "1.5"), (12_000, 8, "0.00012"), (300_000_000, 8, "3"), (0, 8, "0"),
        (1, 18, "0.000000000000000001"), (7, 0, "7"), (100, 0, "100"),
    ],
)  # fmt: skip
def test_format_coin(amount_atomic: int, decimals: int, text: str) -> None:
    assert money.format_coin(amount_atomic, decimals) == text


def test_an_amount_that_nobody_knows_has_a_name() -> None:
    assert money.name_coins("0.5", "LTC") == "0.5 LTC"
    assert money.name_coins(None, "LTC") == "an amount of LTC"


# --- prices from outside ----------------------------------------------------------------------


@pytest.mark.parametrize("text", [*NOT_A_NUMBER, *NOT_POSITIVE])
def test_a_price_that_is_none(text: str) -> None:
    assert money.parse_rate(text) is None


@pytest.mark.parametrize(
    "text", ["1", "0.00001234", "104250.5", "1.2e-7", "1E+5", "1e-15", "999999999999999.9"]
)
def test_a_price(text: str) -> None:
    assert money.parse_rate(text) == Decimal(text)


@pytest.mark.parametrize("text", ["1e15", "1000000000000000", "9.9e-16", "1e99", "1e-99"])
def test_a_price_that_nothing_has(text: str) -> None:
    assert money.parse_rate(text) is None


@pytest.mark.parametrize(
    ("price", "text"), [("80.25", "80.25"), ("1E+5", "100000"), ("1.2E-7", "0.00000012")]
)
def test_a_price_is_written_without_an_exponent(price: str, text: str) -> None:
    assert money.format_rate(Decimal(price)) == text


# --- what may be missing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "percent"),
    [("0", "0"), ("0.5", "0.5"), ("0.50", "0.5"), ("10", "10"), ("1e1", "10"), ("0.01", "0.01")],
)
def test_a_tolerance(text: str, percent: str) -> None:
    assert f"{money.parse_tolerance(text):f}" == percent


@pytest.mark.parametrize(
    "text",
    ["", "-0.1", "10.01", "0.005", "0.5 %", "0,5", "NaN", "1e99", f"0.5{'0' * 30}1", "half"],
)
def test_what_is_no_tolerance(text: str) -> None:
    with pytest.raises(InvalidError) as refused:
        money.parse_tolerance(text)
    assert (refused.value.code, refused.value.field) == ("invalid_tolerance", "tolerance")
    assert str(refused.value).startswith("A tolerance is a number of per cent from 0 to 10,")


@given(amounts(), st.integers(0, 1_000))
def test_never_more_than_its_per_cent_may_be_missing(
    amount: tuple[Decimal, str], hundredths: int
) -> None:
    value, currency = amount
    percent = Decimal(hundredths).scaleb(-2)
    missing = money.tolerated(value, percent, currency)
    share = Fraction(value) * Fraction(percent) / 100
    assert 0 <= share - Fraction(missing) < money.minor_unit(currency)
    assert missing < value


# --- coins that a person types ----------------------------------------------------------------


@given(st.integers(1, 10**23), st.integers(0, 18))
def test_what_is_shown_of_a_coin_is_read_as_it_was(atomic: int, decimals: int) -> None:
    text = money.format_coin(atomic, decimals)
    if Decimal(text) < 10**15:
        assert money.parse_coin(text, method(decimals)) == atomic


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "0.123456789", "1e15", "1e-9", "NaN", "one", "1,5", f"1.{'0' * 39}1"]
)
def test_what_is_no_amount_of_a_coin(text: str) -> None:
    with pytest.raises(InvalidError) as refused:
        money.parse_coin(text, method(8))
    assert (refused.value.code, refused.value.field) == ("invalid_amount", "amount")
    assert str(refused.value).endswith("such as 0.25, with at most 8 decimal places.")
