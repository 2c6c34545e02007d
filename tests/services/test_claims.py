"""A payer's word: it makes us look, credits nothing, and says nothing of others' payments."""

import pytest

from counterfoil.core.errors import LimitedError, NotFoundError
from counterfoil.core.invoice import Status
from counterfoil.core.ports import Block
from counterfoil.db import loops
from counterfoil.db.invoices import Invoice
from counterfoil.services import diagnosis
from counterfoil.services.claims import CLAIMS_PER_HOUR_MAX, Claimed, claim
from counterfoil.services.explanation import findings
from tests.services.moves import listed, stray
from tests.services.shop import MINUTE, Shop, at_once, open_shop


async def say(shop: Shop, invoice: Invoice, text: str) -> Claimed:
    return await claim(shop.context, invoice.share_token, text, shop.clock.now())


async def test_what_is_credited_is_seen(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    await shop.look()
    assert await say(shop, invoice, f" {payment.txid}\n") is Claimed.CREDITED


async def test_what_is_on_its_way_will_be_seen(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    assert await say(shop, invoice, payment.txid) is Claimed.COMING
    # The watcher credits it, not the claim.
    assert await shop.status(invoice) is Status.UNPAID
    await shop.look()
    assert await shop.status(invoice) is Status.CONFIRMING


async def test_what_a_block_hid_is_read_again(shop: Shop) -> None:
    invoice = await shop.invoice()
    quote = await shop.quote(invoice)
    payment = shop.chain.pay(quote.address, quote.amount_atomic)
    shop.chain.mine(3)
    tip: Block = shop.chain.blocks[-1]
    await shop.store.write(lambda c: loops.add_header(c, shop.chain.name, tip))
    await shop.look()
    assert await shop.status(invoice) is Status.UNPAID
    assert await say(shop, invoice, payment.txid) is Claimed.COMING
    await shop.look()
    assert await shop.status(invoice) is Status.PAID
    assert await say(shop, invoice, payment.txid) is Claimed.CREDITED


async def test_on_a_shared_address_nothing_is_credited_or_told_of_others(stall: Shop) -> None:
    mine, other = await stall.invoice(), await stall.invoice()
    quote = await stall.quote(other)
    theirs = stall.chain.pay(quote.address, quote.amount_atomic)
    odd = stall.chain.pay(quote.address, quote.amount_atomic - 7_777)
    await stall.look()
    assert await stall.status(other) is Status.CONFIRMING
    # Somebody else's payment, and one that is nobody's, look the same from here.
    assert await say(stall, mine, theirs.txid) is Claimed.REVIEW
    assert await say(stall, mine, odd.txid) is Claimed.REVIEW
    await stall.look()
    assert await stall.status(mine) is Status.UNPAID
    assert await stall.inbox() == ["no_exact_amount"]


async def test_on_a_shared_address_nobody_is_promised_what_the_amount_must_tell(
    stall: Shop,
) -> None:
    invoice = await stall.invoice()
    quote = await stall.quote(invoice)
    short = stall.chain.pay(quote.address, quote.amount_atomic // 2)
    assert await say(stall, invoice, short.txid) is Claimed.TO_SHOP
    await stall.look()
    assert await say(stall, invoice, short.txid) is Claimed.REVIEW


async def test_a_claim_ranks_the_inbox(stall: Shop) -> None:
    near, claimed = await stall.invoice("25.00"), await stall.invoice("99.00")
    item_id = await stray(stall, near)
    (found,) = await listed(stall)
    assert [each.invoice_id for each in found.candidates] == [near.id]
    # Wallets show ids in capitals, too.
    assert await say(stall, claimed, found.item.txid.upper()) is Claimed.REVIEW
    (found,) = await listed(stall)
    assert found.item.id == item_id
    assert [each.invoice_id for each in found.candidates] == [claimed.id, near.id]
    assert found.candidates[0].reason.endswith("whose payer named this transaction")


async def test_what_pays_another_invoice_is_elsewhere(shop: Shop) -> None:
    mine, other = await shop.invoice(), await shop.invoice()
    quote = await shop.quote(other)
    theirs = shop.chain.pay(quote.address, quote.amount_atomic)
    strangers = shop.chain.pay("w1stranger", 5)
    await shop.look()
    assert await say(shop, mine, theirs.txid) is Claimed.ELSEWHERE
    assert await say(shop, mine, strangers.txid) is Claimed.ELSEWHERE


@pytest.mark.parametrize("has_index", [True, False])
async def test_what_nobody_knows_is_unknown(shop: Shop, *, has_index: bool) -> None:
    shop.chain.has_index = has_index
    assert await say(shop, await shop.invoice(), "ab" * 32) is Claimed.UNKNOWN


async def test_where_the_node_is_away_nothing_is_known(shop: Shop) -> None:
    invoice = await shop.invoice()
    shop.chain.is_away = True
    assert await say(shop, invoice, "ab" * 32) is Claimed.UNSEEN


async def test_before_a_price_is_made_it_is_looked_for_wherever_it_may_be(shop: Shop) -> None:
    invoice = await shop.read(await shop.order())
    assert await say(shop, invoice, "ab" * 32) is Claimed.UNKNOWN
    bare = await open_shop(shop.store, shop.clock, name="Bare", wallet=None, chain=shop.chain)
    bare.context = shop.context
    invoice = await bare.read(await bare.order())
    assert await say(bare, invoice, "ab" * 32) is Claimed.UNSEEN


@pytest.mark.parametrize("text", ["", "  ", "short", "x" * 129, "a b c d e f", "<script>alert</>"])
async def test_what_can_be_no_id_is_said(shop: Shop, text: str) -> None:
    assert await say(shop, await shop.invoice(), text) is Claimed.INVALID


async def test_ten_claims_an_hour_are_enough(shop: Shop) -> None:
    invoice, other = await shop.invoice(), await shop.invoice()
    for number in range(CLAIMS_PER_HOUR_MAX):
        shop.clock.advance(MINUTE)
        await say(shop, invoice, f"{number:064x}")
    with pytest.raises(LimitedError) as refused:
        await say(shop, invoice, "ab" * 32)
    assert refused.value.retry_after_s == 51 * 60 + 1
    assert await say(shop, other, "ab" * 32) is Claimed.UNKNOWN
    shop.clock.advance(51 * MINUTE)
    assert await say(shop, invoice, "ab" * 32) is Claimed.UNKNOWN


async def test_ten_claims_an_hour_are_enough_also_at_once(shop: Shop) -> None:
    invoice = await shop.invoice()
    said = await at_once(shop.store, *(say(shop, invoice, f"{n:064x}") for n in range(30)))
    assert len([each for each in said if isinstance(each, LimitedError)]) == 20


async def test_a_token_that_opens_nothing_is_refused(shop: Shop) -> None:
    with pytest.raises(NotFoundError):
        await claim(shop.context, "nobody", "ab" * 32, shop.clock.now())


async def test_the_merchant_is_told_what_payers_named(shop: Shop) -> None:
    invoice = await shop.invoice()
    await say(shop, invoice, "ab" * 32)
    case = await diagnosis.examine(shop.context, invoice, None, shop.clock.now())
    assert case.claims == (("ab" * 32, shop.clock.now()),)
    assert f"a payer named transaction {'ab' * 32}." in " ".join(findings(case))
