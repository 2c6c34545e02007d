import asyncio
import re
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpcore2
import httpx2
import pytest

from counterfoil.channels.guard import (
    ALLOW_HOSTS_SETTING,
    BlockedError,
    Guard,
    UnresolvedError,
    parse_host,
)
from counterfoil.core.errors import SettingsError
from tests.channels.receivers import Names, Receiver, Wire, certify, guarded, hang, reply

# Spellings of "this machine" that people have used to get past filters of text.
LOOPBACK = [
    "127.0.0.1",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f.1",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "0.0.0.0",  # noqa: S104  # nothing is bound here: it is a place to connect to
    "0",
    "LOCALHOST",
    "[::1]",
    "[::]",
    "0177.1",
]
# Those that any Linux takes, with or without IPv6.
SURELY_REACHED = {
    "127.0.0.1",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0.0.0.0",  # noqa: S104  # as above
    "0",
    "LOCALHOST",
    "0177.1",
}
METADATA = [
    "169.254.169.254",  # AWS, Azure, Google and most others
    "0xa9fea9fe",
    "2852039166",
    "169.254.170.2",  # AWS, credentials of containers
    "100.100.100.200",  # Alibaba
    "192.0.0.192",  # Oracle
    "168.63.129.16",  # Azure
    "[fd00:ec2::254]",  # AWS
    "[fd20:ce::254]",  # Google
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",  # through address translation
    "[2002:a9fe:a9fe::1]",  # through a tunnel
]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver(reply(200, b"hello")) as running:
        yield running


async def post(guard: Guard, url: str) -> httpx2.Response:
    async with guard.client(timeout_s=5) as client:
        return await client.post(url, content=b"{}")


# --- this machine, in every spelling ----------------------------------------------------------


async def test_an_unguarded_client_does_reach_loopback(receiver: Receiver) -> None:
    """Without this the tests below would prove nothing."""
    reached = set()
    async with httpx2.AsyncClient(trust_env=False) as client:
        for host in LOOPBACK:
            try:
                response = await client.post(f"http://{host}:{receiver.port}/")
            except (httpx2.HTTPError, httpx2.InvalidURL):
                continue
            assert response.text == "hello"
            reached.add(host)
    assert reached >= SURELY_REACHED
    assert len(receiver.requests) == len(reached)


@pytest.mark.parametrize("host", [*LOOPBACK, "localhost.", "shop.localhost"])
async def test_the_guard_never_reaches_loopback(receiver: Receiver, host: str) -> None:
    guard = guarded()
    with pytest.raises(BlockedError):
        await post(guard, f"http://{host}:{receiver.port}/")
    with pytest.raises(BlockedError):
        guard.check(host)
    assert receiver.connections == 0


@pytest.mark.parametrize("host", METADATA)
async def test_metadata_of_clouds_is_out_of_reach(host: str) -> None:
    wire = Wire(9)
    with pytest.raises(BlockedError):
        await post(guarded(network=wire), f"http://{host}/latest/meta-data/")
    with pytest.raises(BlockedError):
        guarded().check(host)
    assert wire.connected == []


@pytest.mark.parametrize("host", [*LOOPBACK, *METADATA])
async def test_a_name_that_leads_there_is_refused_too(host: str) -> None:
    address = parse_host(host)
    assert address is not None
    names = Names(["127.0.0.1" if address == "localhost" else address])
    wire = Wire(9)
    guard = guarded(resolve=names, network=wire)
    guard.check("metadata.example")
    with pytest.raises(BlockedError):
        await post(guard, "http://metadata.example/")
    assert wire.connected == []


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answers",
    [
        ["8.8.8.8", "10.0.0.1"],
        ["10.0.0.1", "8.8.8.8"],
        ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "fe80::1%2"],
        ["2606:4700::1111", "::ffff:8.8.8.8"],
    ],
)
async def test_every_answer_must_be_public(answers: list[str]) -> None:
    wire = Wire(9)
    with pytest.raises(BlockedError):
        await post(guarded(resolve=Names(answers), network=wire), "http://shop.example/")
    assert wire.connected == []


