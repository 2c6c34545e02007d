"""Amounts: fiat as `Decimal` in minor units of its currency, coins as integers of atomic units.

Nothing here is ever a float. Fiat becomes coin by rounding up, so that a merchant is never short
by a rounding.
"""

import re
from decimal import Context, Decimal
from fractions import Fraction
from functools import cache, lru_cache

from counterfoil.core.currencies import MINOR_DIGITS
from counterfoil.core.errors import InvalidError, Problem
from counterfoil.core.ports import Method

INTEGER_DIGITS_MAX = 15
TOLERANCE_MAX = 10
# No coin costs less than 10^-15 of a currency, or 10^15 of it and more: such a price is an error.
_RATE_DIGITS_MAX = 15
# Far less than the worth of one atomic unit of any coin that has a price.
_VALUE_PARTS = 10**30
# A uint256 has 78 digits; no intermediate result of ours comes near this precision.
EXACT = Context(prec=120)

# The grammar of JSON's numbers, with every part of a bounded length.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,39})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?")


def parse_currency(text: str, field: str = "fiat_currency") -> str:
    """Return the ISO 4217 code that `text` spells in any case; raises InvalidError."""
    code = text.upper()
    # Letters of other alphabets have upper cases that are ASCII: the long s of "u\u017fd" is an S.
    if not text.isascii() or code not in MINOR_DIGITS:
        message = f"{field} must be a 3-letter ISO 4217 code such as USD or EUR."
        raise InvalidError(Problem(field, "invalid_currency", message))
    return code


# Shops have prices, and most of them a few.
@lru_cache(maxsize=1_024)
def parse_fiat(token: str, currency: str, field: str = "amount") -> Decimal:
    """Return the positive amount that a JSON number or decimal string spells.

    `token` is the text as it stood in the request, so nothing has been rounded before us. More
    decimals than the currency's minor unit are an error, never a rounding. The exponent is capped
    by the pattern before any arithmetic: `int(Decimal("1E+1000000"))` takes a minute.
    """

    def refuse(message: str) -> InvalidError:
        return InvalidError(Problem(field, "invalid_amount", message))

    if not _NUMBER.fullmatch(token):
        raise refuse(f"{field} must be a decimal number such as 25.00.")
    value = Decimal(token)
    if value <= 0:
        raise refuse(f"{field} must be more than zero.")
    if value.adjusted() >= INTEGER_DIGITS_MAX:
        raise refuse(f"{field} may have at most {INTEGER_DIGITS_MAX} digits before the point.")
    digits = MINOR_DIGITS[currency]
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > digits:
        places = f"at most {digits} decimal places" if digits else "no decimal places"
        raise refuse(f"{field} may have {places} in {currency}.")
    return quantize(value, currency)


@cache
def minor_unit(currency: str) -> Decimal:
    """Return the smallest amount of a currency: 0.01 for USD, 1 for JPY."""
    return Decimal(1).scaleb(-MINOR_DIGITS[currency])


def quantize(value: Decimal, currency: str) -> Decimal:
    """Return an exact amount with all the decimals of its currency: 25 USD is 25.00."""
    return value.quantize(minor_unit(currency), context=EXACT)


