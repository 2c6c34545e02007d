"""A shop that is lost after a backup was made, and the one that is restored elsewhere."""

import os
import tempfile
from pathlib import Path

from counterfoil.core.access import Principal
from counterfoil.db.copies import Copy
from counterfoil.db.engine import Database
from counterfoil.rates.fixed import FixedRates
from counterfoil.services import rates, restoring, watching
from counterfoil.services.context import Context
from tests.conftest import FakeEntropy
from tests.services.shop import PRICES, Shop


async def back_up(shop: Shop, database: Database, folder: Path) -> Path:
    """Return a backup of all that a shop's store holds now."""
    descriptor, name = tempfile.mkstemp(dir=folder)
    os.close(descriptor)
    path = Path(name)
    await database.copy_to(path)
    with Copy(path, is_new=True) as copy:
        copy.finish(shop.clock.now())
    return path


async def restore(shop: Shop, path: Path, elsewhere: Database) -> Shop:
    """Return the shop as it is after a restore, on the chain as it is now; nothing is read yet."""
    with Copy(path) as copy:
        copy.check()
        aside = restoring.keep_aside(copy, shop.context.methods, shop.clock.now())
        await elsewhere.migrate()
        await restoring.restore(elsewhere, shop.context.methods, copy, aside, shop.clock.now())
    context = Context(
        store=elsewhere,
        methods=shop.context.methods,
        currencies=shop.context.currencies,
        entropy=FakeEntropy(1),
        checkout_url=shop.context.checkout_url,
    )
    await rates.refresh(elsewhere, [FixedRates(PRICES)], shop.clock.now())
    watch = watching.Watch(context, shop.chain, "restored")
    who = Principal(1, shop.principal.merchant_id, shop.principal.mode, shop.principal.scope)
    return Shop(elsewhere, shop.clock, shop.chain, context, who, watch)
