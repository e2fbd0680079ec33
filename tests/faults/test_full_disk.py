"""A disk that is full in the middle of a batch: clear refusals, nothing lost, and no restart afterwards."""

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.books import drained, judge, number
from tests.faults.clients import sending
from tests.faults.installation import Installation, installation

_DISK = "32m"
_MAIL_OCTETS = 40_000


class SmallDisk:
    """A tmpfs of its own, filled up by a file. Where nothing can be mounted: a limit on the size of files."""

    def __init__(self, folder: Path, *, mounted: bool) -> None:
        self._folder = folder
        self._mounted = mounted
        self._ballast = folder / "ballast"

    def fill(self, one: Installation) -> None:
        """From now on there is (almost) no room."""
        if not self._mounted:
            self._limit(one, _largest(self._folder) + 8192)
            return
        chunk = bytes(65536)
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(chunk) == len(chunk):
                pass

    def free(self, one: Installation) -> None:
        """There is room again."""
        if self._mounted:
            self._ballast.unlink()
        else:
            self._limit(one, resource.RLIM_INFINITY)

    @staticmethod
    def _limit(one: Installation, octets: int) -> None:
        assert one.process is not None
        _, hard = resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE, (octets, hard))


def _largest(folder: Path) -> int:
    return max(file.stat().st_size for file in folder.iterdir())


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """`folder` as a disk of its own."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "gateway-test", str(folder)]
    mounted = os.getuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield SmallDisk(folder, mounted=mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.timeout(120)
async def test_a_full_disk_refuses_clearly_loses_nothing_and_needs_no_restart(tmp_path: Path) -> None:
    with small_disk(tmp_path / "var") as disk:
        async with installation(tmp_path) as one:
            logins = await one.furnish()
            await one.start()
            async with sending(one, logins, padding=_MAIL_OCTETS) as tally:
                await tally.more(3, "smpp ok")
                await tally.more(20, "keyed ok", "mail ok", "smtp ok")

                disk.fill(one)
                await tally.more(5, "smtp 4")
                await tally.more(5, "mail 503")
                await tally.more(5, "smpp ESME_R")
                await one.until_ready(10, ready=False)
                status, checks = await one.ready()
                assert (status, checks["store"]) == (503, False)
                assert (await one.ready())[1]["smtp"], "the doors stay open"

                disk.free(one)
                for way in ("smpp", "sms", "smtp", "mail", "keyed"):
                    await tally.more(2, f"{way} ok")
                await one.until_ready(10)
            await drained(one.url)
            assert await one.stop() == 0
            assert judge(one.url, tally, one.texts()) == []
            assert number(one.url, "SELECT count(*) FROM delivery WHERE holder IS NOT NULL") == 0

            refusals = {answer for answer in tally.answers if not answer.endswith("ok")}
            assert refusals <= {
                "smtp 452 4.3.1",
                "smtp 451 4.3.0",
                "mail 503 store_failed",
                "keyed 503 store_failed",
                "sms 503 store_failed",
                "smpp ESME_RSYSERR",
            }, tally.answers
            assert all(problem["retry_after"] for problem in tally.problems)
