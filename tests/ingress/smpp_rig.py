"""A door for SMPP clients on a road, and clients that remember their receipts."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from config.schema import Settings
from gateway import verticals
from gateway.accounts.credentials import Credentials
from gateway.accounts.secrets import CredentialKind
from gateway.accounts.service import Accounts
from gateway.doors.door import Doors
from gateway.ingress.smpp import SmppIngress
from gateway.store.cache import Caches
from smpp.constants import CommandStatus
from smpp.esme import Esme
from smpp.pdu import BindTransceiver, BindTransceiverResp, DataSm, DeliverSm, SubmitSm
from smpp.receipt import Receipt, parse
from smpp.states import BindMode
from tests.doors.support import Refusals
from tests.smpp.servers import BareClient, connected, soon
from tests.support.fakes import FakeUpstream
from tests.world import Rig, make_settings, rig


class CountingObserver(Refusals):
    """Remembers refusals."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals: list[str] = []
        self.logins: list[str] = []

    def refused(self, channel: str, ingress: str, reason: str) -> None:
        assert (channel, ingress) == ("sms", "smpp")
        self.refusals.append(reason)

    def auth_failed(self, ingress: str, reason: str) -> None:
        assert ingress == "smpp"
        self.logins.append(reason)


@dataclass
class Login:
    """A client's credentials."""

    account_id: str
    credential_id: str
    system_id: str
    password: str


@dataclass
class Door:
    """The listening ingress and what stands behind it."""

    rig: Rig
    ingress: SmppIngress
    accounts: Accounts
    credentials: Credentials
    observer: CountingObserver
    upstream: FakeUpstream
    login: Login

    async def new_login(self, system_id: str | None = None, account_id: str | None = None) -> Login:
        """Another credential, of another account unless one is named."""
        if account_id is None:
            account_id = (await self.accounts.create("Bo", "bo@example.org")).id
            await self.rig.credits.grant(account_id, "sms", 100)
        issued = await self.credentials.create(account_id, CredentialKind.SMPP, username=system_id)
        return Login(account_id, issued.credential.id, issued.credential.username, issued.secret)

    def client(
        self,
        login: Login | None = None,
        mode: BindMode = BindMode.TRX,
        *,
        mute: bool = False,
        port: int = 0,
        **config: Any,
    ) -> "AbstractClient":
        """A bound client, as a context manager; a mute one answers no deliver_sm until its gate is set."""
        return bound_client(port or self.ingress.port, login or self.login, mode, mute=mute, **config)

    async def kept(self) -> int:
        """How many receipts wait in the store."""
        rows = await self.rig.store.read(lambda tx: tx.rows("SELECT count(*) FROM client_receipt"))
        return int(rows[0][0])

    async def until_kept(self, count: int) -> None:
        """Returns once so many receipts wait in the store."""
        async with asyncio.timeout(10):
            while await self.kept() != count:
                await asyncio.sleep(0.005)  # polls a committed state; bounded by the timeout above

    async def row(self, message_id: str) -> dict[str, Any]:
        """The message's row, from the database itself."""
        sql = "SELECT account_id, envelope, expires_ms, send_at_ms FROM message WHERE id = ?"
        rows = await self.rig.store.read(lambda tx: tx.rows(sql, (message_id,)))
        return dict(zip(("account_id", "envelope", "expires_ms", "send_at_ms"), rows[0], strict=True))


@dataclass
class Client:
    """A bound client: our own ESME, and the deliver_sm it got."""

    esme: Esme
    deliveries: "asyncio.Queue[DeliverSm | DataSm]"
    answer: list[CommandStatus] = field(default_factory=list)
    """What it answers to the next deliver_sm; ESME_ROK when empty."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: it does not answer."""

    async def send(self, text: str = "Hi", to: str = "41791234567", **fields: Any) -> tuple[int, str]:
        """(command_status, message_id) of one submit_sm."""
        result = await soon(self.esme.submit(submit_sm(text, to, **fields)))
        return result.command_status, result.message_id

    async def receipt(self) -> Receipt:
        """The next receipt."""
        receipt = parse(await soon(self.deliveries.get()))
        assert receipt is not None
        return receipt


