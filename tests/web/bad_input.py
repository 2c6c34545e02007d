"""What must be refused: fields and headers of `POST /api/invoice`, and what is said of each."""

from collections.abc import Iterator

from tests.web.bad_bodies import Bad, body, raw, unreadable
from tests.web.world import ADDRESS

# --- amounts ----------------------------------------------------------------------------------

BAD_NUMBERS = [
    "0",
    "0.0",
    "0.00",
    "0e5",
    "-0",
    "-0.0",
    "-25",
    "-0.01",
    "1e400",
    "1e100",
    "1E+99",
    "1e15",
    "1e16",
    "25.001",
    "25.0000",
    "0.001",
    "1e-3",
    "25e-4",
    "1234567890123456",
    "1234567890123456789",
    "1000000000000000",
    "999999999999999.999",
    "1e999999999",
    "1e-999999999",
    "1e-400",
]
BAD_TEXTS = [
    "NaN",
    "nan",
    "Infinity",
    "-Infinity",
    "1e400",
    "twenty-five",
    " 25",
    "25 ",
    "25\n",
    "+25",
    "025",
    ".5",
    "25.",
    "1_000",
    "1,000",
    "25,00",
    "25.00 USD",
    "$25",
    "0x19",
    "1/2",
    "-5",
    "0",
    "25.001",
    "1" * 60_000,
    "1e" + "9" * 1_000,
    "٢٥",
    "２５",
    "25\u200b",
    "25\x00",
    "\ud800",
    "null",
    " ",
]
WRONG_TYPES = ["true", "false", "[25]", '{"value": 25}', "[]", "{}"]
OTHER_CURRENCIES = [
    ("JPY", "0.5"),
    ("JPY", "25.0"),
    ("JPY", "1e-1"),
    ("KWD", "1.2345"),
    ("USD", "0.005"),
]


def amounts() -> Iterator[Bad]:
    for token in BAD_NUMBERS:
        yield Bad(f"the number {token}", raw(token), 422, "invalid_amount", "amount")
    for text in BAD_TEXTS:
        why = f"the text {text[:20]!a}"
        yield Bad(why, body(amount=text), 422, "invalid_amount", "amount")
    for value in WRONG_TYPES:
        yield Bad(f"an amount of {value}", raw(value), 422, "wrong_type", "amount")
    for currency, token in OTHER_CURRENCIES:
        content = f'{{"amount": {token}, "fiat_currency": "{currency}"}}'.encode()
        yield Bad(f"{token} {currency}", content, 422, "invalid_amount", "amount")
    yield Bad("no amount", b'{"fiat_currency": "USD"}', 422, "missing", "amount")
    yield Bad("an amount of null", raw("null"), 422, "missing", "amount")
    yield Bad("an empty amount", raw('""'), 422, "missing", "amount")


# --- currencies -------------------------------------------------------------------------------


def currencies() -> Iterator[Bad]:
    name = "fiat_currency"
    yield Bad("no currency", b'{"amount": 25}', 422, "missing", name)
    yield Bad("a currency of null", raw("null", name), 422, "missing", name)
    yield Bad("an empty currency", raw('""', name), 422, "missing", name)
    for value in ("840", "true", '["USD"]', "{}"):
        yield Bad(f"a currency of {value}", raw(value, name), 422, "wrong_type", name)
    unknown = [
        "US",
        "USDT",
        "XYZ",
        "BTC",
        "XAU",
        "XXX",
        "$",
        "USD ",
        "u\u017fd",
        "\uff35SD",
        "U\x00D",
    ]
    for code in unknown:
        content = body(fiat_currency=code)
        yield Bad(f"the currency {code!a}", content, 422, "invalid_currency", name)
    for code in ("EUR", "eur", "RSD"):
        content = body(fiat_currency=code)
        yield Bad(f"no rates in {code}", content, 422, "unsupported_currency", name)


