"""The pay page in Chromium, as a payer meets it; with JavaScript unless said otherwise."""

import re

import pytest
from playwright.sync_api import Page, expect

from counterfoil.core.ports import Outcome
from tests.browser.conftest import Open, state
from tests.browser.server import Server

pytestmark = pytest.mark.browser

MINUTE_MS = 60_000
# Follows what the page is about, from before its own script runs.
RECORD_STATES = """
window.states = [];
new MutationObserver(() => {
  const state = document.getElementById("main")?.dataset.state;
  if (state && state !== window.states.at(-1)) window.states.push(state);
}).observe(document, {childList: true, subtree: true});
"""
# Tabs of a browser without a window are all in front; these say that they are not.
BEHIND = 'Object.defineProperty(document, "hidden", {get: () => true});'


# --- from unpaid to paid -----------------------------------------------------------------------


def test_from_unpaid_to_paid_without_a_reload(server: Server, open_page: Open) -> None:
    url = server.invoice(invoice_title="Order 1042")
    watching = open_page(url, record=RECORD_STATES)
    state(watching, "open")
    loads: list[str] = []
    watching.on("framenavigated", lambda frame: loads.append(frame.url))
    paying = open_page(url)
    paying.get_by_role("button", name="Pay with test coins").click()
    state(watching, "paid")
    state(paying, "paid")
    assert loads == []
    states = watching.evaluate("() => window.states")
    assert states[0] == "open"
    assert states[-1] == "paid"
    assert "confirming" in states
    assert [s for s in ("open", "seen", "confirming", "paid") if s in states] == states
    expect(watching).to_have_title(re.compile("^Paid"))
    expect(watching.locator("#said")).to_have_text("Paid. Thank you.")
    # What is paid must not be paid again.
    for gone in ("#wallet", "#address", "#qr", "#amount"):
        expect(watching.locator(gone)).to_have_count(0)


def test_a_part_is_followed_by_the_rest(server: Server, open_page: Open) -> None:
    page = open_page(server.invoice())
    address = page.locator("#copy-address").get_attribute("data-copy")
    page.get_by_role("button", name="Pay half").click()
    state(page, "partial")
    expect(page.get_by_text("12.50 USD is still due")).to_be_visible()
    expect(page.locator("#amount")).to_have_text("12.5")
    assert page.locator("#copy-address").get_attribute("data-copy") == address
    page.get_by_role("button", name="Pay with test coins").click()
    state(page, "paid")


def test_who_may_have_paid_is_asked_before_the_address_is_shown_again(
    server: Server, open_page: Open
) -> None:
    fields = {"coin_symbol": "COIN", "wallet_address": "w1again"}
    url = server.chosen(server.invoice("250.00", is_live=True, **fields), "COIN")
    page = open_page(url)
    expect(page.locator("#address")).to_be_visible()
    server.pay_world(url, percent=97)
    expect(page.locator("#stray")).to_be_visible()
    expect(page.locator("#address")).to_be_hidden()
    page.locator("#again > summary").click()
    expect(page.locator("#address")).to_be_visible()
    page.locator("#claim > summary").click()
    page.locator("#txid").fill("ab" * 32)
    page.locator("#look").click()
    expect(page.locator("#claimed")).to_contain_text("does not show us")


def test_a_replaced_payment_interrupts(server: Server, open_page: Open) -> None:
    url = server.invoice()
    page = open_page(url)
    open_page(url).get_by_role("button", name="Pay, then replace it").click()
    state(page, "seen")
    state(page, "ended")
    expect(page.locator("#alarm")).to_have_text("An earlier payment does not count any more.")
    page.get_by_role("button", name="Get a new price").click()
    state(page, "open")


def test_a_real_coin_is_chosen_watched_and_paid(server: Server, open_page: Open) -> None:
    url = server.invoice(is_live=True)
    page = open_page(url)
    state(page, "choose")
    page.get_by_text("World coin").click()
    page.get_by_role("button", name="Show what to pay").click()
    state(page, "open")
    expect(page.locator("#wallet")).to_have_attribute("href", re.compile("^world:w1"))
    address = page.locator("#copy-address").get_attribute("data-copy")
    assert address
    # The node goes away and comes back: the page says so, and what was paid is not lost.
    server.world.is_away = True
    expect(page.get_by_text("We cannot see the World network right now")).to_be_visible()
    server.world.pay(address, 25_000_000)
    server.world.is_away = False
    state(page, "seen")
    expect(page.get_by_text("We cannot see")).to_have_count(0)
    server.world.mine()
    state(page, "confirming")
    expect(page.get_by_text("1 of 2 confirmations.", exact=True)).to_be_visible()
    server.world.mine()
    state(page, "paid")
    link = page.get_by_role("link", name=re.compile("^[0-9a-f]{64}$"))
    expect(link).to_have_attribute("rel", "noreferrer noopener")


