"""Our side as SMSC: a server that clients bind to, over plain asyncio.

`SmscServer` speaks SMPP; an `Application` decides who may bind, what becomes of a submit_sm, and when its
answer may go out (after the message is durable). Submits of a bind run concurrently up to `submit_window`;
more get ESME_RTHROTTLED. query_sm, cancel_sm, replace_sm, submit_multi and data_sm are answered, whatever the
application knows of them: nothing a client sends that can be framed costs it the connection. A client that
does not read is not read. Who may connect is the `Door`'s to say (`smpp.door`). Raises OSError from `start`,
nothing else.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from smpp.application import Answer, Application, BindRequest, Bound
from smpp.constants import INTERFACE_VERSION, CommandStatus, Tag
from smpp.door import Door, Listening, Peer, PlainDoor
from smpp.link import Link
from smpp.pdu import (
    Bind,
    BindReceiver,
    BindTransceiver,
    BindTransmitter,
    CancelSm,
    DataSm,
    DataSmResp,
    GenericNack,
    Pdu,
    PduError,
    QuerySm,
    ReplaceSm,
    Response,
    SubmitSm,
    SubmitSmResp,
    encode,
    response_class,
)
from smpp.session import Role, Session, SessionConfig
from smpp.states import BindMode

__all__ = ["Answer", "Application", "BindMode", "BindRequest", "Bound", "SmscConfig", "SmscServer"]

_NO_ROOM: Final = encode(GenericNack(0, CommandStatus.ESME_RTHROTTLED))
_MODES: Final[dict[type[Pdu], BindMode]] = {
    BindTransmitter: BindMode.TX,
    BindReceiver: BindMode.RX,
    BindTransceiver: BindMode.TRX,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmscConfig:
    """Where to listen and every limit; a timer of 0 is off. `deliver_queue` requests wait per bind."""

    host: str = "127.0.0.1"
    port: int = 2775
    system_id: str = "gateway"
    tls: ssl.SSLContext | None = None
    reuse_port: bool = False  # several processes share the port
    max_bind_attempts: int = 3
    max_faults: int = 100  # broken PDUs in a row
    submit_window: int = 1000
    deliver_window: int = 100
    deliver_queue: int = 1000
    deliver_wait_s: float = 30.0
    session_init_s: float = 30.0
    enquire_link_s: float = 60.0
    inactivity_s: float = 0.0
    response_timeout_s: float = 30.0
    unsent_octets: int = 1 << 16
    drain_s: float = 10.0


class SmscServer:
    """See the module's docstring. `start` and `stop` belong to the caller."""

    def __init__(
        self,
        application: Application,
        config: SmscConfig,
        door: Door | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.application = application
        self.config = config
        self.door = door or PlainDoor()
        self.clock = clock
        self._listening: Listening | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Future[Any]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def port(self) -> int:
        """The port that is really listened on."""
        assert self._listening is not None  # noqa: S101 - asked only of a started server
        return self._listening.port

    @property
    def connections(self) -> int:
        """Open connections, bound or not."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        config = self.config

        def link(peer: Peer | None) -> Link:
            return _Connection(self, peer).link

        self._listening = await self.door.listen(
            link, config.host, config.port, tls=config.tls, reuse_port=config.reuse_port
        )

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no more clients, unbind the others once their submits are answered, within `drain_s`."""
        drain_s = self.config.drain_s if drain_s is None else drain_s
        if self._listening is not None:
            self._listening.close()
        for connection in tuple(self._connections):
            connection.link.unbind(drain_s)
        try:
            async with asyncio.timeout(drain_s + 1.0):
                await self._empty.wait()
        except TimeoutError:
            for connection in tuple(self._connections):
                connection.link.abort()
            await self._empty.wait()
        # What the application still works on has nobody to answer any more.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def track(self, task: asyncio.Future[Any]) -> None:
        """Own a call into the application until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def register(self, connection: "_Connection", peer: str) -> bool:
        """Count a connection in; False if the door does not let it in."""
        if not self.door.enter(connection, peer):
            return False
        self._connections.add(connection)
        self._empty.clear()
        return True

    def unregister(self, connection: "_Connection") -> None:
        """Count it out."""
        self.door.leave(connection)
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()


class _Connection:
    """One client: the handler of its link, and a guest of the door."""

    def __init__(self, server: SmscServer, peer: Peer | None) -> None:
        config = server.config
        limits = SessionConfig(
            window=config.deliver_window,
            response_timeout_s=config.response_timeout_s,
            enquire_link_s=config.enquire_link_s,
            inactivity_s=config.inactivity_s,
            session_init_s=config.session_init_s,
            drain_s=config.drain_s,
        )
        self._server = server
        self._application = server.application
        self._peer = "" if peer is None else peer[0]
        self._bound: Bound | None = None
        self._refused_binds = 0
        self._faults = 0  # since the last request that could be read
        self._pending = 0  # requests in the application's hands
        self.link = Link(
            Session(Role.SMSC, limits, server.clock()),
            self,
            server.clock,
            random=lambda: 0.5,
            queue_limit=config.deliver_queue,
            wait_s=config.deliver_wait_s,
            unsent_octets=config.unsent_octets,
        )

    # --- smpp.link.Handler --------------------------------------------------------------------------------

    def connected(self, link: Link) -> None:
        transport = link.transport
        if transport is None:
            return
        if not self._peer:
            self._peer = str((transport.get_extra_info("peername") or ("",))[0])
        if not self._server.register(self, self._peer):
            transport.write(_NO_ROOM)
            transport.close()

    def bind_answered(self, response: Response) -> None:
        """An SMSC sends no bind."""

    def late_response(self, request: Pdu | None, response: Response, told: object) -> None:
        """The delivery was reported UNKNOWN; the application offers it again."""

    def fault_received(self, error: PduError) -> None:  # noqa: ARG002 - the handler's signature
        """The session has answered it; who sends nothing else has no business here."""
        self._faults += 1
        if self._faults >= self._server.config.max_faults:
            self.link.unbind(0)

    def closed(self, reason: str) -> None:
        self._server.unregister(self)
        bound, self._bound = self._bound, None
        if bound is not None:
            self._application.unbound(bound, reason)

    def requests_received(self, requests: Sequence[Pdu]) -> None:
        self._faults = 0
        bound = self._bound
        submits: list[SubmitSm | DataSm] = []
        for request in requests:
            if isinstance(request, Bind):
                self._spawn([request], self._bind(request), _answered_already)
            elif bound is None:  # pragma: no cover - the session lets only a bind through before one
                self._refuse(request, CommandStatus.ESME_RINVBNDSTS)
            elif self._pending + len(submits) >= self._server.config.submit_window:
                self._refuse(request, CommandStatus.ESME_RTHROTTLED)
            elif isinstance(request, SubmitSm | DataSm):
                submits.append(request)
            else:
                self._ask(bound, request)
        if submits and bound is not None:
            self._submit(bound, submits)

    # --- smpp.door.Guest ----------------------------------------------------------------------------------

    def dismiss(self) -> None:
        """Another client has this one's place; it is told so, if that can leave at once."""
        transport = self.link.transport
        if transport is None:
            return
        if self._server.config.tls is None and not transport.get_write_buffer_size():
            transport.write(_NO_ROOM)
            self.link.unbind(0)
        else:
            self.link.abort()

    # --- inside -------------------------------------------------------------------------------------------

    def _submit(self, bound: Bound, requests: Sequence[SubmitSm | DataSm]) -> None:
        submits = [one if isinstance(one, SubmitSm) else _as_submit_sm(one) for one in requests]
        answers = self._application.submit_many(bound, submits)
        if answers is not None:
            self._spawn(requests, answers, partial(self._answer_submits, requests))
            return
        for request, submit in zip(requests, submits, strict=True):
            answer = self._application.submit(bound, submit)
            self._spawn([request], answer, partial(self._answer_submit, request))

    def _ask(self, bound: Bound, request: Pdu) -> None:
        application = self._application
        if isinstance(request, QuerySm):
            self._spawn([request], application.query(bound, request), self.link.respond)
        elif isinstance(request, CancelSm):
            self._spawn([request], application.cancel(bound, request), partial(self._refuse, request))
        elif isinstance(request, ReplaceSm):
            self._spawn([request], application.replace(bound, request), partial(self._refuse, request))
        else:  # submit_multi
            self._refuse(request, CommandStatus.ESME_RINVCMDID)

    def _spawn(
        self, requests: Sequence[Pdu], awaitable: Awaitable[Any], on_result: Callable[[Any], None]
    ) -> None:
        """Answer when the application has; the session knows if the link has ended meanwhile.

        The room in the window is free before the answers can be read.
        """
        future = asyncio.ensure_future(awaitable)
        self._pending += len(requests)
        self._server.track(future)

        def answer(done: asyncio.Future[Any]) -> None:
            self._pending -= len(requests)
            error = None if done.cancelled() else done.exception()
            if done.cancelled() or error is not None:
                for request in requests:
                    self._refuse(request, CommandStatus.ESME_RSYSERR)
                if error is not None:
                    text = f"{requests[0].command_id.name.lower()} failed in the application"
                    done.get_loop().call_exception_handler({"message": text, "exception": error})
            else:
                on_result(done.result())

        future.add_done_callback(answer)

    def _answer_submits(self, requests: Sequence[SubmitSm | DataSm], answers: Sequence[Answer]) -> None:
        self.link.respond_many([_response(*pair) for pair in zip(requests, answers, strict=True)])

    def _answer_submit(self, request: SubmitSm | DataSm, answer: Answer | None) -> None:
        if answer is None:
            self.link.session.forgo()
        else:
            self.link.respond(_response(request, answer))

    def _refuse(self, request: Pdu, status: int) -> None:
        """Answer with a bare status, which may be ESME_ROK."""
        cls = response_class(request.command_id) or GenericNack
        self.link.respond(cls(request.sequence_number, status))

    async def _bind(self, pdu: Bind) -> None:
        request = BindRequest(
            mode=_MODES[type(pdu)],
            pdu=pdu,
            peer=self._peer,
            tls=self._server.config.tls is not None,
            link=self.link,
            in_flight=lambda: self._pending,
        )
        verdict = await self._application.bind(request)
        if not isinstance(verdict, Bound):
            self._refuse(pdu, verdict)
            self._refused_binds += 1
            if self._refused_binds >= self._server.config.max_bind_attempts:
                self.link.unbind(0)
        elif self.link.session.finished:
            self._application.unbound(verdict, "the client has gone")
        else:
            self._bound = verdict
            self._server.door.recognise(self, verdict.system_id)
            cls = response_class(pdu.command_id) or GenericNack
            version = ((int(Tag.SC_INTERFACE_VERSION), bytes((INTERFACE_VERSION,))),)
            fields: dict[str, Any] = {"system_id": self._server.config.system_id, "tlvs": version}
            self.link.respond(cls(pdu.sequence_number, CommandStatus.ESME_ROK, **fields))
            self._application.ready(verdict)


def _answered_already(_result: None) -> None:
    """A bind answers for itself, because `Application.ready` comes after."""


def _response(request: SubmitSm | DataSm, answer: Answer) -> Response:
    status, message_id = answer
    cls = SubmitSmResp if isinstance(request, SubmitSm) else DataSmResp
    return cls(request.sequence_number, status, "" if status else message_id)


def _as_submit_sm(data_sm: DataSm) -> SubmitSm:
    """The same message as a submit_sm, its text in message_payload."""
    return SubmitSm(
        sequence_number=data_sm.sequence_number,
        service_type=data_sm.service_type,
        source_addr_ton=data_sm.source_addr_ton,
        source_addr_npi=data_sm.source_addr_npi,
        source_addr=data_sm.source_addr,
        dest_addr_ton=data_sm.dest_addr_ton,
        dest_addr_npi=data_sm.dest_addr_npi,
        destination_addr=data_sm.destination_addr,
        esm_class=data_sm.esm_class,
        registered_delivery=data_sm.registered_delivery,
        data_coding=data_sm.data_coding,
        tlvs=data_sm.tlvs,
    )
