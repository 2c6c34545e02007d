from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.core.matching import (
    QUARANTINE_MS,
    AskedQuote,
    Kind,
    Known,
    Matched,
    Reason,
    Unmatched,
    amounts,
    is_likely,
    match,
    pick_amount,
    price_of,
)
from counterfoil.core.ports import Transfer

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
T = 1_000 * HOUR_MS


def transfer(amount: int = 1_000, method: str = "LTC", tag: str | None = None) -> Transfer:
    return Transfer(0, b"key", method, amount, tag)


def quote(
    number: int,
    amount: int = 1_000,
    *,
    method: str = "LTC",
    tag: str | None = None,
    created_at: int = T,
    released_at: int | None = None,
) -> AskedQuote:
    return AskedQuote(number, method, amount, tag, created_at, released_at)


def matched(
    kind: Kind,
    one: Transfer,
    *asked: AskedQuote,
    at: int = T,
    is_own: bool = False,
    is_older: bool = False,
) -> int | str:
    """Return the number of the quote that is paid, or the reason why none is."""
    answer = match(one, kind, asked, at, is_own=is_own, is_older=is_older)
    again = match(one, kind, asked[::-1], at, is_own=is_own, is_older=is_older)
    assert again == answer
    return answer.quote_id if isinstance(answer, Matched) else answer.reason.value


# --- any kind ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
def test_own_money_pays_nothing(kind: Kind) -> None:
    assert matched(kind, transfer(), quote(1), is_own=True) == "own_transfer"


@pytest.mark.parametrize("kind", Kind)
def test_a_destination_without_quotes(kind: Kind) -> None:
    assert matched(kind, transfer()) == "no_quote"


@pytest.mark.parametrize("kind", Kind)
def test_another_method_is_not_what_was_asked_for(kind: Kind) -> None:
    assert matched(kind, transfer(method="USDT-TRON"), quote(1)) == "other_method"
    assert matched(kind, transfer(), quote(1, method="USDT-TRON"), quote(2)) == 2


@pytest.mark.parametrize(
    ("kind", "skew_ms"), [(Kind.SHARED, 2 * MINUTE_MS), (Kind.EXCLUSIVE, 2 * HOUR_MS)]
)
def test_what_came_before_the_quote_does_not_pay_it(kind: Kind, skew_ms: int) -> None:
    assert matched(kind, transfer(), quote(1), at=T - skew_ms) == 1
    assert matched(kind, transfer(), quote(1), at=T - skew_ms - 1) == "before_quote"


@pytest.mark.parametrize("kind", Kind)
def test_what_was_in_sight_before_its_destination_was_ours_pays_nothing(kind: Kind) -> None:
    assert matched(kind, transfer(), quote(1), is_older=True) == "before_quote"
    assert matched(kind, transfer(), is_older=True) == "no_quote"
    assert matched(kind, transfer(), quote(1), is_own=True, is_older=True) == "own_transfer"


@pytest.mark.parametrize("kind", Kind)
def test_a_tag_goes_before_the_amount(kind: Kind) -> None:
    tagged = transfer(1_000, tag="77")
    assert matched(kind, tagged, quote(1, 1_000), quote(2, 500, tag="77")) == 2
    # A wallet that dropped the tag still sent the amount.
    assert matched(kind, transfer(500), quote(1, 1_000), quote(2, 500, tag="77")) == 2
    assert matched(kind, transfer(500, tag="8"), quote(1), quote(2, 500, tag="77")) == 2


def test_no_tag_is_not_the_same_tag() -> None:
    assert matched(Kind.SHARED, transfer(999), quote(1, 1_000)) == "no_exact_amount"


# --- exclusive --------------------------------------------------------------------------------


def test_any_amount_pays_an_exclusive_destination() -> None:
    assert matched(Kind.EXCLUSIVE, transfer(1), quote(1, 1_000)) == 1


def test_the_quote_of_the_exact_amount_goes_first() -> None:
    old, new = quote(1, 1_000), quote(2, 900, created_at=T + MINUTE_MS)
    at = T + 2 * MINUTE_MS
    assert matched(Kind.EXCLUSIVE, transfer(1_000), old, new, at=at) == 1
    assert matched(Kind.EXCLUSIVE, transfer(900), old, new, at=at) == 2
    assert matched(Kind.EXCLUSIVE, transfer(950), old, new, at=at) == 2


