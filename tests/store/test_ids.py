"""Ids: 26 characters, sortable by time and by the order of making, unlike any other."""

from gateway.ids import ID_LENGTH, IdFactory, id_floor, is_id

NOW_MS = 1_790_000_000_000


def test_ids_have_their_shape_and_are_all_different() -> None:
    factory = IdFactory()
    ids = [factory.new(NOW_MS + n // 100) for n in range(20_000)]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == ID_LENGTH and is_id(one) for one in ids)


def test_ids_sort_in_the_order_they_were_made_even_when_the_clock_steps_back() -> None:
    factory = IdFactory()
    times = [NOW_MS, NOW_MS, NOW_MS + 1, NOW_MS - 5000, NOW_MS, NOW_MS + 2]
    ids = [factory.new(now_ms) for now_ms in times]
    assert ids == sorted(ids)


def test_the_floor_of_a_millisecond_divides_before_from_after() -> None:
    factory = IdFactory()
    before, after = factory.new(NOW_MS - 1), factory.new(NOW_MS)
    assert before < id_floor(NOW_MS) <= after


def test_two_factories_with_other_randomness_make_other_ids() -> None:
    assert IdFactory().new(NOW_MS) != IdFactory().new(NOW_MS)


def test_other_texts_are_no_ids() -> None:
    for text in ("", "x" * 25, "u" * 26, "A" * 26, "0" * 25 + "é", "0" * 27):
        assert not is_id(text)
