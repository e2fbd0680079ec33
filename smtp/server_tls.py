"""TLS below a submission session: STARTTLS (RFC 3207), and implicit TLS (RFC 8314 section 3.3)."""

from __future__ import annotations

import asyncio
import ssl

import structlog

from smtp.server_api import TlsInfo
from smtp.server_connection import Connection, ConnectionClosed

log = structlog.get_logger(__name__)

_CLOSE_S = 5.0  # for the client's close_notify; who sends none is cut off


class TlsConnection(Connection):
    """A connection that can be protected."""

    async def _start_tls(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        """Put TLS between socket and session. Raises ConnectionClosed when the handshake fails."""
        door = self._state.door
        self._in_clear = False
        door.handshaking(self, self.client.peer_host)
        try:
            upgraded = await self.loop.start_tls(
                transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._config.tls_handshake_timeout_s,
                ssl_shutdown_timeout=_CLOSE_S,
            )
        except OSError as error:
            transport.abort()
            raise self._tls_failed(error) from None
        finally:
            door.handshaken(self)
        if upgraded is None:
            raise self._tls_failed(ConnectionResetError())
        self.transport = upgraded
        # It may have brought a command already, with the end of the handshake.
        self._input.attach(upgraded)
        self._note_tls(upgraded)

    def _tls_failed(self, error: OSError) -> ConnectionClosed:
        """Note it: ssl.SSLError, TimeoutError and ConnectionError are OSErrors, and all are the client's.

        After a failed handshake nobody else says that the connection is lost.
        """
        log.info("smtp_tls_failed", session=self.client.id, reason=type(error).__name__)
        self._lost = True
        return ConnectionClosed()

    def _note_tls(self, transport: asyncio.BaseTransport) -> None:
        ssl_object = transport.get_extra_info("ssl_object")
        cipher = ssl_object.cipher()
        self.client.tls = TlsInfo(version=ssl_object.version() or "", cipher=cipher[0] if cipher else "")
