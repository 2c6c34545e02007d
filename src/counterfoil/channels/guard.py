"""The one guard of every outgoing connection: to a public address, or nowhere.

A merchant may type in any URL, and a name may lead anywhere: to this machine, to the network that
it stands in, to the service that hands out a cloud's credentials. So the guard resolves a name
once, wants every answer to be a public address, and connects to the very address that it checked.
Nobody resolves a second time, so a name cannot change its mind in between; TLS and the Host header
still carry the name. Proxies of the environment, redirects, cookies and Unix sockets are out.
"""

import asyncio
import functools
import ipaddress
import re
import socket
import ssl
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import zip_longest
from typing import cast

import httpcore2
import httpx2

from counterfoil.core.errors import SettingsError

ALLOW_HOSTS_SETTING = "COUNTERFOIL_WEBHOOKS__ALLOW_HOSTS"

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
# From a host name to the addresses that it leads to, as text.
Resolve = Callable[[str], Awaitable[Sequence[str]]]

_HOST = re.compile(r"(?!.{254})[a-z0-9_][a-z0-9_-]{0,62}(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?")
_NUMBERS = re.compile(r"[0-9a-fx.]+")

# The registry of special addresses, written out: what the standard library calls global differs
# from one release of Python to the next.
_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this machine
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # behind a provider's address translation, and one cloud's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # looks public, and is Azure's host for every machine inside of it
        "169.254.0.0/16",  # link-local, and most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, and Oracle's metadata (192.0.0.192)
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunnels
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# For IPv6 it is the other way round: one block is public and all else is refused, so addresses
# that carry an IPv4 address within them, and whatever is invented next, need no line of their own.
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)

# A name server that never answers holds a thread; these are the guard's own, so that it can hold
# up neither the database nor whatever else uses the loop's threads.
_RESOLVER_THREADS = 32
# How long one address may take before the next one of the same name is tried.
_NEXT_ADDRESS_AFTER_S = 4.0

_ERRORS: dict[type[Exception], type[httpx2.TransportError]] = {
    httpcore2.ConnectError: httpx2.ConnectError,
    httpcore2.ConnectTimeout: httpx2.ConnectTimeout,
    httpcore2.LocalProtocolError: httpx2.LocalProtocolError,
    httpcore2.PoolTimeout: httpx2.PoolTimeout,
    httpcore2.ReadError: httpx2.ReadError,
    httpcore2.ReadTimeout: httpx2.ReadTimeout,
    httpcore2.RemoteProtocolError: httpx2.RemoteProtocolError,
    httpcore2.UnsupportedProtocol: httpx2.UnsupportedProtocol,
    httpcore2.WriteError: httpx2.WriteError,
    httpcore2.WriteTimeout: httpx2.WriteTimeout,
}


class BlockedError(httpx2.ConnectError):
    """The guard does not let this connection through.

    The sentence names the host and the setting, never the address that the host leads to: that
    would tell a stranger how the network behind this server is laid out. It is a ConnectError, so
    that who knows nothing of the guard still handles it.
    """

    def __init__(self, host: str) -> None:
        super().__init__(
            f"The host {host} does not lead to a public address, and this server sends nothing "
            f"anywhere else. If it is a receiver of your own, the operator of this server can add "
            f"it to {ALLOW_HOSTS_SETTING}."
        )


class UnresolvedError(httpx2.ConnectError):
    """The name leads nowhere, or the name server does not say where."""

    def __init__(self, host: str) -> None:
        super().__init__(f"No address could be found for the host {host}.")


