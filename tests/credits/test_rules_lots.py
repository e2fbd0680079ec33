"""Credits burn oldest first, never below zero, and go back to where they came from (R2–R6, R12)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.credits.rules.lots import (
    BatchBurn,
    Lot,
    NewLot,
    Part,
    available,
    burn_many,
    expire,
    refund,
)

NOW = 1_000_000


def lot(lot_id: str, remaining: int, *, released_ms: int = 0, expires_ms: int | None = None) -> Lot:
    """A lot in few words."""
    return Lot(id=lot_id, released_ms=released_ms, expires_ms=expires_ms, remaining=remaining)


def left(lots: list[Lot]) -> dict[str, int]:
    """What remains in each lot."""
    return {each.id: each.remaining for each in lots}


def burnt_one(lots: list[Lot], price: int) -> tuple[list[Part] | None, dict[str, int]]:
    """What one price takes, and what is left in each lot."""
    burnt = burn_many(lots, [price], NOW)
    return burnt.parts[0], left(burnt.lots)


def test_r3_the_oldest_release_burns_first_whatever_expires_first() -> None:
    """R3: FIFO by release."""
    lots = [lot("new", 5, released_ms=2, expires_ms=NOW + 1), lot("old", 5, released_ms=1)]
    assert burnt_one(lots, 3)[0] == [("old", 3)]


def test_r3_a_price_runs_over_into_the_next_lot() -> None:
    """R3: FIFO by release."""
    parts, rest = burnt_one([lot("a", 2, released_ms=1), lot("b", 5, released_ms=2)], 4)
    assert parts == [("a", 2), ("b", 2)]
    assert rest == {"a": 0, "b": 3}


def test_r3_lots_of_one_instant_burn_in_the_order_of_their_ids() -> None:
    """R3: FIFO by release."""
    assert burnt_one([lot("b", 1), lot("a", 1)], 1)[0] == [("a", 1)]


def test_r12_too_little_burns_nothing() -> None:
    """R12: the whole price or nothing."""
    assert burnt_one([lot("a", 3), lot("b", 4)], 10) == (None, {"a": 3, "b": 4})


def test_r12_an_expired_lot_pays_for_nothing() -> None:
    """R4, R12: a lot is over from the very instant it expires."""
    lots = [lot("over", 9, expires_ms=NOW), lot("last", 2, expires_ms=NOW + 1)]
    assert burnt_one(lots, 3)[0] is None
    assert burnt_one(lots, 2)[0] == [("last", 2)]
    assert available(lots, NOW) == 2


def test_a_price_below_zero_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="below zero"):
        burn_many([lot("a", 3)], [-1], NOW)


def test_a_price_of_nothing_burns_nothing() -> None:
    assert burn_many([], [0], NOW) == BatchBurn(parts=[[]], lots=[])


def test_r12_in_a_batch_what_does_not_fit_is_refused_and_the_others_pass() -> None:
    """R12: each message of a batch has its own verdict."""
    burnt = burn_many([lot("a", 3, released_ms=1), lot("b", 4, released_ms=2)], [2, 6, 2, 4, 3, 1], NOW)
    assert burnt.parts == [[("a", 2)], None, [("a", 1), ("b", 1)], None, [("b", 3)], None]
    assert left(burnt.lots) == {"a": 0, "b": 0}


def test_r4_what_is_left_of_an_expired_lot_is_void() -> None:
    """R4: no refund, no extension."""
    lots = [
        lot("later", 7, released_ms=2, expires_ms=NOW - 1),
        lot("first", 4, released_ms=1, expires_ms=NOW),
        lot("empty", 0, expires_ms=NOW - 1),
        lot("alive", 3, expires_ms=NOW + 1),
        lot("endless", 3),
    ]
    assert expire(lots, NOW) == [("first", 4), ("later", 7)]


def test_r6_a_refund_goes_to_the_lot_of_origin_while_it_lives() -> None:
    """R6: 1:1, to the lot they came from."""
    lots = [lot("a", 0, expires_ms=NOW + 1), lot("b", 1)]
    back = refund([("a", 2), ("b", 3)], lots, accepted_ms=NOW - 10, now_ms=NOW)
    assert (back.returned, back.reissued) == ([("a", 2), ("b", 3)], [])


def test_r6_credits_of_an_expired_lot_come_back_with_the_life_left_at_debit() -> None:
    """R6: a new lot with the life that was left."""
    lots = [lot("over", 0, expires_ms=NOW - 100), lot("alive", 0)]
    back = refund([("over", 2), ("alive", 1)], lots, accepted_ms=NOW - 400, now_ms=NOW)
    assert back.returned == [("alive", 1)]
    assert back.reissued == [NewLot(credits=2, expires_ms=NOW + 300)]


def test_r6_lots_with_the_same_life_left_come_back_as_one() -> None:
    """R6: a new lot with the life that was left."""
    lots = [lot("a", 0, expires_ms=NOW - 1), lot("b", 0, expires_ms=NOW - 1)]
    back = refund([("a", 2), ("b", 3)], lots, accepted_ms=NOW - 11, now_ms=NOW)
    assert back.reissued == [NewLot(credits=5, expires_ms=NOW + 10)]


@pytest.mark.parametrize("part", [("unknown", 1), ("a", 0), ("a", -1)])
def test_a_refund_of_nothing_or_to_nowhere_is_a_mistake(part: tuple[str, int]) -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        refund([part], [lot("a", 1)], accepted_ms=0, now_ms=NOW)


@st.composite
def purses(draw: st.DrawFn) -> list[Lot]:
    """Some lots, some of them empty or expired, several of one instant."""
    count = draw(st.integers(0, 6))
    ids = draw(st.permutations([f"lot{number}" for number in range(count)]))
    return [
        lot(
            lot_id,
            draw(st.integers(0, 20)),
            released_ms=draw(st.integers(0, 3)),
            expires_ms=draw(st.none() | st.integers(NOW - 2, NOW + 2)),
        )
        for lot_id in ids
    ]


prices = st.lists(st.integers(0, 30), max_size=12)


@given(purses(), prices)
def test_no_batch_makes_or_loses_a_credit_or_goes_below_zero(lots: list[Lot], batch: list[int]) -> None:
    """R12: what is gone from the lots is what the accepted messages cost."""
    burnt = burn_many(lots, batch, NOW)
    paid = sum(price for price, parts in zip(batch, burnt.parts, strict=True) if parts is not None)
    assert sum(left(lots).values()) - sum(left(burnt.lots).values()) == paid
    assert all(remaining >= 0 for remaining in left(burnt.lots).values())
    for price, parts in zip(batch, burnt.parts, strict=True):
        assert parts is None or sum(credit for _, credit in parts) == price
        assert parts is None or all(credit > 0 for _, credit in parts)
    spent = {each.id: 0 for each in lots}
    for lot_id, credit in [part for parts in burnt.parts for part in parts or ()]:
        spent[lot_id] += credit
    assert {each.id: each.remaining - spent[each.id] for each in lots} == left(burnt.lots)


@given(purses(), prices)
def test_r3_no_lot_is_touched_while_an_older_one_has_credits(lots: list[Lot], batch: list[int]) -> None:
    """R3: FIFO by release, over a whole batch."""
    burnt = burn_many(lots, batch, NOW)
    usable = [each for each in burnt.lots if not each.expired(NOW)]
    before = left(lots)
    touched = [number for number, each in enumerate(usable) if each.remaining < before[each.id]]
    for number in touched:
        assert all(older.remaining == 0 for older in usable[:number])
    assert all(each.remaining == before[each.id] for each in burnt.lots if each.expired(NOW))


@given(purses(), prices)
def test_a_batch_is_the_same_as_its_messages_one_by_one(lots: list[Lot], batch: list[int]) -> None:
    """R12: refused exactly when what is left does not cover the price."""
    one_by_one: list[list[tuple[str, int]] | None] = []
    now = lots
    for price in batch:
        burnt = burn_many(now, [price], NOW)
        assert (burnt.parts[0] is None) == (price > available(now, NOW))
        one_by_one += burnt.parts
        now = burnt.lots
    assert burn_many(lots, batch, NOW).parts == one_by_one


@given(purses(), st.integers(1, 60), st.integers(0, 5))
def test_r6_a_refund_gives_back_all_that_was_burnt_and_no_longer_life(
    lots: list[Lot], price: int, waited_ms: int
) -> None:
    """R6: 1:1, and the life left at debit."""
    burnt = burn_many(lots, [price], NOW)
    parts = burnt.parts[0]
    if parts is None:
        return
    later = NOW + waited_ms
    back = refund(parts, burnt.lots, accepted_ms=NOW, now_ms=later)
    total = sum(credit for _, credit in back.returned) + sum(new.credits for new in back.reissued)
    assert total == price
    lives = {each.expires_ms - NOW for each in lots if each.expires_ms is not None}
    assert all(new.expires_ms - later in lives and new.expires_ms > later for new in back.reissued)
    dead = {each.id for each in burnt.lots if each.expired(later)}
    assert not dead & {lot_id for lot_id, _ in back.returned}
