"""The SMS sandbox: a real SMPP bind to the built-in SMSC simulator on loopback.

Everything on the road is as with an operator: submit_sm, windows, receipts, parts. Magic numbers
(`smpp.magic`) give every outcome; the others are delivered. What arrived can be read over the API.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

from config.kinds import Secret
from config.sections.upstreams import SandboxSmsUpstream, SmppUpstream
from gateway.clock import Clock
from gateway.messages.model import Outcome, Work
from gateway.messages.ports import Links
from gateway.upstreams.smpp_operator import LinkState, OnLate, OnReceipts, SmppOperator
from smpp.link import MaySend, always
from smpp.simulator import Simulator, SimulatorConfig
from smpp.smsc import SmscConfig

_SYSTEM_ID = "sandbox"
_LATE_RESPONSE_S = 60.0
_RECONNECT_MAX_S = 1.0  # the simulator is always there again at once


class SandboxSms:
    """An operator and its SMSC in one; ready as soon as it is started."""

    recipients_per_work = 1
    names = True
    serving = True  # every process has its own

    def __init__(
        self,
        name: str,
        settings: SandboxSmsUpstream,
        *,
        clock: Clock,
        on_receipts: OnReceipts,
        on_late: OnLate = lambda _work, _submitted: None,
        may_send: MaySend = always,
    ) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        self._on_receipts = on_receipts
        self._on_late = on_late
        self._may_send = may_send
        self._password = secrets.token_hex(4)  # at most 8 characters, SMPP v3.4 section 5.2.2
        self._simulator = Simulator(
            SimulatorConfig(
                credentials={_SYSTEM_ID: self._password},
                smsc=SmscConfig(port=settings.port, system_id=_SYSTEM_ID),
                receipt_delay_s=settings.receipt_delay_ms / 1000,
                late_response_s=_LATE_RESPONSE_S,
            )
        )
        self._operator = self._connect(settings.port or 1)

    @property
    def concurrency(self) -> int:
        """As many as the operator's."""
        return self._operator.concurrency

    def destination(self, address: str) -> str:
        """Everything waits in one queue."""
        return self._operator.destination(address)

    def segments(self, text: str) -> int:
        """How many segments `text` becomes. Raises smpp.text.TextError."""
        return self._operator.segments(text)

    async def start(self, links: Links) -> None:
        """Starts the simulator, then binds to it."""
        await self._simulator.start()
        self._operator = self._connect(self._simulator.port)
        await self._operator.start(links)

    def withdraw(self) -> None:
        """As with an operator."""
        self._operator.withdraw()

    async def stop(self, drain_s: float) -> None:
        """Unbinds, then ends the simulator."""
        await self._operator.stop(drain_s)
        await self._simulator.stop(min(drain_s, 1.0))

    def deliver(self, work: Work) -> "asyncio.Future[Sequence[Outcome]]":
        """As an operator does."""
        return self._operator.deliver(work)

    @property
    def link_state(self) -> LinkState:
        """The bind as it is now."""
        return self._operator.link_state

    def messages(self) -> list[Any]:
        """What the handsets would show, oldest first."""
        return list(self._simulator.messages())

    def _connect(self, port: int) -> SmppOperator:
        settings = SmppUpstream(
            host="127.0.0.1",
            port=port,
            system_id=_SYSTEM_ID,
            password=Secret(self._password),
            window=self._settings.window,
            reconnect_min_s=0.1,
            reconnect_max_s=_RECONNECT_MAX_S,
        )
        return SmppOperator(
            self.name,
            settings,
            clock=self._clock,
            on_receipts=self._on_receipts,
            on_late=self._on_late,
            may_send=self._may_send,
        )
