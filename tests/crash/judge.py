"""The judgement over a run: what clients were told, what arrived and what is booked must agree. Pure.

Every rule has a name, under which it collects what breaks it; a run holds when nothing is collected. What is
allowed (duplicates with a cause, `docs/promises.md`) is counted apart.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.crash.books import Books, Delivery, Stored, spent
from tests.crash.fates import CANCELLED, DELIVERED, Wanted, refunded
from tests.crash.incidents import FREEZES_PER_THAW, PARTLY, THAW, UNEXPLAINED, Incident, Incidents
from tests.crash.seen import Copy, Seen
from tests.crash.tally import Sent, Tally

LATE_TRY = "a try without an answer was accepted after another was refused"
NO_CREDITS = "insufficient_credits"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the run was like. `poor`: the account that may be refused for want of credits."""

    poor: str = ""
    webhooks: dict[str, frozenset[str]] = field(default_factory=dict)
    """By account, the kinds of events its webhook asked for; none: all."""
    granted: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """By account and product: what was granted, and what may have been besides."""
    per_incident: int = 0
    """How many duplicates one incident may leave for each process it struck."""
    deaths: list[str] = field(default_factory=list)
    """Processes that ended although nobody killed them."""


@dataclass(slots=True)
class Verdict:
    """What was found: broken rules, and figures that are no faults."""

    broken: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    duplicates: Counter[str] = field(default_factory=Counter)
    """Copies beyond the first, by their cause."""
    thawing: defaultdict[Incident, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Those that came just after a freeze, by that."""
    cancelled_after_crash: int = 0
    """Cancelled, although the far end had taken it from a process that ended before it could settle."""
    reports: int = 0
    ends: Counter[str] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        """Whether no rule is broken."""
        return not any(self.broken.values())


class Judge:
    """One judgement; `verdict` makes it."""

    def __init__(self, tally: Tally, seen: Seen, books: Books, incidents: Incidents, rules: Rules) -> None:
        self._tally, self._seen, self._books = tally, seen, books
        self._incidents, self._rules = incidents, rules
        self._found = Verdict()
        self._by_address = {one.address: sent for sent in tally.sent.values() for one in sent.wanted}

    def verdict(self) -> Verdict:
        """Applies every rule."""
        self._acceptance()
        for stored in self._books.messages.values():
            sent = self._by_address.get(stored.deliveries[0].address)
            if sent is None:
                self._break("stored but never sent", stored.id)
                continue
            self._message(sent, stored)
            for delivery, wanted in zip(stored.deliveries, sent.wanted, strict=True):
                if stored.final:
                    self._delivery(sent, stored, wanted, delivery)
                self._copies(wanted, delivery)
            if stored.final and sent.receipt:
                self._receipt(stored)
        self._money()
        self._webhooks()
        self._bounds()
        return self._found

    def _break(self, rule: str, detail: str) -> None:
        self._found.broken[rule].append(detail)

    # --- acceptance ------------------------------------------------------------------------------------

    def _acceptance(self) -> None:
        books, tally = self._books, self._tally
        stored = Counter(one.address for message in books.messages.values() for one in message.deliveries)
        for address, count in stored.items():
            if count > 1:
                self._break("one submission, two messages", address)
        for token, message_id in tally.acked.items():
            if message_id not in books.messages:
                self._break("acknowledged and lost", f"{token} {message_id}")
        for token, reason in tally.refused.items():
            for one in tally.sent[token].wanted:
                if one.address in stored or self._seen.arrived(_at_far_end(one.address)):
                    if reason == NO_CREDITS and token in tally.again:
                        self._found.duplicates[LATE_TRY] += 1
                        continue
                    self._break("refused but stored or delivered", f"{token} {one.address}")
            if tally.sent[token].account != self._rules.poor or reason != NO_CREDITS:
                self._break("refused without a reason", f"{token}: {reason}")

    # --- one message -----------------------------------------------------------------------------------

    def _message(self, sent: Sent, stored: Stored) -> None:
        deliveries = stored.deliveries
        if not stored.final:
            self._break("not final after the drain", f"{sent.token} {stored.id} {stored.status}")
            return
        statuses = {one.status for one in deliveries}
        expected = statuses.pop() if len(statuses) == 1 else _mixed({one.status for one in deliveries})
        if stored.status != expected:
            self._break("status of message and recipients differ", f"{sent.token} {stored.status} {expected}")
        if stored.price != sum(one.price for one in deliveries) or stored.refunded != sum(
            one.refunded for one in deliveries
        ):
            self._break("message and recipients differ in credits", f"{sent.token} {stored.id}")
        if self._tally.cancelled.get(sent.token) and not any(one.status == CANCELLED for one in deliveries):
            self._break("cancellation granted and not done", f"{sent.token} {stored.id}")

    def _delivery(self, sent: Sent, stored: Stored, wanted: Wanted, one: Delivery) -> None:
        what = f"{sent.token} {stored.id} {one.address} is {one.status} {one.reason}".rstrip()
        self._found.ends[f"{stored.channel} {one.end}"] += 1
        if one.ends != [one.status]:
            self._break("events and status differ", f"{what}, events {one.ends}")
        if one.end not in wanted.ends and one.status != CANCELLED:
            self._break("another end than the far end gave", what)
        if fault := self._contradiction(wanted, one):
            self._break("status contradicts the far end", f"{what}: {fault}")
        due = one.price if refunded(stored.channel, one.end) else 0
        if one.refunded != due or one.refund_events != (due > 0):
            self._break("refund wrong", f"{what}: {one.refunded} of {due} in {one.refund_events} events")
        if stored.channel == "mail":
            self._report(sent, one, what)

    def _contradiction(self, wanted: Wanted, one: Delivery) -> str:
        """Why the far end's word is another than the status; empty where they agree."""
        address = _at_far_end(one.address)
        parts = [self._seen.copies.get((address, part), []) for part in range(wanted.parts)]
        taken = [copy for copies in parts for copy in copies]
        match one.end:
            case "delivered" if not all(any(copy.answered for copy in copies) for copies in parts):
                return "it took not all of it"
            case "delivered" | "undelivered":
                return self._receipts_say(address, one.end)
            case "rejected" if taken or not self._seen.refusals[address]:
                return f"taken {len(taken)} times, refused {self._seen.refusals[address]} times"
            case "unknown" if not taken:
                return "it took nothing"
            case "cancelled" | "expired":
                return self._withdrawn(taken)
        return ""

    def _receipts_say(self, address: str, end: str) -> str:
        """Why an SMSC's receipts tell another end; empty where they agree, or where it gives none."""
        if not address.isdigit():
            return ""
        states = self._seen.receipts.get(address, set())
        fits = "DELIVERED" in states if end == DELIVERED else bool(states - {"DELIVERED"})
        return "" if fits else f"its receipts say {states}"

    def _withdrawn(self, taken: list[Copy]) -> str:
        """Nothing may have arrived; from a process that ended just then nobody can know."""
        if not taken:
            return ""
        if all(self._incidents.struck(copy) for copy in taken):
            self._found.cancelled_after_crash += 1
            return ""
        return f"it took it {len(taken)} times"

    def _report(self, sent: Sent, one: Delivery, what: str) -> None:
        told = self._seen.reports.get(one.address, Counter())
        owed = one.status == "failed" and sent.reports
        self._found.reports += owed
        if owed and not told:
            self._break("delivery report lost", what)
        if len(told) > owed and told:
            self._break("delivery report doubled or not owed", f"{what}: {dict(told)}")
        self._found.duplicates["delivery reports that came again"] += sum(told.values()) - len(told)

    def _copies(self, wanted: Wanted, one: Delivery) -> None:
        """Finds a cause for every copy beyond the first."""
        address = _at_far_end(one.address)
        of_parts = [self._seen.copies.get((address, part), []) for part in range(wanted.parts)]
        partly = len({len(copies) for copies in of_parts}) > 1
        for part, copies in enumerate(of_parts):
            for before, copy in pairwise(copies):
                cause, incident = self._incidents.cause(before, copy, unknown=one.unknown > 0)
                if cause == UNEXPLAINED and partly:
                    cause = PARTLY  # the parts have no meaning alone: all were sent again
                self._found.duplicates[cause] += 1
                if incident is not None:
                    incident.duplicates += 1
                sent = ", ".join(f"by {each.pid} ({self._incidents.around(each)})" for each in (before, copy))
                after_s = copy.at_s - before.at_s
                what = f"{address}/{part} of {wanted.parts}: {sent}, {after_s:.2f} s apart; {one.story}"
                if cause == UNEXPLAINED:
                    self._break("duplicate without a cause", what)
                elif cause == THAW and incident is not None:
                    self._found.thawing[incident].append(what)

    def _receipt(self, stored: Stored) -> None:
        told = self._tally.receipts.get(stored.id, Counter())
        delivered = stored.status == DELIVERED
        if not told:
            self._break("receipt to an SMPP client lost", f"{stored.id} {stored.status}")
        elif any((state == "DELIVERED") != delivered for state in told):
            self._break("receipt to an SMPP client wrong", f"{stored.id} {stored.status}: {dict(told)}")
        self._found.duplicates["receipts that were told again"] += max(0, sum(told.values()) - 1)

    # --- all of them -----------------------------------------------------------------------------------

    def _money(self) -> None:
        cost = spent(self._books)
        for key, lots in self._books.lots.items():
            if lots.granted - lots.remaining != cost[key]:
                self._break("balance wrong", f"{key}: {lots}, messages cost {cost[key]}")
            least, perhaps = self._rules.granted.get(key, (lots.granted, 0))
            if not least <= lots.granted <= least + perhaps:
                self._break("grants wrong", f"{key}: {lots.granted}, asked for {least} and perhaps {perhaps}")
        if self._books.lots_off:
            self._break("lots out of balance", str(self._books.lots_off))
        for what in ("reports", "receipts", "webhooks"):
            count = getattr(self._books, f"open_{what}")
            if count:
                self._break("not final after the drain", f"{count} {what}")

    def _webhooks(self) -> None:
        for event_id, (account, kind) in self._books.events.items():
            kinds = self._rules.webhooks.get(account)
            if kinds is None or (kinds and kind not in kinds):
                continue
            told = self._tally.webhooks.get(event_id, Counter())
            if not told:
                self._break("event not told to the webhook", f"{event_id} {kind}")
            elif len(told) > 1:
                self._break("event told under two ids", f"{event_id} {kind}: {dict(told)}")
            self._found.duplicates["webhooks that were told again"] += max(0, sum(told.values()) - 1)
        for event_id in self._tally.webhooks.keys() - self._books.events.keys():
            self._break("webhook of an event that is not there", event_id)

    def _bounds(self) -> None:
        for death in self._rules.deaths:
            self._break("ended by itself, or badly", death)
        for one in self._incidents.all:
            most = self._rules.per_incident * max(1, len(one.pids))
            if one.duplicates > most:
                self._break("more duplicates than one incident explains", f"{one}: {most} at most")
        freezes = sum(one.thaws for one in self._incidents.all)
        if len(self._found.thawing) > max(1, freezes // FREEZES_PER_THAW):
            for found in self._found.thawing.values():
                self._found.broken["too often sent just after a freeze"] += found
        for due in self._early():
            self._break("sent before its time", due)

    def _early(self) -> Iterator[str]:
        for token, due_s in self._tally.due_s.items():
            for one in self._tally.sent[token].wanted:
                for copy in self._seen.copies.get((_at_far_end(one.address), 0), [])[:1]:
                    if copy.at_s < due_s - 0.1:
                        yield f"{token} {one.address}: {due_s - copy.at_s:.1f} s"


def _mixed(statuses: set[str]) -> str:
    if DELIVERED in statuses:
        return "partly_delivered"
    return "failed" if "failed" in statuses else CANCELLED


def _at_far_end(address: str) -> str:
    return address.removeprefix("+")
