"""Whatever payers, the chain, the clock and the merchant do: the invoice is what the model says."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from counterfoil.core import invoice as core_invoice
from counterfoil.core.payment import Credit, LateMoney, Payment
from counterfoil.services import inbox as by_hand
from tests.services.life_machine import InvoiceLife
from tests.sim import faults


def run_lives(count: int, **changes: Any) -> None:
    """Live some lives, the same each time where nothing else is said.

    The same as long as the same modules are loaded: Hypothesis takes numbers from our code.
    """
    plain = settings(
        max_examples=count,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(InvoiceLife, settings=settings(plain, **changes))


@pytest.mark.timeout(600)
def test_the_invoice_is_what_the_model_says() -> None:
    run_lives(200)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_other_lives_each_time() -> None:
    run_lives(500, derandomize=False, database=None)


@pytest.fixture
def life() -> Iterator[InvoiceLife]:
    one = InvoiceLife()
    yield one
    one.teardown()


def test_an_invoice_that_expires_before_the_fee_is_raised_is_told_to_have_expired(
    life: InvoiceLife,
) -> None:
    life.order(due_in=10, tolerance=0, wallet="xpub", late_money=LateMoney.ACCEPT)
    life.pay(paid=[(0, 100)])
    life.agrees()
    life.detach(place=0)
    life.agrees()
    life.raise_the_fee(place=0, minutes=16, price="50")
    life.agrees()
    assert life.told == [
        "payment_detected",
        "payment_failed",
        "invoice_expired",
        "payment_detected",
    ]


def test_a_raised_fee_of_what_was_ignored_is_waited_for_once_more(life: InvoiceLife) -> None:
    """It is a payment that the merchant has not judged yet, and it came in time."""
    life.order(due_in=10, tolerance=0, wallet="w1stall", late_money=LateMoney.ACCEPT)
    life.pay(paid=[(0, 99)])
    life.agrees()
    life.ignore(place=0)
    life.agrees()
    life.raise_the_fee(place=0, minutes=16, price="50")
    life.agrees()
    assert life.model.status == "Unpaid"
    life.wait(minutes=25 * 60)
    life.agrees()
    assert life.told == ["invoice_expired"]


def test_a_stray_that_its_node_lists_again_is_waited_for(life: InvoiceLife) -> None:
    life.order(due_in=10, tolerance=0, wallet="w1stall", late_money=LateMoney.ACCEPT)
    life.pay(paid=[(0, 99)])
    life.drop(place=0)
    life.wait(minutes=31)
    life.agrees()
    assert life.model.status == "Expired"
    life.send_again(place=0)
    life.agrees()
    assert life.model.status == "Unpaid"


@contextmanager
def late_money_in_full() -> Iterator[None]:
    """Money is worth what it was asked for, whenever it comes."""

    def in_full(paid: Payment, _: object) -> Credit:
        return Credit(paid.quoted_value, is_late=False, is_settled=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_invoice, "credit", in_full)
        yield


@contextmanager
def replaced_money_counts() -> Iterator[None]:
    """A payment counts, whatever became of its transaction."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_invoice, "counted", tuple)
        yield


@contextmanager
def detached_in_silence() -> Iterator[None]:
    """What a payment is taken off is not assessed again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_hand, "reassess", lambda *_, **__: True)
        yield


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "plant",
    [
        late_money_in_full,
        replaced_money_counts,
        detached_in_silence,
        faults.expiry_without_looking,
        faults.late_payment_ignored,
        faults.raised_fee_is_late,
    ],
)
def test_a_planted_fault_is_found(plant: Callable[[], AbstractContextManager[None]]) -> None:
    # The rarest shows once in some hundred lives. The first in which it does is the last, and
    # nobody need know the shortest one.
    with plant(), pytest.raises((AssertionError, sa.exc.SQLAlchemyError)):
        run_lives(3_000, phases=[Phase.generate], database=None, report_multiple_bugs=False)
