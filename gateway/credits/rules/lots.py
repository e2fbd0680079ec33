"""The arithmetic of credits: lots burnt oldest first, never below zero, and refunds to where they came from.

All functions take lots of one account and one product (R2) and give new ones; whoever calls them writes the
postings. A lot is expired from the instant `expires_ms` on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

Part = tuple[str, int]
"""(lot id, credits > 0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """Credits released together; `expires_ms` is None for a lot without end."""

    id: str
    released_ms: int
    expires_ms: int | None
    remaining: int

    def expired(self, now_ms: int) -> bool:
        """Whether its life is over."""
        return self.expires_ms is not None and self.expires_ms <= now_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchBurn:
    """A batch of burns: per price its parts, or None where it was refused; all the lots as they are now."""

    parts: list[list[Part] | None]
    lots: list[Lot]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLot:
    """A lot to be made for credits whose own lot has expired."""

    credits: int
    expires_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Where credits go back to: lots that live, and lots to be made (R6)."""

    returned: list[Part]
    reissued: list[NewLot]


def available(lots: Iterable[Lot], now_ms: int) -> int:
    """What can be spent now."""
    return sum(lot.remaining for lot in lots if not lot.expired(now_ms))


def burn_many(lots: Sequence[Lot], prices: Sequence[int], now_ms: int) -> BatchBurn:
    """Take each price in turn, whole and from the oldest release on (R3); what does not fit is refused (R12).

    After one that was refused the next is tried. Lots of the same instant burn in the order of their ids, so
    that the same batch always burns alike. A price below zero is a ValueError.
    """
    ordered = sorted(lots, key=_age)
    usable = [lot for lot in ordered if lot.remaining > 0 and not lot.expired(now_ms)]
    left = [lot.remaining for lot in usable]
    total = sum(left)
    at = 0  # the oldest lot with something left
    parts: list[list[Part] | None] = []
    for price in prices:
        if price < 0:
            raise ValueError(f"a price of {price} credits is below zero")
        if price > total:
            parts.append(None)  # R12: whole or not at all
            continue
        total -= price
        taken: list[Part] = []
        while price > 0:
            share = min(price, left[at])
            taken.append((usable[at].id, share))
            left[at] -= share
            price -= share  # noqa: PLW2901 - what is still to be taken of this price
            at += left[at] == 0
        parts.append(taken)
    remaining = {lot.id: rest for lot, rest in zip(usable, left, strict=True)}
    after = [_with_remaining(lot, remaining.get(lot.id, lot.remaining)) for lot in ordered]
    return BatchBurn(parts=parts, lots=after)


def expire(lots: Iterable[Lot], now_ms: int) -> list[Part]:
    """What is void in the lots whose life is over, oldest release first (R4)."""
    void = [lot for lot in lots if lot.remaining > 0 and lot.expired(now_ms)]
    return [(lot.id, lot.remaining) for lot in sorted(void, key=_age)]


def refund(parts: Iterable[Part], lots: Iterable[Lot], *, accepted_ms: int, now_ms: int) -> Refund:
    """Where the parts of a burn made at `accepted_ms` go back to.

    To their own lot while it lives; otherwise to a new lot that has, from now, the life that was left when
    they were burnt (R6). `lots` holds every lot of `parts`; a part whose lot is not there is a ValueError.
    """
    by_id = {lot.id: lot for lot in lots}
    returned: list[Part] = []
    renewed: dict[int, int] = {}  # when the new lot expires → its credits
    for lot_id, credit in parts:
        lot = by_id.get(lot_id)
        if lot is None or credit <= 0:
            raise ValueError(f"{credit} credits of lot {lot_id} cannot go back: no such lot, or no such sum")
        if lot.expires_ms is None or not lot.expired(now_ms):
            returned.append((lot_id, credit))
        else:
            expires_ms = now_ms + max(0, lot.expires_ms - accepted_ms)
            renewed[expires_ms] = renewed.get(expires_ms, 0) + credit
    reissued = [NewLot(credits=credit, expires_ms=expires_ms) for expires_ms, credit in renewed.items()]
    return Refund(returned=returned, reissued=reissued)


def _age(lot: Lot) -> tuple[int, str]:
    """The order lots burn in (R3)."""
    return lot.released_ms, lot.id


def _with_remaining(lot: Lot, remaining: int) -> Lot:
    """The lot, with what is left of it."""
    return lot if lot.remaining == remaining else replace(lot, remaining=remaining)
