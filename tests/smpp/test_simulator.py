"""The sandbox SMSC over real sockets: every magic number, and the view of what it received."""

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from smpp import magic, text
from smpp.concatenation import user_data
from smpp.constants import CommandStatus, EsmClass, MessageState
from smpp.esme import BindMode, Esme
from smpp.pdu import BindTransceiver, BindTransceiverResp, DataSm, DeliverSm, SubmitSm
from smpp.receipt import Receipt, keys, normalise, parse
from smpp.simulator import ReceivedMessage, Simulator, SimulatorConfig
from smpp.smsc import SmscConfig
from tests.smpp.servers import RequestOutcome, States, bare_client, connected, soon

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Sandbox:
    """A simulator, a bound Esme, and what it was sent."""

    def __init__(self, simulator: Simulator, esme: Esme, inbox: asyncio.Queue[DeliverSm | DataSm]) -> None:
        self.simulator, self.esme, self.inbox = simulator, esme, inbox

    async def receipt(self) -> Receipt:
        receipt = parse(await soon(self.inbox.get()))
        assert receipt is not None
        return receipt


@contextlib.asynccontextmanager
async def simulator_only(**config: object) -> AsyncIterator[Simulator]:
    settings = {"receipt_delay_s": 0.02, "late_response_s": 0.2, "smsc": SmscConfig(port=0), **config}
    simulator = Simulator(
        SimulatorConfig(**settings),  # type: ignore[arg-type]  # the tests name the fields
        now=lambda: NOON,
        random=random.Random(1),
    )
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop(0)


@contextlib.asynccontextmanager
async def bound_to(simulator: Simulator, **config: object) -> AsyncIterator[Sandbox]:
    inbox: asyncio.Queue[DeliverSm | DataSm] = asyncio.Queue()

    async def on_deliver(pdu: DeliverSm | DataSm) -> CommandStatus:
        inbox.put_nowait(pdu)
        return CommandStatus.ESME_ROK

    settings = {"system_id": "sandbox", "password": "sandbox", "throttle_initial_s": 0.01, **config}
    async with connected(simulator.port, on_deliver, **settings) as esme:  # type: ignore[arg-type]  # keywords of the test's own choice
        yield Sandbox(simulator, esme, inbox)


@contextlib.asynccontextmanager
async def sandbox(**config: object) -> AsyncIterator[Sandbox]:
    async with simulator_only() as simulator, bound_to(simulator, **config) as box:
        yield box


def to(suffix: str, **fields: object) -> SubmitSm:
    return SubmitSm(
        source_addr_ton=5,
        source_addr="Gateway",
        dest_addr_ton=1,
        dest_addr_npi=1,
        destination_addr=f"882990{suffix}",
        registered_delivery=1,
        short_message=b"hello",
        **fields,  # type: ignore[arg-type]  # the tests name the fields
    )


def test_every_magic_number_is_documented_and_every_documented_one_works() -> None:
    documented = re.findall(r"^\| (\d{6}) \|", magic.__doc__ or "", re.MULTILINE)
    assert documented == list(magic.BEHAVIOURS)


async def test_ordinary_number_is_delivered_with_a_receipt() -> None:
    async with sandbox() as box:
        result = await soon(box.esme.submit(to("345678")))
        assert result.outcome is RequestOutcome.OK
        receipt = await box.receipt()
        assert (receipt.message_id, receipt.state) == (result.message_id, MessageState.DELIVERED)
        assert (receipt.done_date, receipt.error) == (NOON, "000")


@pytest.mark.parametrize(
    ("suffix", "state"),
    [
        ("000001", MessageState.UNDELIVERABLE),
        ("000002", MessageState.EXPIRED),
        ("000003", MessageState.REJECTED),
        ("000004", MessageState.DELETED),
        ("000005", MessageState.UNKNOWN),
    ],
)
async def test_failing_numbers_give_their_receipt(suffix: str, state: MessageState) -> None:
    async with sandbox() as box:
        result = await soon(box.esme.submit(to(suffix)))
        receipt = await box.receipt()
        assert (receipt.message_id, receipt.state) == (result.message_id, state)
        assert receipt.error == suffix[-3:]


async def test_notification_on_the_way_comes_before_the_final_receipt() -> None:
    async with sandbox() as box:
        await soon(box.esme.submit(to("000006")))
        first, second = await box.receipt(), await box.receipt()
        assert (first.state, first.intermediate, first.final) == (MessageState.ENROUTE, True, False)
        assert (second.state, second.final) == (MessageState.DELIVERED, True)


