"""Which message a receipt is for, where ids can be read in more than one way."""

from pathlib import Path

from gateway.messages.model import Submitted
from gateway.messages.receipts import ApplyReceipts, PartReceipt
from tests.gateway.fakes import FakeUpstream
from tests.gateway.rig import rig


async def test_the_exact_id_wins_over_its_hex_and_decimal_readings(tmp_path: Path) -> None:
    """A receipt for "10" is not for "a", though 10 is a in hex."""
    ids = iter(("a", "10"))
    upstream = FakeUpstream(
        "operator",
        answer=lambda _w, _a: [Submitted(upstream="operator", upstream_ids=(next(ids),))],
        recipients_per_work=1,
        concurrency=1,
    )
    async with rig(tmp_path, [FakeUpstream("mail"), upstream]) as one:
        first, second = await one.send_sms(), await one.send_sms()
        await upstream.wait_for(2)
        await one.road.stop(5.0)  # both submissions are settled
        receipt = PartReceipt(
            upstream="operator",
            ids=("10", "a", "16"),
            delivered=True,
            state="DELIVERED",
            received_ms=one.clock.now_ms(),
        )
        for _ in range(2):  # told twice, it changes nothing more
            await one.store.submit(
                ApplyReceipts(receipt, refund_on=frozenset(), keep_content=False, parked_max=100)
            )
        assert (await one.view(first.id or "")).status == "queued"
        assert (await one.view(second.id or "")).status == "delivered"
