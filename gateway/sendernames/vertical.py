"""SenderNames: the senders of SMS that an account may show (R22–R25)."""

from gateway.ground import Ground
from gateway.sendernames import api, cli, tables
from gateway.sendernames.service import DECIDED, SenderNames
from gateway.vertical import Vertical


def _make(ground: Ground) -> None:
    ground.add(SenderNames(ground.caches, ground.clock, ground.settings.sender_name))


SENDERNAMES = Vertical(
    name="sendernames",
    tables=(tables.sender_name, tables.sender_name_document),
    make=_make,
    operations=api.OPERATIONS,
    commands=(cli.app,),
    scopes=("sendernames:read", "sendernames:write"),
    event_kinds={DECIDED: "sendernames:read"},
)
