"""An ESME and an SMSC session joined in memory, in the manner of h11's ConnectionPair."""

from smpp.constants import CommandStatus
from smpp.events import Event, RequestReceived
from smpp.pdu import Bind, BindTransceiver, Response, response_class
from smpp.session import Role, Session, SessionConfig


class Pair:
    """`exchange` carries what both have to say until neither has more, and gathers the events."""

    def __init__(self, *, first_sequence_number: int = 1, **config: object) -> None:
        self.now = 0.0
        settings = SessionConfig(**config)  # type: ignore[arg-type]  # the tests name the fields
        self.esme = Session(Role.ESME, settings, self.now, first_sequence_number=first_sequence_number)
        self.smsc = Session(Role.SMSC, settings, self.now)

    def exchange(self) -> tuple[list[Event], list[Event]]:
        """(events at the ESME, events at the SMSC)."""
        at_esme: list[Event] = []
        at_smsc: list[Event] = []
        while True:
            to_smsc, to_esme = self.esme.data_to_send(), self.smsc.data_to_send()
            if not to_smsc and not to_esme:
                return at_esme, at_smsc
            at_smsc += self.smsc.receive_data(to_smsc, self.now)
            at_esme += self.esme.receive_data(to_esme, self.now)

    def bind(self, request: Bind | None = None) -> "Pair":
        """Bind and forget the events."""
        self.esme.send(request or BindTransceiver(system_id="esme"), self.now)
        _, (event,) = self.exchange()
        assert isinstance(event, RequestReceived)
        self.smsc.respond(answer(event), self.now)
        self.exchange()
        return self


def answer(event: Event, status: int = CommandStatus.ESME_ROK, **fields: object) -> Response:
    """The response to a RequestReceived."""
    assert isinstance(event, RequestReceived)
    cls = response_class(event.request.command_id)
    assert cls is not None
    return cls(event.request.sequence_number, status, **fields)
