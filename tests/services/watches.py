"""What the tests of the watcher ask of a watch: where it stands, and another one beside it."""

from counterfoil.core.invoice import Status
from counterfoil.db import loops
from counterfoil.db.invoices import Invoice
from counterfoil.services import watching
from counterfoil.services.watching import Watch
from tests.services.shop import Shop


def another(shop: Shop) -> Watch:
    """Return another process's watch over the same chain."""
    return Watch(shop.context, shop.chain, "another")


async def cursor(shop: Shop) -> loops.Cursor:
    found = await shop.store.read(lambda c: loops.get_cursor(c, shop.chain.name))
    assert found is not None
    return found


async def trouble(shop: Shop) -> str | None:
    (state,) = await watching.list_states(shop.context)
    return state.trouble


async def read_all(watch: Watch, now: int) -> None:
    while await watch.look(now):
        pass


async def confirming(shop: Shop) -> Invoice:
    """Return an invoice whose payment waits for a block."""
    await shop.listen()
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING
    return invoice
