"""Our side as ESME: one bind to an upstream SMSC, kept up for ever, over plain asyncio.

`run` connects, binds, and after every end tries again with growing, jittered waits; whoever starts it owns
it. `submit` gives one `Result` per submit_sm and raises nothing of the link's: OK with a message_id, REFUSED,
THROTTLED (offer it again after a moment; the link rests by itself), STUCK (of `submit_told`, see
`smpp.link.Told`: it is this message that the SMSC does not take), UNKNOWN (written, never answered: do not
send again blindly) or NOT_SENT. A deliver_sm is answered only once `on_deliver` has resolved, so that a
receipt is durable first; `on_deliver_many` stands in its place where all of one read are wanted at once.
Several binds are several `Esme`s; leases and routing belong to the caller.
"""

import asyncio
import contextlib
import random as random_module
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from smpp.constants import INTERFACE_VERSION, CommandStatus, Npi, Ton, status_name
from smpp.link import NO_ANSWER, Link, MaySend, RequestOutcome, Result, Told, always
from smpp.pacing import Pace, Reconnect, Throttle
from smpp.pdu import (
    Bind,
    BindReceiver,
    BindTransceiver,
    BindTransmitter,
    DataSm,
    DataSmResp,
    DeliverSm,
    DeliverSmResp,
    Pdu,
    PduError,
    Response,
    SubmitSm,
)
from smpp.session import Role, Session, SessionConfig
from smpp.states import BindMode

__all__ = [
    "NO_ANSWER",
    "BindMode",
    "Esme",
    "EsmeConfig",
    "OnDeliver",
    "OnDeliverMany",
    "RequestOutcome",
    "SubmitResult",
]

SubmitResult = Result
OnDeliver = Callable[[DeliverSm | DataSm], Awaitable[int]]
OnDeliverMany = Callable[[Sequence[DeliverSm | DataSm]], Awaitable[Sequence[int]]]
"""A command_status for each, in order."""