# --- addresses and coins ----------------------------------------------------------------------

CASE = "ltc1QQYPQXPQ9QCRSSZG2PVXQ6RS0ZQG3YYC5DYG36P"
BAD_ADDRESSES = {
    "a broken checksum": ADDRESS[:-1] + "q",
    "a character missing": ADDRESS[:-1],
    "two characters swapped": ADDRESS[:10] + ADDRESS[11] + ADDRESS[10] + ADDRESS[12:],
    "mixed case": CASE,
    "of Bitcoin": "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "of Litecoin's testnet": "tltc1qqypqxpq9qcrsszg2pvxq6rs0zqg3yyc5fjjpkc",
    "of Bitcoin's testnet": "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
    "of Ethereum": "0x52908400098527886E0F7030069857D2E4169EE7",
    "of Tron": "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8",
    "of the simulator": "test1" + "0" * 48,
    "words": "please send it to me",
    "a link of another coin": f"bitcoin:{ADDRESS}",
    "a link that asks for more": f"litecoin:{ADDRESS}?req-more=1",
    "letters of another alphabet": "\u0430" * 34,
    "two addresses": f"{ADDRESS},{ADDRESS}",
    "SQL": "'; DROP TABLE invoice; --",
}


def destinations() -> Iterator[Bad]:
    for why, address in BAD_ADDRESSES.items():
        content = body(wallet_address=address, coin_symbol="LTC")
        yield Bad(f"an address {why}", content, 422, "invalid_address", "wallet_address")
    name = "wallet_address"
    yield Bad("no coin", body(wallet_address=ADDRESS), 422, "missing", "coin_symbol")
    yield Bad(
        "a coin of null",
        body(wallet_address=ADDRESS, coin_symbol=None),
        422,
        "missing",
        "coin_symbol",
    )
    yield Bad(
        "a short address", body(wallet_address="ltc1", coin_symbol="LTC"), 422, "too_short", name
    )
    yield Bad(
        "a long address", body(wallet_address="l" * 201, coin_symbol="LTC"), 422, "too_long", name
    )
    yield Bad(
        "an address with a NUL",
        body(wallet_address=ADDRESS + "\x00", coin_symbol="LTC"),
        422,
        "invalid_characters",
        name,
    )
    yield Bad("an address of 5", raw("12345", name), 422, "wrong_type", name)
    unknown = ["XYZ", "ETH", "BTC", "TEST", "LTC ", "L T C", "USDT-TRON", "\u0141TC", "%", "'"]
    for coin in unknown:
        content = body(coin_symbol=coin)
        yield Bad(f"the coin {coin!a}", content, 422, "unknown_coin", "coin_symbol")
        yield Bad(f"the coins {coin!a}", body(coins=["LTC", coin]), 422, "unknown_coin", "coins")
    yield Bad("a coin of 5", raw("5", "coin_symbol"), 422, "wrong_type", "coin_symbol")
    yield Bad("a long coin", body(coin_symbol="L" * 21), 422, "too_long", "coin_symbol")
    yield Bad("a coin without a wallet", body(coin_symbol="LTC"), 422, "no_wallet", "coin_symbol")
    yield Bad("coins as a text", body(coins="LTC"), 422, "wrong_type", "coins")
    yield Bad("coins as numbers", body(coins=[1]), 422, "wrong_type", "coins")
    yield Bad("coins as null", body(coins=[None]), 422, "wrong_type", "coins")
    yield Bad("coins as an object", body(coins={"LTC": True}), 422, "wrong_type", "coins")
    yield Bad("an empty coin", body(coins=[""]), 422, "unknown_coin", "coins")
    yield Bad("51 coins", body(coins=["LTC"] * 51), 422, "too_many", "coins")


# --- texts ------------------------------------------------------------------------------------

