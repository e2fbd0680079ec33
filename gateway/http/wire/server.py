"""The HTTP listener on the daemon's own event loop: starting, draining, and the clock of its connections.

What happens on a connection is `connection`'s, what is answered the application's.
"""

import asyncio
import ssl
import time

import structlog

from config.sections.listeners import Http
from gateway.doors.door import Door
from gateway.doors.entrance import Listening
from gateway.http.wire.connection import Application, Connection, Shared

log = structlog.get_logger(__name__)

_TICK_S = 1.0


class HttpServer:
    """An application on its port.

    With `tls_context` (`gateway.tls.server_context`) it serves HTTPS; whoever owns the context reloads it.
    """

    def __init__(
        self,
        app: Application,
        settings: Http,
        door: Door,
        *,
        tls_context: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> None:
        self._tls_context = tls_context
        self._reuse_port = reuse_port
        self._settings = settings
        self.app = app
        self.shared = Shared(app, settings, door)
        self._listening: Listening | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens. Raises OSError for a port that cannot be had."""
        http, loop = self._settings, asyncio.get_running_loop()
        self._listening = await self.shared.door.listen(
            lambda _peer: Connection(self.shared),
            http.host,
            http.port,
            tls=self._tls_context,
            reuse_port=self._reuse_port,
        )
        self._ticking = loop.create_task(self._tick())
        log.info("http_listening", host=http.host, port=self.port, tls=http.tls)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._listening is None:
            raise RuntimeError("the HTTP server is not started")
        return self._listening.port

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self.shared.connections)

    async def stop(self, drain_s: float) -> None:
        """Takes no more connections, lets requests under way be answered within `drain_s` seconds."""
        listening, shared = self._listening, self.shared
        if listening is None:
            return
        listening.close()
        for connection in list(shared.connections):
            connection.finish()
        try:
            async with asyncio.timeout(drain_s):
                await shared.idle.wait()
        except TimeoutError:
            log.warning("http_drain_cut_short", connections=len(shared.connections))
        for task in list(shared.tasks):
            task.cancel()
        for connection in list(shared.connections):
            connection.abort()
        if shared.tasks:
            await asyncio.wait(set(shared.tasks), timeout=1.0)
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
        self._listening = None

    async def _tick(self) -> None:
        """Once a second: the date of answers, and an end to clients that are waited for in vain."""
        while True:
            self.app.set_date(time.time())
            now_s = asyncio.get_running_loop().time()
            for connection in list(self.shared.connections):
                connection.close_if_slow(now_s)
            await asyncio.sleep(_TICK_S)
