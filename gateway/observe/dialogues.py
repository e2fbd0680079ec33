"""What the probes say to each door, and what they must hear: SMTP, the API, SMPP.

Each function returns when the service answered as it should and raises `ProbeFailed` when it did not; the
caller bounds the time and maps what the network raises. They connect as any client does, from outside.

The SMS door is tried by smpplib, a client that shares no code with ours. With a `ProbeKey` it binds: a pair
of name and password that the daemon made for this run, keeps in memory and gives to its SMPP ingress, which
lets it in before the accounts are asked and lets it do nothing. No account, no row and no guess is involved.
Without a key it asks enquire_link on an unbound connection, which our SMSC answers in every state; a bind
with a wrong password would be a sign of life too, but each would count as a guess from this machine.
"""

import asyncio
import contextlib
import logging
import re
import socket
import ssl
from typing import Any

from smpplib import consts
from smpplib.client import Client
from smpplib.exceptions import ConnectionError as SmppConnectionError
from smpplib.exceptions import PDUError
from smpplib.smpp import make_pdu

from gateway.accounts.probe_key import ProbeKey

_LINE_MAX = 2048  # four times what RFC 5321 section 4.5.3.1.5 allows a reply
_LINES_MAX = 100
_PDUS_MAX = 10
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r)")
# smpplib tells every PDU, the bind's password included.
logging.getLogger(f"{__name__}.smpplib").setLevel(logging.CRITICAL + 1)


class ProbeFailed(Exception):
    """The service answered, but not as it should."""


def reachable(host: str) -> str:
    """The address under which a listener on `host` is found from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared only


# --- SMTP --------------------------------------------------------------------------------------------------


async def smtp(host: str, port: int) -> None:
    """Greeting, EHLO, QUIT (RFC 5321 sections 4.3.1 and 4.1.1)."""
    reader, writer = await asyncio.open_connection(host, port, limit=_LINE_MAX)
    try:
        await _expect(reader, "220", "greeting")
        for command, code in (("EHLO localhost", "250"), ("QUIT", "221")):
            writer.write(f"{command}\r\n".encode())
            await _expect(reader, code, command)
    finally:
        await _close(writer)


async def _expect(reader: asyncio.StreamReader, code: str, about: str) -> None:
    for _ in range(_LINES_MAX):
        line = (await reader.readline()).decode("ascii", "replace")
        if not line.startswith(code):
            raise ProbeFailed(f"{about}: {line[:3].strip() or 'connection closed'} instead of {code}")
        if line[3:4] != "-":
            return
    raise ProbeFailed(f"{about}: the reply does not end")


# --- the API -----------------------------------------------------------------------------------------------


async def api(host: str, port: int, *, tls: bool = False) -> None:
    """GET /readyz is answered 200. Over TLS the certificate is not judged: it may be for another name."""
    context = None
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(host, port, limit=_LINE_MAX, ssl=context)
    try:
        name = f"[{host}]" if ":" in host else host
        request = f"GET /readyz HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        found = _STATUS_LINE.match(await reader.readline())
        if found is None:
            raise ProbeFailed("/readyz: no HTTP answer")
        if found[1] != b"200":
            raise ProbeFailed(f"/readyz: {found[1].decode()}")
    finally:
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        await writer.wait_closed()


# --- SMPP --------------------------------------------------------------------------------------------------


async def sms(host: str, port: int, key: ProbeKey | None, timeout_s: float) -> None:
    """bind_transceiver, enquire_link, unbind by smpplib in a thread, which ends when the caller gives up."""
    dialogue = _SmppDialogue(host, port, key, timeout_s)
    thread = asyncio.get_running_loop().run_in_executor(None, dialogue.run)
    try:
        await thread
    finally:
        dialogue.abort()


class _SmppDialogue:
    """The blocking conversation. `abort` may be called from another thread."""

    def __init__(self, host: str, port: int, key: ProbeKey | None, timeout_s: float) -> None:
        self._address = (host, port)
        self._key = key
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._aborted = False

    def abort(self) -> None:
        """Ends whatever it waits for."""
        self._aborted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Raises ProbeFailed, OSError and TimeoutError."""
        with socket.create_connection(self._address, timeout=self._timeout_s) as connection:
            self._socket = connection
            if self._aborted:
                return
            client = Client(
                *self._address,
                timeout=self._timeout_s,
                logger_name=f"{__name__}.smpplib",  # a constant one: smpplib's own makes a logger per client
                allow_unknown_opt_params=True,
            )
            client._socket = connection  # noqa: SLF001 - smpplib itself connects over IPv4 only
            try:
                self._converse(client)
            except (PDUError, SmppConnectionError) as error:
                raise ProbeFailed(f"{type(error).__name__}: {error}".rstrip(": ")) from error
            finally:
                client._socket = None  # noqa: SLF001 - it is closed here, and nobody is told otherwise

    def _converse(self, client: Any) -> None:
        client.state = consts.SMPP_CLIENT_STATE_OPEN
        if self._key is None:
            # smpplib knows that a client asks only when bound; our SMSC answers whenever it is asked.
            client.state = consts.SMPP_CLIENT_STATE_BOUND_TRX
            self._request(client, "enquire_link")
            return
        client.bind_transceiver(system_id=self._key.system_id, password=self._key.password)
        self._request(client, "enquire_link")
        self._request(client, "unbind")

    def _request(self, client: Any, command: str) -> None:
        request = make_pdu(command, client=client)
        client.send_pdu(request)
        for _ in range(_PDUS_MAX):
            answer = client.read_pdu()
            if answer.sequence == request.sequence and answer.command == f"{command}_resp":
                if answer.is_error():
                    raise ProbeFailed(f"{command}: command_status {answer.status:#010x}")
                return
            if answer.command == "enquire_link":
                client._enquire_link_received(answer)  # noqa: SLF001 - how smpplib answers one
            elif answer.command == "generic_nack":
                raise ProbeFailed(f"{command}: generic_nack {answer.status:#010x}")
        raise ProbeFailed(f"{command}: other PDUs instead of an answer")
