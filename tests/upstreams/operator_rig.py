"""The way of SMS from the lanes to an SMSC with a limit, in virtual time: dispatcher, operator, binds and
links are the real ones; the store remembers what is settled, and gives back what is due.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from config.kinds import Secret
from config.sections.upstreams import SmppUpstream
from gateway.messages.deliver.dispatcher import Dispatcher
from gateway.messages.deliver.lanes import Lanes
from gateway.messages.model import Channel, Delivery, Message, SmsEnvelope, Status
from gateway.messages.observer import Observer
from gateway.messages.queue.bell import Bell
from gateway.messages.settle import retry
from gateway.messages.settle.operation import SettleDeliveries
from gateway.messages.settle.settlement import Settlement
from gateway.store.store import Store
from gateway.store.tenure import Tenure
from gateway.upstreams.smpp_operator import SmppOperator
from smpp.limit import Limit
from smpp.simulator import ReceivedMessage, Simulator, SimulatorConfig
from smpp.smsc import SmscConfig
from tests.virtual import VirtualClock

RETRY = retry.Rules(first_s=60, factor=2, max_s=3600, jitter=0, refund_on=frozenset())


class _Memory:
    """As much of a store as a dispatcher needs."""

    def __init__(self, settled: Callable[[Settlement, Message], None]) -> None:
        self._settled = settled

    def post(self, operation: SettleDeliveries, *, urgent: bool = False) -> None:
        asyncio.get_running_loop().call_soon(self._commit, operation)

    def _commit(self, operation: SettleDeliveries) -> None:
        for one in operation.settlements:
            self._settled(one, operation.work.message)
        operation.committed(None)


class _Held:
    """A lease that is never lost."""

    holder = "test"

    def may_send(self) -> bool:
        return True


@dataclass
class OperatorRig:
    """One operator and its SMSC. `taken_at` are the times at which the SMSC took a message."""

    dispatcher: Dispatcher
    operator: SmppOperator
    smsc: Simulator
    taken_at: list[float] = field(default_factory=list)
    settled: dict[str, list[Settlement]] = field(default_factory=dict)
    waiting_most: int = 0
    """The most messages that waited in the database at one time."""
    _waiting: set[str] = field(default_factory=set)
    _accepted: int = 0

    def send(self, *numbers: str, text: str = "Hello") -> list[str]:
        """Hands in an SMS to each number, as acceptance does; the ids."""
        return [self._put(number, text) for number in numbers]

    def _put(self, number: str, text: str) -> str:
        self._accepted += 1
        now_ms = VirtualClock().now_ms()
        message = Message(
            account_id="account",
            id=str(self._accepted),
            channel=Channel.SMS,
            ingress="test",
            sender="Acme",
            envelope=SmsEnvelope(requested_source="Acme"),
            content=text.encode(),
            accepted_ms=now_ms,
            expires_ms=now_ms + 86_400_000,
            deliveries=[Delivery(n=0, address=number, destination=self.operator.name, price_credits=1)],
        )
        self._take_in(message)
        return message.id

    def _take_in(self, message: Message) -> None:
        """Into memory, or later where there is no room."""
        if self.dispatcher.reserve(message):
            self._waiting.discard(message.id)
            self.dispatcher.put(message)
        else:
            self._wait(message, 0.1)

    def _wait(self, message: Message, wait_s: float) -> None:
        self._waiting.add(message.id)
        self.waiting_most = max(self.waiting_most, len(self._waiting))
        asyncio.get_running_loop().call_later(wait_s, self._take_in, message)

    def remember(self, one: Settlement, message: Message) -> None:
        """What the store was told."""
        self.settled.setdefault(one.message_id, []).append(one)
        if one.status is Status.QUEUED:
            message.deliveries[0].attempts = one.attempts
            self._wait(message, max(0.0, (one.next_attempt_ms - one.at_ms) / 1000))

    def took(self, _message: ReceivedMessage) -> None:
        """The SMSC shows what it took."""
        self.taken_at.append(asyncio.get_running_loop().time())

    def taken(self, since_s: float, until_s: float) -> int:
        """How many the SMSC took between two times."""
        return sum(since_s <= at < until_s for at in self.taken_at)

    def statuses(self, ids: Sequence[str]) -> Counter[str]:
        """The last settled status of each message; "" for one that was never settled."""
        return Counter(self.settled[one][-1].status.value if one in self.settled else "" for one in ids)

    async def done(self, ids: Sequence[str], *, within_s: float) -> float:
        """Returns, once all are delivered, the time that took; infinite if they are not in time."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        while loop.time() < started_s + within_s:
            if self.statuses(ids)["delivered"] == len(ids):
                return loop.time() - started_s
            await asyncio.sleep(0.01)
        return float("inf")


@asynccontextmanager
async def operator_rig(limit: Limit | None = None, **settings: Any) -> AsyncIterator[OperatorRig]:
    """A running one, its binds up. `settings`: of the upstream."""
    random.seed(1)  # the jitter of rests
    rigs: list[OperatorRig] = []
    clock = VirtualClock()
    smsc = Simulator(
        SimulatorConfig(smsc=SmscConfig(port=1, system_id="sandbox"), memory=1),
        on_message=lambda message: rigs[0].took(message),  # noqa: PLW0108 - the rig is not there yet
        limit=limit,
        clock=clock.monotonic_s,
    )
    await smsc.start()
    upstream = SmppUpstream(
        host="smsc",
        port=smsc.port,
        system_id="sandbox",
        password=Secret("sandbox"),
        receipts=False,
        **settings,
    )
    operator = SmppOperator("operator", upstream, clock=clock, on_receipts=_no_receipts)
    dispatcher = Dispatcher(
        store=cast(Store, _Memory(lambda one, message: rigs[0].remember(one, message))),  # noqa: PLW0108 - the same
        upstream_of=lambda _destination: operator,
        rules={Channel.SMS: RETRY},
        lanes=Lanes(deliveries_max=20_000, octets_max=1 << 26),
        clock=clock,
        unsettled_max=1000,
        tenure=cast(Tenure, _Held()),
        keep_content=False,
        observer=Observer(),
        make_dsns=_no_dsns,
        bell=Bell(),
        random_unit=lambda: 0.5,
    )
    up = asyncio.Event()
    rigs.append(OperatorRig(dispatcher, operator, smsc))
    await operator.start(_Links(up, dispatcher))
    await up.wait()
    try:
        yield rigs[0]
    finally:
        await dispatcher.stop(0.1)
        await operator.stop(0.1)
        await smsc.stop(0.1)


class _Links:
    """What the road does of it, without a queue in a database."""

    def __init__(self, up: asyncio.Event, dispatcher: Dispatcher) -> None:
        self._up = up
        self._dispatcher = dispatcher

    def ready(self, destination: str) -> None:
        self._up.set()
        self._dispatcher.wake(destination)

    def more(self, destination: str) -> None:
        self._dispatcher.more(destination)


def _no_receipts(_receipts: object) -> "asyncio.Future[list[str | None]]":
    raise AssertionError("none was asked for")


async def _no_dsns(_work: object, _settlements: object) -> Sequence[Message]:
    return ()
