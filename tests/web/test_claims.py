"""Who says on the pay page that it is paid: a form without JavaScript, and its answers."""

import pytest

from counterfoil.core.ports import Mode
from counterfoil.db.schema import claim, payment
from counterfoil.services.claims import CLAIMS_PER_HOUR_MAX, Claimed
from counterfoil.web.checkout import CLAIMS
from tests.web.pay import PATH, Till, main_of, tags_of, text_of, till_of
from tests.web.world import World


@pytest.fixture
def till(small_world: World) -> Till:
    return till_of(small_world)


async def name(till: Till, token: str, txid: str) -> str:
    """Send the form and return the page that it leads to."""
    answer = await till.post(token, "/claim", txid=txid)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(f"{PATH}?share_token={token}&claim=")
    # What was typed is never repeated.
    assert txid not in answer.headers["location"]
    page = await till.client.get(answer.headers["location"])
    assert page.status_code == 200
    return text_of(main_of(page.text))


def test_every_outcome_has_its_sentence() -> None:
    assert CLAIMS.keys() == {*Claimed, "too_many_claims"}
    assert len(set(CLAIMS.values())) == len(CLAIMS)


async def test_the_form_is_there_while_money_may_be_missing(till: Till) -> None:
    token = await till.invoice()
    html = await till.main(token)
    fields = {attributes["name"] for tag, attributes in tags_of(html) if tag == "input"}
    assert {"share_token", "txid"} <= fields
    assert f'action="{PATH}/claim"' in html
    await till.pay(token)
    for _ in range(5):
        await till.pass_time(2)
    assert "/claim" not in await till.main(token)


async def test_nothing_to_claim_before_a_price_was_shown(till: Till) -> None:
    await till.world.see_litecoin()
    assert "/claim" not in await till.main(await till.invoice(Mode.LIVE))


async def test_a_payment_is_found_by_its_id(till: Till) -> None:
    token = await till.invoice()
    await till.get(token)
    await till.pay(token, "under")
    (waiting,) = await till.world.context.methods.chains["simulator"]._ledger.mempool()  # type: ignore[attr-defined]  # noqa: SLF001  # nobody else knows its id yet
    assert CLAIMS[Claimed.COMING] in await name(till, token, waiting.txid)
    assert await till.count(payment) == 0
    await till.pass_time(2)
    assert CLAIMS[Claimed.CREDITED] in await name(till, token, waiting.txid)
    assert CLAIMS[Claimed.UNKNOWN] in await name(till, token, "ab" * 32)
    assert CLAIMS[Claimed.INVALID] in await name(till, token, "my payment")


async def test_another_payers_transaction_is_only_elsewhere(till: Till) -> None:
    mine, other = await till.invoice(), await till.invoice()
    for token in (mine, other):
        await till.get(token)
    await till.pay(other)
    (theirs,) = await till.world.context.methods.chains["simulator"]._ledger.mempool()  # type: ignore[attr-defined]  # noqa: SLF001  # as above
    await till.pass_time(2)
    said = await name(till, mine, theirs.txid)
    assert CLAIMS[Claimed.ELSEWHERE] in said
    assert other not in said
    assert theirs.txid not in said


async def test_too_many_claims_are_told(till: Till) -> None:
    token = await till.invoice()
    await till.get(token)
    for number in range(CLAIMS_PER_HOUR_MAX):
        await name(till, token, f"{number:064x}")
    assert CLAIMS["too_many_claims"] in await name(till, token, "ab" * 32)
    assert await till.count(claim) == CLAIMS_PER_HOUR_MAX


async def test_only_our_own_words_come_from_the_address(till: Till) -> None:
    token = await till.invoice()
    for strange in ("<script>", "nonsense", "__class__", ""):
        assert 'id="claimed"' not in (await till.get(token, claim=strange)).text


async def test_claims_count_as_visits(small_world: World) -> None:
    till = till_of(small_world, visits_per_minute=2)
    token = await till.invoice()
    for _ in range(2):
        assert (await till.post(token, "/claim", txid="x")).status_code == 303
    assert (await till.post(token, "/claim", txid="x")).status_code == 429
