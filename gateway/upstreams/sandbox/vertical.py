"""The sandbox: what was captured instead of sent, shown to the account that sent it."""

from gateway.ground import Ground
from gateway.upstreams.sandbox import mail_api, sms_api, tables
from gateway.upstreams.sandbox.readers import Readers
from gateway.vertical import Vertical


def _make(ground: Ground) -> None:
    ground.add(Readers())


SANDBOX = Vertical(
    name="sandbox",
    tables=(tables.captured_mail,),
    make=_make,
    operations=(*mail_api.OPERATIONS, *sms_api.OPERATIONS),
)
