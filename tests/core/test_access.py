import hashlib
import re
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.core.access import Scope, digest, is_well_formed, make_key
from counterfoil.core.ports import Mode

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def a_key(mode: Mode = Mode.LIVE, seed: int = 0) -> str:
    return make_key(mode, Random(seed).randrange)


def always(number: int) -> Callable[[int], int]:
    return lambda limit: min(number, limit - 1)


@pytest.mark.parametrize("mode", Mode)
def test_a_key_has_the_contract_s_form(mode: Mode) -> None:
    for seed in range(100):
        key = a_key(mode, seed)
        assert re.fullmatch(rf"cf_{mode.value}_[0-9A-Za-z]{{38}}", key)
        assert is_well_formed(key)


def test_the_form_of_a_key_does_not_change() -> None:
    """A key that was given out years ago is still a key, so these are written down."""
    assert make_key(Mode.LIVE, always(0)) == "cf_live_" + "0" * 32 + "3iCihd"
    assert make_key(Mode.TEST, always(61)) == "cf_test_" + "z" * 32 + "0ost4Q"


def test_every_letter_of_the_alphabet_can_be_drawn() -> None:
    asked: list[int] = []

    def below(limit: int) -> int:
        asked.append(limit)
        return len(asked) % limit

    key = make_key(Mode.LIVE, below)
    assert asked == [62] * 32
    assert key[8:40] == BASE62[1:33]


@pytest.mark.parametrize("mode", Mode)
def test_every_change_of_one_character_is_noticed(mode: Mode) -> None:
    key = a_key(mode)
    for place, letter in enumerate(key):
        for other in {*BASE62, "_", "-", " ", "é"} - {letter}:
            assert not is_well_formed(key[:place] + other + key[place + 1 :])


def test_every_swap_of_two_neighbours_is_noticed() -> None:
    key = a_key()
    for place in range(len(key) - 1):
        swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
        assert swapped == key or not is_well_formed(swapped)


def test_a_live_key_is_no_test_key() -> None:
    assert not is_well_formed(a_key(Mode.LIVE).replace("live", "test"))


@pytest.mark.parametrize("cut", [1, 6, 7, 38, 46])
def test_a_part_of_a_key_is_none(cut: int) -> None:
    assert not is_well_formed(a_key()[:-cut])
    assert not is_well_formed(a_key()[cut:])


@given(st.text())
def test_no_text_breaks_the_check(text: str) -> None:
    assert not is_well_formed(text)
    assert not is_well_formed("cf_live_" + text)
    assert not is_well_formed(a_key() + text) or text == ""


def test_a_digest_is_sha256() -> None:
    key = a_key()
    assert digest(key) == hashlib.sha256(key.encode("ascii")).hexdigest()


def test_each_scope_includes_the_ones_before_it() -> None:
    included = {scope: [other for other in Scope if scope.includes(other)] for scope in Scope}
    assert included == {
        Scope.READ: [Scope.READ],
        Scope.AUTOMATE: [Scope.READ, Scope.AUTOMATE],
        Scope.FULL: [Scope.READ, Scope.AUTOMATE, Scope.FULL],
    }


def test_scopes_are_called_as_in_the_contract() -> None:
    assert [scope.label for scope in Scope] == [
        "Read analytics",
        "Automate payments",
        "Full control",
    ]
