"""TLS below a submission session: STARTTLS (RFC 3207), and what protects a connection (RFC 8314)."""

from __future__ import annotations

import asyncio

import structlog

from smtp.server_api import TlsInfo
from smtp.server_order import CLOSED
from smtp.server_session import ConnectionClosed, Handshake, SubmissionSession

log = structlog.get_logger(__name__)

_CLOSE_S = 5.0  # for the client's close_notify; who sends none is cut off


async def start_tls(
    session: SubmissionSession,
    handshake: Handshake,
    protocol: asyncio.BaseProtocol,
    transport: asyncio.Transport,
) -> asyncio.Transport:
    """Put TLS between socket and session: the transport to use from now on.

    Raises `ConnectionClosed` when the handshake fails, and has then cut the connection off.
    """
    try:
        upgraded = await asyncio.get_running_loop().start_tls(
            transport,
            protocol,
            handshake.context,
            server_side=True,
            ssl_handshake_timeout=session.config.tls_handshake_timeout_s,
            ssl_shutdown_timeout=_CLOSE_S,
        )
        if upgraded is None:
            raise ConnectionResetError
    except OSError as error:  # ssl.SSLError, TimeoutError and ConnectionError are, and all are the client's
        transport.abort()
        session.state = CLOSED  # nobody else says that the connection is lost
        log.info("smtp_tls_failed", session=session.client.id, reason=type(error).__name__)
        raise ConnectionClosed from None
    session.protected(tls_info(upgraded), handshake.then)
    return upgraded


def tls_info(transport: asyncio.BaseTransport) -> TlsInfo:
    """Version and cipher."""
    ssl_object = transport.get_extra_info("ssl_object")
    cipher = ssl_object.cipher()
    return TlsInfo(version=ssl_object.version() or "", cipher=cipher[0] if cipher else "")
