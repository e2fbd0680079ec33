"""What happens in an SMPP session, as values: `smpp.session` makes them, the shells act on them.

The two that come with every message are not looked at by the garbage collector: nobody keeps them.
"""

from typing import Any

import msgspec

from smpp.framing import PduError
from smpp.operations import Pdu, Response


class RequestReceived(msgspec.Struct, frozen=True, gc=False):
    """A request that the application has to answer with `Session.respond` (outbind and alert_notification
    excepted). enquire_link, unbind and everything out of order are answered by the session itself.
    """

    request: Pdu


class ResponseReceived(msgspec.Struct, frozen=True, gc=False):
    """The answer to a request of ours: its response, or a generic_nack. `context` is what `send` got."""

    request: Pdu
    response: Response
    context: Any


class ResponseTimeout(msgspec.Struct, frozen=True):
    """No answer in time: whether the peer took the request is *unknown*."""

    request: Pdu
    context: Any


class LateResponse(msgspec.Struct, frozen=True):
    """An answer after its ResponseTimeout; `request` is None if it answers nothing that is remembered."""

    request: Pdu | None
    response: Response
    context: Any


class FaultReceived(msgspec.Struct, frozen=True):
    """Octets of the peer that were no PDU; the session has answered them. For the log."""

    error: PduError


class Closed(msgspec.Struct, frozen=True):
    """The session is over. `unanswered` are the (request, context) whose outcome is unknown."""

    reason: str
    unanswered: tuple[tuple[Pdu, Any], ...]


Event = RequestReceived | ResponseReceived | ResponseTimeout | LateResponse | FaultReceived | Closed
