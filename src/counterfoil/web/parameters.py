"""The parameters that several endpoints have: an id in the path, and the page of a list."""

from counterfoil.core.ids import ID_MAX
from counterfoil.web.endpoints import Parameter


def path_id(description: str, example: int) -> Parameter:
    """Return the id in a path."""
    schema = {"type": "integer", "minimum": 1, "maximum": ID_MAX}
    return Parameter("id", "path", description, schema, example)


INVOICE_ID = path_id("The id of the invoice.", 12345)


def page(default: int, most: int, example: int) -> tuple[Parameter, Parameter]:
    """Return how many of a list are asked for, and after which id."""
    return (
        Parameter(
            "limit",
            "query",
            f"How many at most; {default} if not given.",
            {"type": "integer", "minimum": 1, "maximum": most},
            20,
        ),
        Parameter(
            "after",
            "query",
            "The `next` of the page before.",
            {"type": "integer", "minimum": 1, "maximum": ID_MAX},
            example,
        ),
    )