async def test_the_sentence_says_what_to_do_and_not_what_lies_behind() -> None:
    with pytest.raises(BlockedError) as caught:
        await guarded(resolve=Names(["10.1.2.3"])).addresses("db.internal")
    sentence = str(caught.value)
    assert "db.internal" in sentence
    assert ALLOW_HOSTS_SETTING in sentence
    assert ALLOW_HOSTS_SETTING == "COUNTERFOIL_WEBHOOKS__ALLOW_HOSTS"
    assert "10.1.2.3" not in sentence


async def test_a_name_is_resolved_once_and_what_was_checked_is_connected(
    receiver: Receiver,
) -> None:
    """A name that answers differently the second time gains nothing: nobody asks twice."""
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    wire = Wire(receiver.port)
    response = await post(guarded(resolve=names, network=wire), "http://Shop.example/hook")
    assert response.text == "hello"
    assert names.asked == ["shop.example"]
    assert wire.connected == ["93.184.216.34"]
    assert receiver.requests[0].headers["host"] == "shop.example"


async def test_a_new_connection_is_checked_anew(receiver: Receiver) -> None:
    receiver.answer = reply(200, b"hello", connection="close")
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    wire = Wire(receiver.port)
    async with guarded(resolve=names, network=wire).client(timeout_s=5) as client:
        await client.post("http://shop.example/")
        with pytest.raises(BlockedError):
            await client.post("http://shop.example/")
    assert wire.connected == ["93.184.216.34"]


