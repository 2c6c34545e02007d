import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.channels.guard import is_public, parse_host

PUBLIC = ["8.8.8.8", "1.1.1.1", "192.0.1.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"]


# --- which addresses are public ---------------------------------------------------------------


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


EDGES = {
    "0.0.0.0": "0.255.255.255",  # noqa: S104  # nothing is bound here
    "10.0.0.0": "10.255.255.255",
    "100.64.0.0": "100.127.255.255",
    "127.0.0.0": "127.255.255.255",
    "168.63.129.16": "168.63.129.16",
    "169.254.0.0": "169.254.255.255",
    "172.16.0.0": "172.31.255.255",
    "192.0.0.0": "192.0.0.255",
    "192.0.2.0": "192.0.2.255",
    "192.168.0.0": "192.168.255.255",
    "198.18.0.0": "198.19.255.255",
    "198.51.100.0": "198.51.100.255",
    "203.0.113.0": "203.0.113.255",
    "224.0.0.0": "255.255.255.255",
    "::": "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001::": "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db8::": "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "2002::": "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2620:4f:8000::": "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
    "3fff::": "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
    "4000::": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
}


@pytest.mark.parametrize(("first", "last"), EDGES.items())
def test_special_addresses_end_where_they_should(first: str, last: str) -> None:
    low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    assert not is_public(low)
    assert not is_public(high)
    # 2001:db8 lies within nothing else, so both of its neighbours are public, like the others'.
    if first not in {"0.0.0.0", "::", "4000::", "224.0.0.0", "3fff::"}:  # noqa: S104  # as above
        assert is_public(low - 1)
    if last not in {"255.255.255.255", str(ipaddress.IPv6Address(2**128 - 1))} and first != "::":
        assert is_public(high + 1)


@given(st.ip_addresses())
def test_what_the_standard_library_calls_special_is_not_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


# --- spellings of a host ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Shop.Example", "shop.example"),
        ("127.1", "127.0.0.1"),
        ("0x7F.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0", "0.0.0.0"),  # noqa: S104  # nothing is bound here
        ("[0:0::1]", "::1"),
        ("::FFFF:127.0.0.1", str(ipaddress.ip_address("::ffff:127.0.0.1"))),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("my_service", "my_service"),
        ("shop.example.", "shop.example."),
    ],
)
def test_a_host_has_one_spelling(text: str, host: str) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        "-a",
        "a b",
        "127.0.0.1 x",
        "%31",
        "a\\b",
        "a/b",
        "a:1",
        "a" * 64,
        "a." * 127,
    ],
)
def test_what_is_no_host(text: str) -> None:
    assert parse_host(text) is None


@given(st.text())
def test_a_host_is_parsed_or_not_but_never_raises(text: str) -> None:
    host = parse_host(text)
    assert host is None or parse_host(host) == host