_BINDS: Final[dict[BindMode, type[Bind]]] = {
    BindMode.TX: BindTransmitter,
    BindMode.RX: BindReceiver,
    BindMode.TRX: BindTransceiver,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EsmeConfig:
    """One bind. `rate_per_s` 0 is no limit; up to `queue_limit` submits wait `wait_s` for their turn;
    `deliver_window` deliver_sm may be in the application's hands, more get ESME_RX_T_APPN.
    """

    host: str
    port: int
    system_id: str
    password: str
    system_type: str = ""
    bind_mode: BindMode = BindMode.TRX
    interface_version: int = INTERFACE_VERSION
    address_ton: int = Ton.UNKNOWN
    address_npi: int = Npi.UNKNOWN
    address_range: str = ""
    tls: ssl.SSLContext | None = None
    window: int = 100
    rate_per_s: float = 0.0
    queue_limit: int = 1000
    wait_s: float = 30.0
    deliver_window: int = 1000
    connect_timeout_s: float = 10.0
    bind_timeout_s: float = 30.0
    enquire_link_s: float = 30.0
    response_timeout_s: float = 30.0
    reconnect_initial_s: float = 0.5
    reconnect_max_s: float = 60.0
    stable_s: float = 10.0
    throttle_initial_s: float = 0.1
    throttle_max_s: float = 1.0


class Esme:
    """See the module's docstring. `on_state(bound, reason)` is told of every bind and every end of one;
    `on_late(submit_sm, response, told)` of an answer after its submit was UNKNOWN, with what
    `submit_told` was given. `may_send` is asked before each submit. Binds that share a `pace` (instead of the
    configured rate) are one to the operator.
    """

    def __init__(
        self,
        config: EsmeConfig,
        on_deliver: OnDeliver | None = None,
        *,
        on_deliver_many: OnDeliverMany | None = None,
        on_state: Callable[[bool, str], None] | None = None,
        on_late: Callable[[Pdu, Response, Told | None], None] | None = None,
        pace: Pace | None = None,
        may_send: MaySend = always,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._config = config
        self._on_deliver = on_deliver
        self._on_deliver_many = on_deliver_many
        self._on_state = on_state
        self._on_late = on_late
        self._may_send = may_send
        self._clock = clock
        self._random = random
        # Pace and rests outlive a connection: a reconnect is no way around either.
        self._throttle = Throttle(
            pace or Pace(config.rate_per_s),
            initial_s=config.throttle_initial_s,
            max_s=config.throttle_max_s,
        )
        self._reconnect = Reconnect(initial_s=config.reconnect_initial_s, max_s=config.reconnect_max_s)
        self._link: Link | None = None
        self._bound_at: float | None = None
        self._gone = asyncio.Event()
        self._stopping = asyncio.Event()
        self._calls: set[asyncio.Future[Any]] = set()
        self._delivering = 0
        self._throttled_before = 0
        self._refusal = ""
        self.faults = 0
        self.reason = "not started"

    @property
    def bound(self) -> bool:
        """True while submits (or deliveries) can flow."""
        return self._link is not None and self._link.session.bound

    @property
    def stopping(self) -> bool:
        """True once `unbind_and_close` was called: the next end is our own doing."""
        return self._stopping.is_set()

    @property
    def outstanding(self) -> int:
        """submit_sm that wait for their response."""
        return self._link.session.outstanding if self._link else 0

    @property
    def waiting(self) -> int:
        """submit_sm that wait for their turn."""
        return self._link.waiting if self._link else 0

    @property
    def probing(self) -> bool:
        """True while different messages in a row were throttled and none has passed since."""
        return self._throttle.probing

    @property
    def throttled(self) -> int:
        """How many answers told us to slow down, since the start."""
        return self._throttled_before + (self._link.throttled if self._link else 0)

    async def submit(self, submit_sm: SubmitSm) -> SubmitResult:
        """The outcome of one submit_sm; waits for window and rate, within the configured bounds."""
        if self._link is None:
            return Result(RequestOutcome.NOT_SENT, detail=self.reason)
        return await self._link.request(submit_sm)

    def submit_told(self, submit_sm: SubmitSm, told: Told, *, first: bool = False) -> None:
        """As `submit`, but calls `told`: the cheapest, for many. `first`: before all that wait."""
        if self._link is not None:
            self._link.tell(submit_sm, told, first=first)
        else:
            told(Result(RequestOutcome.NOT_SENT, detail=self.reason))

    def submit_nowait(self, submit_sm: SubmitSm) -> asyncio.Future[SubmitResult]:
        """As `submit`, as a future and without a coroutine of its own: for many at once."""
        if self._link is not None:
            return self._link.request(submit_sm)
        future: asyncio.Future[SubmitResult] = asyncio.get_running_loop().create_future()
        future.set_result(Result(RequestOutcome.NOT_SENT, detail=self.reason))
        return future

    async def run(self) -> None:
        """Keep the bind up until `unbind_and_close` or cancellation."""
        try:
            while not self._stopping.is_set():
                await self._connect_and_stay()
                if not self._stopping.is_set():
                    delay_s = self._reconnect.next_delay_s(self._random())
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._stopping.wait(), delay_s)
        finally:
            if self._link is not None:
                self._link.abort()
            for future in self._calls:
                future.cancel()

    async def unbind_and_close(self, drain_s: float = 10.0) -> None:
        """End `run`: what is in flight may finish within `drain_s`, what waits is NOT_SENT."""
        self._stopping.set()
        if self._link is None:
            return
        self._link.unbind(drain_s)
        try:
            async with asyncio.timeout(drain_s + self._config.response_timeout_s):
                await self._gone.wait()
        except TimeoutError:
            self._link.abort()

    async def _connect_and_stay(self) -> None:
        """One connection from its start to its end; a failure to connect is only noted."""
        config, loop = self._config, asyncio.get_running_loop()
        self._gone.clear()
        self._refusal = ""
        try:
            async with asyncio.timeout(config.connect_timeout_s):
                await loop.create_connection(self._new_link, config.host, config.port, ssl=config.tls)
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self._tell(bound=False, reason=f"cannot connect: {error or 'timed out'}")
            return
        await self._gone.wait()

    def _new_link(self) -> Link:
        config, now = self._config, self._clock()
        limits = SessionConfig(
            window=config.window,
            response_timeout_s=config.response_timeout_s,
            enquire_link_s=config.enquire_link_s,
            session_init_s=config.bind_timeout_s,
        )
        return Link(
            Session(Role.ESME, limits, now),
            self,
            self._clock,
            random=self._random,
            throttle=self._throttle,
            may_send=self._may_send,
            queue_limit=config.queue_limit,
            wait_s=config.wait_s,
        )

    def _bind_request(self) -> Bind:
        config = self._config
        return _BINDS[config.bind_mode](
            system_id=config.system_id,
            password=config.password,
            system_type=config.system_type,
            interface_version=config.interface_version,
            addr_ton=config.address_ton,
            addr_npi=config.address_npi,
            address_range=config.address_range,
        )

    # --- smpp.link.Handler --------------------------------------------------------------------------------

    def connected(self, link: Link) -> None:
        """Bind at once."""
        self._link = link
        if self._stopping.is_set():
            link.abort()
            return
        try:
            link.send_control(self._bind_request())
        except PduError as error:
            self._refusal = f"cannot bind: {error}"
            link.abort()

    def bind_answered(self, response: Response) -> None:
        """Bound, or refused: then the connection ends and the next try waits."""
        if response.command_status == CommandStatus.ESME_ROK:
            self._bound_at = self._clock()
            self._tell(bound=True, reason="bound")
        elif self._link is not None:
            self._refusal = f"bind refused: {status_name(response.command_status)}"
            self._link.abort()

    def requests_received(self, requests: Sequence[Pdu]) -> None:
        """deliver_sm and data_sm go to the application; outbind and alert_notification need no answer."""
        link = self._link
        if link is None:
            return
        deliveries = [one for one in requests if isinstance(one, DeliverSm | DataSm)]
        room = max(0, self._config.deliver_window - self._delivering)
        if len(deliveries) > room:
            link.respond_many([_answer(one, CommandStatus.ESME_RX_T_APPN) for one in deliveries[room:]])
            del deliveries[room:]
        if not deliveries:
            return
        if self._on_deliver_many is not None:
            self._call(link, deliveries, self._on_deliver_many(deliveries))
        elif self._on_deliver is not None:
            for one in deliveries:
                self._call(link, [one], _listed(self._on_deliver(one)))
        else:
            link.respond_many([_answer(one, CommandStatus.ESME_RX_P_APPN) for one in deliveries])

    def _call(
        self, link: Link, deliveries: Sequence[DeliverSm | DataSm], statuses: Awaitable[Sequence[int]]
    ) -> None:
        """Answer when the application has."""
        future = asyncio.ensure_future(statuses)
        self._delivering += len(deliveries)
        self._calls.add(future)

        def answer(done: asyncio.Future[Sequence[int]]) -> None:
            self._calls.discard(done)
            self._delivering -= len(deliveries)
            # ESME_RX_T_APPN: the SMSC keeps the message and tries again (section 5.1.3).
            failed = done.cancelled() or done.exception() is not None
            answers = [int(CommandStatus.ESME_RX_T_APPN)] * len(deliveries) if failed else done.result()
            link.respond_many([_answer(*pair) for pair in zip(deliveries, answers, strict=True)])

        future.add_done_callback(answer)

    def late_response(self, request: Pdu | None, response: Response, told: Told | None) -> None:
        """Hand on the answer to what was UNKNOWN."""
        if request is not None and self._on_late is not None:
            self._on_late(request, response, told)

    def fault_received(self, error: PduError) -> None:
        """The session has answered it."""
        self.faults += 1
        self.reason = str(error)

    def closed(self, reason: str) -> None:
        """Note the end, and let `run` go on."""
        if self._link is not None:
            self._throttled_before += self._link.throttled
        if self._bound_at is not None and self._clock() - self._bound_at >= self._config.stable_s:
            self._reconnect.reset()
        self._link = self._bound_at = None
        self._tell(bound=False, reason=self._refusal or reason)
        self._gone.set()

    def _tell(self, *, bound: bool, reason: str) -> None:
        self.reason = reason
        if self._on_state is not None:
            self._on_state(bound, reason)


def _answer(request: DeliverSm | DataSm, status: int) -> Response:
    cls = DeliverSmResp if isinstance(request, DeliverSm) else DataSmResp
    return cls(request.sequence_number, status)


async def _listed(status: Awaitable[int]) -> list[int]:
    return [await status]
