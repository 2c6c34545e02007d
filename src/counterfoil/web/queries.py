"""Reading the parameters of a query."""

from collections.abc import Collection
from urllib.parse import parse_qsl

from counterfoil.core.errors import InvalidError, Problem
from counterfoil.web.fields import Fields

# More parameters than this are no question that we answer.
_PARAMETERS_MAX = 50


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
