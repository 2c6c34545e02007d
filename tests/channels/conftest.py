"""A webhook channel, and a receiver for it."""

from collections.abc import AsyncIterator

import pytest

from counterfoil.channels.webhook import WebhookChannel
from counterfoil.core.ports import Attempt
from tests.channels.receivers import Receiver, Reply, Send, guarded, message, opened


@pytest.fixture
async def channel() -> AsyncIterator[WebhookChannel]:
    async with opened(guarded("127.0.0.1")) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture
def send(channel: WebhookChannel, receiver: Receiver) -> Send:
    """Send one message to a receiver that answers as it is told."""

    async def sending(answer: Reply) -> Attempt:
        receiver.answer = answer
        return await channel.send(message(receiver.url))

    return sending
