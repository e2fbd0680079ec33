"""The states of an SMPP v3.4 session and who may send what in each (sections 2.2 and 2.3), as a table."""

from enum import Enum
from typing import Final

from smpp.constants import CommandId
from smpp.pdu import Pdu, request_class, response_class


class Role(Enum):
    """Which side we are."""

    ESME = "esme"
    SMSC = "smsc"


class BindMode(Enum):
    """Transmitter, receiver or both (section 4.1)."""

    TX = "tx"
    RX = "rx"
    TRX = "trx"


class State(Enum):
    """Section 2.2. UNBOUND: over, the transport is to be closed. CLOSED: the transport is gone."""

    OPEN = "open"
    BOUND_TX = "bound_tx"
    BOUND_RX = "bound_rx"
    BOUND_TRX = "bound_trx"
    UNBOUND = "unbound"
    CLOSED = "closed"


class StateError(Exception):
    """This role may not send this PDU in this state (section 2.3)."""


class WindowFull(Exception):
    """As many requests as the window allows wait for their answer (section 2.9)."""


_OPEN: Final = frozenset({State.OPEN})
BOUND: Final = frozenset({State.BOUND_TX, State.BOUND_RX, State.BOUND_TRX})
_TO_SMSC: Final = frozenset({State.BOUND_TX, State.BOUND_TRX})
_TO_ESME: Final = frozenset({State.BOUND_RX, State.BOUND_TRX})
BINDS: Final = {
    CommandId.BIND_TRANSMITTER: State.BOUND_TX,
    CommandId.BIND_RECEIVER: State.BOUND_RX,
    CommandId.BIND_TRANSCEIVER: State.BOUND_TRX,
}
# Section 2.3, table 2-1: who may send which request in which state.
MAY_SEND: Final[dict[Role, dict[CommandId, frozenset[State]]]] = {
    Role.ESME: {
        **dict.fromkeys(BINDS, _OPEN),
        CommandId.UNBIND: BOUND,
        CommandId.ENQUIRE_LINK: BOUND,
        CommandId.SUBMIT_SM: _TO_SMSC,
        CommandId.SUBMIT_MULTI: _TO_SMSC,
        CommandId.DATA_SM: _TO_SMSC,
        CommandId.QUERY_SM: _TO_SMSC,
        CommandId.CANCEL_SM: _TO_SMSC,
        CommandId.REPLACE_SM: _TO_SMSC,
    },
    Role.SMSC: {
        CommandId.OUTBIND: _OPEN,
        CommandId.UNBIND: BOUND,
        CommandId.ENQUIRE_LINK: BOUND,
        CommandId.DELIVER_SM: _TO_ESME,
        CommandId.DATA_SM: _TO_ESME,
        CommandId.ALERT_NOTIFICATION: _TO_ESME,
    },
}
NO_RESPONSE: Final = frozenset({CommandId.OUTBIND, CommandId.ALERT_NOTIFICATION})
# These keep the link itself; they do not count against the window.
CONTROL: Final = frozenset({*BINDS, CommandId.UNBIND, CommandId.ENQUIRE_LINK})
# By class, because the hash of an enumeration's member is slow: what answers each request.
ANSWERS: Final = {
    cls: response_class(cls.command_id)
    for table in MAY_SEND.values()
    for command in table
    if (cls := request_class(command)) is not None
}


def messages(commands: frozenset[CommandId]) -> frozenset[type[Pdu]]:
    """The classes of those requests that are messages: they count against the window, and are answered."""
    return frozenset(
        cls
        for command in commands
        if command not in CONTROL and command not in NO_RESPONSE and (cls := request_class(command))
    )
