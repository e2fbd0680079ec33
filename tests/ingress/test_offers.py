"""A receipt of an operator's goes on to the client at once, not when the sender of receipts looks next."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from config.sections.listeners import Smpp
from config.sections.store import Store
from gateway.accounts.credentials import Credentials
from gateway.accounts.secrets import CredentialKind
from gateway.ingress import smpp
from gateway.ingress.receipt_sender import ReceiptSender
from gateway.ingress.smpp import SmppIngress
from smpp.constants import CommandStatus, MessageState
from smpp.states import BindMode
from tests.doors.support import Refusals, make_door
from tests.faults.installation import NAME
from tests.faults.test_smsc import GOOD, operator, simulator
from tests.faults.world import settings_for, world
from tests.ingress.smpp_rig import Login, bound_client

HOUR_S = 3600.0


async def test_a_receipt_is_offered_when_it_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smpp, "ReceiptSender", partial(ReceiptSender, poll_s=HOUR_S))
    async with simulator() as smsc:
        settings = settings_for(
            sms={"*": operator(smsc.port)}, smpp=Smpp(port=0), store=Store(lease_s=3 * HOUR_S)
        )
        async with world(tmp_path, settings) as here:
            issued = await here.ground[Credentials].create(here.account_id, CredentialKind.SMPP)
            login = Login(here.account_id, issued.credential.id, issued.credential.username, issued.secret)
            ingress = SmppIngress(here.ground, here.road, observer=Refusals(), door=make_door("smpp"))
            await ingress.start()
            try:
                async with bound_client(ingress.port, login, BindMode.TRX) as client:
                    await caught_up(ingress.application.receipts)
                    status, message_id = await client.send(to=GOOD.removeprefix("+"), source_addr=NAME)
                    assert status == CommandStatus.ESME_ROK
                    receipt = await client.receipt()
                    assert (receipt.message_id, receipt.state) == (message_id, MessageState.DELIVERED)
            finally:
                await ingress.stop(1.0)


async def caught_up(sender: ReceiptSender) -> None:
    """Returns once the sender has read what waits for its client: it looks again in an hour."""
    async with asyncio.timeout(10):
        while not sender._clients or any(served.behind for served in sender._clients.values()):
            await asyncio.sleep(0.005)
