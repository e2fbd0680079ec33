"""PostgreSQL restarted, and its primary replaced by a synchronous standby, while clients send."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.books import drained, judge, number
from tests.faults.clients import Tally, sending
from tests.faults.installation import installation
from tests.postgres_server import MISSING, PostgresServer, postgres_server, programs

_WAYS = ("smpp", "sms", "smtp", "mail", "keyed")
# What clients may be told while the database is away, and nothing else.
_REFUSALS = {
    "smtp 451 4.3.0",
    "smtp 454 4.7.0",
    "mail 503 busy",
    "keyed 503 busy",
    "sms 503 busy",
    "smpp ESME_RTHROTTLED",
}


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server with an empty database for the gateway."""
    if programs() is None:
        pytest.skip(MISSING)
    with postgres_server() as one:
        one.execute("CREATE DATABASE gateway")
        yield one


async def _flows(tally: Tally, number_each: int) -> None:
    for way in _WAYS:
        await tally.more(number_each, f"{way} ok")


def _refusals(tally: Tally) -> set[str]:
    return {answer for answer in tally.answers if not answer.endswith(("ok", "no answer"))}


@pytest.mark.timeout(120)
async def test_postgresql_restarted_under_load_loses_nothing_and_debits_once(
    tmp_path: Path, server: PostgresServer
) -> None:
    async with installation(tmp_path, url=server.url("gateway")) as one:
        logins = await one.furnish()
        await one.start()
        async with sending(one, logins) as tally:
            await _flows(tally, 5)
            for hard in (False, True):
                await asyncio.to_thread(server.stop, hard=hard)
                await tally.more(10, "mail 503", "smtp 4", "smpp ESME_R")
                await one.until_ready(10, ready=False)
                await asyncio.to_thread(server.start)
                await one.until_ready(20)
                await _flows(tally, 5)
        await drained(one.url)
        assert await one.stop() == 0
        assert judge(one.url, tally, one.texts()) == []
        assert number(one.url, "SELECT count(*) FROM delivery WHERE holder IS NOT NULL") == 0
        assert _refusals(tally) <= _REFUSALS, tally.answers
        assert not tally.count(*(f"{way} no answer" for way in _WAYS)), tally.answers


@contextmanager
def _synchronous_standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    """A standby that every COMMIT of the primary waits for."""
    one = PostgresServer()
    try:
        if os.getuid() == 0:
            shutil.chown(one.folder, "postgres", "postgres")
        host = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres")
        one.run("pg_basebackup", "-D", str(one.data), "-R", "--checkpoint=fast", *host)
        one.start()
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        yield one
    finally:
        one.stop()
        one.remove()


@pytest.mark.timeout(120)
async def test_a_switch_to_the_synchronous_standby_loses_nothing_and_debits_once(
    tmp_path: Path, server: PostgresServer
) -> None:
    with _synchronous_standby(server) as standby:
        url = f"postgresql://postgres@127.0.0.1:{server.port},127.0.0.1:{standby.port}/gateway"
        async with installation(tmp_path, url=url) as one:
            logins = await one.furnish()
            await one.start()
            async with sending(one, logins) as tally:
                await _flows(tally, 5)
                synced = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
                assert number(server.url("postgres"), synced) == 1

                await asyncio.to_thread(server.stop, hard=True)
                await tally.more(10, "mail 503", "smtp 4", "smpp ESME_R")
                await asyncio.to_thread(standby.execute, "SELECT pg_promote()")
                await _flows(tally, 5)
                await one.until_ready(10)
            await drained(one.url)
            assert await one.stop() == 0
            assert judge(one.url, tally, one.texts()) == []
            assert number(one.url, "SELECT count(*) FROM delivery WHERE holder IS NOT NULL") == 0
            assert _refusals(tally) <= _REFUSALS, tally.answers
