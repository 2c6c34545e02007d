"""How many file descriptors a process takes, and how many of them open pages may have."""

import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from counterfoil.app import descriptors, parts
from counterfoil.app.web import answering
from counterfoil.web.live import STREAMS_MAX
from tests.test_app import settings_of
from tests.test_serve import Server

# Enough for the tests, and less than half of what any machine allows.
LOW = 1_000


@pytest.fixture
def hard() -> Iterator[int]:
    """The hard limit, in a process whose soft one is low until the test ends."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LOW, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def test_the_soft_limit_is_raised_to_the_hard_one(hard: int) -> None:
    descriptors.raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


@pytest.mark.parametrize("refused", [ValueError, OSError])
def test_a_kernel_that_allows_no_more_stops_no_start(
    hard: int, refused: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise refused

    with monkeypatch.context() as patched:
        patched.setattr(resource, "setrlimit", refuse)
        descriptors.raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (LOW, hard)


@pytest.mark.parametrize(
    ("soft", "pages"),
    [
        (256, 128),
        (1_024, 512),
        (2 * STREAMS_MAX - 2, STREAMS_MAX - 1),
        (1_048_576, STREAMS_MAX),
        (resource.RLIM_INFINITY, STREAMS_MAX),
    ],
)
def test_open_pages_leave_half_to_all_else(
    soft: int, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    assert descriptors.open_pages_max() == pages


@pytest.mark.usefixtures("hard")
async def test_a_server_opens_no_more_pages_than_that(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with parts.opened(settings_of(tmp_path)) as here, answering(here, listener) as live:
            assert live.streams_max == LOW // 2


def test_a_process_that_serves_has_raised_its_limit(hard: int, tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        assert server.process is not None
        limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        assert limits == (hard, hard)
        assert server.stop(signal.SIGTERM) == 0
