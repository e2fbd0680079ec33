"""What the clients send: each kind of client draws its next message from the run's seed."""

import itertools
import random
from collections.abc import Callable
from dataclasses import replace

from tests.crash.fates import PARTS_MAX, SLOW_MAIL, SLOW_SMS, Addresses, Counts, Fates
from tests.crash.tally import Sent

Plan = Callable[[], Sent]
_SEGMENT = 153  # septets of one part of several, 3GPP TS 23.040 section 9.2.3.24.1


def text(sent: Sent) -> str:
    """The text of an SMS in so many parts."""
    return sent.token if sent.parts == 1 else sent.token.ljust(sent.parts * _SEGMENT, ".")


class Plans:
    """Draws the messages of one client, `name`, for one account."""

    def __init__(self, name: str, account: str, fates: Fates, rng: random.Random, counts: Counts) -> None:
        self.name = name
        self._account = account
        self._rng = rng
        self._addresses = Addresses(rng, counts)
        self._fates = fates
        self._count = itertools.count(1)

    def mail(self, *, keyed: bool = False, notify: bool = False) -> Sent:
        """A mail to one to three recipients; with `notify` a fifth asks for no reports."""
        return Sent(
            self._token(),
            self._account,
            "mail",
            tuple(self._addresses.mails(self._fates.mail)),
            keyed=keyed,
            reports=not notify or self._rng.random() < 0.8,
        )

    def sms(self, *, keyed: bool = False) -> Sent:
        """An SMS of one to three parts to one to three numbers."""
        parts = self._rng.choice((1, 1, 1, 1, 2, PARTS_MAX))
        wanted = tuple(self._addresses.numbers(self._fates.sms, parts=parts))
        return Sent(self._token(), self._account, "sms", wanted, keyed=keyed, parts=parts)

    def single_sms(self) -> Sent:
        """As an SMPP client sends it, with a receipt."""
        wanted = tuple(self._addresses.numbers(self._fates.sms, 1))
        return Sent(self._token(), self._account, "sms", wanted, receipt=True)

    def batch(self) -> list[Sent]:
        """Two to eight mails and SMS under one key."""
        count = self._rng.randint(2, 8)
        return [(self.mail if self._rng.random() < 0.5 else self.sms)(keyed=True) for _ in range(count)]

    def scheduled(self) -> Sent:
        """A mail or an SMS for a little later."""
        one = (self.mail if self._rng.random() < 0.5 else self.sms)(keyed=True)
        return replace(one, delay_s=self._rng.uniform(1.5, 4.0))

    def slow(self) -> Sent:
        """One whose recipients put it off for a while, so that it can be cancelled."""
        if self._rng.random() < 0.5:
            wanted = tuple(self._addresses.mails(SLOW_MAIL, 2))
            return Sent(self._token(), self._account, "mail", wanted, keyed=True)
        wanted = tuple(self._addresses.numbers(SLOW_SMS, 1))
        return Sent(self._token(), self._account, "sms", wanted, keyed=True, validity_s=4)

    def _token(self) -> str:
        return f"token-{self.name}-{next(self._count)}"
