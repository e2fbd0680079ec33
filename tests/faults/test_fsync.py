"""An fsync that fails: what is not on the disk is not acknowledged, and all goes on once the disk does."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.books import drained, judge, number
from tests.faults.clients import sending
from tests.faults.installation import installation

_SOURCE = Path(__file__).with_name("failfsync.c")


def _compiled(folder: Path) -> Path:
    """The library, compiled by the machine's C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler (on Debian: apt-get install gcc libc6-dev)")
    library = folder / "failfsync.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


@pytest.mark.timeout(120)
async def test_a_failing_fsync_acknowledges_nothing_and_needs_no_restart(tmp_path: Path) -> None:  # A1
    fault = tmp_path / "fsync-fails"
    async with installation(tmp_path) as one:
        one.environment = {"LD_PRELOAD": str(_compiled(tmp_path)), "FAILFSYNC": str(fault)}
        logins = await one.furnish()
        await one.start()
        async with sending(one, logins) as tally:
            for way in ("smpp", "sms", "smtp", "mail", "keyed"):
                await tally.more(5, f"{way} ok")

            fault.touch()
            await tally.more(5, "smtp 452")  # whatever was under way is answered by now
            acknowledged = len(tally.acked)
            await tally.more(20, "smtp 452 4.3.1", "mail 503", "smpp ESME_RSYSERR")
            assert (await one.ready())[1]["store"] is False
            assert len(tally.acked) == acknowledged, "not synced, and acknowledged"

            fault.unlink()
            for way in ("smpp", "sms", "smtp", "mail", "keyed"):
                await tally.more(5, f"{way} ok")
            await one.until_ready(10)
        await drained(one.url)
        assert await one.stop() == 0
        assert judge(one.url, tally, one.texts()) == []
        assert number(one.url, "SELECT count(*) FROM delivery WHERE holder IS NOT NULL") == 0
