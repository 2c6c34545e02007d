"""What the tests of the pay page do as a payer."""

from decimal import Decimal

from counterfoil.services import checkout, invoices
from counterfoil.services.checkout_view import View
from counterfoil.services.invoices import Draft
from tests.services.shop import Shop


async def made(shop: Shop, amount: str = "25.00", **fields: object) -> str:
    """Make an invoice of which nobody has seen the page, and return its share token."""
    draft = Draft(Decimal(amount), "USD", **fields)  # type: ignore[arg-type]  # as the test says
    return (
        await invoices.create(shop.context, shop.principal, draft, shop.clock.now())
    ).share_token


async def visit(shop: Shop, token: str) -> View:
    return await checkout.view(shop.context, token, shop.clock.now())


async def pay(shop: Shop, token: str, share: float = 1) -> None:
    """Pay a share of what the page asks for, and let it be seen."""
    price = (await visit(shop, token)).price
    assert price is not None
    shop.chain.pay(price.address, round(int(Decimal(price.amount) * 10**8) * share))
    await shop.look()