LENGTHS = {
    "memo": 500,
    "invoice_title": 200,
    "invoice_message": 5_000,
    "client_name": 200,
    "order_id": 64,
}
HOSTILE = {
    "a NUL": "\x00",
    "an escape": "\x1b[31m",
    "a backspace": "\b",
    "a lone carriage return": "\r",
    "a delete": "\x7f",
    "a control of Latin-1": "\x85",
    "a right-to-left override": "\u202e",
    "a left-to-right isolate": "\u2066",
    "a pop of an isolate": "\u2069",
    "a right-to-left mark": "\u200f",
    "an Arabic letter mark": "\u061c",
    "half a surrogate pair": "\ud800",
    "the other half": "\udfff",
}


def texts() -> Iterator[Bad]:
    for name, most in LENGTHS.items():
        yield Bad(f"a long {name}", body(**{name: "x" * (most + 1)}), 422, "too_long", name)
        yield Bad(f"a {name} of 5", raw("5", name), 422, "wrong_type", name)
        yield Bad(f"a {name} of true", raw("true", name), 422, "wrong_type", name)
        yield Bad(f"a {name} of []", raw("[]", name), 422, "wrong_type", name)
        for why, text in HOSTILE.items():
            content = body(**{name: f"a{text}b"})
            yield Bad(f"{why} in {name}", content, 422, "invalid_characters", name)
    for name in ("memo", "invoice_title", "client_name", "order_id"):
        content = body(**{name: "two\nlines"})
        yield Bad(f"two lines in {name}", content, 422, "invalid_characters", name)
        content = body(**{name: "two\tcolumns"})
        yield Bad(f"a tab in {name}", content, 422, "invalid_characters", name)


BAD_EMAILS = [
    "ada",
    "@example.com",
    "ada@",
    "ada@example",
    "ada@@example.com",
    "ada example.com",
    "ada@exa mple.com",
    "ada@example..com",
    ".ada@example.com",
    "ada@-example.com",
    "ada@localhost",
    "ada@192.0.2.1",
    "ada@[192.0.2.1]",
    "Ada <ada@example.com>",
    "ada@example.com, bob@example.com",
    "a" * 65 + "@example.com",
]


def emails() -> Iterator[Bad]:
    name = "client_email"
    for text in BAD_EMAILS:
        yield Bad(f"the e-mail {text[:24]}", body(client_email=text), 422, "invalid_email", name)
    long = "a@" + "b" * 250 + ".com"
    yield Bad("a long e-mail", body(client_email=long), 422, "too_long", name)
    injected = "ada@example.com\r\nBcc: bob@example.com"
    yield Bad("two headers", body(client_email=injected), 422, "invalid_characters", name)
    yield Bad("an e-mail of 5", raw("5", name), 422, "wrong_type", name)


# --- times ------------------------------------------------------------------------------------

PASSED = [
    "2025-11-11T11:11:00Z",
    "2025-11-11T11:11:00",
    "2025-11-11",
    "1969-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00",
    # The world's clock stands at 11:46:40.123Z.
    "2026-01-06T11:46:40.123Z",
    "2026-01-06T11:46:40.122Z",
    "2026-01-06T12:46:40+01:00",
    "2026-01-06T11:46:40",
    "2026-01-06T06:46:40-05:00",
]
NO_TIMES = [
    "tomorrow",
    "2030",
    "2030-01",
    "2030-1-1",
    "20300101",
    "2030-13-01T00:00:00Z",
    "2030-02-30T00:00:00Z",
    "2030-01-01T24:00:00Z",
    "2030-01-01T23:60:00Z",
    "2030-01-01T23:59:60Z",
    "2030-01-01T12Z",
    "2030-01-01T12:00:00+24:00",
    "2030-01-01T12:00:00+12:60",
    "2030-01-01T12:00:00 Europe/Berlin",
    "2030-01-01X12:00:00Z",
    "2030-W01-1",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "9999-12-31T23:59:59-01:00",
    "+12030-01-01T00:00:00Z",
    "1893456000",
    "01/31/2030",
    "Thu, 31 Jan 2030 18:00:00 GMT",
    "2030-01-01T00:00:00.Z",
    "２０３０-01-01",
    " 2030-01-01",
]


