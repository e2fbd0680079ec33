"""What a recipient's address has the far ends do with its message, and how its delivery may end. Pure.

Every address is used once, so that it names its message, here and at the far ends. The local part of a mail's
address begins with a script, a word for each try (`451-took-ok.12@…`); the last word stays. The digits behind
the operator's prefix of a number are the code of its fate and then a count (`+4179 13 00012`).
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

DELIVERED = "delivered"
CANCELLED = "cancelled"
PARTS_MAX = 3
T = TypeVar("T")


class Word(StrEnum):
    """What the mail sink does at one try: replies to RCPT, then what follows the content."""

    OK = "ok"
    BUSY = "451"  # to RCPT
    CLOSING = "421"  # to RCPT, and closes
    UNKNOWN_USER = "550"  # to RCPT
    REFUSED = "554"  # after the final dot
    DROP = "drop"  # closes after the final dot and keeps nothing
    TOOK = "took"  # keeps it and closes without an answer
    MUTE = "mute"  # says nothing after the final dot and keeps nothing
    KEPT = "kept"  # keeps it and says nothing


AFTER_DOT = frozenset({Word.REFUSED, Word.DROP, Word.TOOK, Word.MUTE, Word.KEPT})


class Code(StrEnum):
    """What the SMSC does with a number; the value stands in the number."""

    OK = "10"
    UNDELIVERED = "11"  # receipt UNDELIV
    EXPIRED = "12"  # receipt EXPIRED
    REJECTED = "13"  # receipt REJECTD
    INVALID = "14"  # submit_sm_resp ESME_RINVDSTADR
    THROTTLED_ONCE = "15"
    FULL_ONCE = "16"
    FULL = "17"  # ESME_RMSGQFUL always: expires, or is cancelled
    MUTE = "18"  # takes it and never answers
    LATE = "19"  # takes it and answers when the sender has given it up
    EARLY = "20"  # the receipt before submit_sm_resp
    TWICE = "21"  # the receipt twice
    EARLY_UNDELIVERED = "22"


@dataclass(frozen=True, slots=True)
class Fate:
    """How often it is drawn, and the ends its delivery may have: DELIVERED, or the reason of a failure."""

    weight: float
    ends: frozenset[str]


_DELIVERED = frozenset({DELIVERED})
_REJECTED = frozenset({"rejected"})
_UNDELIVERED = frozenset({"undelivered"})

MAIL = {
    "ok": Fate(80, _DELIVERED),
    "451-ok": Fate(4, _DELIVERED),
    "421-ok": Fate(2, _DELIVERED),
    "451-421-ok": Fate(1, _DELIVERED),
    "drop-ok": Fate(1, _DELIVERED),
    "took-ok": Fate(1, _DELIVERED),
    "mute-ok": Fate(0.5, _DELIVERED),
    "kept-ok": Fate(0.5, _DELIVERED),
    "550": Fate(6, _REJECTED),
    "451-550": Fate(2, _REJECTED),
    "554": Fate(2, _REJECTED),  # alone in its mail: the answer after the dot is for all recipients
}
SLOW_MAIL = {"451-451-451-451-ok": Fate(1, _DELIVERED), "kept-451-451-451-ok": Fate(1, _DELIVERED)}
"""Those that wait long enough to be cancelled."""

SMS = {
    Code.OK: Fate(78, _DELIVERED),
    Code.UNDELIVERED: Fate(5, _UNDELIVERED),
    Code.EXPIRED: Fate(1, _UNDELIVERED),
    Code.REJECTED: Fate(1, _UNDELIVERED),
    Code.INVALID: Fate(3, _REJECTED),
    Code.THROTTLED_ONCE: Fate(1, _DELIVERED),
    Code.FULL_ONCE: Fate(1, _DELIVERED),
    Code.MUTE: Fate(0.3, frozenset({"unknown"})),
    Code.LATE: Fate(0.5, frozenset({DELIVERED, "unknown"})),  # unknown: each answer met the next try
    Code.EARLY: Fate(5, _DELIVERED),
    Code.TWICE: Fate(3, _DELIVERED),
    Code.EARLY_UNDELIVERED: Fate(2, _UNDELIVERED),
}
SLOW_SMS = {Code.FULL: Fate(1, frozenset({"expired"}))}


@dataclass(frozen=True, slots=True)
class Fates:
    """Those that a run draws from. `slow` ones wait long enough to be cancelled."""

    mail: dict[str, Fate]
    sms: dict[Code, Fate]
    slow: bool = False


ALL = Fates(MAIL, SMS, slow=True)
PLAIN = Fates({"ok": Fate(1, _DELIVERED)}, {Code.OK: Fate(1, _DELIVERED)})
FOREIGN = Fates(PLAIN.mail, {code: fate for code, fate in SMS.items() if code not in {Code.MUTE, Code.LATE}})
"""What far ends can do that are not our own."""

_REFUND_ON = {
    "mail": frozenset({CANCELLED, "rejected"}),
    "sms": frozenset({CANCELLED, "rejected", "expired", "undelivered"}),
}
REFUND_TOML = {channel: ", ".join(f'"{one}"' for one in sorted(ends)) for channel, ends in _REFUND_ON.items()}


def refunded(channel: str, end: str) -> bool:
    """Whether a delivery that ended so is paid back, by the configuration of the daemons under test."""
    return end in _REFUND_ON[channel]


def word(address: str, tries: int) -> Word:
    """What the mail sink does with a recipient that was offered `tries` times before."""
    script = address.partition("@")[0].partition(".")[0].split("-")
    try:
        return Word(script[min(tries, len(script) - 1)])
    except ValueError:
        return Word.OK  # the senders, who get the reports


def code(number: str) -> Code:
    """What the SMSC does with a number, with or without its plus sign."""
    return Code(number.removeprefix("+")[4:6])


@dataclass(frozen=True, slots=True)
class Wanted:
    """One recipient: its address, how it may end, and in how many parts its text goes there."""

    address: str
    ends: frozenset[str]
    parts: int = 1


Counts = dict[str, Iterator[int]]


class Addresses:
    """Draws recipients by `rng`; none twice among all that share `counts`."""

    def __init__(self, rng: random.Random, counts: Counts) -> None:
        self._rng = rng
        self._counts = counts

    def mails(self, fates: dict[str, Fate], most: int = 3) -> list[Wanted]:
        """One to `most` recipients of one mail."""
        drawn = [self._drawn(list(fates), fates) for _ in range(self._rng.randint(1, most))]
        if "554" in drawn:
            drawn = ["554"]
        return [Wanted(f"{script}.{self._count('mail')}@example.net", fates[script].ends) for script in drawn]

    def numbers(self, fates: dict[Code, Fate], most: int = 3, parts: int = 1) -> list[Wanted]:
        """One to `most` recipients of one SMS of so many parts."""
        drawn = [self._drawn(list(fates), fates) for _ in range(self._rng.randint(1, most))]
        return [Wanted(self._number(one), fates[one].ends, parts) for one in drawn]

    def _drawn(self, names: Sequence[T], fates: dict[T, Fate]) -> T:
        return self._rng.choices(names, [fates[name].weight for name in names])[0]

    def _number(self, one: Code) -> str:
        count = self._count(one)
        return f"+41{76 + count // 100_000}{one}{count % 100_000:05d}"

    def _count(self, name: str) -> int:
        return next(self._counts.setdefault(name, itertools.count()))
