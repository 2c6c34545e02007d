"""The shops of the services' tests, and a webhook channel with a receiver."""

from tests.channels.conftest import channel, receiver
from tests.services.conftest import shop, stall

__all__ = ["channel", "receiver", "shop", "stall"]
