"""Reading the parameters of a query."""

import re
from collections.abc import Collection
from urllib.parse import parse_qsl

from counterfoil.core.errors import InvalidError, Problem
from counterfoil.web.fields import Fields

# More parameters than this are no question that we answer.
_PARAMETERS_MAX = 50
_WHOLE = re.compile(r"[1-9][0-9]{0,15}")


def parse(query: bytes, names: Collection[str]) -> Fields:
    """Return the parameters of a query; one of `names` that stands there twice is refused."""
    try:
        pairs = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, max_num_fields=_PARAMETERS_MAX
        )
    except ValueError:
        message = f"The query may have at most {_PARAMETERS_MAX} parameters."
        raise InvalidError(Problem("query", "too_many", message)) from None
    fields = Fields(dict(pairs))
    given = [name for name, _ in pairs]
    for name in names:
        if given.count(name) > 1:
            fields.refuse(name, "repeated_parameter", f"{name} may stand in the query only once.")
    return fields


def whole(fields: Fields, field: str, most: int) -> int | None:
    """Return a parameter that counts from 1."""
    text = fields.parameter(field)
    if text is None:
        return None
    if not _WHOLE.fullmatch(text) or int(text) > most:
        message = f"{field} must be a whole number from 1 to {most}."
        fields.refuse(field, "invalid_number", message)
        return None
    return int(text)
