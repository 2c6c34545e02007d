import iso4217

from counterfoil.core.currencies import MINOR_DIGITS


def test_the_table_is_that_of_the_package() -> None:
    """Codes without a minor unit (metals, test codes) are left out by both sides."""
    published = {
        currency.code: currency.exponent
        for currency in iso4217.Currency
        if currency.exponent is not None
    }
    assert dict(MINOR_DIGITS) == published


def test_nothing_can_be_priced_in_metals_and_test_codes() -> None:
    assert MINOR_DIGITS.keys().isdisjoint({"XAU", "XAG", "XTS", "XXX", "XDR"})


def test_amounts_follow_iso_where_display_libraries_differ() -> None:
    digits = {code: MINOR_DIGITS[code] for code in ("RSD", "MGA", "IRR", "LAK", "IQD", "JPY")}
    assert digits == {"RSD": 2, "MGA": 2, "IRR": 2, "LAK": 2, "IQD": 3, "JPY": 0}
