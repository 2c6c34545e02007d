"""More coin at stake asks for more blocks, at the amounts that the policy names."""

from decimal import Decimal
from fractions import Fraction

import pytest

from counterfoil.core.confirmations import Confirmations, parse

BITCOIN = Confirmations(1, ((Decimal("0.01"), 3), (Decimal(1), 6)))


@pytest.mark.parametrize(
    ("coins", "needed"),
    [
        ("0", 1),
        ("0.00999999", 1),
        ("0.01", 3),
        ("0.99999999", 3),
        ("1", 6),
        ("21000000", 6),
    ],
)
def test_each_amount_has_its_depth(coins: str, needed: int) -> None:
    assert BITCOIN.needed(Fraction(coins)) == needed


def test_one_number_holds_for_every_amount() -> None:
    policy = Confirmations(2)
    assert [policy.needed(Fraction(coins)) for coins in (0, 1, 10**9)] == [2, 2, 2]


@pytest.mark.parametrize("text", ["1", "1000", "1, 3 from 0.01, 6 from 1", "3, 12 from 10"])
def test_a_policy_is_read_as_it_is_written(text: str) -> None:
    assert str(parse(text)) == text


def test_none_at_all_must_be_allowed() -> None:
    assert parse("0, 1 from 0.5", least=0).needed(Fraction(0)) == 0
    with pytest.raises(ValueError, match="0"):
        parse("0, 1 from 0.5")


def test_blanks_around_the_parts_do_not_matter() -> None:
    assert parse(" 1,3 from 0.01 , 6 from 1 ") == BITCOIN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "1001",
        "3, 3 from 1",
        "99999999999999999999",
        "1.5",
        "\u0661",
        "x",
        "1,",
        ",3 from 1",
        "1, 3",
        "1, 3 from",
        "1, 3 from 0",
        "1, 3 from -1",
        "1, 3 from 1e2",
        "1, 3 from 1, 6 from 1",
        "1, 6 from 1, 3 from 2",
        "3, 1 from 5",
        "1, 3 from 2, 6 from 1",
        "1, 1001 from 2",
        "1 3 from 2",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # it has no words: who asks has them
        parse(text)