def times() -> Iterator[Bad]:
    for text in PASSED:
        yield Bad(f"{text} has passed", body(due_at=text), 422, "time_passed", "due_at")
    for text in NO_TIMES:
        yield Bad(f"{text!a} is no time", body(due_at=text), 422, "invalid_time", "due_at")
    yield Bad("a time as a number", raw("1893456000", "due_at"), 422, "wrong_type", "due_at")
    yield Bad("a time of true", raw("true", "due_at"), 422, "wrong_type", "due_at")
    yield Bad("a long time", body(due_at="2030-01-01" + "0" * 40), 422, "too_long", "due_at")
    yield Bad("a NUL in a time", body(due_at="2030-01-01\x00"), 422, "invalid_characters", "due_at")


# --- metadata, links, headers -----------------------------------------------------------------

BAD_URLS = [
    "http://shop.example.com/",
    "shop.example.com",
    "//shop.example.com/",
    "https://",
    "https:///path",
    "https:/shop.example.com",
    "javascript:alert(1)",
    "data:text/html,x",
    "ftp://shop.example.com/",
    "https://user:password@shop.example.com/",
    "https://shop.example.com@evil.example/",
    "https://shop.example.com\\@evil.example/",
    "https://shop.example.com/a b",
    "https://shop.example.com/<script>",
    'https://shop.example.com/"onclick=',
    "https://\u0455hop.example.com/",
    "https://[::1]/",
    "https://shop.example.com:port/",
]


def others() -> Iterator[Bad]:
    name = "metadata"
    for value in ('"text"', "[]", "5", "true", '[{"a": "b"}]'):
        yield Bad(f"metadata of {value}", raw(value, name), 422, "wrong_type", name)
    for value in ("5", "null", "true", "[]", "{}", "1.5"):
        yield Bad(f"a value of {value}", raw(f'{{"a": {value}}}', name), 422, "wrong_type", name)
    yield Bad("21 keys", body(metadata={str(n): "" for n in range(21)}), 422, "too_many", name)
    yield Bad("a long key", body(metadata={"k" * 41: ""}), 422, "too_long", name)
    yield Bad("a long value", body(metadata={"k": "v" * 501}), 422, "too_long", name)
    yield Bad("an empty key", body(metadata={"": "v"}), 422, "too_short", name)
    for why, text in HOSTILE.items():
        yield Bad(f"{why} in a key", body(metadata={text: "v"}), 422, "invalid_characters", name)
        yield Bad(f"{why} in a value", body(metadata={"k": text}), 422, "invalid_characters", name)
    name = "redirect_url"
    for url in BAD_URLS:
        yield Bad(f"the link {url}", body(redirect_url=url), 422, "invalid_url", name)
    yield Bad("a long link", body(redirect_url="https://a/" + "b" * 2_048), 422, "too_long", name)
    yield Bad("a link of 5", raw("5", name), 422, "wrong_type", name)
    for url in ("https://evil.example/", "https://shop.example.com.evil.example/", "https://shop/"):
        yield Bad(f"another's {url}", body(redirect_url=url), 422, "origin_not_listed", name)
    name = "Idempotency-Key"
    for key in ("", "k" * 256, "\u00e4", "a\tb", "\u00ff"):
        yield Bad(
            f"the idempotency key {key[:9]!a}",
            body(),
            422,
            "invalid_idempotency_key",
            name,
            {name: key},
        )


PARTS = (unreadable, amounts, currencies, destinations, texts, emails, times, others)


def corpus() -> dict[str, list[Bad]]:
    """Return everything, by what it is about."""
    return {part.__name__: list(part()) for part in PARTS}
