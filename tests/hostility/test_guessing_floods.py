"""Guessing from the very address that clients have: it costs the guesser, and no client anything."""

import asyncio
import base64
import itertools
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from smpp.constants import CommandStatus
from smpp.framing import PduError
from smpp.pdu import BindTransceiver, Response, decode, encode
from tests.hostility.world import World, running, until

RATE_PER_S = 500
GUESSERS = 10
BETWEEN = 10  # guesses at least between two good logins
GOOD = 300
AFTER_RESTART = 100

Guess = Callable[[int], Awaitable[str]]


async def ask(port: int, octets: bytes, *, until_end: bool = False) -> bytes:
    """What is answered to `octets` on a connection of its own; b"" if nobody is there."""
    try:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(octets)
                return await reader.read(-1 if until_end else 4096)
            finally:
                writer.close()
    except OSError:
        return b""


async def bind(world: World, system_id: str, password: str) -> str:
    """The command_status that a bind is answered; "nothing" if there was no answer."""
    octets = await ask(world.smpp, encode(BindTransceiver(1, system_id, password)))
    try:
        answer = decode(octets)
    except PduError:
        return "nothing"
    return CommandStatus(answer.command_status).name if isinstance(answer, Response) else "nothing"


async def get(world: World, key: str) -> str:
    """The status that a request with this key is answered."""
    request = (
        f"GET /v1/account HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    )
    return (await ask(world.http, request.encode())).decode().partition(" ")[2][:3] or "nothing"


async def log_in(world: World, user: str, password: str) -> str:
    """The code that AUTH is answered."""
    plain = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    session = f"EHLO x\r\nAUTH PLAIN {plain}\r\nQUIT\r\n"
    replies = (await ask(world.smtp, session.encode(), until_end=True)).decode().splitlines()
    return next((line[:3] for line in replies if line[:3] not in {"220", "250"}), "nothing")


class Flood:
    """Guesses without end, each answer counted."""

    def __init__(self, guess: Guess) -> None:
        self.answers: Counter[str] = Counter()
        self._guess = guess
        self._numbers = itertools.count()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Flood"]:
        """Guesses at RATE_PER_S, or as fast as this machine can, until the block is left."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._go_on()) for _ in range(GUESSERS)]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()

    async def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            self.answers[await self._guess(next(self._numbers))] += 1
            next_s = max(next_s + GUESSERS / RATE_PER_S, loop.time() - 1)
            await asyncio.sleep(max(0.0, next_s - loop.time()))

    async def some_more(self) -> None:
        """Returns when the flood has gone on."""
        wanted = self.answers.total() + BETWEEN
        async with asyncio.timeout(30):
            while self.answers.total() < wanted:
                await asyncio.sleep(0.001)


async def restart(world: World) -> None:
    """Kills the daemon and starts it again."""
    await world.stop(signal.SIGKILL)
    await world.start()


def known_logins(world: World) -> int:
    """How many rows are committed."""
    with closing(sqlite3.connect(world.database)) as database:
        return int(database.execute("SELECT count(*) FROM known_login").fetchone()[0])


@pytest.mark.timeout(180)
@pytest.mark.parametrize("same_user", [True, False])
async def test_every_good_bind_passes_during_500_guesses_a_second_from_its_address(
    tmp_path: Path, same_user: bool
) -> None:
    """300 of 300, the last 100 of them after a kill; the guesses name the client's system_id, or others."""
    async with running(tmp_path) as world:
        secrets = world.account.secrets

        async def guess(number: int) -> str:
            system_id = secrets.smpp_system_id if same_user else f"guess{number}"
            return await bind(world, system_id, f"{number:08}")

        async def good() -> str:
            return await bind(world, secrets.smpp_system_id, secrets.smpp_password)

        assert await good() == "ESME_ROK"
        await until(lambda: known_logins(world) == 1, what="the row of the first login")
        async with Flood(guess).running() as flood:
            answers = []
            for number in range(GOOD):
                if number == GOOD - AFTER_RESTART:
                    await restart(world)
                await flood.some_more()
                answers.append(await good())
        assert Counter(answers) == {"ESME_ROK": GOOD}
        assert flood.answers["ESME_ROK"] == 0
        assert flood.answers["ESME_RBINDFAIL"] > GOOD * BETWEEN / 2  # told to wait, not even hashed
        assert known_logins(world) == 1


@pytest.mark.timeout(180)
async def test_good_keys_and_passwords_pass_right_after_a_restart_whatever_fails(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        secrets = world.account.secrets
        wrong = secrets.api_key[:-4] + "0000"
        kinds: list[Guess] = [
            lambda _: get(world, wrong),
            lambda number: get(world, f"gw_{number:012}_{'0' * 32}"),
            lambda _: log_in(world, secrets.smtp_user, "wrong"),
        ]
        async with Flood(lambda number: kinds[number % 3](number)).running() as flood:
            for _ in range(3):
                await restart(world)
                assert await get(world, secrets.api_key) == "200"
                assert await log_in(world, secrets.smtp_user, secrets.smtp_password) == "235"
                for _ in range(20):
                    await flood.some_more()
                    assert await get(world, secrets.api_key) == "200"
                    assert await log_in(world, secrets.smtp_user, secrets.smtp_password) == "235"
        assert flood.answers["429"] > 100
        assert flood.answers["454"] > 50
        assert flood.answers["200"] == flood.answers["235"] == 0


@pytest.mark.timeout(120)
async def test_failures_at_one_door_do_not_slow_the_others(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        secrets = world.account.secrets
        for number in range(8):
            await log_in(world, f"nobody{number}", "wrong")
        assert await log_in(world, secrets.smtp_user, "wrong") == "454"
        assert await get(world, secrets.api_key[:-4] + "0000") == "401"
        assert await bind(world, secrets.smpp_system_id, "wrong") == "ESME_RINVPASWD"
        assert await bind(world, secrets.smpp_system_id, secrets.smpp_password) == "ESME_ROK"
