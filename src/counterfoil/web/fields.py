"""Reading the fields of a body or a query one by one, and collecting all that is wrong with them.

A field that is bad is noted and read as not given, so that the next one is looked at too: whoever
sends a request hears of everything at once. No message repeats a value that was sent.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from email_validator import EmailNotValidError, validate_email

from counterfoil.core import money, plain_text
from counterfoil.core.errors import InvalidError, Problem

T = TypeVar("T")

ORDER_ID_LENGTH_MAX = 64
EMAIL_LENGTH_MAX = 254
ADDRESS_LENGTH_LEAST = 5
ADDRESS_LENGTH_MAX = 200
URL_LENGTH_MAX = 2_048
COIN_LENGTH_MAX = 20
COINS_MAX = 50
METADATA_KEYS_MAX = 20
METADATA_KEY_LENGTH_MAX = 40
METADATA_VALUE_LENGTH_MAX = 500

# The same for the document, in which JavaScript's dialect of patterns is spoken.
PLAIN_LINE = f"^[^{plain_text.CONTROL}{plain_text.HOSTILE}]*$"
PLAIN_LINES = f"^[^{plain_text.CONTROL_IN_LINES}{plain_text.HOSTILE}]*$"

DECIMAL = r"^(0|[1-9][0-9]{0,39})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?$"
TIME = (
    r"^([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"([Tt ]([0-9]{2}):([0-9]{2})(:([0-9]{2})(\.([0-9]{1,9}))?)?"
    r"([Zz]|([+-])([0-9]{2}):?([0-9]{2}))?)?$"
)
COIN = r"^[A-Za-z0-9-]*$"
URL = r"^[Hh][Tt][Tt][Pp][Ss]://[A-Za-z0-9.-]+(:[0-9]{1,5})?([/?#][!#-;=?-\[\]_a-~]*)?$"
_WHOLE = re.compile(r"0|[1-9][0-9]{0,15}")
_DECIMAL, _TIME, _URL = re.compile(DECIMAL), re.compile(TIME), re.compile(URL)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # only ever taken from a time in UTC without its zone
_LAST = 253_402_300_799_999  # the last millisecond of the year 9999


class Number(str):
    """A number of a JSON document as the text that it was written with."""

    __slots__ = ()


class Fields:
    """The fields of one object."""

    def __init__(self, document: Mapping[str, object]) -> None:
        """Take the object; what it holds besides the fields asked for is nobody's business."""
        self._document = document
        self.problems: list[Problem] = []

    def refuse(self, field: str, code: str, message: str) -> None:
        """Note what is wrong with a field."""
        self.problems.append(Problem(field, code, message))

    def is_refused(self, field: str) -> bool:
        """Tell whether something is wrong with a field."""
        return any(problem.field == field for problem in self.problems)

    def names(self, fields: Iterable[str]) -> list[str]:
        """Return those of some fields that the object has, whatever it has there."""
        return [field for field in fields if field in self._document]

    def given(self, field: str) -> object | None:
        """Return a field's value; null and an empty text are as good as nothing."""
        value = self._document.get(field)
        return None if value == "" else value

    def parameter(self, field: str) -> str | None:
        """Return a parameter of a query as it stands there, empty or not."""
        value = self._document.get(field)
        return value if isinstance(value, str) else None

    def checked(self, look: Callable[[], T]) -> T | None:
        """Return what `look` returns, or note what it complains of."""
        try:
            return look()
        except InvalidError as error:
            self.problems.extend(error.problems)
            return None

    def text(self, field: str, length_max: int, *, is_long: bool = False) -> str:
        """Return a plain text, empty where there is none; a long one may have several lines."""
        value = self._document.get(field)
        if value is None or value == "":
            return ""
        return self._plain(field, value, length_max, is_long=is_long) or ""

    def _plain(
        self,
        field: str,
        value: object,
        length_max: int,
        *,
        is_long: bool = False,
        label: str | None = None,
    ) -> str | None:
        """Return a value that is a plain text of the right length, or note what is wrong.

        `label` names a part of the field.
        """
        label = label or field
        if type(value) is not str:
            self.refuse(field, "wrong_type", f"{label} must be a text.")
            return None
        problem = plain_text.problem(field, value, length_max, is_long=is_long, label=label)
        if problem is not None:
            self.problems.append(problem)
            return None
        return value

    def whole(self, field: str, most: int) -> int | None:
        """Return a number that counts from 0, None where there is none."""
        value = self.given(field)
        if value is None:
            return None
        if type(value) is not Number or not _WHOLE.fullmatch(value) or int(value) > most:
            hint = ", and stand without quotes" if type(value) is str else ""
            message = f"{field} must be a whole number from 0 to {most}{hint}."
            self.refuse(field, "invalid_number", message)
            return None
        return int(value)

    def currency(self, field: str) -> str | None:
        """Return a required currency code."""
        value = self.given(field)
        if value is None:
            self.refuse(field, "missing", f"{field} is required.")
            return None
        if type(value) is not str:
            self.refuse(field, "wrong_type", f"{field} must be a text such as USD.")
            return None
        return self.checked(lambda: money.parse_currency(value, field))

    def amount(self, field: str, currency: str | None) -> Decimal | None:
        """Return a required amount of a currency, exactly as it was written."""
        value = self.given(field)
        if value is None:
            self.refuse(field, "missing", f"{field} is required.")
            return None
        if not isinstance(value, str):
            self.refuse(field, "wrong_type", f"{field} must be a number such as 25.00.")
            return None
        if currency is not None:
            return self.checked(lambda: money.parse_fiat(value, currency, field))
        if _DECIMAL.fullmatch(value) and 0 < Decimal(value) < 10**money.INTEGER_DIGITS_MAX:
            # How many decimals it may have is for the currency to say, and that one is wrong.
            return None
        self.checked(lambda: money.parse_fiat(value, "USD", field))
        return None

    def time(self, field: str) -> int | None:
        """Return a time in milliseconds; one without a zone is UTC, a date is its midnight."""
        text = self.text(field, 40)
        if not text:
            return None
        at = _parse_time(text)
        if at is None:
            message = f"{field} must be an ISO 8601 time such as 2030-01-31T18:00:00Z."
            self.refuse(field, "invalid_time", message)
        return at

    def future(self, field: str, now: int) -> int | None:
        """Return a time that is still to come."""
        at = self.time(field)
        if at is not None and at <= now:
            self.refuse(field, "time_passed", f"{field} must be a time that is still to come.")
            return None
        return at

    def email(self, field: str) -> str:
        """Return an e-mail address in its normal form, empty where there is none."""
        text = self.text(field, EMAIL_LENGTH_MAX)
        if not text:
            return ""
        try:
            return validate_email(text, check_deliverability=False, strict=True).normalized
        except EmailNotValidError:
            message = f"{field} must be an e-mail address such as name@example.com."
            self.refuse(field, "invalid_email", message)
            return ""

    def url(self, field: str) -> str | None:
        """Return an https URL."""
        text = self.text(field, URL_LENGTH_MAX)
        if not text:
            return None
        if not _URL.fullmatch(text):
            message = f"{field} must be a URL that begins with https:// and names a host."
            self.refuse(field, "invalid_url", message)
            return None
        return text

    def address(self, field: str) -> str | None:
        """Return something that may be an address; which one it is, is for a chain to say."""
        text = self.text(field, ADDRESS_LENGTH_MAX).strip()
        if text and len(text) < ADDRESS_LENGTH_LEAST:
            message = f"{field} must have at least {ADDRESS_LENGTH_LEAST} characters."
            self.refuse(field, "too_short", message)
            return None
        return text or None

    def coins(self, field: str) -> tuple[str, ...]:
        """Return a list of coins, empty where there is none."""
        value = self.given(field)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.refuse(field, "wrong_type", f"{field} must be a list of texts.")
            return ()
        if len(value) > COINS_MAX:
            self.refuse(field, "too_many", f"{field} may name at most {COINS_MAX} coins.")
            return ()
        label = f"Each of {field}"
        found = [self._plain(field, each, COIN_LENGTH_MAX, label=label) for each in value]
        return () if None in found else tuple(each for each in found if each is not None)

    def texts(self, field: str) -> dict[str, str]:
        """Return an object of texts, empty where there is none."""
        value = self.given(field)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.refuse(field, "wrong_type", f"{field} must be an object of texts.")
            return {}
        if len(value) > METADATA_KEYS_MAX:
            message = f"{field} may have at most {METADATA_KEYS_MAX} keys; it has {len(value)}."
            self.refuse(field, "too_many", message)
            return {}
        for key, each in value.items():
            if not key:
                self.refuse(field, "too_short", f"A key of {field} may not be empty.")
                return {}
            label = f"A key of {field}"
            if self._plain(field, key, METADATA_KEY_LENGTH_MAX, label=label) is None:
                return {}
            label = f"{field}.{key}"
            if self._plain(field, each, METADATA_VALUE_LENGTH_MAX, label=label) is None:
                return {}
        return value


def _parse_time(text: str) -> int | None:
    """Return an ISO 8601 time in milliseconds UTC, None where it is none of this world's."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, _, hour, minute, _, second, _, fraction, _, sign, ahead_h, ahead_m = (
        match.groups()
    )
    try:
        # Its zone is reckoned below, where the year 9999 cannot overflow.
        moment = datetime(  # noqa: DTZ001  # see above
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0)
        )
    except ValueError:
        return None
    if sign is not None and (int(ahead_h) > 23 or int(ahead_m) > 59):
        return None
    offset_s = (int(ahead_h or 0) * 60 + int(ahead_m or 0)) * 60 * (-1 if sign == "-" else 1)
    elapsed = moment - _EPOCH
    seconds = elapsed.days * 86_400 + elapsed.seconds - offset_s
    at = seconds * 1_000 + int((fraction or "0").ljust(3, "0")[:3])
    return at if at <= _LAST else None
