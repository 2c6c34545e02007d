"""The facts of an explanation, gathered from real stores and a chain that does what it is told."""

from dataclasses import replace
from decimal import Decimal

import sqlalchemy as sa

from counterfoil.core.invoice import Status
from counterfoil.core.matching import Kind
from counterfoil.core.payment import Progress
from counterfoil.core.ports import Destination, Mode
from counterfoil.db import merchants, quotes
from counterfoil.services import chains, diagnosis
from counterfoil.services.case import Answer, Due, Owner
from counterfoil.services.context import Methods
from counterfoil.services.explanation import findings
from counterfoil.services.invoices import cancel
from tests.services.cases import examine
from tests.services.shop import MINUTE, SECOND, Shop
from tests.sim.chain import COIN, WorldChain


async def test_an_invoice_that_nobody_has_opened(shop: Shop) -> None:
    case = await examine(shop, await shop.read(await shop.order()))
    assert (case.asked, case.seen, case.coins, case.networks) == ((), (), (), ())
    assert case.missing == "25.00"


async def test_what_was_asked_and_what_is_missing_while_the_price_is_open(shop: Shop) -> None:
    invoice = await shop.invoice("12.34")
    quote = await shop.quote(invoice)
    case = await examine(shop, invoice)
    (asked,) = case.asked
    assert (asked.amount, asked.address, asked.fiat) == ("0.1234", quote.address, "12.34 USD")
    assert (asked.made_at, asked.valid_until) == (quote.created_at, quote.lock_until)
    assert asked.is_open
    assert case.coins == (Due("COIN", "0.1234", quote.address, quote.lock_until, is_open=True),)
    (network,) = case.networks
    assert (network.name, network.network, network.height) == ("world", "test:world", 0)
    assert network.is_seen


async def test_the_price_of_what_was_cancelled_is_open_no_more(shop: Shop) -> None:
    invoice = await shop.invoice()
    cancelled_at = shop.clock.advance(MINUTE)
    who = shop.principal
    await cancel(shop.context, who, invoice.id, cancelled_at)
    shop.clock.advance(SECOND)
    case = await examine(shop, invoice)
    (asked,) = case.asked
    assert (asked.valid_until, asked.is_open) == (cancelled_at, False)
    assert not any(due.is_open for due in case.coins)


