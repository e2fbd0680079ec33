"""One HTTP/1.1 connection (RFC 9112): octets to calls and answers to octets, in order, within limits.

httptools (llhttp) parses; what has two readings it refuses. A request is answered by a task of its own as
soon as its header is here; what is sent ahead of its answers waits, and meanwhile nothing is read. What
guards memory and time: the size of a header, how long it may take to arrive, how many requests may be sent
ahead, how long an answer may stay unread, how long a connection may be idle. Refusals are problems like all
others.

An answer that is given before its request is here to its end leaves the connection open, if the rest comes
in time, or is followed by a last look at what still comes, so that the client gets to see it (section 9.6).
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import httptools
import structlog

from config.sections.listeners import Http
from gateway.doors.door import Door
from gateway.http.wire import answer, header, kinds
from gateway.http.wire.call import Call, Gone
from gateway.http.wire.problem import Problem
from gateway.http.wire.site import Site

log = structlog.get_logger(__name__)

_PIPELINED_MAX = 100  # requests sent ahead of their answers on one connection (section 9.3.2)
_KEEP_ALIVE_S = 75
_LINGER_S = 2.0
_CLOSE_S = 5.0  # for the last answer to leave; who does not read it is cut off
_NOT_HTTP = "This cannot be read as an HTTP request."
_NO_UPGRADE = "This server speaks HTTP/1.1 alone; ask for no upgrade with a body."
_LINE_OCTETS, _FIELD_OCTETS = 12, 4  # of a request line and of a field, besides what the parser tells


class Awaited(Enum):
    """What a client is waited for."""

    HEADER = "header"
    REST = "the rest of a body whose request is answered"
    LAST = "that it stops sending, before the connection closes"
    REQUEST = "the next request"
    READER = "that answers are read"
    END = "that the last answer has left"


class Application(Protocol):
    """What answers."""

    site: Site

    def set_date(self, now_s: float) -> None:
        """What the field Date says from now on; called every second."""
        ...

    async def answer(self, call: Call) -> bytes:
        """The answer, ready to be written; `call.closes` says whether the connection ends with it.

        Raises Gone when the client left before its request was here.
        """
        ...


@dataclass(slots=True)
class Shared:
    """What all connections of a listener share."""

    app: Application
    http: Http
    door: Door
    hosts: header.Hosts = field(default_factory=header.Hosts)
    connections: set["Connection"] = field(default_factory=set)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    patience_s: dict[Awaited, float] = field(init=False)

    def __post_init__(self) -> None:
        self.idle.set()
        self.patience_s = dict.fromkeys(Awaited, self.http.request_timeout_s)
        self.patience_s |= {Awaited.LAST: _LINGER_S, Awaited.REQUEST: _KEEP_ALIVE_S, Awaited.END: _CLOSE_S}


class Connection(asyncio.Protocol):
    """See the module. Between its first and its last octet it is in `shared.connections`."""

    __slots__ = (
        "_arriving",
        "_awaited",
        "_header_octets",
        "_headers",
        "_in_header",
        "_last",
        "_loop",
        "_parser",
        "_reading",
        "_refusal",
        "_running",
        "_shared",
        "_since_s",
        "_target",
        "_task",
        "_transport",
        "_unparsed",
        "_unread",
        "_waiting",
        "address",
        "stranger",
    )  # fmt: skip

    def __init__(self, shared: Shared) -> None:
        self.address = "127.0.0.1"
        self.stranger = True
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser: httptools.HttpRequestParser | None = None  # None: nothing more is read
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_octets = 0  # of the fields that are here
        self._unparsed = 0  # octets of the line that has no end yet
        self._in_header = False
        self._last = False  # the request that closes the connection has come
        self._refusal: Problem | None = None  # what follows the answers that are still due
        self._arriving: Call | None = None  # the one whose body is being read
        self._running: Call | None = None  # the one that is being answered
        self._task: asyncio.Task[None]  # it
        self._waiting: deque[Call] = deque()
        self._reading = True
        self._unread = False
        self._awaited = Awaited.HEADER
        self._since_s: float | None = None

    # --- from the transport ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's
        shared = self._shared
        peername = transport.get_extra_info("peername")
        if peername:
            self.address = peername[0]
        if not shared.door.enter(self, self.address):
            self._refuse(_crowded())
            return
        shared.connections.add(self)
        shared.idle.clear()
        self._parser = httptools.HttpRequestParser(self)
        self._await(Awaited.HEADER)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        shared = self._shared
        self._parser = None
        self._since_s = None
        self._waiting.clear()
        for call in (self._running, self._arriving):
            if call is not None:
                call.leave()
        shared.door.leave(self)
        shared.connections.discard(self)
        if not shared.connections:
            shared.idle.set()

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            return
        arriving = self._arriving
        size = 0 if arriving is None else arriving.size
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._parser = None  # it is not taken up (RFC 9110 section 7.8): such a request is the last
        except httptools.HttpParserError as error:
            why = error.__context__  # what a callback raised
            self._spoiled(why if isinstance(why, Problem) else Problem(kinds.BAD_REQUEST, _NOT_HTTP))
        if self._in_header:
            self._header_goes_on(data, data.rfind(b"\n"))
        elif arriving is not None and arriving is self._arriving and size == arriving.size:
            self._header_goes_on(data, -1)  # of what stands between chunks and behind them (section 7.1)
        if self._running is None:
            self._next()
        if self._waiting:
            self._pause()

    def eof_received(self) -> bool:
        """A client that has sent its last still gets its answers (section 9.6); TLS knows no such half."""
        if self._arriving is not None or (self._running is None and not self._waiting):
            return False
        self._end_with_last()
        self._parser = None
        return self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self._unread = True
        self._pause()
        self._await(Awaited.READER)

    def resume_writing(self) -> None:
        self._unread = False
        if self._awaited is Awaited.READER:
            self._since_s = None
        if self._running is None and not self._transport.is_closing():
            self._next()

    # --- from the parser ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._last or len(self._waiting) >= _PIPELINED_MAX:
            raise Problem(kinds.BAD_REQUEST, "Too many requests were sent ahead of their answers.")
        self._in_header = True
        self._since_s = None
        self._header_octets = self._unparsed = 0
        self._target = b""
        self._headers = {}

    def on_url(self, octets: bytes) -> None:
        self._target += octets

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_header:  # a trailer is none of it (RFC 9110 section 6.5.1)
            return
        self._header_octets += len(name) + len(value) + _FIELD_OCTETS
        name = name.lower()
        headers = self._headers
        if name in headers:
            value = header.again(name, headers[name], value)
        headers[name] = value

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is None:
            return
        self._in_header = False
        headers = self._headers
        method = parser.get_method().decode()
        if self._header_octets + len(self._target) + len(method) + _LINE_OCTETS > header.MAX_OCTETS:
            raise Problem(kinds.HEADER_TOO_LARGE)
        if headers.get(b"host") not in self._shared.hosts and parser.get_http_version() != "1.0":
            self._shared.hosts.check(headers.get(b"host"))
        call = Call(self._shared.app.site, self, method, self._target, headers)
        if b"connection" in headers or not parser.should_keep_alive() or method == "CONNECT":
            self._look_closer(parser, call)
        self._arriving = call
        self._waiting.append(call)

    def _look_closer(self, parser: httptools.HttpRequestParser, call: Call) -> None:
        """Whether it is the last request of its connection."""
        upgrade, old = parser.should_upgrade(), parser.get_http_version() != "1.1"
        if upgrade and header.announces_body(call.headers):  # the parser would skip it
            raise Problem(kinds.BAD_REQUEST, _NO_UPGRADE)
        if upgrade or old or not parser.should_keep_alive():
            self._last = call.closes = True
        if old:
            call.headers.pop(b"expect", None)  # RFC 9110 section 10.1.1

    def on_body(self, octets: bytes) -> None:
        if self._arriving is not None:
            self._unparsed = 0
            self._arriving.feed(octets)

    def on_message_complete(self) -> None:
        call, self._arriving = self._arriving, None
        if call is not None:
            call.end()
            if self._awaited is Awaited.LAST:
                self._transport.close()

    # --- from a call -------------------------------------------------------------------------------------

    def more(self, *, ask: bool) -> None:
        """Its handler wants the body."""
        if ask:
            self._transport.write(answer.CONTINUE)
        self._resume()

    def enough(self) -> None:
        """Nobody has asked for its body yet."""
        self._pause()

    def recognise(self, account_id: str) -> None:
        """A request over this connection had a good key."""
        self.stranger = False
        self._shared.door.recognise(self, account_id)

    # --- from the door -----------------------------------------------------------------------------------

    def dismiss(self) -> None:
        """Another client has this one's place; who waits for an answer is told, if that can leave at once."""
        transport = self._transport
        self._parser = None
        in_clear = transport.get_extra_info("sslcontext") is None
        if not in_clear or transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()
            return
        if self._awaited is not Awaited.REQUEST and self._running is None:
            transport.write(answer.alone(_crowded()))
        transport.close()

    # --- from the server ---------------------------------------------------------------------------------

    def finish(self) -> None:
        """Answers what has come, then closes."""
        if self._running is None or self._transport.is_closing():
            self._transport.close()
        else:
            self._end_with_last()

    def abort(self) -> None:
        """Closes at once."""
        self._transport.abort()

    def close_if_slow(self, now_s: float) -> None:
        """Ends a connection that is waited for in vain."""
        if self._transport.is_closing():
            self._await(Awaited.END)
        awaited = self._awaited
        if self._since_s is None or now_s - self._since_s <= self._shared.patience_s[awaited]:
            return
        if awaited is Awaited.HEADER:
            self._refuse(Problem(kinds.REQUEST_TIMEOUT))
        elif awaited in (Awaited.REQUEST, Awaited.LAST):
            self._transport.close()
        else:
            self._transport.abort()

    # --- requests and their answers ----------------------------------------------------------------------

    def _next(self) -> None:
        """Goes on with the next request, or waits for one."""
        if self._unread or self._awaited is Awaited.LAST:
            return
        if self._waiting:
            self._since_s = None
            call = self._running = self._waiting.popleft()
            self._task = self._loop.create_task(self._serve(call))
            self._shared.tasks.add(self._task)
        elif self._refusal is not None:
            self._refuse(self._refusal)
        else:
            if self._in_header:
                self._await(Awaited.HEADER)
            else:
                self._await(Awaited.REQUEST if self._arriving is None else Awaited.REST)
            self._resume()

    async def _serve(self, call: Call) -> None:
        octets, task = b"", self._task
        try:
            octets = await self._shared.app.answer(call)
        except Gone:
            return
        except Exception:
            log.exception("request_broke")  # A7: the client learns at least that there is no answer
            call.closes = True
        finally:
            call.release()
            self._running = None
            self._shared.tasks.discard(task)
        if self._transport.is_closing():
            return
        self._transport.write(octets)
        if not call.closes:
            self._next()
        elif call.sending:
            self._waiting.clear()
            self._linger()
        else:
            self._transport.close()

    def _end_with_last(self) -> None:
        """The answer to the last request that has come closes the connection."""
        last = self._waiting[-1] if self._waiting else self._running
        if last is not None:
            self._last = last.closes = True

    def _spoiled(self, problem: Problem) -> None:
        """What came is no request, or the request under way has two readings: nothing more is read."""
        self._parser = None
        self._in_header = False
        if self._last and self._arriving is None:
            return  # it came behind the last request
        self._refusal = problem
        broken, self._arriving = self._arriving, None
        if broken is not None:
            broken.leave()
            if broken is self._running:
                self._refuse(problem)
            elif broken in self._waiting:
                self._waiting.remove(broken)

    def _refuse(self, problem: Problem) -> None:
        """Answers outside of any request, and closes."""
        self._parser = self._refusal = None
        if self._transport.is_closing():
            return
        self._transport.write(answer.alone(problem))
        if self in self._shared.connections and self._transport.can_write_eof():
            self._transport.write_eof()
            self._linger()
        else:
            self._transport.close()

    def _linger(self) -> None:
        """The answer arrives before the connection closes, even though the client is still sending."""
        self._last = True
        self._await(Awaited.LAST)
        self._resume()

    # --- the flow ----------------------------------------------------------------------------------------

    def _header_goes_on(self, data: bytes, line_end: int) -> None:
        """It is not here to its end; what stands behind the last line end in `data` is of no field yet."""
        self._unparsed = len(data) - line_end - 1 + (self._unparsed if line_end < 0 else 0)
        if self._header_octets + self._unparsed > header.MAX_OCTETS:
            self._spoiled(Problem(kinds.HEADER_TOO_LARGE))

    def _await(self, awaited: Awaited) -> None:
        """From now on; what is waited for already, is so since then."""
        if self._since_s is None or awaited is not self._awaited:
            self._awaited = awaited
            self._since_s = self._loop.time()

    def _pause(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()


def _crowded() -> Problem:
    return Problem(kinds.BUSY, "Too many connections. Try again in a moment.", retry_after_s=1)