@pytest.mark.parametrize("amount", [950, 1_000])
def test_a_quote_made_after_the_payment_is_not_the_one_it_pays(amount: int) -> None:
    """The page made a new quote between the payment and the watcher's look at it."""
    old, new = quote(1, 1_000), quote(2, 1_000, created_at=T + 2 * MINUTE_MS)
    assert matched(Kind.EXCLUSIVE, transfer(amount), old, new, at=T + MINUTE_MS) == 1


def test_a_block_s_early_time_leads_to_the_first_quote() -> None:
    first, second = quote(1), quote(2, created_at=T + MINUTE_MS)
    assert matched(Kind.EXCLUSIVE, transfer(), first, second, at=T - HOUR_MS) == 1


def test_the_newest_quote_is_the_one_of_the_latest_time() -> None:
    older, newer = quote(9, 900), quote(1, 800, created_at=T + 1)
    assert matched(Kind.EXCLUSIVE, transfer(1), older, newer, at=T + 2) == 1
    assert matched(Kind.EXCLUSIVE, transfer(1), older, newer, at=T - 1) == 9


def test_of_quotes_of_one_moment_the_last_made_counts() -> None:
    assert matched(Kind.EXCLUSIVE, transfer(), quote(1), quote(2), at=T + 1) == 2


def test_a_quote_of_the_moment_of_the_payment_asks_for_the_rest_of_it() -> None:
    old, rest = quote(1, created_at=T - 1), quote(2, 10)
    assert matched(Kind.EXCLUSIVE, transfer(900), old, rest) == 1


def test_an_exclusive_destination_is_never_released() -> None:
    assert matched(Kind.EXCLUSIVE, transfer(), quote(1, released_at=T + 1), at=T + 10**12) == 1


# --- shared -----------------------------------------------------------------------------------


def test_only_the_exact_amount_pays_a_shared_destination() -> None:
    assert matched(Kind.SHARED, transfer(1_000), quote(1, 1_001), quote(2, 1_000)) == 2
    assert matched(Kind.SHARED, transfer(1_002), quote(1, 1_001)) == "no_exact_amount"


def test_an_amount_is_held_until_it_is_released() -> None:
    held = quote(1, released_at=T + HOUR_MS)
    assert matched(Kind.SHARED, transfer(), held, at=T + HOUR_MS - 1) == 1
    assert matched(Kind.SHARED, transfer(), held, at=T + HOUR_MS) == "no_exact_amount"


def test_an_amount_that_was_given_out_again_pays_who_held_it() -> None:
    old = quote(1, released_at=T + HOUR_MS)
    new = quote(2, created_at=T + HOUR_MS)
    assert matched(Kind.SHARED, transfer(), old, new, at=T + HOUR_MS) == 2
    # Within the allowed skew of the new quote, but the old one held the amount.
    assert matched(Kind.SHARED, transfer(), old, new, at=T + HOUR_MS - 1) == 1


def test_a_tag_is_not_released() -> None:
    tagged = quote(1, 500, tag="77", released_at=T + 1)
    assert matched(Kind.SHARED, transfer(1, tag="77"), tagged, at=T + HOUR_MS) == 1


quotes = st.lists(
    st.builds(
        AskedQuote,
        quote_id=st.integers(1, 9),
        method=st.sampled_from(["LTC", "DOGE"]),
        amount_atomic=st.sampled_from([1, 2, 3]),
        tag=st.sampled_from([None, "7"]),
        created_at=st.integers(0, 10).map(lambda n: T + n * MINUTE_MS),
        released_at=st.none() | st.integers(0, 20).map(lambda n: T + n * MINUTE_MS),
    ),
    max_size=6,
    unique_by=lambda each: each.quote_id,
)


