"""Thousands of connections that do nothing: normal clients go on, memory has a bound, the next is refused."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from smpp.constants import CommandStatus
from smpp.pdu import BindTransmitter, GenericNack, decode, encode
from tests.hostility.normal import normal_clients
from tests.hostility.world import World, connect, raise_descriptor_limit, read_to_end, running, until

IDLE = 5_000
OWN = 30  # connections of the normal clients besides
SMPP_MAX = 2 * (IDLE + OWN)  # an account may have half of all binds
LIMITS = {
    "smtp": {"max_connections": IDLE + OWN, "max_connections_per_peer": IDLE + OWN},
    "http": {
        "max_connections": IDLE + OWN,
        "max_connections_per_peer": IDLE + OWN,
        "request_timeout_s": 600,
    },
    "smpp": {
        "max_connections": SMPP_MAX,
        "max_connections_per_peer": SMPP_MAX,
        "bind_timeout_s": 600,
        "enquire_link_s": 600,
    },
}
# What one idle connection may cost the daemon; docs/limits.md has what was measured.
MOST_OCTETS_EACH = {"smtp": 16_384, "http": 24_576, "smpp": 16_384}


def first_words(world: World, door: str) -> tuple[int, bytes, bytes]:
    """The port of a door, what a client says there before it falls silent, and what the answer has in it."""
    if door == "smtp":
        return world.smtp, b"EHLO idle.example\r\n", b"HELP\r\n"
    if door == "http":
        return world.http, b"GET /healthz HTTP/1.1\r\nHost: idle.example\r\n\r\n", b"200 OK"
    secrets = world.account.secrets
    bind = BindTransmitter(1, system_id=secrets.smpp_system_id, password=secrets.smpp_password)
    return world.smpp, encode(bind), b"gateway"


def open_idle(world: World, door: str, count: int) -> list[socket.socket]:
    """So many connections that have said their first words and read the answer."""
    port, words, answer = first_words(world, door)
    opened = []
    for _ in range(count):
        one = connect(port)
        one.sendall(words)
        opened.append(one)
    for one in opened:
        heard = b""
        while answer not in heard:
            heard += one.recv(4096)
    return opened


@pytest.mark.timeout(240)
async def test_5000_idle_connections_on_each_port_leave_room_and_answers_for_others(tmp_path: Path) -> None:
    raise_descriptor_limit()
    async with running(tmp_path, **LIMITS) as world, normal_clients(world) as experience:
        with contextlib.ExitStack() as held:
            for door, most_octets in MOST_OCTETS_EACH.items():
                before = world.rss_octets()
                for one in await asyncio.to_thread(open_idle, world, door, IDLE):
                    held.enter_context(one)
                each = (world.rss_octets() - before) // IDLE
                print(f"{door}: {each} octets for each idle connection")  # noqa: T201 - for docs/limits.md
                assert each < most_octets, (door, each)
            assert world.descriptors() > 3 * IDLE
            for taken in experience.seconds.values():
                taken.clear()
            await until(lambda: all(len(one) >= 20 for one in experience.seconds.values()), what="others")
            experience.check(slowest_s=5.0)
        await until(lambda: world.descriptors() < 200, what="the end of all idle connections")


async def test_beyond_max_connections_the_oldest_leaves_for_the_next_and_room_returns(tmp_path: Path) -> None:
    most = 8
    limits = {name: {"max_connections": most} for name in ("smtp", "http", "smpp")}
    limits["smtp"]["max_connections_per_peer"] = most
    async with running(tmp_path, **limits) as world:
        for door in ("smtp", "http", "smpp"):
            port, words, answer = first_words(world, door)
            bound = most // 2 if door == "smpp" else 0  # they stay; the rest have not said who they are
            held = await asyncio.to_thread(open_idle, world, door, bound or most)
            held += [connect(port) for _ in range(most - len(held))]
            if door == "smpp":  # the account has its share of binds
                held.append(connect(port))
            else:
                assert await asyncio.to_thread(_is_served, port, words, answer)
            heard = await asyncio.to_thread(read_to_end, held[bound])
            if door == "smtp":
                assert heard.startswith(b"421 4.7.0 "), heard
            elif door == "smpp":
                nack = decode(heard)
                assert isinstance(nack, GenericNack)
                assert nack.command_status == CommandStatus.ESME_RTHROTTLED
            else:
                assert heard == b""  # it had its answer, and has asked nothing since
            for one in held:
                one.close()
            await until(lambda: _is_served(port, words, answer), what=f"room at {door}")  # noqa: B023 - awaited


def _is_served(port: int, words: bytes, answer: bytes) -> bool:
    with connect(port) as one:
        one.settimeout(5)
        heard = b""
        try:
            one.sendall(words)
            while answer not in heard:
                data = one.recv(4096)
                if not data:
                    return False
                heard += data
        except ConnectionError:
            return False
    return True
