"""Every error that a person may read, by whose fault it is.

An error has a `code` for programs and one sentence for a person that says what to do next. What
HTTP makes of it is decided in one place, `web/errors.py`; what the command line makes of it, in
`cli/session.py`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one field of a request."""

    field: str
    code: str
    message: str


class CounterfoilError(Exception):
    """The base of all errors that are told to a person."""

    def __init__(self, code: str, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


class MalformedError(CounterfoilError):
    """The request could not be read at all: not JSON, or a key stands in it twice."""


class InvalidError(CounterfoilError):
    """One or more fields are wrong; `problems` lists them all, the first one speaks for them."""

    def __init__(self, *problems: Problem) -> None:
        first = problems[0]
        super().__init__(first.code, first.message, field=first.field)
        self.problems = problems


class UnauthenticatedError(CounterfoilError):
    """There is no key, or it is not one of ours."""


class ForbiddenError(CounterfoilError):
    """The key is good but its scope is too small."""


class NotFoundError(CounterfoilError):
    """There is no such thing, or it belongs to somebody else: the two look the same."""


class ConflictError(CounterfoilError):
    """The thing is in a state that does not allow this."""


class TooLargeError(CounterfoilError):
    """The request is larger than this server reads."""


class LimitedError(CounterfoilError):
    """Too many requests; `retry_after_s` says when to come back."""

    def __init__(self, code: str, message: str, *, retry_after_s: int) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s


class UnavailableError(CounterfoilError):
    """Something we depend on (rates, a node, the database) does not answer now: try again later.

    `retry_after_s` is how long it wants to be left alone, where it said so.
    """

    def __init__(self, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s


class SettingsError(CounterfoilError):
    """A setting, a file or the environment is wrong: the server does not start."""


class NodeError(Exception):
    """A node answered with an error, nonsense, or not at all.

    It means *unknown*, never unpaid or failed: whoever catches it waits and asks again.
    """