def ceil_to_minor(value: Fraction, currency: str) -> Decimal:
    """Return the smallest amount of a currency that is not below `value`."""
    digits = MINOR_DIGITS[currency]
    units = -(-value.numerator * 10**digits // value.denominator)
    return Decimal(units).scaleb(-digits, context=EXACT)


def to_atomic(fiat: Decimal, rate: Decimal, method: Method) -> int:
    """Return what `fiat` costs in atomic units at `rate` (fiat per whole coin), rounded up.

    It is a multiple of the method's payable step and at least its least payable amount.
    """
    steps_per_coin = Fraction(10**method.decimals, method.step_atomic)
    steps = Fraction(fiat) / Fraction(rate) * steps_per_coin
    amount = -(-steps.numerator // steps.denominator) * method.step_atomic
    return max(amount, _least_atomic(method))


def payable_fiat(due: Decimal, currency: str, rate: Decimal, method: Method) -> Decimal:
    """Return what a payer is asked for, in fiat, where `due` is: no less than can be sent.

    The least payable amount may be worth more than what is due. It is asked for at what it is
    worth, up to a minor unit: a price that says less would make less of all that is paid on it.
    """
    least = to_fiat(_least_atomic(method), rate, method.decimals)
    return max(due, ceil_to_minor(least, currency))


def _least_atomic(method: Method) -> int:
    """Return the least payable amount in whole payable steps."""
    return -(-method.least_atomic // method.step_atomic) * method.step_atomic


def ceil_value(value: Fraction) -> Fraction:
    """Return a value in fiat, rounded up at its 30th decimal.

    An exact share of a price has that price's denominator, and the sum of hundreds of them would
    have thousands of digits. Upwards: the parts of a whole must never be less than the whole.
    """
    return Fraction(-(-value.numerator * _VALUE_PARTS // value.denominator), _VALUE_PARTS)


def to_fiat(amount_atomic: int, rate: Decimal, decimals: int) -> Fraction:
    """Return what an amount of coin is worth at `rate`, exactly."""
    return Fraction(amount_atomic, 10**decimals) * Fraction(rate)


def format_coin(amount_atomic: int, decimals: int) -> str:
    """Return an amount of coin as people write it: 1.5, 0.00012, 3; never an exponent."""
    whole, part = divmod(amount_atomic, 10**decimals)
    digits = f"{part:0{decimals}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def name_coins(amount: str | None, method_id: str) -> str:
    """Return an amount and its method for a sentence, also where the amount is not known."""
    return f"an amount of {method_id}" if amount is None else f"{amount} {method_id}"


def parse_coin(token: str, method: Method, field: str = "amount") -> int:
    """Return the atomic units of a positive amount of whole coins; raises InvalidError.

    More decimals than the coin has are an error, never a rounding.
    """
    value = Decimal(token) if _NUMBER.fullmatch(token) else Decimal(0)
    atomic = value.scaleb(method.decimals, context=EXACT)
    if not 0 < value < 10**INTEGER_DIGITS_MAX or atomic != int(atomic):
        message = (
            f"{field} must be an amount of {method.symbol} such as 0.25, "
            f"with at most {method.decimals} decimal places."
        )
        raise InvalidError(Problem(field, "invalid_amount", message))
    return int(atomic)


def floor_to_minor(value: Fraction, currency: str) -> Decimal:
    """Return the largest amount of a currency that is not above `value`: never more than came."""
    return -ceil_to_minor(-value, currency)


def parse_tolerance(text: str) -> Decimal:
    """Return the per cent, in hundredths, that a text such as `0.5` spells; raises InvalidError.

    It ends where what is forgiven would no longer be a small shortfall.
    """
    value = Decimal(text) if _NUMBER.fullmatch(text) else Decimal(-1)
    hundredths = value.scaleb(2, context=EXACT)
    if not 0 <= value <= TOLERANCE_MAX or hundredths != int(hundredths):
        message = f"A tolerance is a number of per cent from 0 to {TOLERANCE_MAX}, such as 0.5."
        raise InvalidError(Problem("tolerance", "invalid_tolerance", message))
    return Decimal(int(hundredths)).scaleb(-2).normalize()


def tolerated(amount: Decimal, percent: Decimal, currency: str) -> Decimal:
    """Return how much of an amount may be missing: never more than the per cent of it."""
    if not percent:
        return Decimal(0)
    return floor_to_minor(Fraction(amount) * Fraction(percent) / 100, currency)


def parse_rate(text: str) -> Decimal | None:
    """Return a price that something may have, or None for anything else."""
    if not _NUMBER.fullmatch(text):
        return None
    value = Decimal(text)
    is_sane = value > 0 and -_RATE_DIGITS_MAX <= value.adjusted() < _RATE_DIGITS_MAX
    return value if is_sane else None


def format_rate(price: Decimal) -> str:
    """Return a price as people write it: 80.25, 0.00012; never an exponent."""
    return f"{price:f}"
