"""File descriptors: how many this process may have, and how many of them open pages may take."""

import resource
from contextlib import suppress

from counterfoil.web.live import STREAMS_MAX

# What is left is for requests, webhooks, nodes and the database, which money hangs on.
_PAGES_SHARE = 2


def raise_limit() -> None:
    """Let this process have as many as it may: the usual 1,024 are for programs of long ago."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A kernel may allow fewer than it says; then those stay that there are.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_pages_max() -> int:
    """Return how many pages may be open at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return STREAMS_MAX if soft == resource.RLIM_INFINITY else min(STREAMS_MAX, soft // _PAGES_SHARE)
