"""What a name or a note may hold."""

import pytest

from counterfoil.core import plain_text


@pytest.mark.parametrize(
    "text", ["", "Table 4", "Café, número 7", "日本語", "x" * 20, "👍 — “quoted”"]
)
def test_plain_text_is_taken_as_it_is(text: str) -> None:
    assert plain_text.problem("memo", text, 20) is None


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\0", "U+0000"),
        ("\x1b", "U+001B"),
        ("\x7f", "U+007F"),
        ("\x85", "U+0085"),
        ("\u061c", "U+061C"),
        ("\u200f", "U+200F"),
        ("\u202e", "U+202E"),
        ("\u2066", "U+2066"),
        ("\ud800", "U+D800"),
        ("\udfff", "U+DFFF"),
    ],
)
@pytest.mark.parametrize("is_long", [False, True])
def test_what_hides_or_turns_text_is_named_with_its_place(
    character: str, name: str, *, is_long: bool
) -> None:
    found = plain_text.problem("memo", f"Tab{character}le", 20, is_long=is_long)
    assert found is not None
    assert (found.field, found.code) == ("memo", "invalid_characters")
    assert found.message == (
        f"memo holds {name} at position 4, which plain text may not hold; remove it."
    )


@pytest.mark.parametrize("text", ["one\ntwo", "one\r\ntwo", "one\ttwo"])
def test_only_a_long_text_has_several_lines(text: str) -> None:
    assert plain_text.problem("note", text, 20, is_long=True) is None
    found = plain_text.problem("note", text, 20)
    assert found is not None
    assert found.code == "invalid_characters"


def test_a_carriage_return_alone_overwrites_a_line() -> None:
    found = plain_text.problem("note", "one\rtwo", 20, is_long=True)
    assert found is not None
    assert "U+000D at position 4" in found.message


def test_a_text_that_is_too_long_is_told_by_how_much() -> None:
    found = plain_text.problem("note", "x" * 1_001, 1_000)
    assert found is not None
    assert (found.field, found.code) == ("note", "too_long")
    assert found.message == "note may have at most 1,000 characters; it has 1,001."


def test_a_part_of_a_field_goes_by_its_own_name() -> None:
    for text in ("x" * 3, "\0"):
        found = plain_text.problem("metadata", text, 2, label="The key of metadata")
        assert found is not None
        assert found.field == "metadata"
        assert found.message.startswith("The key of metadata ")
