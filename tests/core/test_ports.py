import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

from counterfoil import core
from counterfoil.core.ports import Answer, Attempt, Method, Mode, Transaction, Transfer


def _values() -> Iterator[type[Any]]:
    """Yield every value of the core, so that a new one is held to the same rules."""
    for module in pkgutil.iter_modules(core.__path__, "counterfoil.core."):
        for found in vars(importlib.import_module(module.name)).values():
            if dataclasses.is_dataclass(found) and isinstance(found, type):
                yield found


@pytest.mark.parametrize("value", sorted(set(_values()), key=repr))
def test_every_value_of_the_core_is_frozen_and_slotted(value: type[Any]) -> None:
    assert value.__dataclass_params__.frozen
    assert "__slots__" in vars(value)
    assert value.__doc__
    assert not value.__doc__.startswith(f"{value.__name__}("), "dataclasses wrote it, nobody else"


def test_a_method_is_live_unless_it_says_otherwise() -> None:
    assert Method("LTC", "LTC", "Litecoin", "litecoin", 8, 1, 1).mode is Mode.LIVE


def test_what_a_chain_does_not_tell_is_empty() -> None:
    assert Transfer(0, b"key", "LTC", 1).tag is None
    transaction = Transaction("a" * 64, ())
    assert (transaction.spends, transaction.senders, transaction.first_seen_at) == ((), (), None)
    assert Attempt(Answer.RETRY, 503, 12, "", None).retry_after_s is None