async def test_what_is_missing_after_a_part_to_the_atomic_unit(shop: Shop) -> None:
    invoice = await shop.invoice("10.00")
    quote = await shop.quote(invoice)
    txid = shop.chain.pay(quote.address, quote.amount_atomic // 3).txid
    shop.chain.mine(2)
    await shop.look()
    case = await examine(shop, invoice)
    assert case.missing == "6.67"
    (due,) = case.coins
    # What the page asks for now, to the unit.
    assert (due.amount, due.is_open) == ("0.0667", True)
    (seen,) = case.seen
    assert (seen.txid, seen.amount, seen.counts) == (txid, "0.03333333", "3.33")
    assert (seen.progress, seen.height, seen.confirmations) == (Progress.FINAL, 1, 2)
    await shop.look(16 * 60)
    (due,) = (await examine(shop, invoice)).coins
    assert (due.amount, due.is_open) == ("0.0667", False)


async def test_a_payment_on_its_way(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    case = await examine(shop, invoice)
    assert (case.status, case.missing) == (Status.CONFIRMING, None)
    assert [each.progress for each in case.seen] == [Progress.SEEN]
    shop.chain.mine()
    await shop.look()
    assert [each.progress for each in (await examine(shop, invoice)).seen] == [Progress.CONFIRMING]
    # Replaced by a rival that pays somebody else.
    shop.chain.reorg(1, keep=False)
    shop.chain.pay("w1else", 5, spends=payment.spends)
    shop.chain.mine()
    await shop.look()
    case = await examine(shop, invoice)
    assert [each.progress for each in case.seen] == [Progress.GONE]
    assert case.missing == "25.00"


async def test_nothing_is_missing_of_what_has_been_forgiven(shop: Shop) -> None:
    shop.principal = replace(shop.principal, tolerance=Decimal(1))
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic * 995 // 1_000)
    await shop.look()
    case = await examine(shop, invoice)
    assert (case.status, case.missing, case.coins) == (Status.CONFIRMING, None, ())


async def test_a_late_payment_says_what_it_counts_for(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    await shop.look(30 * 60)
    shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    (seen,) = (await examine(shop, invoice)).seen
    assert (seen.is_late, seen.is_settled) == (True, True)


async def test_a_near_amount_in_the_inbox_is_named_and_a_far_one_is_not(stall: Shop) -> None:
    invoice = await stall.invoice()
    quote = await stall.quote(invoice)
    near = stall.chain.pay(quote.address, quote.amount_atomic * 96 // 100)
    stall.chain.pay(quote.address, quote.amount_atomic * 94 // 100)
    await stall.look()
    case = await examine(stall, invoice)
    assert [(each.txid, each.reason) for each in case.uncredited] == [
        (near.txid, "no_exact_amount")
    ]


async def test_a_node_that_is_away_is_said(shop: Shop) -> None:
    invoice = await shop.invoice()
    shop.chain.is_away = True
    await shop.look()
    case = await examine(shop, invoice, "ab")
    (network,) = case.networks
    assert (network.trouble, network.is_seen) == ("The node does not answer.", False)
    (lookup,) = case.lookups
    assert (lookup.answer, lookup.trouble) == (Answer.AWAY, "The node does not answer.")


async def test_a_chain_that_is_switched_off_is_said(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    shop.chain.pay(quote.address, quote.amount_atomic // 2)
    await shop.look()
    bare = replace(shop.context, methods=Methods([]))
    case = await diagnosis.examine(bare, invoice, None, shop.clock.now())
    (network,) = case.networks
    assert (network.name, network.network, network.is_seen) == ("world", None, False)
    assert not network.is_retired
    assert case.coins == ()
    # How many decimals the coin had is known no more.
    assert {each.amount for each in case.asked} == {None}
    assert [each.amount for each in case.seen] == [None]
    shop.clock.advance(2 * MINUTE)
    await chains.retire(bare, shop.chain.name, shop.clock.now())
    case = await diagnosis.examine(bare, invoice, None, shop.clock.now())
    assert case.networks == (replace(network, is_retired=True),)


async def test_a_transaction_that_is_credited_here(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.broadcast((quote.address, quote.amount_atomic), ("w1change", 7))
    shop.chain.mine(3)
    await shop.look()
    (lookup,) = (await examine(shop, invoice, f" {payment.txid} ")).lookups
    assert (lookup.answer, lookup.height, lookup.confirmations) == (Answer.FOUND, 1, 3)
    mine, change = lookup.outputs
    assert (mine.owner, mine.invoice_id, mine.amount) == (Owner.INVOICE, invoice.id, "0.25")
    assert (change.owner, change.address, change.amount) == (
        Owner.STRANGER,
        "w1change",
        "0.00000007",
    )


async def test_a_transaction_that_was_credited_to_another_invoice(shop: Shop) -> None:
    invoice, other = await shop.invoice(), await shop.invoice()
    quote = await shop.quote(other)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    (lookup,) = (await examine(shop, invoice, payment.txid)).lookups
    (output,) = lookup.outputs
    assert (output.owner, output.invoice_id) == (Owner.MERCHANT, other.id)


async def test_a_transaction_in_the_inbox(stall: Shop) -> None:
    invoice = await stall.invoice()
    quote = await stall.quote(invoice)
    payment = stall.chain.pay(quote.address, quote.amount_atomic + 1)
    await stall.look()
    (lookup,) = (await examine(stall, invoice, payment.txid)).lookups
    (output,) = lookup.outputs
    assert (output.owner, output.reason) == (Owner.INVOICE, "no_exact_amount")
    assert output.is_recorded


async def test_a_transaction_that_nobody_has_recorded_yet(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    (lookup,) = (await examine(shop, invoice, payment.txid)).lookups
    assert (lookup.height, lookup.cursor_height, lookup.confirmations) == (None, 0, 0)
    assert not lookup.outputs[0].is_recorded


async def test_a_node_that_knows_nothing_and_one_that_cannot_know(shop: Shop) -> None:
    invoice = await shop.invoice()
    (lookup,) = (await examine(shop, invoice, "ab")).lookups
    assert lookup.answer is Answer.UNKNOWN
    shop.chain.has_index = False
    (lookup,) = (await examine(shop, invoice, "ab")).lookups
    assert lookup.answer is Answer.NOT_INDEXED


async def test_of_many_strangers_a_few_are_listed(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    strangers = [(f"w1stranger{number}", 1 + number) for number in range(9)]
    payment = shop.chain.broadcast(*strangers, (quote.address, 5))
    (lookup,) = (await examine(shop, invoice, payment.txid)).lookups
    # The merchant's own come first, wherever they stand.
    assert [output.owner for output in lookup.outputs] == [Owner.INVOICE, *[Owner.STRANGER] * 5]
    assert lookup.more == 4


async def test_another_merchants_address_is_a_strangers(shop: Shop) -> None:
    """Nobody learns from an explanation who else is served here, or what others were paid."""
    invoice = await shop.invoice()
    shown = Destination(b"w1theirs", "w1theirs")

    def write(connection: sa.Connection) -> None:
        other = merchants.insert(connection, "Other", "USD", 0)
        assert other is not None
        claimed = quotes.claim_destination(
            connection,
            other,
            shown,
            Kind.SHARED,
            wallet_id=None,
            derivation_index=None,
            now=0,
        )
        assert claimed is not None

    await shop.store.write(write)
    payment = shop.chain.pay("w1theirs", 77)
    await shop.look()
    assert await shop.inbox() == ["no_quote"]
    case = await examine(shop, invoice, payment.txid)
    (output,) = case.lookups[0].outputs
    assert (output.owner, output.is_recorded, output.reason) == (Owner.STRANGER, False, None)
    assert "It pays no address of the merchant." in findings(case)
    assert "inbox" not in " ".join(findings(case))


async def test_a_chain_of_the_other_mode_is_not_asked(shop: Shop) -> None:
    invoice = await shop.invoice()
    coin = replace(COIN, id="TEST", chain="other", mode=Mode.TEST)
    methods = Methods([shop.chain, WorldChain(name="other", methods=(coin,))])
    both = replace(shop.context, methods=methods)
    case = await diagnosis.examine(both, invoice, "ab", shop.clock.now())
    assert [lookup.chain for lookup in case.lookups] == ["world"]
