"""A bind whose lease cannot be renewed, because the database does not answer this process."""

import asyncio
from dataclasses import dataclass, field
from functools import partial

from gateway.upstreams.binds import LeasedBind
from smpp.constants import CommandStatus
from smpp.esme import Esme, EsmeConfig
from smpp.simulator import Simulator
from smpp.states import BindMode
from tests.faults.test_smsc import simulator


@dataclass
class StuckLeases:
    """Leases in a database that answers while `answers` is set."""

    renew_s: float = 0.2
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, name: str) -> bool:
        del name
        await self.answers.wait()
        return True

    async def drop(self, name: str) -> None:
        del name


async def test_a_bind_ends_with_its_lease_when_the_database_does_not_answer_and_comes_back_with_it() -> None:
    """Another process may have taken the lease by then, and the bind exists once."""

    async def take(_pdu: object) -> CommandStatus:
        return CommandStatus.ESME_ROK

    leases = StuckLeases()
    leases.answers.set()
    async with simulator() as smsc:
        config = EsmeConfig(host="127.0.0.1", port=smsc.port, system_id="sandbox", password="sandbox")
        bind = LeasedBind("upstream:one:0", BindMode.TRX, partial(Esme, config, take), leases)
        bind.start()
        try:
            await _until_binds(smsc, 1)
            leases.answers.clear()
            await _until_binds(smsc, 0)
            assert bind.esme is None
            leases.answers.set()
            await _until_binds(smsc, 1)
        finally:
            await bind.stop(1.0)


async def _until_binds(smsc: Simulator, count: int) -> None:
    async with asyncio.timeout(5):
        while len(smsc._binds) != count:
            await asyncio.sleep(0.01)
