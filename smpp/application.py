"""What an SMSC asks of the application behind it, and the binds it hands to it; `smpp.smsc` is the server."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from smpp.constants import CommandStatus
from smpp.link import Link, Result
from smpp.pdu import Bind, CancelSm, DataSm, DeliverSm, QuerySm, QuerySmResp, ReplaceSm, SubmitSm
from smpp.states import BindMode


@dataclass(frozen=True, slots=True, kw_only=True)
class BindRequest:
    """A client that wants in. Answer with `accept(…)` or a CommandStatus such as ESME_RINVPASWD."""

    mode: BindMode
    pdu: Bind
    peer: str
    tls: bool
    link: Link
    in_flight: Callable[[], int]

    @property
    def system_id(self) -> str:
        """Who it says it is."""
        return self.pdu.system_id

    @property
    def password(self) -> str:
        """The proof; compare it in constant time."""
        return self.pdu.password

    def accept(self, context: Any = None) -> "Bound":
        """The bind to return from `Application.bind`; `context` is the application's own."""
        return Bound(self, context)


class Bound:
    """One accepted bind. Usable for `deliver` once `Application.ready` was called with it."""

    def __init__(self, request: BindRequest, context: Any) -> None:
        self.mode = request.mode
        self.system_id = request.system_id
        self.peer = request.peer
        self.context = context
        self._link = request.link
        self._in_flight = request.in_flight

    @property
    def can_receive(self) -> bool:
        """True if deliver_sm may go to it now."""
        return self.mode is not BindMode.TX and self._link.session.bound

    @property
    def in_flight(self) -> int:
        """Submits of this bind in the application's hands."""
        return self._in_flight()

    @property
    def outstanding(self) -> int:
        """deliver_sm and data_sm that wait for their answer."""
        return self._link.session.outstanding

    def deliver(self, pdu: DeliverSm | DataSm) -> asyncio.Future[Result]:
        """The client's answer to a receipt or message. NOT_SENT and UNKNOWN: keep it for the next bind."""
        return self._link.request(pdu)

    def deliver_told(self, pdu: DeliverSm | DataSm, told: Callable[[Result], None]) -> None:
        """As `deliver`, but calls `told`: the cheapest, for many."""
        self._link.tell(pdu, told)

    def close(self, drain_s: float = 0.0) -> None:
        """Unbind this client, for instance after its credentials were withdrawn."""
        self._link.unbind(drain_s)

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._link.abort()

    def cut_off(self, octets: bytes) -> None:
        """Write octets as they are and hang up, for a simulator of broken peers."""
        if self._link.transport is not None:
            self._link.transport.write(octets)
            self._link.transport.close()


Answer = tuple[int, str]
"""(command_status, message_id)"""


class Application(Protocol):
    """What the server asks. Subclass it: only `bind`, and `submit` or `submit_many`, have to be written.

    An exception becomes ESME_RSYSERR for the client and goes to the loop's exception handler.
    """

    async def bind(self, request: BindRequest) -> CommandStatus | Bound:
        """Let a client in, or refuse it; may take its time to slow guessing down."""

    def submit_many(
        self,
        bound: Bound,  # noqa: ARG002 - a default
        submits: Sequence[SubmitSm],  # noqa: ARG002 - a default
    ) -> Awaitable[Sequence[Answer]] | None:
        """All submit_sm of one read: an answer for each, in order. ESME_ROK only once its message is durable.
        data_sm comes here too, as a submit_sm with message_payload. None: `submit` is to be asked for each.
        """
        return None

    def submit(self, bound: Bound, submit_sm: SubmitSm) -> Awaitable[Answer | None]:
        """As `submit_many`, for one. A Future saves a task. None gives no answer: a simulator's way."""
        return _refused(bound, submit_sm)

    def ready(self, bound: Bound) -> None:
        """The bind has been answered: deliveries may start."""

    def unbound(self, bound: Bound, reason: str) -> None:
        """The bind is over; called once for each accepted one."""

    async def query(self, bound: Bound, query_sm: QuerySm) -> QuerySmResp:  # noqa: ARG002 - a default
        """The state of a message (section 4.8)."""
        return QuerySmResp(query_sm.sequence_number, CommandStatus.ESME_RQUERYFAIL)

    async def cancel(self, bound: Bound, cancel_sm: CancelSm) -> int:  # noqa: ARG002 - a default
        """The command_status of a cancel (section 4.9)."""
        return CommandStatus.ESME_RCANCELFAIL

    async def replace(self, bound: Bound, replace_sm: ReplaceSm) -> int:  # noqa: ARG002 - a default
        """The command_status of a replace (section 4.10)."""
        return CommandStatus.ESME_RREPLACEFAIL


async def _refused(_bound: Bound, _submit_sm: SubmitSm) -> Answer:
    """An application that takes no messages."""
    return int(CommandStatus.ESME_RSUBMITFAIL), ""