AbstractClient = Any  # an async context manager of Client; the generator's own type says nothing more


def submit_sm(text: str = "Hi", to: str = "41791234567", **fields: Any) -> SubmitSm:
    """What most tests send: a text from the name Acme, with a receipt asked for."""
    usual: dict[str, Any] = {
        "source_addr_ton": 5,
        "source_addr": "Acme",
        "dest_addr_ton": 1,
        "dest_addr_npi": 1,
        "destination_addr": to,
        "registered_delivery": 1,
        "short_message": text.encode("ascii"),
    }
    return SubmitSm(**{**usual, **fields})


def numbered_as(pdu: SubmitSm, number: int) -> SubmitSm:
    """The same with another sequence_number, for a bare client, which chooses its own."""
    return msgspec.structs.replace(pdu, sequence_number=number)


async def bind(client: BareClient, login: Login) -> None:
    """Binds a bare client as a transceiver, with sequence_number 1."""
    answer = await client.ask(BindTransceiver(1, login.system_id, login.password))
    assert isinstance(answer, BindTransceiverResp)
    assert answer.command_status == CommandStatus.ESME_ROK


@asynccontextmanager
async def bound_client(
    port: int, login: Login, mode: BindMode, *, mute: bool = False, **config: Any
) -> AsyncIterator[Client]:
    """A client that is bound."""
    deliveries: asyncio.Queue[DeliverSm | DataSm] = asyncio.Queue()
    answer: list[CommandStatus] = []
    gate = asyncio.Event()
    if not mute:
        gate.set()

    async def on_deliver(pdu: DeliverSm | DataSm) -> CommandStatus:
        deliveries.put_nowait(pdu)
        await gate.wait()
        return answer.pop(0) if answer else CommandStatus.ESME_ROK

    async with connected(
        port, on_deliver, system_id=login.system_id, password=login.password, bind_mode=mode, **config
    ) as esme:
        yield Client(esme, deliveries, answer, gate)


@asynccontextmanager
async def door(
    folder: Path,
    *,
    upstream: FakeUpstream | None = None,
    login: Login | None = None,
    change: Callable[[Settings], Settings] = lambda settings: settings,
    sms_credits: int = 100,
    tls_context: ssl.SSLContext | None = None,
    **smpp: object,
) -> AsyncIterator[Door]:
    """A door on `folder`'s database; with the `login` of an earlier one, the same after a restart."""
    settings = make_settings()
    settings = replace(settings, smpp=replace(settings.smpp, **{"port": 0, **smpp}))  # type: ignore[arg-type]  # by name
    observer, upstream = CountingObserver(), upstream or FakeUpstream()
    async with rig(
        folder, [upstream], settings=change(settings), observer=observer, sms_credits=0, mail_credits=0
    ) as one:
        caches = Caches(one.store, poll_s=0.02)
        ground = verticals.make(one.settings, one.store, one.clock, caches=caches)
        accounts, credentials = ground[Accounts], ground[Credentials]
        ingress = SmppIngress(
            ground,
            one.road,
            observer=observer,
            door=Doors(one.settings, observer, one.clock).smpp(),
            tls_context=tls_context,
        )
        new = Door(one, ingress, accounts, credentials, observer, upstream, login or Login("", "", "", ""))
        if login is None:
            account = await accounts.create("Ada", "ada@example.org")
            if sms_credits:
                await one.credits.grant(account.id, "sms", sms_credits)
            new.login = await new.new_login("client", account.id)
        await ingress.start()
        try:
            yield new
        finally:
            await ingress.stop(1.0)
            await caches.close()
