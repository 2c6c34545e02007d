from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.channels.receivers import guarded
from tests.rates.providers import Market


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    """The five providers."""
    async with Market() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """A client whose connections are guarded, but for those to this machine."""
    async with guarded("127.0.0.1").client(timeout_s=None) as opened:
        yield opened
