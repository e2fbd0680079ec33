"""SMS over a real SMPP bind to the sandbox SMSC: every magic number ends as its table says."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from config.sections.upstreams import SandboxSmsUpstream
from gateway.clock import SystemClock
from gateway.messages.receipts.apply import ApplyReceipts, PartReceipt
from gateway.upstreams.sandbox.sms import SandboxSms
from tests.support.fakes import FakeUpstream
from tests.world import Rig, rig


@asynccontextmanager
async def sandbox(folder: Path, *, receipt_delay_ms: int = 1) -> AsyncIterator[tuple[Rig, SandboxSms]]:
    """A road whose SMS go to the sandbox."""
    rigs: list[Rig] = []

    def on_receipts(receipts: Sequence[PartReceipt]) -> "asyncio.Future[list[str | None]]":
        operation = ApplyReceipts(*receipts, refund_on=frozenset(), keep_content=False, parked_max=1000)
        return rigs[0].store.submit(operation)

    clock = SystemClock()
    settings = SandboxSmsUpstream(receipt_delay_ms=receipt_delay_ms, window=10)
    upstream = SandboxSms("sms", settings, clock=clock, on_receipts=on_receipts)
    async with rig(folder, [FakeUpstream("mail"), upstream], clock=clock, change=rigs.append) as one:
        yield one, upstream


def magic(digits: str) -> str:
    """A magic number of the sandbox."""
    return f"+882990{digits}"


async def test_an_ordinary_number_is_delivered_by_its_receipt(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as (one, upstream):
        verdict = await one.send_sms("+41791234567", text="Grüezi € {mitenand}")
        view = await one.settled(verdict.id or "")
        assert view.status == "delivered"
        assert [event.type for event in view.events] == [
            "message.accepted",
            "message.submitted",
            "message.delivered",
        ]
        (message,) = upstream.messages()
        assert message.text == "Grüezi € {mitenand}"
        assert (message.source_addr, message.source_addr_ton, message.source_addr_npi) == ("Acme", 5, 0)
        assert message.destination_addr == "41791234567"


async def test_a_long_text_arrives_whole_and_is_delivered_by_all_its_receipts(tmp_path: Path) -> None:
    text = "Zeichen € und [Klammern] 🙂 " * 20
    async with sandbox(tmp_path) as (one, upstream):
        verdict = await one.send_sms(text=text)
        assert verdict.segments is not None
        assert verdict.segments > 3
        assert (await one.settled(verdict.id or "")).status == "delivered"
        (message,) = upstream.messages()
        assert message.text == text
        assert message.parts == verdict.segments


@pytest.mark.parametrize(
    ("digits", "status", "reply"),
    [
        ("000001", "failed", "UNDELIVERABLE err:001"),
        ("000002", "failed", "EXPIRED err:002"),
        ("000003", "failed", "REJECTED err:003"),
        ("000004", "failed", "DELETED err:004"),
        ("000005", "failed", "UNKNOWN err:005"),
        ("000006", "delivered", "DELIVERED err:000"),
        ("000010", "failed", "ESME_RINVDSTADR"),
        ("000011", "delivered", "DELIVERED err:000"),
        ("000014", "delivered", "DELIVERED err:000"),
        ("000022", "delivered", "DELIVERED err:000"),
        ("000023", "delivered", "DELIVERED err:000"),
        ("000024", "delivered", "DELIVERED err:000"),
        ("000026", "delivered", "DELIVERED err:000"),
        ("000027", "delivered", "DELIVERED"),
        ("000028", "delivered", "DELIVERED"),
        ("000031", "delivered", "DELIVERED err:000"),
    ],
)
async def test_magic_number(tmp_path: Path, digits: str, status: str, reply: str) -> None:
    async with sandbox(tmp_path) as (one, _):
        verdict = await one.send_sms(magic(digits))
        view = await one.settled(verdict.id or "")
        assert view.status == status
        assert (view.recipients[0].reply or "").startswith(reply.split(maxsplit=1)[0])


async def test_an_ordinary_number_is_never_magic(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as (one, _):
        verdict = await one.send_sms("+41790000001")
        assert (await one.settled(verdict.id or "")).status == "delivered"


async def test_a_link_cut_in_mid_answer_is_unknown_and_tried_again(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as (one, _):
        verdict = await one.send_sms(magic("000030"))
        async with asyncio.timeout(10):
            while not any(
                event.type == "message.unknown" for event in (await one.view(verdict.id or "")).events
            ):
                await asyncio.sleep(0.005)
        assert (await one.view(verdict.id or "")).status == "queued"


async def test_many_messages_share_the_window(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as (one, upstream):
        verdicts = await asyncio.gather(*(one.send_sms(f"+4179123{n:04d}") for n in range(100)))
        for verdict in verdicts:
            assert (await one.settled(verdict.id or "")).status == "delivered"
        assert len(upstream.messages()) == 100
        assert await one.balance("sms") == 0


async def test_a_stop_of_our_own_is_no_warning(tmp_path: Path) -> None:
    with capture_logs() as lines:
        async with sandbox(tmp_path) as (one, _):
            verdict = await one.send_sms()
            await one.settled(verdict.id or "")
    ends = [line for line in lines if line["event"] == "upstream_unbound"]
    assert [line["log_level"] for line in ends] == ["info"]