def test_another_coin_can_be_had_afterwards(server: Server, open_page: Open) -> None:
    page = open_page(server.invoice(is_live=True))
    page.get_by_role("button", name="Show what to pay").click()
    expect(page.get_by_role("heading", name="Pay with Litecoin (LTC)")).to_be_visible()
    page.get_by_text("Pay with another coin").click()
    page.get_by_text("World coin").click()
    page.get_by_role("button", name="Show what to pay").click()
    expect(page.get_by_role("heading", name="Pay with World coin (COIN)")).to_be_visible()


# --- time --------------------------------------------------------------------------------------


def test_a_price_ends_before_the_payers_eyes(server: Server, open_page: Open) -> None:
    page = open_page(server.invoice())
    clock = page.locator("#clock time").last
    expect(clock).to_have_text(re.compile("^14:5[0-8]$"))
    server.clock.ahead_ms += 13 * MINUTE_MS
    expect(page.get_by_role("button", name="Get a fresh price")).to_be_visible()
    expect(page.locator("#alarm")).to_have_text("The price ends in two minutes.")
    expect(clock).to_have_text(re.compile("^1:5[0-9]$"))
    server.clock.ahead_ms += 2 * MINUTE_MS
    state(page, "ended")
    warning = page.get_by_text("If you already paid, wait; do not pay again.", exact=True)
    expect(warning).to_be_visible()
    for gone in ("#wallet", "#address", "#qr"):
        expect(page.locator(gone)).to_have_count(0)
    page.get_by_role("button", name="Get a new price").click()
    state(page, "open")
    expect(page.locator("#wallet")).to_be_visible()


def test_the_clock_is_in_no_live_region(server: Server, open_page: Open) -> None:
    page = open_page(server.invoice())
    live = page.locator("[aria-live], [role=status], [role=alert], [role=timer], output")
    assert live.locator("time").count() == 0


# --- the connection ----------------------------------------------------------------------------


def test_without_a_stream_the_page_asks(server: Server, open_page: Open) -> None:
    url = server.invoice()
    server.live.streams_max = 0
    try:
        # Chromium writes the refused request into the console; that much is meant.
        page = open_page(url, may_complain=True)
        state(page, "open")
        open_page(url, may_complain=True).get_by_role("button", name="Pay with test coins").click()
        state(page, "paid")
    finally:
        server.live.streams_max = 10_000


def test_a_dropped_stream_is_taken_up_again(server: Server, open_page: Open) -> None:
    url = server.invoice()
    page = open_page(url, may_complain=True)
    state(page, "open")
    server.drop_streams()
    open_page(url).get_by_role("button", name="Pay with test coins").click()
    state(page, "paid")


def test_being_offline_is_said_and_ends(server: Server, open_page: Open) -> None:
    page = open_page(server.invoice(), may_complain=True)
    banner = page.get_by_text("No connection. Your payment is safe")
    expect(banner).to_be_hidden()
    page.context.set_offline(True)
    expect(banner).to_be_visible()
    page.context.set_offline(False)
    expect(banner).to_be_hidden()


def test_tabs_behind_leave_room_for_the_one_in_front(server: Server, open_page: Open) -> None:
    url = server.invoice()
    context = open_page(url, record=BEHIND).context
    # A browser has six connections to a server, and a stream takes one for as long as it lasts.
    for _ in range(7):
        behind = context.new_page()
        behind.add_init_script(BEHIND)
        behind.goto(url)
    front = context.new_page()
    front.goto(url)
    state(front, "open")
    server.after(url, Outcome.EXACT, "paid")
    state(front, "paid")


# --- what a payer does with it -----------------------------------------------------------------


