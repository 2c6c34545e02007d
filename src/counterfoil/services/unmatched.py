"""What pays no quote goes to the inbox, and those who asked to be told are told."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from counterfoil.core import events, money
from counterfoil.core.invoice import EventType
from counterfoil.core.matching import Kind, Reason
from counterfoil.core.ports import Method, Mode, Transfer
from counterfoil.core.quote import Rate
from counterfoil.db import amounts, inbox, outbox
from counterfoil.db.engine import Connection
from counterfoil.db.merchants import Merchant
from counterfoil.db.quotes import Asked, StoredDestination

# What a coin cost on arrival, by method, currency and time; None where nobody knows.
RateOf = Callable[[Method, str, int], Rate | None]


@dataclass(frozen=True, slots=True)
class UnmatchedTransfer:
    """A new transfer that is credited to no quote, why, and what was asked for where it came.

    `method` is None where it is switched off.
    """

    id: int
    txid: str
    transfer: Transfer
    owner: StoredDestination
    arrived_at: int
    method: Method | None
    reason: Reason
    asked: Sequence[Asked]

    @property
    def mode(self) -> Mode:
        """The mode in whose inbox it lies."""
        return self.method.mode if self.method else Mode.LIVE


def keep_all(
    connection: Connection,
    unmatched: Sequence[UnmatchedTransfer],
    merchants: Mapping[int, Merchant],
    rate_of: RateOf,
    now: int,
) -> None:
    """Keep transfers of some merchants that pay no quote."""
    # At a shared address a transfer may be meant for any of the invoices that wait there.
    shared = {each.owner.id for each in unmatched if each.owner.kind is Kind.SHARED}
    awaited = amounts.list_currencies(connection, shared)
    items = [
        inbox.NewItem(
            merchant_id=each.owner.merchant_id,
            mode=each.mode,
            transfer_id=each.id,
            reason=each.reason,
            rates=_rates(
                each,
                {merchants[each.owner.merchant_id].currency, *awaited.get(each.owner.id, ())},
                rate_of,
            ),
        )
        for each in unmatched
    ]
    inbox.insert_all(connection, items, now)


def tell_all(connection: Connection, unmatched: Sequence[UnmatchedTransfer], now: int) -> None:
    """Tell those merchants of transfers in the inbox who asked to be told; it locks them all."""
    outbox.append_all(connection, [_event(each) for each in unmatched], now)


def _rates(
    found: UnmatchedTransfer, currencies: Collection[str], rate_of: RateOf
) -> dict[str, Rate]:
    """Return what a coin costs in the currencies in which it may be credited by hand some day.

    They are `currencies` and those in which it was asked for.
    """
    if found.method is None:
        return {}
    wanted = {*currencies, *(each.currency for each in found.asked)}
    rates = {each: rate_of(found.method, each, found.arrived_at) for each in sorted(wanted)}
    return {each: rate for each, rate in rates.items() if rate is not None}


def _event(found: UnmatchedTransfer) -> outbox.NewEvent:
    """Return the event that tells of a transfer in the inbox."""
    happening = events.Happening(EventType.INBOX, None, None)

    def body(place: outbox.Place) -> bytes:
        extra: dict[str, events.Value] = {
            "id": str(place.id),
            "seq": str(place.seq),
            "created_at": events.iso(place.id.at),
            "reason": found.reason.value,
            "payment": _describe(found),
            "test": found.mode is Mode.TEST,
        }
        return events.body(happening, None, extra)

    return outbox.NewEvent(
        found.owner.merchant_id, found.mode, None, EventType.INBOX, None, None, body
    )


def _describe(found: UnmatchedTransfer) -> dict[str, str | None] | None:
    """Return what an event says of a transfer that is no invoice's; money is text."""
    if found.method is None:
        return None
    return {
        "coin": found.method.symbol,
        "network": found.method.chain,
        "txid": found.txid,
        "amount": money.format_coin(found.transfer.amount_atomic, found.method.decimals),
    }