def is_public(address: IPAddress) -> bool:
    """Tell whether an address belongs to a machine on the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    return address in _PUBLIC_V6 and not any(address in network for network in _REFUSED_V6)


def parse_host(text: str) -> str | None:
    """Return a URL's host in its one spelling, or None where it can be no host.

    Addresses come in many spellings that all resolvers take (127.1, 0x7f.1, 2130706433): they
    become what they mean.
    """
    host = text.lower().removeprefix("[").removesuffix("]")
    address = _literal(host)
    if address is not None:
        return str(address)
    return host if _HOST.fullmatch(host) else None


class Guard:
    """Decides where connections may go, and makes HTTP clients that keep to it.

    `allow_hosts` are the hosts that the operator named: host names or addresses, as they stand in
    a URL. They are let through wherever they lead. `resolve`, `network` and `tls` are for tests
    and for networks with certificates of their own.
    """

    def __init__(
        self,
        allow_hosts: Iterable[str] = (),
        *,
        resolve: Resolve | None = None,
        network: httpcore2.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = frozenset(_parse_allowed(host) for host in allow_hosts)
        self._resolve = resolve or _SystemResolver()
        self._network = network or httpcore2.AnyIOBackend()
        self._tls = tls

    def check(self, host: str) -> None:
        """Raise BlockedError for what is refused without asking a name server."""
        name = parse_host(host) or host
        if name in self._allowed:
            return
        address = _literal(name)
        is_loopback_name = f".{name.removesuffix('.')}".endswith(".localhost")
        if is_loopback_name or (address is not None and not is_public(address)):
            raise BlockedError(name)

    async def addresses(self, host: str) -> tuple[IPAddress, ...]:
        """Return where to connect to for `host`, having checked every address.

        Raises BlockedError or UnresolvedError. Connect to what comes back and do not resolve again.
        """
        self.check(host)
        name = parse_host(host) or host
        try:
            found = tuple(ipaddress.ip_address(text) for text in await self._resolve(name))
        except (OSError, ValueError):
            # A name that cannot be encoded is a ValueError, a name that is not known an OSError.
            raise UnresolvedError(name) from None
        if not found:
            raise UnresolvedError(name)
        if name not in self._allowed and not all(map(is_public, found)):
            raise BlockedError(name)
        return _taking_turns(found)

    def client(self, *, timeout_s: float | None) -> httpx2.AsyncClient:
        """Return an HTTP client all of whose connections are guarded; the caller closes it.

        The number of connections is not limited here, lest a slow receiver keep others waiting:
        who sends limits how much it sends at once.
        """
        # An environment may name the certificates to trust (SSL_CERT_FILE), but no proxy.
        tls = self._tls or httpx2.create_ssl_context()
        pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=None,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=_GuardedNetwork(self, self._network),
        )
        return httpx2.AsyncClient(
            transport=_GuardedTransport(pool),
            # One client talks to everybody, and remembers nothing of anybody.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            timeout=timeout_s,
            trust_env=False,
            follow_redirects=False,
        )


class _SystemResolver:
    """Asks the operating system, which also knows /etc/hosts and every spelling of an address."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, "resolver")

    async def __call__(self, host: str) -> list[str]:
        ask = functools.partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        answers = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [str(place[0]) for *_, place in answers]


class _GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """Where httpcore gets its connections from: it hands in a name, and we connect to addresses."""

    def __init__(self, guard: Guard, network: httpcore2.AsyncNetworkBackend) -> None:
        self._guard = guard
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._guard.addresses(host)
                for address in addresses[:-1]:
                    try:
                        return await self._network.connect_tcp(
                            str(address),
                            port,
                            _NEXT_ADDRESS_AFTER_S,
                            local_address,
                            socket_options,
                        )
                    except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                        continue
                return await self._network.connect_tcp(
                    str(addresses[-1]), port, None, local_address, socket_options
                )
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(error) from error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # the signature is httpcore's
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise BlockedError(path)


class _GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends a client's requests through a pool of guarded connections.

    httpx2's own transport makes its pool itself and takes no network from outside. Putting ours
    into its private parts would leave the door open on the day those parts are renamed.
    """

    def __init__(self, pool: httpcore2.AsyncConnectionPool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        with _httpx_errors():
            response = await self._pool.handle_async_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=cast("AsyncIterable[bytes]", request.stream),
                    extensions=request.extensions,
                )
            )
        return httpx2.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_GuardedBody(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _GuardedBody(httpx2.AsyncByteStream):
    """The body of an answer."""

    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async with aclosing(self._response.aiter_stream()) as parts:
                async for part in parts:
                    yield part

    async def aclose(self) -> None:
        await self._response.aclose()


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raise httpcore's errors as the errors of httpx2 that have the same names."""
    try:
        yield
    except tuple(_ERRORS) as error:
        raise _ERRORS[type(error)](str(error)) from error


def _literal(host: str) -> IPAddress | None:
    """Return the address that a host spells out, None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        # Fewer dots, hexadecimal, octal: the old function knows them all. What it is given is
        # limited to their letters, since it also reads "127.0.0.1 and so on".
        return ipaddress.IPv4Address(socket.inet_aton(host)) if _NUMBERS.fullmatch(host) else None
    except OSError:
        return None


def _parse_allowed(text: str) -> str:
    host = parse_host(text.strip())
    if host is None:
        raise SettingsError(
            "invalid_allow_hosts",
            f"{ALLOW_HOSTS_SETTING} holds {text!r}, which is not a host. Write host names and "
            "addresses as they stand in a URL, without scheme, port, path or network mask, such as "
            "shop.internal or 10.0.0.5.",
        )
    return host


def _taking_turns(addresses: Sequence[IPAddress]) -> tuple[IPAddress, ...]:
    """Return the addresses with IPv6 and IPv4 in turns, so that one dead kind costs one wait."""
    first = [address for address in addresses if address.version == addresses[0].version]
    other = [address for address in addresses if address.version != addresses[0].version]
    turns = zip_longest(first, other)
    return tuple(address for pair in turns for address in pair if address is not None)
