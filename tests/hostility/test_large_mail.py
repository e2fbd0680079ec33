"""A mail of 50 MB to 1,000 recipients: accepted, delivered to each, with a bounded number of copies."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.hostility.normal import Smtp, normal_clients
from tests.hostility.sink import sink
from tests.hostility.world import running, until

MB = 1_000_000
SIZE = 50 * MB
RECIPIENTS = 1_000
COPIES = 5  # at most at any moment: docs/limits.md says which


@pytest.mark.timeout(180)
async def test_50_mb_to_1000_recipients_is_delivered_with_few_copies(tmp_path: Path) -> None:
    line = b"." + b"x" * 75 + b"\r\n"  # the dot, doubled on the wire, makes a copy of its own
    content = b"Subject: large\r\nFrom: a@demo.example\r\n\r\n" + line * (SIZE // len(line))
    with sink() as target:
        sections: dict[str, dict[str, Any]] = {
            "smtp": {"size_limit_octets": 60 * MB},
            "upstream__sink": {"type": "relay", "host": "127.0.0.1", "port": target.port, "tls": "none"},
        }
        async with running(tmp_path, **sections) as world, normal_clients(world) as experience:
            client = Smtp(world)
            await client.open()
            await client.ask(b"MAIL FROM:<a@demo.example>\r\n", b"250")
            for number in range(RECIPIENTS):
                await client.ask(b"RCPT TO:<r%d@example.net>\r\n" % number, b"250")
            await client.ask(b"DATA\r\n", b"354")
            before = world.forget_peak()
            started = time.monotonic()
            await client.ask(content.replace(b"\r\n.", b"\r\n..") + b".\r\n", b"250")
            accepted, accepted_s = world.peak_octets() - before, time.monotonic() - started
            works = RECIPIENTS // 100
            await until(lambda: target.counts().octets >= works * SIZE, within_s=90, what="the deliveries")
            grown, took_s = world.peak_octets() - before, time.monotonic() - started
            print(  # noqa: T201 - for docs/limits.md
                f"accepted in {accepted_s:.1f} s with {accepted / SIZE:.1f} copies, "
                f"delivered in {took_s:.1f} s with {grown / SIZE:.1f}; "
                f"others waited {max(map(max, experience.seconds.values())):.2f} s at most"
            )
            assert grown < (COPIES + 1) * SIZE, grown / SIZE
            client.close()
    experience.check(slowest_s=5.0)
