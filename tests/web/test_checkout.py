"""The pay page over HTTP: what it shows, what its forms do, and what nobody must find in it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from counterfoil.core.payment import Progress
from counterfoil.core.ports import Mode
from counterfoil.db.schema import invoice, merchant, quote
from counterfoil.services import checkout
from counterfoil.services.checkout_view import PAYABLE
from counterfoil.web.checkout import PROBLEMS
from tests.web.pay import PATH, Till, main_of, state_of, tags_of, text_of, till_of
from tests.web.world import World, client_of

REFUSED = "There is no invoice at this address. Check that you have the whole link."


@pytest.fixture
def till(small_world: World) -> Till:
    return till_of(small_world)


# --- who gets in -------------------------------------------------------------------------------


async def test_a_share_token_that_opens_nothing_gets_one_page(till: Till) -> None:
    tokens = ["nobody", "", "x" * 22, "x" * 5_000, "a b", "\0", "<script>", "ü", "../../etc", "%00"]
    pages = []
    for token in tokens:
        pages += [await till.get(token), await till.get(token, "/main")]
        pages += [await till.get(token, "/events")]
        pages += [await till.post(token, path, method="TEST") for path in ("/method", "/price")]
        pages += [await till.pay(token), await till.post(token, "/claim", txid="ab" * 32)]
    pages += [await till.client.get(PATH), await till.client.post(PATH + "/price")]
    assert {page.status_code for page in pages} == {404}
    assert len({page.content for page in pages}) == 1
    assert REFUSED in pages[0].text
    headers = [dict(page.headers) for page in pages]
    for each in headers:
        del each["x-request-id"]
    assert all(each == headers[0] for each in headers)


async def test_a_page_has_the_headers_of_a_page_that_moves_money(till: Till) -> None:
    token = await till.invoice()
    for answer in (await till.get(token), await till.get(token, "/main"), await till.get("nobody")):
        policy = dict(
            part.strip().partition(" ")[::2]
            for part in answer.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["style-src"] == "'self'"
        assert policy["form-action"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["base-uri"] == "'none'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-robots-tag"] == "noindex, nofollow"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin-allow-popups"
        assert "set-cookie" not in answer.headers


async def test_who_asks_too_often_has_to_wait(small_world: World) -> None:
    till = till_of(small_world, visits_per_minute=5)
    token = await till.invoice()
    for _ in range(5):
        assert (await till.get(token, "/main")).status_code == 200
    for path in ("", "/main", "/events"):
        refused = await till.get(token, path)
        assert refused.status_code == 429
        assert "wait a minute" in refused.text
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert (await till.pay(token)).status_code == 429
    async with client_of(till.app, "2001:db8:1:2::1") as other:
        assert (await other.get(PATH, params={"share_token": token})).status_code == 200


async def test_the_neighbours_of_one_customers_network_count_as_one(small_world: World) -> None:
    till = till_of(small_world, visits_per_minute=3)
    statuses = []
    for last in range(5):
        async with client_of(till.app, f"2001:db8::{last}") as client:
            statuses.append((await client.get(PATH)).status_code)
    assert statuses == [404, 404, 404, 429, 429]


async def test_without_the_database_the_page_says_that_the_payment_is_safe(
    small_world: World,
) -> None:
    till = till_of(small_world)
    token = await till.invoice()
    small_world.store.is_down = True
    for answer in (await till.get(token), await till.get(token, "/main")):
        assert answer.status_code == 503
        assert "Your payment is safe" in answer.text


async def test_asking_for_the_headers_makes_no_quote(till: Till) -> None:
    token = await till.invoice()
    answer = await till.client.head(PATH, params={"share_token": token})
    assert answer.status_code == 200
    assert await till.count(quote) == 0


# --- what is shown -----------------------------------------------------------------------------


async def test_the_first_visit_shows_all_that_is_needed_to_pay(till: Till) -> None:
    await till.world.store.write(
        lambda c: c.execute(sa.update(merchant).values(name=merchant.c.name + " & Söhne"))
    )
    token = await till.invoice(invoice_title="Order 1042", invoice_message="Thank you.\nBye.")
    answer = await till.get(token)
    assert answer.status_code == 200
    html = main_of(answer.text)
    text = text_of(html)
    assert state_of(html) == "open"
    for shown in ("Shop &amp; Söhne", "25.00 USD", "Order 1042", "Thank you. Bye.", "25 TEST"):
        assert shown in text
    assert "1 TEST = 1.00 USD" in text
    assert "Waiting for your payment" in text
    assert "Send only TEST on the Simulator network" in text
    assert "Test: no real money" in text
    link = html.partition('id="wallet"')[2].partition('href="')[2].partition('"')[0]
    scheme, _, rest = link.partition(":")
    address, _, amount = rest.partition("?amount=")
    assert (scheme, amount) == ("counterfoil-test", "25")
    # The address stands there whole, without a space, and in groups for the eye alone.
    shown = html.partition('id="address"')[2].partition(">")[2].partition("</code>")[0]
    assert "".join(text_of(shown.replace("<wbr>", "")).split()) == address
    assert " " not in shown.replace("<wbr>", "")
    assert f'data-copy="{address}"' in html
    assert html.count("<svg") == 1


async def test_a_live_invoice_offers_no_simulator(till: Till) -> None:
    await till.world.see_litecoin()
    token = await till.invoice(Mode.LIVE)
    html = await till.main(token)
    assert "Test: no real money" not in html
    assert "simulate" not in html
    assert (await till.pay(token)).status_code == 404


async def test_everything_works_without_a_script(till: Till) -> None:
    token = await till.invoice(Mode.TEST)
    html = (await till.get(token)).text
    back = f"{PATH}?share_token={token}"
    assert f'<noscript><meta http-equiv="refresh" content="20; url={back}"></noscript>' in html
    assert html.count("<script") == 1
    assert 'method="post"' in html
    paid = await till.pay(token)
    assert (paid.status_code, paid.headers["location"]) == (303, back)
    states = []
    for _ in range(5):
        await till.pass_time(2)
        states.append(state_of(await till.main(token)))
    assert states[0] in ("seen", "confirming")
    assert states[-1] == "paid"
    assert "http-equiv" not in (await till.get(token)).text


async def test_the_way_back_to_the_shop_opens_when_it_is_paid(till: Till) -> None:
    token = await till.invoice()
    url = "https://shop.example/done?order=1&x=<y>"
    await till.world.store.write(lambda c: c.execute(sa.update(invoice).values(redirect_url=url)))
    assert "shop.example" not in await till.main(token)
    await till.pay(token)
    for _ in range(4):
        await till.pass_time(2)
    assert 'href="https://shop.example/done?order=1&amp;x=&lt;y&gt;"' in await till.main(token)
    for hostile in ("javascript:alert(1)", "http://shop.example", "//shop.example"):
        await till.world.store.write(
            lambda c, url=hostile: c.execute(sa.update(invoice).values(redirect_url=url))
        )
        assert 'id="back"' not in await till.main(token)


LABELS = {
    Progress.SEEN: "confirmations",
    Progress.CONFIRMING: "confirmations",
    Progress.FINAL: "Confirmed",
    Progress.GONE: "Does not count",
    Progress.DISPLACED: "Does not count",
}


@pytest.mark.parametrize("progress", Progress)
async def test_the_page_says_how_far_a_payment_has_come(till: Till, progress: Progress) -> None:
    token = await till.invoice()
    await till.get(token)
    await till.pay(token)
    await till.pass_time(2)
    now = till.world.clock.now()
    view = (await checkout.look(till.world.context, token, now)).view
    (payment,) = view.payments
    shown = till.page.main(replace(view, payments=(replace(payment, progress=progress),)), now)
    listed = shown.partition('id="payments-title"')[2].partition("</section>")[0]
    told = {label for label in LABELS.values() if label in listed}
    assert told == {LABELS[progress]}


async def test_the_fragment_is_the_pages_own_main(till: Till) -> None:
    token = await till.invoice()
    html = main_of((await till.get(token)).text)
    fragment = await till.get(token, "/main")
    assert fragment.text.strip() == html
    version = html.partition('data-version="')[2].partition('"')[0]
    same = await till.get(token, "/main", version=version)
    assert (same.status_code, same.content) == (204, b"")
    assert (await till.get(token, "/main", version="1-0")).status_code == 200


async def test_the_page_is_light(till: Till) -> None:
    token = await till.invoice()
    page = await till.get(token)
    assert page.headers["content-encoding"] == "gzip"
    weight = int(page.headers["content-length"])
    requests = 1
    for _, path in linked(page.text):
        asset = await till.client.get(path)
        assert asset.status_code == 200
        weight += int(asset.headers["content-length"])
        requests += 1
    assert weight <= 10_000
    # One more is the stream.
    assert requests + 1 <= 5


async def test_who_takes_no_gzip_gets_none(till: Till) -> None:
    token = await till.invoice()
    for wanted in ("identity", "br", "xgzip"):
        headers = {"accept-encoding": wanted}
        plain = await till.client.get(PATH, params={"share_token": token}, headers=headers)
        assert "content-encoding" not in plain.headers
        assert plain.text.startswith("<!doctype html>")


# --- static files ------------------------------------------------------------------------------


def linked(html: str) -> Iterator[tuple[str, str]]:
    """Yield (tag, path) of what a page loads."""
    for tag, attributes in tags_of(html):
        path = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        if path:
            yield tag, path


async def test_static_files_are_kept_for_ever(till: Till) -> None:
    html = (await till.get(await till.invoice())).text
    found = dict(linked(html))
    assert set(found) == {"link", "script"}
    types = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for _, path in linked(html):
        asset = await till.client.get(path)
        assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert asset.headers["content-type"].startswith(types[path.rpartition(".")[2]])
        assert asset.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name", ["pay.css", "pay.000000000000.js", "..%2fcheckout.py", "%2e%2e/pages.py", "pay.js/"]
)
async def test_nothing_else_is_served(till: Till, name: str) -> None:
    assert (await till.client.get(f"/static/{name}")).status_code == 404


async def test_the_pages_may_stand_below_a_path(small_world: World) -> None:
    context = small_world.context
    object.__setattr__(context, "checkout_url", "https://shop.example/till/")
    till = till_of(small_world)
    html = (await till.get(await till.invoice())).text
    for _, path in linked(html):
        assert path.startswith("/till/static/")
    assert 'action="/till/pay-invoice/simulate"' in html
    assert 'data-events="/till/pay-invoice/events?share_token=' in html


# --- forms -------------------------------------------------------------------------------------


async def test_a_new_price_is_one_form_away(till: Till) -> None:
    token = await till.invoice()
    await till.get(token)
    await till.pass_time(13.5 * 60)
    html = await till.main(token)
    assert "Get a fresh price" in html
    assert 'id="wallet"' in html
    await till.pass_time(2 * 60)
    html = await till.main(token)
    assert state_of(html) == "ended"
    assert "If you already paid, wait; do not pay again." in text_of(html)
    assert "Get a new price" in html
    answer = await till.post(token, "/price")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}?share_token={token}")
    assert state_of(await till.main(token)) == "open"


async def test_what_a_form_is_refused_for_is_told_by_the_page(till: Till) -> None:
    token = await till.invoice()
    await till.get(token)
    answer = await till.post(token, "/method", method="LTC")
    where = f"{PATH}?share_token={token}&problem=method_not_offered"
    assert (answer.status_code, answer.headers["location"]) == (303, where)
    html = (await till.client.get(where)).text
    assert PROBLEMS["method_not_offered"] in html
    # Nothing of the address is repeated but what is on our own list.
    for strange in ("<script>", "nonsense", "__class__", ""):
        assert 'id="problem"' not in (await till.get(token, problem=strange)).text


async def test_a_problem_is_told_only_while_there_is_something_to_pay(till: Till) -> None:
    token = await till.invoice()
    await till.get(token)
    await till.pay(token)
    await till.pass_time(1)
    html = (await till.get(token, problem="no_free_amount")).text
    assert state_of(html) not in {state.value for state in PAYABLE}
    assert 'id="problem"' not in html
    refused = await till.pay(token)
    assert refused.headers["location"].endswith("problem=not_payable")


async def test_what_is_no_form_of_ours_opens_nothing(till: Till) -> None:
    token = await till.invoice()
    good = f"share_token={token}&outcome=exact"
    bodies: list[bytes] = [
        b"x" * 5_000,
        good.encode() + b"&y=" + b"x" * 5_000,
        "ü".encode(),
        b"\xff\xfe",
        good.replace("exact", "everything").encode(),
        f"share_token={token}".encode(),
        b"&".join(b"a%d=1" % n for n in range(100)) + good.encode(),
    ]
    for body in bodies:
        answer = await till.client.post(
            f"{PATH}/simulate",
            content=body,
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        assert answer.status_code == 404
    assert await till.count(quote) == 0


@pytest.mark.parametrize("outcome", ["exact", "under", "over", "late", "replaced", "reorged"])
async def test_every_outcome_has_its_button_and_its_end(till: Till, outcome: str) -> None:
    token = await till.invoice()
    html = await till.main(token)
    assert f'value="{outcome}"' in html
    assert (await till.pay(token, outcome)).status_code == 303
    texts = []
    for _ in range(12):
        await till.pass_time(2)
        html = await till.main(token)
        texts.append(text_of(html))
    ends = {
        "exact": "Paid. Thank you.",
        "under": "We received 12.50 USD . 12.50 USD is still due",
        "over": "You sent 12.50 USD too much",
        "late": "arrived after the price or the invoice had ended",
        "replaced": "An earlier payment was replaced or dropped",
        "reorged": "taken back a payment that was confirmed",
    }
    assert ends[outcome] in texts[-1]


# --- on both databases -------------------------------------------------------------------------


async def test_the_way_from_unpaid_to_paid_on_each_database(world: World) -> None:
    till = till_of(world)
    token = await till.invoice()
    assert state_of(await till.main(token)) == "open"
    await till.pay(token)
    for _ in range(4):
        await till.pass_time(2)
    assert state_of(await till.main(token)) == "paid"
