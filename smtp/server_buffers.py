"""What a mail transaction has gathered: the buffers of RFC 5321 section 4.1.1, and the chunk under way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec import Struct

from smtp.address import Mailbox
from smtp.data import ChunkReceiver, DataReceiver
from smtp.server_api import Envelope, MailParameters, Recipient
from smtp.server_order import Step

Receiver = DataReceiver | ChunkReceiver

_SLOWEST_OCTETS_PER_S = 1024  # each second earned by a message under way
_NO_PARAMETERS = MailParameters()


class Chunk(Struct):
    """One BDAT command: what is still to come of it, and what it leads to."""

    octets: int
    left: int
    last: bool
    step: Step


class MailBuffers:
    """Reverse-path, forward-paths and mail data of one message after the other."""

    __slots__ = ("chunk", "forward_paths", "mail_data", "parameters", "reverse_path", "started_s")

    def __init__(self) -> None:
        self.reverse_path: Mailbox | None = None
        self.parameters = _NO_PARAMETERS
        self.forward_paths: list[Recipient] = []
        self.mail_data: Receiver | None = None
        self.chunk: Chunk | None = None
        self.started_s = 0.0
        """When the octets that are coming began."""

    def clear(self) -> None:
        """Forget the message, and give back the memory it has taken."""
        self.reverse_path = None
        self.parameters = _NO_PARAMETERS
        self.forward_paths = []
        if self.mail_data is not None:
            self.mail_data.release()
            self.mail_data = None

    def deadline(self, timeout_s: float) -> float:
        """Until when the octets have to come: the time grows with them, so that nobody can dawdle."""
        mail_data, chunk = self.mail_data, self.chunk
        received = mail_data.received_octets if mail_data is not None else 0
        if chunk is not None:
            received = chunk.octets - chunk.left
        return self.started_s + timeout_s + received / _SLOWEST_OCTETS_PER_S

    def sealed(self) -> Callable[[bytes], Envelope]:
        """Makes the message of its content; nothing that befalls the session changes it any more."""
        return partial(_envelope, self.reverse_path, self.parameters, tuple(self.forward_paths))


def _envelope(
    reverse_path: Mailbox | None,
    params: MailParameters,
    forward_paths: tuple[Recipient, ...],
    content: bytes,
) -> Envelope:
    return Envelope(
        mail_from=reverse_path,
        rcpt_tos=forward_paths,
        content=content,
        smtputf8=params.smtputf8,
        body_8bit=params.body_8bit or not content.isascii(),
        ret=params.ret,
        envid=params.envid,
    )
