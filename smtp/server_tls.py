"""TLS below a submission session: STARTTLS (RFC 3207), and implicit TLS (RFC 8314 section 3.3)."""

from __future__ import annotations

import asyncio
import socket
import ssl

import structlog

from smtp.server_api import TlsInfo
from smtp.server_connection import Connection, ConnectionClosed

log = structlog.get_logger(__name__)


class TlsConnection(Connection):
    """A connection that can be protected."""

    def accept(self, accepted: socket.socket, peer_host: str, peer_port: int) -> None:
        """Take over a connection on which the client speaks TLS from the first octet (RFC 8314 section 3)."""
        if self._admit(peer_host, peer_port, implicit_tls=True) is not None:
            accepted.close()  # nothing can be said before the handshake
            return
        self._run(self._handshake(accepted))

    async def _start_tls(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        """Put TLS between socket and session. Raises ConnectionClosed when the handshake fails."""
        limit_s = self._config.tls_handshake_timeout_s
        try:
            upgraded = await self.loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=limit_s
            )
        except OSError as error:
            transport.abort()
            raise self._tls_failed(error) from None
        if upgraded is None:
            raise self._tls_failed(ConnectionResetError())
        self.transport = upgraded
        # It may have brought a command already, with the end of the handshake.
        self._input.attach(upgraded)
        self._note_tls(upgraded)

    async def _handshake(self, accepted: socket.socket) -> None:
        """The same for implicit TLS, where no octet may be read before TLS is there; then the greeting."""
        context = self._state.config.tls_context
        limit_s = self._config.tls_handshake_timeout_s
        try:
            transport, _ = await self.loop.connect_accepted_socket(
                lambda: self, accepted, ssl=context, ssl_handshake_timeout=limit_s
            )
        except OSError as error:
            accepted.close()
            raise self._tls_failed(error) from None
        self._note_tls(transport)
        self._greet_client()

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
