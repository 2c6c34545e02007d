"""What a scenario is, and what is given before it begins."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from counterfoil.services import wallets
from tests.crashes.stage import Stage
from tests.services.shop import SECOND, Shop
from tests.sim.chain import COIN

Play = Callable[[Stage], Awaitable[None]]
HOUR_S = 3_600


@dataclass(frozen=True)
class Scenario:
    """What is given, and what is played."""

    name: str
    given: Play
    play: Play


def scenario(given: Play) -> Callable[[Play], Scenario]:
    """Make a scenario of what is played, under the name of its function."""
    return lambda play: Scenario(play.__name__, given, play)


# --- what is given -----------------------------------------------------------------------------


async def nothing(_: Stage) -> None:
    return


async def ordered(stage: Stage) -> None:
    await stage.order("A", due_at=stage.outside.clock.now() + HOUR_S * SECOND)


async def shown(stage: Stage) -> None:
    await ordered(stage)
    await stage.show("A")


async def three_shown(stage: Stage) -> None:
    await shown(stage)
    for name in "BC":
        await stage.order(name, due_at=stage.outside.clock.now() + HOUR_S * SECOND)
        await stage.show(name)


async def seen(stage: Stage) -> None:
    await shown(stage)
    await stage.pay("A")
    await stage.look()


async def mined(stage: Stage) -> None:
    await seen(stage)
    stage.mine()
    await stage.look()


async def paid(stage: Stage) -> None:
    await mined(stage)
    stage.mine()
    await stage.look()
    await stage.deliver()


async def half_paid(stage: Stage) -> None:
    await shown(stage)
    await stage.pay("A", 40)
    stage.mine(2)
    await stage.look()


async def expired(stage: Stage) -> None:
    await shown(stage)
    await stage.look(HOUR_S + 1)
    await stage.tick()


async def deep(stage: Stage) -> None:
    """Two invoices are paid in different blocks, with more on top."""
    await paid(stage)
    await stage.order("B", "99.00")
    await stage.show("B")
    await stage.pay("B")
    stage.mine(3)
    await stage.look()


async def stall(stage: Stage) -> None:
    """The shop has one address for all, where the amount tells who paid."""

    async def change(shop: Shop) -> None:
        merchant_id, now = shop.principal.merchant_id, shop.clock.now()
        (wallet,) = await wallets.list_all(shop.context, merchant_id)
        await wallets.remove(shop.context, merchant_id, wallet.id, now)
        await wallets.add(shop.context, merchant_id, COIN.id, address="w1stall", now=now)

    await stage.do(change)
    await stage.order("A", "250.00", due_at=stage.outside.clock.now() + HOUR_S * SECOND)


async def stall_shown(stage: Stage) -> None:
    await stall(stage)
    await stage.order("B", "250.00")
    await stage.show("A")
    await stage.show("B")


async def to_tell(stage: Stage) -> None:
    """Two events wait for the courier."""
    await shown(stage)
    await stage.pay("A")
    await stage.look()
    stage.mine(2)
    await stage.look()
