"""How the pay page looks, on a phone and on a desk, and that nobody is kept out of it."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import zxingcpp
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from counterfoil.core.ports import Outcome
from tests.browser.conftest import PHONE, Open, state
from tests.browser.server import Server

pytestmark = pytest.mark.browser

WIDE = {"width": 1280, "height": 800}
TARGET_PX = 44


# --- how it looks ------------------------------------------------------------------------------


@pytest.mark.parametrize("is_live", [True, False])
def test_what_is_needed_stands_above_the_fold(
    server: Server, open_page: Open, *, is_live: bool
) -> None:
    fields = {"coin_symbol": "LTC"} if is_live else {}
    url = server.invoice(
        "1234567.89", is_live=is_live, invoice_title="A rather long title " * 9, **fields
    )
    page = open_page(url, has_touch=True, is_mobile=True)
    for wanted in ("h1", "#amount", "#address", "#wallet", "#copy-amount", "#copy-address"):
        box = page.locator(wanted).bounding_box()
        assert box
        assert box["y"] + box["height"] <= PHONE["height"], wanted
    # A phone cannot scan itself.
    expect(page.locator("#qr svg")).to_be_hidden()


def test_every_target_is_large_enough(server: Server, open_page: Open) -> None:
    for url in (server.invoice(), server.invoice(is_live=True)):
        page = open_page(url)
        for each in page.locator("main").locator("button, a.button, summary, label").all():
            box = each.bounding_box()
            assert box
            assert box["height"] >= TARGET_PX, each.inner_text()
            assert box["width"] >= TARGET_PX


def test_nothing_is_wider_than_320_pixels(server: Server, open_page: Open) -> None:
    long = "Donaudampfschifffahrtsgesellschaftskapitän" * 4
    for is_live in (True, False):
        url = server.invoice(
            "123456789012.34", is_live=is_live, invoice_title=long, invoice_message=long
        )
        page = open_page(url, viewport={"width": 320, "height": 640})
        if is_live:
            page.get_by_role("button", name="Show what to pay").click()
        state(page, "open")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 320
        page.evaluate("() => { document.documentElement.style.fontSize = '200%'; }")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"color_scheme": "dark"},
        {"viewport": WIDE},
        {"forced_colors": "active"},
    ],
)
def test_the_qr_code_is_the_payment_link(
    server: Server, open_page: Open, options: dict[str, object]
) -> None:
    page = open_page(server.invoice(is_live=True, coin_symbol="LTC"), **options)
    link = page.locator("#wallet").get_attribute("href")
    picture = Image.open(io.BytesIO(page.locator("#qr svg").screenshot()))
    assert [code.text for code in zxingcpp.read_barcodes(picture)] == [link]
    assert str(link).startswith("litecoin:ltc1")


def test_a_screen_reader_hears_what_there_is(server: Server, open_page: Open) -> None:
    page = open_page(server.invoice(is_live=True, coin_symbol="LTC", invoice_title="Order 1042"))
    expect(page.locator("main")).to_match_aria_snapshot(
        """
        - main:
          - paragraph: Blue Door Books
          - heading "25.00 USD" [level=1]
          - paragraph: Order 1042
          - region "Waiting for your payment":
            - list "Progress":
              - listitem: Pay
              - listitem: Confirm
              - listitem: Paid
            - heading "Waiting for your payment" [level=2]
            - paragraph:
              - text: Price fixed for
              - time
          - region "Pay with Litecoin (LTC)":
            - heading "Pay with Litecoin (LTC)" [level=2]
            - link "Open in Litecoin wallet":
              - /url: /^litecoin:ltc1[0-9a-z]+[?]amount=0[.]29719449$/
            - term: Amount
            - definition:
              - text: 0.29719449 LTC
              - button "Copy amount"
            - term: Litecoin address
            - definition:
              - code: /^ltc1[0-9a-z]+$/
              - button "Copy address"
            - paragraph: /^Send only LTC on the Litecoin network; anything else may be lost[.]/
            - paragraph: 25.00 USD at 1 LTC = 84.12 USD
            - group:
              - text: QR code for another device
              - img "QR code of the payment link"
              - button "Copy payment link"
        """
    )


# --- for everybody -----------------------------------------------------------------------------


def unpaid(server: Server) -> str:
    return server.invoice(invoice_title="Order 1042", invoice_message="Thank you.")


def choice(server: Server) -> str:
    return server.invoice(is_live=True, invoice_title="Order 1042")


def refused(server: Server) -> str:
    return f"{unpaid(server)}&problem=rate_unavailable"


def chosen(server: Server) -> str:
    return server.chosen(choice(server), "LTC")


def nothing(server: Server) -> str:
    return f"{server.url}/pay-invoice?share_token=nobody"


def paid(server: Server) -> str:
    return server.after(unpaid(server), Outcome.EXACT, "paid")


def overpaid(server: Server) -> str:
    return server.after(unpaid(server), Outcome.OVER, "paid")


def partial(server: Server) -> str:
    return server.after(unpaid(server), Outcome.UNDER, "partial")


def replaced(server: Server) -> str:
    return server.after(unpaid(server), Outcome.REPLACED, "ended")


def confirming(server: Server) -> str:
    url = server.chosen(choice(server), "COIN")
    server.pay_world(url)
    server.reach(url, "seen")
    server.world.mine()
    return server.reach(url, "confirming")


def stray(server: Server) -> str:
    fields = {"coin_symbol": "COIN", "wallet_address": "w1stray"}
    url = server.chosen(server.invoice("250.00", is_live=True, **fields), "COIN")
    server.pay_world(url, percent=97)
    return server.reach(url, "stray")


def late(server: Server) -> str:
    return server.after(unpaid(server), Outcome.LATE, "paid")


def expired(server: Server) -> str:
    return server.reach(server.invoice(due_at=server.clock.now() + 500), "expired")


SHOWN = [
    unpaid, choice, chosen, refused, nothing, confirming, partial, stray, replaced, paid, overpaid,
    late, expired,
]  # fmt: skip


@pytest.mark.parametrize("make", SHOWN)
def test_nobody_is_kept_out(
    server: Server, open_page: Open, shots: Path, make: Callable[[Server], str]
) -> None:
    url, name = make(server), make.__name__
    for scheme, size in (("light", PHONE), ("dark", PHONE), ("light", WIDE)):
        # The page's own policy keeps axe out, so here it is lifted; everywhere else it holds.
        page = open_page(
            url,
            color_scheme=scheme,
            viewport=size,
            bypass_csp=True,
            has_touch=size is PHONE,
            is_mobile=size is PHONE,
            may_complain=name == "nothing",
        )
        page.screenshot(path=shots / f"{name}-{scheme}-{size['width']}.png", full_page=True)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
