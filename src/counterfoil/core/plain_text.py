"""Plain text: what a name or a note may hold, whoever gives it, and wherever it is shown."""

import re

from counterfoil.core.errors import Problem

# Control characters, and those that turn the direction of the text around them: both can make a
# page show something else than what was sent.
HOSTILE = r"\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069"
CONTROL = r"\u0000-\u001F\u007F-\u009F"
CONTROL_IN_LINES = r"\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F"
# Halves of a surrogate pair are no characters: neither UTF-8 nor a database can hold one.
_HALF = r"\uD800-\uDFFF"
_NOT_IN_A_LINE = re.compile(f"[{CONTROL}{HOSTILE}{_HALF}]")
_NOT_IN_LINES = re.compile(f"[{CONTROL_IN_LINES}{HOSTILE}{_HALF}]|\r(?!\n)")


def problem(
    field: str,
    value: str,
    length_max: int,
    *,
    is_long: bool = False,
    label: str | None = None,
) -> Problem | None:
    """Return what is wrong with a text, None where nothing is; a long one may have several lines.

    Codes are `too_long` and `invalid_characters`; `label` names a part of the field.
    """
    label = label or field
    if len(value) > length_max:
        message = f"{label} may have at most {length_max:,} characters; it has {len(value):,}."
        return Problem(field, "too_long", message)
    hostile = (_NOT_IN_LINES if is_long else _NOT_IN_A_LINE).search(value)
    if hostile is None:
        return None
    message = (
        f"{label} holds U+{ord(hostile[0]):04X} at position {hostile.start() + 1}, "
        "which plain text may not hold; remove it."
    )
    return Problem(field, "invalid_characters", message)