async def test_refused_number() -> None:
    async with sandbox() as box:
        result = await soon(box.esme.submit(to("000010")))
        assert result.outcome is RequestOutcome.REFUSED
        assert result.command_status == CommandStatus.ESME_RINVDSTADR
        assert box.simulator.messages() == []


@pytest.mark.parametrize(
    ("suffix", "status"),
    [("000011", CommandStatus.ESME_RTHROTTLED), ("000014", CommandStatus.ESME_RMSGQFUL)],
)
async def test_throttled_once_then_taken(suffix: str, status: CommandStatus) -> None:
    async with sandbox() as box:
        first, second = await soon(box.esme.submit(to(suffix))), await soon(box.esme.submit(to(suffix)))
        assert (first.outcome, first.command_status) == (RequestOutcome.THROTTLED, status)
        assert second.outcome is RequestOutcome.OK


@pytest.mark.parametrize(
    ("suffix", "status"),
    [("000012", CommandStatus.ESME_RTHROTTLED), ("000013", CommandStatus.ESME_RSYSERR)],
)
async def test_throttled_always(suffix: str, status: CommandStatus) -> None:
    async with sandbox() as box:
        for _ in range(3):
            result = await soon(box.esme.submit(to(suffix)))
            assert (result.outcome, result.command_status) == (RequestOutcome.THROTTLED, status)


async def test_no_response_is_unknown() -> None:
    async with sandbox(response_timeout_s=0.05) as box:
        assert (await soon(box.esme.submit(to("000020")))).outcome is RequestOutcome.UNKNOWN
        assert (await soon(box.esme.submit(to("345678")))).outcome is RequestOutcome.OK


async def test_late_response_is_unknown_first() -> None:
    async with sandbox(response_timeout_s=0.05) as box:
        assert (await soon(box.esme.submit(to("000021")))).outcome is RequestOutcome.UNKNOWN
        assert (await box.receipt()).state is MessageState.DELIVERED


async def test_receipt_comes_before_its_response() -> None:
    async with sandbox() as box:
        result = box.esme.submit_nowait(to("000022"))
        receipt = await box.receipt()
        assert not result.done()
        assert receipt.message_id == (await soon(result)).message_id


async def test_receipt_comes_twice() -> None:
    async with sandbox() as box:
        await soon(box.esme.submit(to("000023")))
        assert await box.receipt() == await box.receipt()


async def test_decimal_id_in_the_receipt_meets_the_hex_one_of_the_response() -> None:
    async with sandbox() as box:
        result = await soon(box.esme.submit(to("000024")))
        receipt = await box.receipt()
        assert receipt.message_id != result.message_id
        assert normalise(result.message_id) in keys(receipt.message_id)


async def test_no_receipt_where_none_is_due() -> None:
    async with sandbox() as box:
        await soon(box.esme.submit(to("000025")))
        unasked = to("345678")
        for registered in (0, 2):
            plain = SubmitSm(destination_addr=unasked.destination_addr, registered_delivery=registered)
            await soon(box.esme.submit(plain))
        failed = SubmitSm(destination_addr="882990000001", registered_delivery=2)
        result = await soon(box.esme.submit(failed))
        assert (await box.receipt()).message_id == result.message_id
        assert box.inbox.empty()


async def test_receipt_by_data_sm() -> None:
    async with sandbox() as box:
        result = await soon(box.esme.submit(to("000026")))
        pdu = await soon(box.inbox.get())
        receipt = parse(pdu)
        assert isinstance(pdu, DataSm)
        assert receipt is not None
        assert receipt.message_id == result.message_id


async def test_receipt_of_tlvs_only_and_of_text_only() -> None:
    async with sandbox() as box:
        for suffix in ("000027", "000028"):
            result = await soon(box.esme.submit(to(suffix)))
            pdu = await soon(box.inbox.get())
            receipt = parse(pdu)
            assert bool(pdu.payload) != bool(pdu.tlvs)
            assert receipt is not None
            assert (receipt.message_id, receipt.state) == (result.message_id, MessageState.DELIVERED)


async def test_link_cut_in_the_middle_of_the_response_is_unknown_and_bound_again() -> None:
    states = States()
    async with sandbox(states=states) as box:
        assert (await soon(box.esme.submit(to("000030")))).outcome is RequestOutcome.UNKNOWN
        await states.wait_for(bound=True)
        assert (await soon(box.esme.submit(to("345678")))).outcome is RequestOutcome.OK


