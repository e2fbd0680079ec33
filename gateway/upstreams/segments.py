"""One SMS on its way to an SMSC: its segments, the answers to them, and what they come to.

All segments are submitted together. One that the SMSC throttles is offered again after a moment, which it
spends aside: it takes no turn of the link's, nor of the works under way. Whether the link slows down, or the
message is itself the reason, is found by `smpp.pacing`. The answer to a segment may come after it was given
up as unknown; when with it every segment has been taken, `late` is told. No task, and one future.
"""

import asyncio
from collections.abc import Callable, Sequence

from gateway.messages.model import Deferred, Delivered, Failed, Outcome, Submitted, Unknown, Work
from smpp import receipt
from smpp.constants import CommandStatus, status_name
from smpp.esme import Esme, RequestOutcome, SubmitResult
from smpp.pdu import Response, SubmitSm

REST_S = 1.0  # a link that is down; the queue rests longer with every time in a row
_ASIDE_S = (0.25, 1.0, 2.0, 4.0, 8.0)  # before each further try of a segment that is throttled
_BLOCKED_S = 5.0  # what met only throttling then waits in the database
# What may pass if it is tried again; everything else that is refused stays refused.
_TEMPORARY = frozenset(
    int(status)
    for status in (CommandStatus.ESME_RSUBMITFAIL, CommandStatus.ESME_RX_T_APPN, CommandStatus.ESME_RSYSERR)
)

Ended = Callable[[Work, Sequence[SubmitResult]], Outcome]
Late = Callable[[Work, Sequence[SubmitResult]], None]
Aside = Callable[[int], None]
"""Is told of one work more, or one less, that waits aside."""


class Segment:
    """One submit_sm; the link calls it with the result. The whole knows no segment, so that all are
    gone, with the message, when the last answer has come.
    """

    __slots__ = ("_esme", "_pdu", "_place", "_segments", "_tries")

    def __init__(self, segments: "Segments", place: int, esme: Esme, pdu: SubmitSm) -> None:
        self._segments = segments
        self._place = place
        self._esme = esme
        self._pdu = pdu
        self._tries = 0

    @property
    def message(self) -> "Segments":
        """What all segments of one message share (`smpp.link.Told`)."""
        return self._segments

    def __call__(self, result: SubmitResult) -> None:
        if result.outcome is not RequestOutcome.THROTTLED:
            self._segments.answered(self._place, result)
        elif self._tries < len(_ASIDE_S):
            self._segments.set_aside(1)
            self._wait(result)
        else:
            self._segments.answered(self._place, result)

    def _wait(self, result: SubmitResult) -> None:
        wait_s = _ASIDE_S[self._tries]
        self._tries += 1
        asyncio.get_running_loop().call_later(wait_s, self._again, result)

    def _again(self, result: SubmitResult) -> None:
        """Offers the segment again. While nothing passes, what has not been throttled yet may try first: it
        tells more of the link.
        """
        esme = self._esme
        others_try = esme.probing and (esme.waiting or esme.outstanding)
        if others_try and self._tries < len(_ASIDE_S):
            self._wait(result)
            return
        self._segments.set_aside(-1)
        if others_try:
            self._segments.answered(self._place, result)
        else:
            esme.submit_told(self._pdu, self, first=True)

    def answered_late(self, response: Response) -> None:
        """The SMSC's answer after the result was UNKNOWN; a refusal changes nothing, the next try tells."""
        if response.command_status == CommandStatus.ESME_ROK:
            message_id = getattr(response, "message_id", "")
            self._segments.taken_late(self._place, SubmitResult(RequestOutcome.OK, 0, message_id))


class Segments:
    """Submits the segments of one work at once; `future` gets its outcome, which `ended` makes of the
    answers.
    """

    __slots__ = ("_aside", "_ended", "_late", "_left", "_results", "_segments_aside", "future", "work")

    def __init__(
        self, work: Work, esme: Esme, pdus: Sequence[SubmitSm], ended: Ended, late: Late, aside: Aside
    ) -> None:
        self.work = work
        self.future: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()
        self._ended = ended
        self._late = late
        self._aside = aside
        self._segments_aside = 0
        self._left = len(pdus)
        self._results = [_NO_RESULT] * len(pdus)
        for place, pdu in enumerate(pdus):
            esme.submit_told(pdu, Segment(self, place, esme, pdu))

    def answered(self, place: int, result: SubmitResult) -> None:
        """One more segment has its answer."""
        self._results[place] = result
        self._left -= 1
        if not self._left and not self.future.done():
            self.future.set_result([self._ended(self.work, self._results)])

    def set_aside(self, change: int) -> None:
        """One more segment waits aside (1), or one less (-1); the work does while any of them does."""
        before = self._segments_aside
        self._segments_aside += change
        if not before or not self._segments_aside:
            self._aside(change)

    def taken_late(self, place: int, result: SubmitResult) -> None:
        """A segment has been taken after all, if it was unknown whether."""
        if self._results[place].outcome is not RequestOutcome.UNKNOWN:
            return
        self._results[place] = result
        if not self._left and all(one.outcome is RequestOutcome.OK for one in self._results):
            self._late(self.work, self._results)


_NO_RESULT = SubmitResult(RequestOutcome.NOT_SENT)


def outcome_of(upstream: str, results: Sequence[SubmitResult], *, receipts: bool) -> Outcome:
    """One outcome from the answers to all segments; the worst decides. `receipts`: they tell the rest."""
    for result in results:
        if result.outcome is not RequestOutcome.OK:
            return _failure(results)
    return submitted(upstream, results) if receipts else Delivered(reply="accepted by the operator")


def submitted(upstream: str, results: Sequence[SubmitResult]) -> Submitted:
    """Every segment was taken."""
    if len(results) == 1:
        ids: tuple[str, ...] = (receipt.normalise(results[0].message_id),)
    else:
        ids = tuple([receipt.normalise(result.message_id) for result in results])
    return Submitted(reply=f"accepted as {', '.join(ids)}"[:200], upstream=upstream, upstream_ids=ids)


def _failure(results: Sequence[SubmitResult]) -> Outcome:
    for result in results:
        if result.outcome is RequestOutcome.UNKNOWN:
            return Unknown(reply=f"no submit_sm_resp: {result.detail}")
    for result in results:
        if result.outcome is RequestOutcome.REFUSED:
            reply = f"{status_name(result.command_status)} {result.detail}".strip()
            if result.command_status in _TEMPORARY:
                return Deferred(reply=reply)
            return Failed(reply=reply, reason="rejected")
    for result in results:
        if result.outcome is RequestOutcome.STUCK:
            return Deferred(reply=status_name(result.command_status))
    for result in results:
        if result.outcome is RequestOutcome.THROTTLED:
            return Deferred(reply=status_name(result.command_status), after_s=_BLOCKED_S, counts=False)
    reply = next(result.detail for result in results if result.outcome is RequestOutcome.NOT_SENT)
    return Deferred(reply=reply, after_s=REST_S, rest_s=REST_S, counts=False)