@given(quotes, st.sampled_from(Kind), st.sampled_from([1, 2, 3, 4]), st.integers(-3, 20))
def test_a_transfer_pays_only_what_it_may(
    known: list[AskedQuote], kind: Kind, amount: int, minute: int
) -> None:
    one, at = transfer(amount), T + minute * MINUTE_MS
    answer = match(one, kind, known, at, is_own=False, is_older=False)
    if isinstance(answer, Unmatched):
        assert kind is Kind.SHARED or answer.reason is not Reason.NO_EXACT_AMOUNT
        return
    (paid,) = (each for each in known if each.quote_id == answer.quote_id)
    assert paid.method == one.method
    if kind is Kind.SHARED:
        assert paid.amount_atomic == amount
        assert paid.released_at is None or at < paid.released_at
        assert paid.created_at <= at + 2 * MINUTE_MS


# --- amounts of a shared address --------------------------------------------------------------


def known(taken: Collection[int] = (), used: Collection[int] = ()) -> Callable[..., Known]:
    """Return an address that knows this, and tells of what it is asked for alone."""
    return lambda asked: Known(set(taken) & set(asked), set(used) & set(asked))


@given(st.data())
def test_an_amount_is_free_and_only_a_little_more(data: st.DataObject) -> None:
    step = data.draw(st.sampled_from([1, 10, 25, 10_000]), "step")
    price = data.draw(st.integers(1, 60_000), "price in steps") * step
    tags = max(price // 1_000 // step, 2)
    allowed = [price + n * step for n in range(1, tags + 1)]
    usable = [amount for amount in allowed if amount // step % 10 != 0]
    taken = data.draw(st.sets(st.sampled_from(allowed)), "taken")
    used = data.draw(st.sets(st.sampled_from(allowed)), "used")
    kept = data.draw(st.none() | st.sampled_from(allowed), "kept")
    free = set(usable) - taken
    picked = pick_amount(
        price, step, kept, known(taken, used), lambda limit: data.draw(st.integers(0, limit - 1))
    )
    assert (picked is None) == (not free)
    if picked is not None:
        assert picked in free
        assert picked not in used or free <= used
    if kept in free and (kept not in used or free <= used):
        assert picked == kept


def test_the_surcharge_has_an_end() -> None:
    """However high the price: a fee of 10,000 steps taken off leads to nobody else's amount."""
    allowed = amounts(10**12, 1)
    assert allowed[0] == 10**12 + 1
    assert allowed[-1] == 10**12 + 9_999
    assert len(allowed) == 9_000
    assert not {amount - 10_000 for amount in allowed} & set(allowed)


def test_the_lowest_price_has_an_amount() -> None:
    assert amounts(1_000, 1) == [1_001, 1_002]
    # The first step leads to a round amount.
    assert amounts(1_009, 1) == [1_011]


def test_chance_that_always_says_the_same_still_finds_what_is_free() -> None:
    assert pick_amount(100_000, 10, None, known(), lambda _: 0) == 100_010
    assert pick_amount(100_000, 10, None, known({100_010}, {100_020}), lambda _: 0) == 100_030
    # The last of the ten steps is round.
    assert pick_amount(100_000, 10, None, known(), lambda limit: limit - 1) == 100_090


def test_nothing_is_free() -> None:
    everything = range(100_000, 100_200)
    assert pick_amount(100_000, 10, 100_010, known(everything), lambda _: 0) is None


def test_what_was_used_is_better_than_nothing() -> None:
    used = range(100_000, 100_200)
    assert pick_amount(100_000, 10, None, known({100_010}, used), lambda _: 0) == 100_020


def test_an_invoice_keeps_its_tag_where_that_is_free() -> None:
    assert pick_amount(100_000, 10, 100_050, known(), lambda _: 0) == 100_050
    assert pick_amount(100_000, 10, 100_050, known({100_050}), lambda _: 0) == 100_010
    # What somebody else has had is not worth keeping while there are amounts that nobody had.
    assert pick_amount(100_000, 10, 100_050, known((), {100_050}), lambda _: 0) == 100_010
    everything = range(100_000, 100_200)
    assert pick_amount(100_000, 10, 100_050, known((), everything), lambda _: 0) == 100_050
    # A tag of a higher price may be too much for a lower one, or make it round.
    for kept in (100_110, 100_100, 100_000, 99_990):
        assert pick_amount(100_000, 10, kept, known(), lambda _: 0) == 100_010


def test_amounts_are_spread_evenly() -> None:
    below = Random(1).randrange
    drawn = [pick_amount(10_000, 1, None, known(), below) for _ in range(3_000)]
    counts = [drawn.count(amount) for amount in range(10_001, 10_011)]
    assert counts[-1] == 0, "10,010 is round"
    assert all(250 < count < 420 for count in counts[:-1])


@pytest.mark.parametrize(
    ("received", "is_near"),
    [(1_000, True), (950, True), (1_050, True), (949, False), (1_051, False), (0, False)],
)
def test_an_amount_within_five_per_cent_was_probably_meant(received: int, *, is_near: bool) -> None:
    assert is_likely(1_000, received) is is_near


# --- a shop with one address ------------------------------------------------------------------

LOCK_MS = 15 * MINUTE_MS


@dataclass
class Shop:
    """A shop that sells things of a few prices on one shared address."""

    below: Callable[[int], int]
    quotes: list[AskedQuote] = field(default_factory=list)

    def sell(self, price: int, now: int) -> AskedQuote | None:
        taken = {q.amount_atomic for q in self.quotes if now < (q.released_at or 0)}
        used = {q.amount_atomic for q in self.quotes}
        amount = pick_amount(price, 1, None, known(taken, used), self.below)
        if amount is None:
            return None
        released_at = now + LOCK_MS + QUARANTINE_MS
        sold = quote(len(self.quotes), amount, created_at=now, released_at=released_at)
        self.quotes.append(sold)
        return sold

    def pay(self, sold: AskedQuote, at: int) -> int | None:
        end = matched(Kind.SHARED, transfer(sold.amount_atomic), *self.quotes, at=at)
        return end if isinstance(end, int) else None


@pytest.mark.parametrize("seed", range(8))
def test_a_late_payer_is_never_credited_to_a_stranger(seed: int) -> None:
    """While its amount is held a payment reaches its own quote, however late it is.

    After that it goes to the inbox or, if the amount had to be given out again, to its new holder.
    """
    chance = Random(seed)
    shop = Shop(chance.randrange)
    now, refused = T, 0
    payments: list[tuple[int, AskedQuote]] = []
    for _ in range(600):
        now += chance.randrange(20 * MINUTE_MS)
        sold = shop.sell(chance.choice((50_000, 50_030, 250_000)), now)
        if sold is None:
            refused += 1
            continue
        late = chance.choice((LOCK_MS, LOCK_MS, QUARANTINE_MS + LOCK_MS, 3 * QUARANTINE_MS))
        payments.append((now + chance.randrange(late), sold))
    for at, sold in payments:
        paid = shop.pay(sold, at)
        if at < (sold.released_at or 0):
            assert paid == sold.quote_id
        elif paid is not None:
            assert at < (shop.quotes[paid].released_at or 0)
    assert refused > 0, "the shop was busy enough to run out of amounts"


def test_while_there_are_unused_amounts_nobody_meets_a_stranger_ever() -> None:
    chance = Random(0)
    shop = Shop(chance.randrange)
    for sale in range(600):
        sold = shop.sell(2_000_000, T + sale * HOUR_MS)
        assert sold is not None
        late = T + sale * HOUR_MS + chance.randrange(90 * QUARANTINE_MS)
        assert shop.pay(sold, late) in (sold.quote_id, None)
    amounts = [sold.amount_atomic for sold in shop.quotes]
    assert len(set(amounts)) == len(amounts)


# --- prices of what is credited by hand -------------------------------------------------------


def test_the_price_is_that_of_the_exact_amount_else_the_one_of_its_time() -> None:
    old, new = quote(1, 1_000), quote(2, 1_100, created_at=T + HOUR_MS)
    for some in ([old, new], [new, old]):
        assert price_of(some, "LTC", 1_100, T) == 2, "exact, though made later"
        assert price_of(some, "LTC", 1_050, T + MINUTE_MS) == 1
        assert price_of(some, "LTC", 1_050, T + 2 * HOUR_MS) == 2
        assert price_of(some, "LTC", 1_050, T - MINUTE_MS) == 1, "the first after it"
        assert price_of(some, "LTC", 1_050, T - HOUR_MS) is None, "nothing was asked for by then"
        assert price_of(some, "LTC", 1_100, T - HOUR_MS) == 2


def test_another_coin_has_no_price() -> None:
    assert price_of([quote(1, method="BTC")], "LTC", 1_000, T) is None
    assert price_of([], "LTC", 1_000, T) is None