async def test_answer_comes_back_as_a_message() -> None:
    async with sandbox() as box:
        await soon(box.esme.submit(to("000031")))
        pdus = [await soon(box.inbox.get()), await soon(box.inbox.get())]
        (answer,) = [pdu for pdu in pdus if parse(pdu) is None]
        assert (answer.source_addr, answer.destination_addr) == ("882990000031", "Gateway")
        assert text.decode(answer.payload, answer.data_coding) == "Answer from 882990000031"


async def test_long_message_from_a_handset_comes_in_parts() -> None:
    async with sandbox() as box:
        box.simulator.inject("351", "1234", "ж" * 100, system_id="sandbox")
        pdus = [await soon(box.inbox.get()), await soon(box.inbox.get())]
        assert all(pdu.udhi for pdu in pdus)
        assert text.decode(b"".join(user_data(pdu).octets for pdu in pdus), 8) == "ж" * 100


@pytest.mark.parametrize("body", ["Olá, custa 5€ [hoje]", "a" * 200 + "€" * 100, "ж" * 300, "😀" * 100])
async def test_view_shows_the_text_joined_with_its_sender(body: str) -> None:
    async with sandbox() as box:
        segments = text.split(body, reference=42)
        results = [
            await soon(
                box.esme.submit(
                    SubmitSm(
                        source_addr_ton=5,
                        source_addr="Gateway",
                        destination_addr="882990345678",
                        esm_class=EsmClass.UDHI if segments.udhi else 0,
                        data_coding=segments.data_coding,
                        short_message=part,
                    )
                )
            )
            for part in reversed(segments.parts)
        ]
        assert box.simulator.messages() == [
            ReceivedMessage(
                time=NOON,
                system_id="sandbox",
                source_addr_ton=5,
                source_addr_npi=0,
                source_addr="Gateway",
                destination_addr="882990345678",
                data_coding=segments.data_coding,
                text=body,
                parts=segments.count,
                message_ids=tuple(result.message_id for result in results),
            )
        ]


async def test_view_is_bounded_and_a_part_without_its_others_is_shown_when_pushed_out() -> None:
    async with simulator_only(memory=2) as simulator, bound_to(simulator) as box:
        for reference in range(4):
            part = text.split("ж" * 100, reference=reference).parts[0]
            pdu = SubmitSm(destination_addr="1", esm_class=EsmClass.UDHI, data_coding=8, short_message=part)
            await soon(box.esme.submit(pdu))
        shown = simulator.messages()
        assert [message.complete for message in shown] == [False, False]
        assert shown[0].text == "ж" * 67
        for number in range(5):
            await soon(box.esme.submit(SubmitSm(destination_addr=str(number))))
        assert [message.destination_addr for message in simulator.messages()] == ["3", "4"]


async def test_receipts_wait_for_a_receiving_bind() -> None:
    async with simulator_only() as simulator, bound_to(simulator, bind_mode=BindMode.TX) as sender:
        result = await soon(sender.esme.submit(to("345678")))
        async with bound_to(simulator, bind_mode=BindMode.RX) as receiver:
            assert (await receiver.receipt()).message_id == result.message_id
        assert sender.inbox.empty()


async def test_receipt_goes_back_through_the_bind_that_submitted() -> None:
    async with simulator_only() as simulator, bound_to(simulator) as first, bound_to(simulator) as second:
        for box, other in ((first, second), (second, first)):
            result = await soon(box.esme.submit(to("345678")))
            assert (await box.receipt()).message_id == result.message_id
            assert other.inbox.empty()


@pytest.mark.parametrize(
    ("system_id", "password", "status"),
    [
        ("nobody", "sandbox", CommandStatus.ESME_RINVSYSID),
        ("sandbox", "wrong", CommandStatus.ESME_RINVPASWD),
        ("sandbox", "\xff", CommandStatus.ESME_RINVPASWD),
    ],
)
async def test_wrong_credentials_are_refused(system_id: str, password: str, status: CommandStatus) -> None:
    async with simulator_only() as simulator, bare_client(simulator.port) as client:
        assert await client.ask(BindTransceiver(1, system_id, password)) == BindTransceiverResp(1, status)


async def test_ids_do_not_repeat_within_many_messages() -> None:
    async with sandbox() as box:
        results = await soon(asyncio.gather(*(box.esme.submit(to("000025")) for _ in range(300))))
        assert len({result.message_id for result in results}) == 300
