"""Tells of wallets of which so many addresses in a row are unpaid that they may stop to look."""

import structlog

from counterfoil.core.ports import Clock, Store
from counterfoil.services.wallets import gap_limit, list_gaps

_EVERY_S = 3_600.0

_log = structlog.get_logger("counterfoil.wallets")


async def look_out(store: Store, clock: Clock) -> None:
    """Look once an hour, for ever; a wallet is told of again when its gap limit must be higher."""
    told: dict[int, int] = {}
    while True:
        for gap in await list_gaps(store):
            limit = gap_limit(gap.length)
            if told.get(gap.wallet_id) != limit:
                told[gap.wallet_id] = limit
                _log.warning(
                    "wallet_gap",
                    merchant=gap.merchant,
                    wallet_id=gap.wallet_id,
                    method=gap.method,
                    advice=gap.warning,
                )
        await clock.sleep(_EVERY_S)