@pytest.mark.parametrize("has_clipboard", [True, False])
def test_copying_gives_exactly_what_is_shown(
    server: Server, open_page: Open, *, has_clipboard: bool
) -> None:
    hide = 'Object.defineProperty(navigator, "clipboard", {value: undefined});'
    page = open_page(
        server.invoice(is_live=True, coin_symbol="LTC"), record="" if has_clipboard else hide
    )
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    link = page.locator("#wallet").get_attribute("href") or ""
    address = link.removeprefix("litecoin:").partition("?")[0]
    wanted = {
        "copy-amount": page.locator("#amount").inner_text(),
        "copy-address": address,
        "copy-link": link,
    }
    if page.locator("#qr").get_attribute("open") is None:
        page.get_by_text("QR code for another device").click()
    for button, text in wanted.items():
        page.locator(f"#{button}").click()
        expect(page.locator(f"#{button}")).to_contain_text("Copied")
        expect(page.locator("#said")).to_contain_text("copied.")
        assert pasted(page) == text
    expect(page.locator("#check")).to_be_visible()
    ends = page.locator("#check").inner_text()
    assert address[:4] in ends
    assert address[-4:] in ends


def pasted(page: Page) -> str:
    """Return what is in the clipboard, as a payer would find out."""
    page.evaluate(
        """() => {
          const box = document.createElement("textarea");
          box.id = "pasted";
          document.body.append(box);
          box.focus();
        }"""
    )
    page.keyboard.press("Control+V")
    text = page.locator("#pasted").input_value()
    page.evaluate("() => document.getElementById('pasted').remove()")
    return text


def test_selecting_the_address_gives_it_without_gaps(server: Server, open_page: Open) -> None:
    page = open_page(server.invoice())
    address = page.locator("#copy-address").get_attribute("data-copy")
    page.evaluate("() => getSelection().selectAllChildren(document.getElementById('address'))")
    page.keyboard.press("Control+C")
    assert page.evaluate("() => getSelection().toString()") == address
    assert pasted(page) == address
    # For the eye it stands in groups: there is a gap after each.
    boxes = [box.bounding_box() for box in page.locator("#address > :not(wbr)").all()]
    assert boxes[0]
    assert boxes[1]
    assert boxes[1]["x"] - (boxes[0]["x"] + boxes[0]["width"]) >= 4


def test_everything_is_reached_by_the_keyboard_in_order(server: Server, open_page: Open) -> None:
    page = open_page(server.invoice(is_live=True))
    page.get_by_role("button", name="Show what to pay").click()
    state(page, "open")
    page.locator("main").focus()
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("() => document.activeElement.id || document.activeElement.tagName")
        )
    assert reached == ["wallet", "copy-amount", "copy-address", "SUMMARY", "copy-link", "SUMMARY"]


def test_what_the_payer_opened_and_focused_stays(server: Server, open_page: Open) -> None:
    page = open_page(server.invoice(is_live=True))
    page.get_by_role("button", name="Show what to pay").click()
    page.get_by_text("Pay with another coin").click()
    page.get_by_text("World coin").click()
    page.locator("#copy-amount").focus()
    version = page.locator("main").get_attribute("data-version")
    server.clock.ahead_ms += 13 * MINUTE_MS
    expect(page.locator("main")).not_to_have_attribute("data-version", str(version))
    expect(page.locator("#others")).to_have_attribute("open", "")
    expect(page.locator("#offer-COIN")).to_be_checked()
    expect(page.locator("#copy-amount")).to_be_focused()


# --- without JavaScript -------------------------------------------------------------------------


def test_without_a_script_all_is_there_and_can_be_paid(server: Server, open_page: Open) -> None:
    url = server.invoice(invoice_title="Order 1042", invoice_message="Thank you.")
    page = open_page(url, java_script_enabled=False)
    for wanted in ("#amount", "#address", "#wallet", "#qr svg", "#clock"):
        expect(page.locator(wanted)).to_be_visible()
    for scripted in ("#copy-amount", "#copy-address", "#copy-link"):
        expect(page.locator(scripted)).to_be_hidden()
    expect(page.get_by_text("Price fixed until")).to_be_visible()
    expect(page.get_by_text("Order 1042")).to_be_visible()
    page.get_by_role("button", name="Pay with test coins").click()
    assert page.url == url
    server.reach(url, "paid")
    page.reload()
    expect(page.get_by_role("heading", name="Paid. Thank you.")).to_be_visible()


def test_without_a_script_a_coin_can_be_chosen(server: Server, open_page: Open) -> None:
    page = open_page(server.invoice(is_live=True), java_script_enabled=False)
    page.get_by_text("World coin").click()
    page.get_by_role("button", name="Show what to pay").click()
    expect(page.get_by_role("heading", name="Pay with World coin (COIN)")).to_be_visible()
    expect(page.locator("#wallet")).to_be_visible()
