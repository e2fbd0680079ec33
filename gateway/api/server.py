"""The HTTP listener: uvicorn's protocol (httptools) on the daemon's own event loop.

Only the protocol is uvicorn's; starting, draining and limits are here, and no signal handler is touched.
Beyond the protocol's own, this guards memory and time around a request: connections in all, the size of a
header, how long it may take to arrive, how many requests may be sent ahead, and how long a client may leave
an answer unread. Refusals are problems like all others.
"""

import asyncio
import ssl
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from config.schema import Settings
from gateway.api import app, catalogue
from gateway.api.parts import BODIES_AT_ONCE, Parts, Readiness
from gateway.api.problems import Problem
from gateway.road import Road
from smtp.data import Budget

if TYPE_CHECKING:
    from gateway.services import Services

log = structlog.get_logger(__name__)

_HEADER_MAX_OCTETS = 65_536
_PIPELINED_MAX = 100  # requests sent ahead of their answers on one connection (RFC 9112 section 9.3.2)
_KEEP_ALIVE_S = 75
_CLOSE_S = 5.0  # for the last answer to leave; who does not read it is cut off
_BACKLOG = 2048
_TICK_S = 1.0


class _State(ServerState):
    """What all connections share."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.max_connections = settings.http.max_connections
        self.timeout_s = settings.http.request_timeout_s
        self.idle = asyncio.Event()
        self.idle.set()


class _TooManyAhead(Exception):
    """More requests were sent ahead of their answers than are kept."""


class _Protocol(HttpToolsProtocol):
    """One connection."""

    server_state: _State
    _header_octets = 0
    _header_since_s: float | None = None
    _unread_since_s: float | None = None
    _closing_since_s: float | None = None
    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own
        if len(self.connections) >= self.server_state.max_connections:
            self.transport = transport
            self._refuse(Problem("busy", "Too many connections. Try again in a moment.", retry_after_s=1))
            return
        super().connection_made(transport)
        self.server_state.idle.clear()
        self._header_since_s = self.loop.time()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pipeline.clear()
        if self._running is not None:  # uvicorn tells only the newest request that its client is gone
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        if not self.connections:
            self.server_state.idle.set()

    def data_received(self, data: bytes) -> None:
        if self.flow is None or self.transport.is_closing():  # refused: what still comes is not looked at
            return
        super().data_received(data)
        if self._header_since_s is not None:
            self._header_octets += len(data)
            if self._header_octets > _HEADER_MAX_OCTETS:
                self._refuse(Problem("header_too_large"))

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= _PIPELINED_MAX:
            raise _TooManyAhead  # ends the parser's run; it comes back as `send_400_response`
        super().on_message_begin()
        self._header_since_s = self.loop.time()
        self._header_octets = 0

    def on_headers_complete(self) -> None:
        self._header_since_s = None
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline:  # what was sent ahead is answered before more is read
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("bad_request", msg))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since_s = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_since_s = None

    def close_if_slow(self, now_s: float) -> None:
        """Ends a connection whose request header does not come to its end, or whose answer is not read."""
        timeout_s = self.server_state.timeout_s
        if self.transport.is_closing():
            self._closing_since_s = self._closing_since_s or now_s
            if now_s - self._closing_since_s > _CLOSE_S:
                self.transport.abort()
        elif self._unread_since_s is not None and now_s - self._unread_since_s > timeout_s:
            self.transport.abort()
        elif self._header_since_s is not None and now_s - self._header_since_s > timeout_s:
            self._refuse(Problem("request_timeout"))

    def _refuse(self, problem: Problem) -> None:
        """Answers outside of any request, and closes."""
        self._header_since_s = None
        if self.transport.is_closing():
            return
        body = msgspec.json.encode(problem.details)
        headers = [(b"content-type", b"application/problem+json"), *problem.headers]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        status = f"HTTP/1.1 {problem.kind.status} {problem.kind.title}\r\n".encode()
        length = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(status + lines + length + body)
        self.transport.close()


class HttpServer:
    """The API on its port. `readiness` is what /readyz asks.

    With `tls_context` (`gateway.tls.server_context`) it serves HTTPS; whoever owns the context reloads it.
    """

    def __init__(
        self,
        services: "Services",
        road: Road,
        settings: Settings,
        readiness: Readiness,
        *,
        tls_context: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> None:
        self._tls_context = tls_context
        self._reuse_port = reuse_port
        self._settings = settings
        self.parts = Parts(
            services=services,
            road=road,
            settings=settings,
            readiness=readiness,
            budget=Budget(BODIES_AT_ONCE * settings.http.max_body_octets),
        )
        self._app = app.build(self.parts, catalogue.everything(settings))
        self._config: uvicorn.Config | None = None
        self._state: _State | None = None
        self._server: asyncio.Server | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens. Raises OSError for a port that cannot be had."""
        http, loop = self._settings.http, asyncio.get_running_loop()
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            http=_Protocol,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        config.load()
        state = self._state = _State(self._settings)
        self._config = config

        def protocol() -> asyncio.Protocol:
            return _Protocol(config=config, server_state=state, app_state={}, _loop=loop)

        self._set_date()
        self._server = await loop.create_server(
            protocol,
            http.host,
            http.port,
            ssl=self._tls_context,
            backlog=_BACKLOG,
            reuse_address=True,
            reuse_port=self._reuse_port or None,
        )
        self._ticking = loop.create_task(self._tick())
        log.info("http_listening", host=http.host, port=self.port, tls=http.tls)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._server is None:
            raise RuntimeError("the HTTP server is not started")
        name: Any = self._server.sockets[0].getsockname()
        return int(name[1])

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return 0 if self._state is None else len(self._state.connections)

    async def stop(self, drain_s: float) -> None:
        """Takes no more connections, lets requests under way be answered within `drain_s` seconds."""
        server, state = self._server, self._state
        if server is None or state is None:
            return
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(drain_s):
                await state.idle.wait()
        except TimeoutError:
            log.warning("http_drain_cut_short", connections=len(state.connections))
        for task in list(state.tasks):
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        if state.tasks:
            await asyncio.wait(set(state.tasks), timeout=1.0)
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
        self._server = None

    async def _tick(self) -> None:
        """Once a second: the Date header, and an end to requests that come too slowly."""
        while True:
            self._set_date()
            if self._state is not None:
                now_s = asyncio.get_running_loop().time()
                for connection in list(self._state.connections):
                    if isinstance(connection, _Protocol):
                        connection.close_if_slow(now_s)
            await asyncio.sleep(_TICK_S)

    def _set_date(self) -> None:
        if self._state is not None:
            date = formatdate(time.time(), usegmt=True).encode()
            self._state.default_headers = [(b"date", date)]
