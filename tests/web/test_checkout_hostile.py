"""The pay page and hostile text, and what nobody must find in it."""

import pytest
import sqlalchemy as sa

from counterfoil.core.ports import Mode
from counterfoil.db.schema import invoice, merchant
from tests.web.pay import Till, parsed, tags_of, till_of
from tests.web.world import World


@pytest.fixture
def till(small_world: World) -> Till:
    return till_of(small_world)


POLYGLOTS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</title></style></textarea></script><script>alert(1)</script>",
    "javascript:/*--></title></style></textarea></script></xmp><svg/onload='+/\"/+/onmouseover=1/+'>",
    "{{ 7*7 }}{% raise %}${7*7}#{7*7}",
    "<!--<script>",
    "]]><x xmlns:h='http://www.w3.org/1999/xhtml'><h:script>alert(1)</h:script>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<base href=//evil.example><form action=//evil.example>",
    "\u202egnp.exe\u202c \u202d \u2066\u2069 \u200f",
    "\ud7ff\ufffe\u00a0",
    "e\u0301\u0489" * 40,
    "𝕏" * 200,
    "a" * 5_000,
    "data: x\n\nevent: main\ndata: <main>\r\rid: 9",
]


def skeleton(html: str) -> list[tuple[str, frozenset[str]]]:
    """Return the elements and the names of their attributes: what text must never change."""
    return [(tag, frozenset(attributes)) for tag, attributes in tags_of(html)]


@pytest.mark.parametrize("text", POLYGLOTS)
async def test_hostile_text_stays_text(till: Till, text: str) -> None:
    harmless = await till.get(await till.invoice(invoice_title="t", invoice_message="m"))
    token = await till.invoice(
        invoice_title=text, invoice_message=text, memo=text, client_name=text, client_email=text
    )
    await till.world.store.write(
        lambda c: c.execute(sa.update(merchant).where(merchant.c.name == "Shop").values(name=text))
    )
    page = await till.get(token)
    assert page.status_code == 200
    assert skeleton(page.text) == skeleton(harmless.text)
    found = parsed(page.text)
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    assert found.text.replace("\r", "\n").count(lines) >= 3
    # Whoever wrote it, it stands in an isolate of its own: its letters order nothing outside.
    for tag, attributes in found.tags:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
        if tag == "p" and attributes.get("class") == "message":
            assert attributes["dir"] == "auto"
    assert page.text.count("<bdi>") == 2


async def test_nobody_finds_what_is_not_the_payers(till: Till) -> None:
    made = await till.create(
        Mode.TEST,
        memo="secret-memo",
        client_email="secret@example.com",
        client_name="secret-client",
        order_id="secret-order",
        metadata={"secret": "secret"},
    )
    number = 987_654_321
    await till.world.store.write(
        lambda c: c.execute(sa.update(invoice).where(invoice.c.id == made.id).values(id=number))
    )
    pages = [(await till.get(made.share_token)).text]
    await till.pay(made.share_token, "under")
    for _ in range(3):
        await till.pass_time(2)
        pages.append((await till.get(made.share_token)).text)
        pages.append((await till.get(made.share_token, "/main")).text)
    for page in pages:
        assert str(number) not in page
        assert "secret" not in page
        assert "testwallet" not in page
        assert "Other" not in page


async def test_the_page_of_one_mode_and_merchant_is_its_own(till: Till) -> None:
    ours, theirs = await till.invoice(), await till.invoice(amount="99.00")
    assert theirs not in (await till.get(ours)).text
    assert "99.00" not in (await till.get(ours)).text
