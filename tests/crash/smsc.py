"""The SMSC: the simulator with a fate for each number, a memory of what came from whom, and a life that ends.

What it took and what receipts it owes outlive its death, as they do in an operator's store.
"""

import asyncio
import random
from functools import partial

from smpp.concatenation import user_data
from smpp.constants import CommandStatus, MessageState
from smpp.magic import Behaviour, Response
from smpp.pdu import SubmitSm
from smpp.simulator import Simulator, SimulatorConfig
from smpp.smsc import BindRequest, Bound, SmscConfig, SmscServer
from tests.crash.fates import Code, code
from tests.crash.seen import Seen, Senders

LATE_S = 2.1  # just after a sender gave it up
_TAKEN = Behaviour()
_BEHAVIOURS = {
    Code.UNDELIVERED: Behaviour(state=MessageState.UNDELIVERABLE, error="001"),
    Code.EXPIRED: Behaviour(state=MessageState.EXPIRED, error="002"),
    Code.REJECTED: Behaviour(state=MessageState.REJECTED, error="003"),
    Code.INVALID: Behaviour(refuse=CommandStatus.ESME_RINVDSTADR),
    Code.FULL: Behaviour(refuse=CommandStatus.ESME_RMSGQFUL),
    Code.MUTE: Behaviour(response=Response.NEVER, receipts=0),
    Code.LATE: Behaviour(response=Response.LATE),
    Code.EARLY: Behaviour(response=Response.AFTER_RECEIPT),
    Code.TWICE: Behaviour(receipts=2),
    Code.EARLY_UNDELIVERED: Behaviour(
        response=Response.AFTER_RECEIPT, state=MessageState.UNDELIVERABLE, error="004"
    ),
}
_FIRST_TRY = {
    Code.THROTTLED_ONCE: Behaviour(refuse=CommandStatus.ESME_RTHROTTLED),
    Code.FULL_ONCE: Behaviour(refuse=CommandStatus.ESME_RMSGQFUL),
}
Answer = tuple[int, str]


class Smsc(Simulator):
    """`throttled` is the share of first tries, of any number, that meet ESME_RTHROTTLED now and then."""

    def __init__(
        self,
        seen: Seen,
        senders: Senders,
        rng: random.Random,
        *,
        throttled: float = 0.0,
        answer_s: float = 0.0,
    ) -> None:
        super().__init__(
            SimulatorConfig(
                smsc=SmscConfig(port=0, system_id="sandbox"),
                receipt_delay_s=0.05,
                late_response_s=LATE_S,
                memory=1_000_000,
            ),
            random=rng,
        )
        self.seen = seen
        self._senders = senders
        self._rng = rng
        self._throttled = throttled
        self._answer_s = answer_s
        self._port = 0

    async def start(self) -> None:
        """Listens; after a death on the same port."""
        await super().start()
        self._port = super().port

    async def die(self) -> None:
        """Drops every connection in the middle of whatever goes on, and listens no more."""
        for connection in tuple(self._server._connections):
            connection.link.abort()
        await self._server.stop(0)
        self._server = SmscServer(self, SmscConfig(port=self._port, system_id="sandbox"), clock=self._clock)

    async def close(self) -> None:
        """The last death: forgets what was planned."""
        await super().stop(0)

    async def bind(self, request: BindRequest) -> CommandStatus | Bound:
        """As the simulator, and notes whose connection it is."""
        verdict = await super().bind(request)
        transport = request.link.transport
        if isinstance(verdict, Bound) and transport is not None:
            verdict.context = self._senders.pid(transport.get_extra_info("peername")[1], self._port)
        return verdict

    def submit(self, bound: Bound, submit_sm: SubmitSm) -> "asyncio.Future[Answer | None]":
        """What the number's fate says, for each part alike."""
        number = submit_sm.destination_addr
        place = user_data(submit_sm).concatenation
        part = 0 if place is None else place.sequence - 1
        tries = self.seen.tries[number, part]
        self.seen.tries[number, part] += 1
        asked = self._asked(number, tries)
        if asked.refuse:
            stays = asked.refuse is CommandStatus.ESME_RINVDSTADR
            self.seen.refusals[number] += stays
            return _answered((int(asked.refuse), ""))
        self._last_id += 1
        message_id = f"{self._last_id:012x}"
        self.seen.took(number, part, bound.context or 0, answered=asked.response is not Response.NEVER)
        if asked.receipts:
            self.seen.receipts[number].add(asked.state.name)
        self._plan_receipts(bound, submit_sm, message_id, asked)
        return self._answer(asked.response, (0, message_id))

    def _asked(self, number: str, tries: int) -> Behaviour:
        fate = code(number)
        if not tries and fate in _FIRST_TRY:
            return _FIRST_TRY[fate]
        if not tries and self._throttled and self._rng.random() < self._throttled:
            return _FIRST_TRY[Code.THROTTLED_ONCE]
        return _BEHAVIOURS.get(fate, _TAKEN)

    def _answer(self, when: Response, verdict: Answer) -> "asyncio.Future[Answer | None]":
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        delay_s = {Response.LATE: LATE_S, Response.AFTER_RECEIPT: 0.05}.get(when, self._answer_s)
        if when is Response.NEVER:
            answer.set_result(None)
        elif delay_s:
            self._later(delay_s, partial(_resolve, answer, verdict))
        else:
            answer.set_result(verdict)
        return answer


def _resolve(answer: "asyncio.Future[Answer | None]", verdict: Answer) -> None:
    if not answer.done():
        answer.set_result(verdict)


def _answered(verdict: Answer) -> "asyncio.Future[Answer | None]":
    answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
    answer.set_result(verdict)
    return answer
