import pytest

from counterfoil.core import errors
from counterfoil.core.errors import (
    ConflictError,
    CounterfoilError,
    InvalidError,
    LimitedError,
    NodeError,
    Problem,
    UnavailableError,
)


def test_an_error_has_a_code_and_a_sentence() -> None:
    error = ConflictError("address_in_use", "This address is in use.", field="wallet_address")
    assert (error.code, error.message, error.field) == (
        "address_in_use",
        "This address is in use.",
        "wallet_address",
    )
    assert str(error) == "This address is in use."


def test_the_first_problem_speaks_for_all() -> None:
    first = Problem("amount", "invalid_amount", "amount must be more than zero.")
    second = Problem("memo", "too_long", "memo may have at most 500 characters.")
    error = InvalidError(first, second)
    assert error.problems == (first, second)
    assert (error.code, error.field, str(error)) == (first.code, first.field, first.message)


def test_a_limit_says_when_to_come_back() -> None:
    error = LimitedError("rate_limited", "Too many requests.", retry_after_s=30)
    assert (error.retry_after_s, error.field) == (30, None)
    assert (error.code, error.message) == ("rate_limited", "Too many requests.")


def test_what_does_not_answer_may_say_when_to_ask_again() -> None:
    error = UnavailableError("rates_unavailable", "No rate is known.", retry_after_s=30)
    assert (error.code, error.message, error.retry_after_s) == (
        "rates_unavailable",
        "No rate is known.",
        30,
    )
    assert UnavailableError("node_away", "The node is away.").retry_after_s is None


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind is not NodeError
    ],
)
def test_every_error_for_people_has_one_base_and_a_docstring(kind: type[Exception]) -> None:
    assert issubclass(kind, CounterfoilError)
    assert kind.__doc__


def test_an_unknown_answer_of_a_node_is_not_for_people() -> None:
    assert not issubclass(NodeError, CounterfoilError)
