"""Who has to make room: the peer's oldest, the crowd's oldest, never one that is known; at constant cost."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from gateway.doors.admission import DOOR_LIMIT, PEER_LIMIT, Room
from gateway.peers import Networks


class Doorman:
    """A room of names, and who was turned out of it."""

    def __init__(self, most: int, per_peer: int, proxies: Networks | None = None) -> None:
        self.out: list[tuple[str, str]] = []
        self.room: Room[str] = Room(most, per_peer, lambda *one: self.out.append(one), proxies)

    def enter(self, guest: str, peer: str = "192.0.2.1") -> bool:
        return self.room.enter(guest, peer)


def test_at_a_peers_limit_its_oldest_stranger_makes_room() -> None:
    one = Doorman(10, 2)
    assert all(one.enter(guest) for guest in "abcd")
    assert one.out == [("a", PEER_LIMIT), ("b", PEER_LIMIT)]
    assert len(one.room) == 2


def test_others_do_not_count_for_a_peer() -> None:
    one = Doorman(10, 1)
    assert one.enter("a", "192.0.2.1")
    assert one.enter("b", "192.0.2.2")
    assert one.enter("c", "2001:db8:1:1::1")
    assert one.enter("d", "2001:db8:1:2::1")
    assert one.enter("e", "2001:db8:1:1:ffff::")  # the same /64 as c
    assert one.out == [("c", PEER_LIMIT)]


def test_who_is_known_counts_for_no_peer_and_leaves_for_nobody() -> None:
    one = Doorman(4, 1)
    for guest, account in (("a", "x"), ("b", "y"), ("c", "x")):
        assert one.enter(guest)
        assert one.room.recognise(guest, account)
    assert one.enter("d")
    assert one.enter("e", "192.0.2.2")
    assert one.out == [("d", DOOR_LIMIT)]
    assert one.room.recognise("e", "y")
    assert not one.enter("f")
    one.room.leave("b")
    assert one.enter("f")


def test_an_account_has_at_most_half_of_the_room_for_sure() -> None:
    one = Doorman(4, 4)
    for guest in "abc":
        one.enter(guest)
    assert [one.room.recognise(guest, "x") for guest in "abc"] == [True, True, False]
    one.enter("d", "192.0.2.2")
    one.enter("e", "192.0.2.3")
    assert one.out == [("c", DOOR_LIMIT)]
    one.room.leave("a")
    assert one.room.recognise("d", "x")


def test_in_a_full_room_the_oldest_of_the_peer_that_has_most_makes_room() -> None:
    one = Doorman(5, 5)
    one.enter("good", "192.0.2.9")  # the oldest of all
    for guest in ("a1", "a2"):
        one.enter(guest, "192.0.2.1")
    for guest in ("b1", "b2"):
        one.enter(guest, "192.0.2.2")
    for number in range(100):
        assert one.enter(f"b{number + 3}", "192.0.2.2")
    assert "good" not in dict(one.out)
    assert one.out[0] == ("a1", DOOR_LIMIT)
    assert [guest for guest, _ in one.out[1:]] == [f"b{number + 1}" for number in range(99)]


def test_a_proxy_has_no_limit_of_its_own_but_shares_the_room() -> None:
    one = Doorman(5, 1, Networks(["10.0.0.0/8"]))
    assert all(one.enter(guest, "10.0.0.1") for guest in "abcde")
    assert one.out == []
    assert one.enter("f", "192.0.2.1")
    assert one.out == [("a", DOOR_LIMIT)]


def test_leaving_twice_and_what_never_came_give_nothing_back() -> None:
    one = Doorman(2, 2)
    one.enter("a")
    one.room.recognise("a", "x")
    for _ in range(3):
        one.room.leave("a")
        one.room.leave("nobody")
    assert not one.room.recognise("a", "x")
    assert len(one.room) == 0
    assert one.enter("b")
    assert one.enter("c")
    assert one.out == []


def _coming(room: Room[str], number: int) -> None:
    room.enter(str(number), f"192.0.2.{number % 5}")


def _leaving(room: Room[str], number: int) -> None:
    room.leave(str(number))


def _known(room: Room[str], number: int) -> None:
    room.recognise(str(number), f"x{number % 3}")


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_limits_hold_and_nothing_is_left(seed: int) -> None:
    chance = random.Random(seed)
    inside: set[str] = set()
    room: Room[str] = Room(12, 3, lambda guest, _: inside.discard(guest))
    happenings: list[Callable[[Room[str], int], None]] = [_coming, _coming, _leaving, _known]
    for step in range(2000):
        happening = chance.choice(happenings)
        number = step if happening is _coming else chance.randrange(max(0, step - 30), step + 1)
        happening(room, number)
        if happening is _coming and (str(number) in room._strangers):
            inside.add(str(number))
        if happening is _leaving:
            inside.discard(str(number))
        assert inside == set(room._strangers) | set(room._members)
        assert len(room) <= 12
        strangers = Counter(room._strangers.values())
        assert all(count <= 3 for count in strangers.values())
        assert {peer: len(queue) for peer, queue in room._queues.items()} == strangers
        assert room._highest == max(strangers.values(), default=0)
        assert all(count <= 6 for count in room._places.values())
    for guest in tuple(inside):
        room.leave(guest)
    assert not any((room._strangers, room._members, room._queues, room._ranks, room._places))
    assert room._highest == 0