async def test_the_systems_resolver_is_asked_once(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real resolver too: between our question and the connection there is no other."""
    real = socket.getaddrinfo
    asked: list[object] = []

    def counting(host: str | None, *rest: object, **named: object) -> object:
        asked.append(host)
        return real(host, *rest, **named)  # type: ignore[arg-type]  # handed through as it came

    monkeypatch.setattr(socket, "getaddrinfo", counting)
    response = await post(guarded("localhost"), f"http://localhost:{receiver.port}/")
    assert response.text == "hello"
    assert asked == ["localhost"]


async def test_dead_addresses_are_passed_over(receiver: Receiver) -> None:
    answers = ["2606:4700::1", "2606:4700::2", "8.8.8.8", "8.8.4.4"]
    wire = Wire(receiver.port, dead=["2606:4700::1"], silent=["8.8.8.8", "2606:4700::2"])
    await post(guarded(resolve=Names(answers), network=wire), "http://shop.example/")
    assert wire.connected == ["2606:4700::1", "8.8.8.8", "2606:4700::2", "8.8.4.4"]


async def test_the_last_address_speaks_for_all() -> None:
    wire = Wire(9, dead=["8.8.8.8", "8.8.4.4"])
    guard = guarded(resolve=Names(["8.8.8.8", "8.8.4.4"]), network=wire)
    with pytest.raises(httpx2.ConnectError):
        await post(guard, "http://shop.example/")
    assert wire.connected == ["8.8.8.8", "8.8.4.4"]


async def test_the_time_limit_of_a_client_covers_names_and_connections() -> None:
    async def never(host: str) -> Sequence[str]:
        await asyncio.sleep(60)
        raise AssertionError(host)

    silent = guarded(resolve=Names(["8.8.8.8"]), network=Wire(9, silent=["8.8.8.8"]))
    for guard in (silent, guarded(resolve=never)):
        async with guard.client(timeout_s=0.05) as client:
            with pytest.raises(httpx2.ConnectTimeout):
                await client.post("http://shop.example/")


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
async def test_a_name_that_cannot_be_asked_for(host: str) -> None:
    with pytest.raises(UnresolvedError, match=re.escape(host)):
        await post(guarded(), f"http://{host}/")


async def test_a_name_that_leads_nowhere() -> None:
    async def unknown(_: str) -> Sequence[str]:
        raise socket.gaierror

    for resolve in (unknown, Names([])):
        with pytest.raises(UnresolvedError, match=r"shop\.example"):
            await post(guarded(resolve=resolve), "http://shop.example/")


async def test_slow_names_do_not_use_up_the_loops_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()

    def stuck(*_: object, **__: object) -> None:
        released.wait(10)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    guard = guarded()
    waiting = [asyncio.ensure_future(guard.addresses(f"a{n}.example")) for n in range(40)]
    try:
        await asyncio.sleep(0.05)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 5) == "free"
    finally:
        released.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {UnresolvedError}


# --- what the operator allowed ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("LocalHost", "localhost"),
        (" localhost ", "LOCALHOST"),
    ],
)
async def test_a_host_that_the_operator_named_is_let_through(
    receiver: Receiver, allowed: str, host: str
) -> None:
    guard = guarded(allowed)
    guard.check(host)
    response = await post(guard, f"http://{host}:{receiver.port}/")
    assert response.text == "hello"


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("127.0.0.1", "localhost"),
        ("localhost", "127.0.0.1"),
        ("localhost", "shop.localhost"),
        ("127.0.0.1", "127.0.0.2"),
        ("127.0.0.1", "[::ffff:127.0.0.1]"),
        ("shop.example", "localhost"),
    ],
)
async def test_no_other_host_comes_with_it(receiver: Receiver, allowed: str, host: str) -> None:
    guard = guarded(allowed)
    with pytest.raises(BlockedError):
        await post(guard, f"http://{host}:{receiver.port}/")
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "entry", ["10.0.0.0/8", "http://10.0.0.5", "10.0.0.5:8080", "*.internal", "", "a b", "a@b"]
)
def test_an_entry_that_would_never_match_is_an_error(entry: str) -> None:
    with pytest.raises(SettingsError, match=ALLOW_HOSTS_SETTING):
        guarded(entry)


# --- the other ways out -----------------------------------------------------------------------


async def test_proxies_of_the_environment_are_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Receiver() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await post(guarded("127.0.0.1"), receiver.url)
        assert proxy.connections == 0
    assert len(receiver.requests) == 1


async def test_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.answer = reply(307, location="http://169.254.169.254/")
    response = await post(guarded("127.0.0.1"), receiver.url)
    assert response.status_code == 307
    assert len(receiver.requests) == 1


async def test_cookies_are_not_kept(receiver: Receiver) -> None:
    receiver.answer = reply(200, set_cookie="track=1; Path=/")
    async with guarded("127.0.0.1").client(timeout_s=5) as client:
        await client.post(receiver.url)
        await client.post(receiver.url)
        assert not client.cookies
    assert ["cookie" in request.headers for request in receiver.requests] == [False, False]
    assert receiver.connections == 1


async def test_other_schemes_lead_nowhere() -> None:
    with pytest.raises(httpx2.UnsupportedProtocol):
        await post(guarded(), "unix:///run/docker.sock")


async def test_there_are_no_unix_sockets(tmp_path: Path) -> None:
    networks: list[httpcore2.AsyncNetworkBackend | None] = []

    class Pool(httpcore2.AsyncConnectionPool):
        def __init__(self, network_backend: httpcore2.AsyncNetworkBackend, **_: object) -> None:
            networks.append(network_backend)
            super().__init__(network_backend=network_backend)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpcore2, "AsyncConnectionPool", Pool)
        client = guarded().client(timeout_s=5)
    await client.aclose()
    assert networks[0] is not None
    with pytest.raises(BlockedError):
        await networks[0].connect_unix_socket(str(tmp_path / "socket"))


async def test_a_read_that_takes_too_long_is_httpx2s_own_error(receiver: Receiver) -> None:
    receiver.answer = hang
    async with guarded("127.0.0.1").client(timeout_s=0.05) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.post(receiver.url)


# --- TLS --------------------------------------------------------------------------------------


async def test_tls_is_checked_for_the_name_and_not_for_the_address(tmp_path: Path) -> None:
    path = certify(tmp_path, "shop.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    asked_for: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    trusting = ssl.create_default_context(cafile=path)
    async with Receiver(tls=server) as receiver:
        wire = Wire(receiver.port)
        guard = guarded(resolve=Names(["8.8.8.8"]), network=wire, tls=trusting)
        response = await post(guard, "https://shop.example/hook")
        assert response.status_code == 200
        with pytest.raises(httpx2.ConnectError, match="match"):
            await post(guard, "https://other.example/hook")
    assert asked_for == ["shop.example", "other.example"]
    assert wire.connected == ["8.8.8.8", "8.8.8.8"]
    assert [request.headers["host"] for request in receiver.requests] == ["shop.example"]
