import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.channels.guard import ALLOW_HOSTS_SETTING
from counterfoil.channels.webhook import URL_CHARACTERS_MAX, WebhookChannel
from counterfoil.core.errors import InvalidError
from tests.channels.receivers import guarded


@pytest.fixture
def open_channel() -> WebhookChannel:
    return WebhookChannel(guarded("10.0.0.5", "receiver.lan"))


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("https://shop.example/webhook", "https://shop.example/webhook"),
        ("  HTTPS://Shop.Example:443/Hook?Token=A%2Fb \n", "https://shop.example/Hook?Token=A%2Fb"),
        ("http://shop.example:80", "http://shop.example"),
        ("http://shop.example:8080/a/../b", "http://shop.example:8080/b"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://134744072/", "https://8.8.8.8/"),
        ("https://[2606:4700:0:0::1111]:8443/x", "https://[2606:4700::1111]:8443/x"),
        ("http://10.0.0.5:9000/hook", "http://10.0.0.5:9000/hook"),
        ("http://Receiver.LAN/hook", "http://receiver.lan/hook"),
        ("https://s.example/" + "a" * 1982, "https://s.example/" + "a" * 1982),
    ],
)
def test_a_url_becomes_canonical(open_channel: WebhookChannel, text: str, target: str) -> None:
    assert open_channel.parse_target(text) == target
    assert open_channel.parse_target(target) == target


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "https://"),
        ("shop.example/webhook", "https://"),
        ("ftp://shop.example/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("javascript:alert(1)", "https://"),
        ("https:shop.example", "host"),
        ("https:///webhook", "host"),
        ("https://", "host"),
        ("https://exa mple/", "host"),
        ("https://a..b/", "host"),
        ("https://%31%32%37.0.0.1/", "host"),
        ("https://shop.example\\.evil.example/", "host"),
        ("https://1.2.3.999/", "not a URL"),
        ("https://[::g]/", "not a URL"),
        ("https://①.example/", "not a URL"),
        ("https://shop.example/\x00", "not a URL"),
        ("https://shop.example/\ud800", "not a URL"),
        ("https://shop.example:port/", "not a URL"),
        ("https://shop.example:0/", "port"),
        ("https://shop.example:65536/", "port"),
        ("https://shop.example:-1/", "port"),
        ("https://user:password@shop.example/", "password"),
        ("https://user@shop.example/", "password"),
        ("https://shop.example\\@127.0.0.1/", "password"),
        ("https://shop.example/#part", "fragment"),
        ("https://shop.example/#", "fragment"),
        ("https://s.example/" + "a" * 1983, "2,000"),
        ("https://s.example/" + "ü" * 1000, "2,000"),
        ("http://127.0.0.1/", ALLOW_HOSTS_SETTING),
        ("http://127.1/", ALLOW_HOSTS_SETTING),
        ("http://0x7f.1/", ALLOW_HOSTS_SETTING),
        ("http://127。0。0。1/", ALLOW_HOSTS_SETTING),  # the full stops of Chinese
        ("http://localhost:9000/", ALLOW_HOSTS_SETTING),
        ("http://[::1]/", ALLOW_HOSTS_SETTING),
        ("http://[fe80::1%eth0]/", ALLOW_HOSTS_SETTING),
        ("http://10.0.0.6/", ALLOW_HOSTS_SETTING),
        ("http://169.254.169.254/latest/", ALLOW_HOSTS_SETTING),
    ],
)
def test_a_bad_url_is_told_why(open_channel: WebhookChannel, text: str, word: str) -> None:
    with pytest.raises(InvalidError) as caught:
        open_channel.parse_target(text)
    assert (caught.value.field, caught.value.code) == ("url", "invalid_url")
    assert word in caught.value.message


PIECES = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        ["http://", "https://", "//", "/", ":", "@", "#", "?", "[", "]", "%", "..", "127.1", "a.b"]
    ),
    st.text(string.printable, max_size=5),
)


@given(st.lists(PIECES).map("".join))
def test_whatever_is_accepted_is_canonical(text: str) -> None:
    parse = PARSER.parse_target
    for candidate in (text, f"https://{text}", f"https://shop.example/{text}"):
        try:
            target = parse(candidate)
        except InvalidError:
            continue
        assert parse(target) == target
        assert len(target) <= URL_CHARACTERS_MAX
        assert target.isascii()
        assert target.isprintable()
        assert " " not in target


PARSER = WebhookChannel(guarded())
