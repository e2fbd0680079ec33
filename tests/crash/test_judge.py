"""The judge finds what is planted: each fault in a run that adds up breaks the rule that is for it, alone."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from tests.crash.books import Books, Delivery, Lots, Stored
from tests.crash.fates import DELIVERED, Wanted
from tests.crash.incidents import IN_FLIGHT, LEASE_LOST, PARTLY, THAW, UNEXPLAINED, UNKNOWN, Incidents
from tests.crash.judge import LATE_TRY, NO_CREDITS, Judge, Rules, Verdict
from tests.crash.seen import Copy, Seen
from tests.crash.tally import Sent, Tally

MAIL, BAD, SMS, POOR = "ok.1@example.net", "550.2@example.net", "+41761000001", "ok.3@example.net"
GOOD = frozenset({DELIVERED})
PID, OTHER = 100, 200
_DIGITS = SMS.removeprefix("+")


@dataclass
class Run:
    """A run that adds up: a mail to two, of whom one fails; an SMS in two parts over SMPP; one refused."""

    tally: Tally = field(default_factory=Tally)
    seen: Seen = field(default_factory=Seen)
    books: Books = field(default_factory=Books)
    incidents: Incidents = field(default_factory=Incidents)
    rules: Rules = field(
        default_factory=lambda: Rules(
            poor="poor",
            webhooks={"rich": frozenset({"message.failed"})},
            granted={("rich", "mail"): (100, 0)},
            per_incident=2,
        )
    )

    def __post_init__(self) -> None:
        tally, seen, books = self.tally, self.seen, self.books
        mails = (Wanted(MAIL, GOOD), Wanted(BAD, frozenset({"rejected"})))
        for sent in (
            Sent("mail", "rich", "mail", mails),
            Sent("sms", "rich", "sms", (Wanted(SMS, GOOD, 2),), receipt=True),
            Sent("refused", "poor", "mail", (Wanted(POOR, GOOD),)),
        ):
            tally.sent[sent.token] = sent
        tally.acked = {"mail": "m", "sms": "s"}
        tally.refused = {"refused": NO_CREDITS}
        tally.note_receipt("s", "DELIVERED")
        tally.note_webhook("event", "delivery")
        seen.copies[MAIL, 0] = [Copy(10.0, PID)]
        seen.copies[SMS[1:], 0] = [Copy(10.0, PID)]
        seen.copies[SMS[1:], 1] = [Copy(10.0, PID)]
        seen.refusals[BAD] = 1
        seen.receipts[SMS[1:]].add("DELIVERED")
        seen.reports[BAD]["<report>"] = 1
        books.messages["m"] = Stored("m", "rich", "mail", "partly_delivered", 2, 1)
        books.messages["m"].deliveries = [
            Delivery(0, MAIL, "delivered", 1, 0, ends=["delivered"]),
            Delivery(1, BAD, "failed", 1, 1, ends=["failed"], reason="rejected", refund_events=1),
        ]
        books.messages["s"] = Stored("s", "rich", "sms", "delivered", 2, 0)
        books.messages["s"].deliveries = [Delivery(0, SMS, "delivered", 2, 0, ends=["delivered"])]
        books.events["event"] = "rich", "message.failed"
        books.lots = {("rich", "mail"): Lots(100, 99), ("rich", "sms"): Lots(100, 98)}

    @property
    def mail(self) -> Stored:
        return self.books.messages["m"]

    def verdict(self) -> Verdict:
        return Judge(self.tally, self.seen, self.books, self.incidents, self.rules).verdict()

    def twice(self, second: Copy, *, first: Copy | None = None) -> None:
        """The mail comes again."""
        self.seen.copies[MAIL, 0] = [first or Copy(10.0, PID), second]


def lose(run: Run) -> None:
    del run.books.messages["s"]
    run.books.lots["rich", "sms"] = Lots(100, 100)


def store_again(run: Run) -> None:
    again = replace(run.books.messages["s"], id="again", price=0)
    again.deliveries = [replace(again.deliveries[0], price=0)]
    run.books.messages["again"] = again
    run.tally.note_receipt("again", "DELIVERED")


def deliver_refused(run: Run) -> None:
    run.seen.copies[POOR, 0] = [Copy(1.0, PID)]


def refuse_the_rich(run: Run) -> None:
    run.tally.refused["refused"] = "sender_not_allowed"


def leave_open(run: Run) -> None:
    run.mail.status = "queued"


def leave_a_webhook(run: Run) -> None:
    run.books.open_webhooks = 1


def change_status(run: Run) -> None:
    run.mail.status = "delivered"


def change_price(run: Run) -> None:
    run.mail.price, run.books.lots["rich", "mail"] = 3, Lots(100, 98)


def cancel_in_vain(run: Run) -> None:
    run.tally.cancelled["mail"] = True


def end_twice(run: Run) -> None:
    run.mail.deliveries[0].ends.append("delivered")


def fail_otherwise(run: Run) -> None:
    run.mail.deliveries[1].reason = "expired"
    run.mail.deliveries[1].refunded = run.mail.deliveries[1].refund_events = 0
    run.mail.refunded, run.books.lots["rich", "mail"] = 0, Lots(100, 98)


def take_nothing(run: Run) -> None:
    del run.seen.copies[MAIL, 0]


def take_one_part(run: Run) -> None:
    del run.seen.copies[SMS[1:], 1]


def tell_otherwise(run: Run) -> None:
    run.seen.receipts[SMS[1:]] = {"UNDELIVERABLE"}


def take_what_failed(run: Run) -> None:
    run.seen.copies[BAD, 0] = [Copy(1.0, PID)]


def cancel_what_arrived(run: Run) -> None:
    one = run.mail.deliveries[0]
    one.status, one.ends, one.refunded, one.refund_events = "cancelled", ["cancelled"], 1, 1
    run.mail.status, run.mail.refunded = "failed", 2
    run.books.lots["rich", "mail"] = Lots(100, 100)


def refund_twice(run: Run) -> None:
    run.mail.deliveries[1].refund_events = 2


def charge_more(run: Run) -> None:
    run.books.lots["rich", "mail"] = Lots(100, 98)


def grant_more(run: Run) -> None:
    run.books.lots["rich", "mail"] = Lots(130, 129)


def unbalance(run: Run) -> None:
    run.books.lots_off = 1


def lose_report(run: Run) -> None:
    run.seen.reports.clear()


def report_twice(run: Run) -> None:
    run.seen.reports[BAD]["<another>"] = 1


def report_success(run: Run) -> None:
    run.seen.reports[MAIL]["<report>"] = 1


def lose_receipt(run: Run) -> None:
    run.tally.receipts.clear()


def tell_client_otherwise(run: Run) -> None:
    run.tally.note_receipt("s", "UNDELIVERABLE")


def lose_webhook(run: Run) -> None:
    run.tally.webhooks.clear()


def tell_webhook_twice(run: Run) -> None:
    run.tally.note_webhook("event", "another")


def invent_event(run: Run) -> None:
    run.tally.note_webhook("nothing", "delivery")


def send_early(run: Run) -> None:
    run.tally.due_s["mail"] = 11.0


def send_again(run: Run) -> None:
    run.twice(Copy(20.0, OTHER))


def strike_too_much(run: Run) -> None:
    run.incidents.begin("killed", [PID], 10.1).to_s = 10.2
    run.seen.copies[MAIL, 0] = [Copy(10.0, PID)] * 4


def die(run: Run) -> None:
    run.rules.deaths.append("a worker, by signal 11")


FAULTS: dict[str, tuple[Callable[[Run], None], ...]] = {
    "acknowledged and lost": (lose,),
    "one submission, two messages": (store_again,),
    "refused but stored or delivered": (deliver_refused,),
    "refused without a reason": (refuse_the_rich,),
    "not final after the drain": (leave_open, leave_a_webhook),
    "status of message and recipients differ": (change_status,),
    "message and recipients differ in credits": (change_price,),
    "cancellation granted and not done": (cancel_in_vain,),
    "events and status differ": (end_twice,),
    "another end than the far end gave": (fail_otherwise,),
    "status contradicts the far end": (
        take_nothing, take_one_part, tell_otherwise, take_what_failed, cancel_what_arrived,
    ),
    "refund wrong": (refund_twice,),
    "balance wrong": (charge_more,),
    "grants wrong": (grant_more,),
    "lots out of balance": (unbalance,),
    "delivery report lost": (lose_report,),
    "delivery report doubled or not owed": (report_twice, report_success),
    "receipt to an SMPP client lost": (lose_receipt,),
    "receipt to an SMPP client wrong": (tell_client_otherwise,),
    "event not told to the webhook": (lose_webhook,),
    "event told under two ids": (tell_webhook_twice,),
    "webhook of an event that is not there": (invent_event,),
    "sent before its time": (send_early,),
    "duplicate without a cause": (send_again,),
    "ended by itself, or badly": (die,),
    "more duplicates than one incident explains": (strike_too_much,),
}  # fmt: skip


def test_a_run_that_adds_up_breaks_no_rule() -> None:
    verdict = Run().verdict()
    assert verdict.holds, verdict.broken
    assert verdict.reports == 1


@pytest.mark.parametrize(
    ("rule", "plant"), [(rule, one) for rule, plants in FAULTS.items() for one in plants]
)
def test_a_planted_fault_breaks_its_rule_alone(rule: str, plant: Callable[[Run], None]) -> None:  # A3
    run = Run()
    plant(run)
    assert list(run.verdict().broken) == [rule]


def test_a_duplicate_is_explained_by_the_end_of_who_sent_the_copy_before() -> None:
    run = Run()
    run.incidents.begin("killed", [PID], 10.5).to_s = 10.6
    run.twice(Copy(20.0, OTHER))
    verdict = run.verdict()
    assert verdict.holds
    assert verdict.duplicates == Counter({"killed": 1})


def test_a_duplicate_is_not_explained_by_the_end_of_another_process_nor_by_one_long_after() -> None:
    for pid, at_s in ((OTHER, 10.5), (PID, 15.0)):
        run = Run()
        run.incidents.begin("killed", [pid], at_s).to_s = at_s
        run.twice(Copy(20.0, OTHER))
        assert run.verdict().duplicates[UNEXPLAINED] == 1


def test_an_end_in_good_order_explains_no_duplicate() -> None:
    run = Run()
    incident = run.incidents.begin("ended by SIGTERM", [PID], 10.5)
    incident.to_s, incident.explains = 10.6, False
    run.twice(Copy(20.0, OTHER))
    assert run.verdict().duplicates[UNEXPLAINED] == 1


def test_who_stands_still_holds_up_the_settlements_of_others() -> None:
    expected = {"killed": (9.9, 13.2), UNEXPLAINED: (9.9, 10.2)}  # for three seconds, for less than one
    for cause, (from_s, to_s) in expected.items():
        run = Run()
        run.incidents.begin("frozen", [OTHER], from_s, ends=False).to_s = to_s
        run.incidents.begin("killed", [PID], 13.4).to_s = 13.4
        run.twice(Copy(20.0, OTHER))
        assert run.verdict().duplicates == Counter({cause: 1})


def test_only_an_earlier_try_without_an_answer_explains_that_what_was_refused_arrived() -> None:
    run = Run()
    deliver_refused(run)
    assert list(run.verdict().broken) == ["refused but stored or delivered"]
    run.tally.again.add("refused")
    verdict = run.verdict()
    assert verdict.holds, verdict.broken
    assert verdict.duplicates == Counter({LATE_TRY: 1})


def test_a_part_comes_again_without_another_cause_only_where_its_message_was_not_taken_whole() -> None:
    run = Run()
    run.seen.copies[_DIGITS, 0] = [Copy(10.0, PID), Copy(12.0, PID)]
    run.seen.copies[_DIGITS, 1] = [Copy(12.0, PID)]
    assert run.verdict().duplicates == Counter({PARTLY: 1})
    run.seen.copies[_DIGITS, 1] = [Copy(10.0, PID), Copy(12.0, PID)]
    assert run.verdict().duplicates == Counter({UNEXPLAINED: 2})


def test_of_a_frozen_process_only_the_last_moments_before_explain_a_duplicate() -> None:
    expected = {
        IN_FLIGHT: (Copy(9.5, PID), Copy(12.0, OTHER)),  # before it stood still
        THAW: (Copy(12.0, OTHER), Copy(13.05, PID)),  # asked before, sent after
        UNEXPLAINED: (Copy(12.0, OTHER), Copy(13.5, PID)),  # it should have asked
    }
    for cause, (first, second) in expected.items():
        run = Run()
        run.incidents.begin("frozen", [PID], 10.0, ends=False).to_s = 13.0
        run.twice(second, first=first)
        assert run.verdict().duplicates == Counter({cause: 1})


def test_who_lost_its_lease_may_have_sent_until_it_was_to_stop() -> None:
    expected = {LEASE_LOST: 11.0, UNEXPLAINED: 11.1}
    for cause, at_s in expected.items():
        run = Run()
        run.incidents.begin(LEASE_LOST, [PID], 10.0, ends=False).to_s = 11.0
        run.twice(Copy(12.0, OTHER), first=Copy(at_s, PID))
        assert run.verdict().duplicates == Counter({cause: 1})


def test_seldom_does_a_pause_fall_between_check_and_octet() -> None:
    """All that one turn of the loop writes falls into one pause, but few pauses fall so."""
    run = Run(rules=replace(Run().rules, per_incident=10))
    run.incidents.begin("frozen", [PID], 10.0, ends=False).to_s = 13.0
    run.seen.copies[MAIL, 0] = [Copy(12.0, OTHER), Copy(13.01, PID), Copy(13.02, PID)]
    assert run.verdict().holds
    run.incidents.begin("frozen", [PID], 20.0, ends=False).to_s = 23.0
    run.seen.copies[MAIL, 0] += [Copy(22.0, OTHER), Copy(23.01, PID)]
    assert list(run.verdict().broken) == ["too often sent just after a freeze"]


def test_a_duplicate_is_explained_by_an_unknown_outcome_that_was_told() -> None:
    run = Run()
    run.mail.deliveries[0].unknown = 1
    run.twice(Copy(20.0, OTHER))
    assert run.verdict().duplicates == Counter({UNKNOWN: 1})


def test_what_a_dying_process_sent_may_be_cancelled() -> None:
    run = Run()
    cancel_what_arrived(run)
    run.incidents.begin("killed", [PID], 10.5).to_s = 10.6
    verdict = run.verdict()
    assert verdict.holds
    assert verdict.cancelled_after_crash == 1
