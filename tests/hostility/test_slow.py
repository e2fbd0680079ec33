"""Slow writers and clients that never read: a limit ends each of them, and nobody else waits for them."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from smpp.pdu import BindTransceiver, EnquireLink, encode
from tests.hostility.normal import Smtp, normal_clients
from tests.hostility.world import World, connect, is_closed, running, until

EACH = 20  # attackers of each kind
LIMIT_S = 2
LIMITS = {
    "smtp": {"idle_timeout_s": LIMIT_S, "data_timeout_s": LIMIT_S},
    "http": {"request_timeout_s": LIMIT_S},
    "smpp": {"bind_timeout_s": LIMIT_S},
}
Attack = Callable[[World], socket.socket]


def smtp_command(world: World) -> socket.socket:
    """A command that never ends."""
    return connect(world.smtp)


def http_header(world: World) -> socket.socket:
    """A header that never ends (slowloris)."""
    one = connect(world.http)
    one.sendall(b"GET /healthz HTTP/1.1\r\nHost: slow.example\r\nX-Slow: ")
    return one


def http_body(world: World) -> socket.socket:
    """A body that never ends."""
    one = connect(world.http)
    key = world.account.secrets.api_key
    header = f"POST /v1/mail HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 100000\r\n"
    one.sendall(header.encode() + b"Content-Type: application/json\r\n\r\n{")
    return one


def smpp_partial(world: World) -> socket.socket:
    """A bind whose octets come one by one."""
    one = connect(world.smpp)
    one.sendall(b"\0\0\0\x40\0\0\0\x09")
    return one


async def smtp_data(world: World) -> socket.socket:
    """A message whose octets come one by one."""
    client = Smtp(world)
    await client.open()
    await client.ask(b"MAIL FROM:<a@demo.example>\r\n", b"250")
    await client.ask(b"RCPT TO:<b@example.net>\r\n", b"250")
    await client.ask(b"DATA\r\n", b"354")
    return client.detach()


@pytest.mark.timeout(120)
async def test_who_sends_an_octet_at_a_time_is_ended_and_others_are_not_delayed(tmp_path: Path) -> None:
    async with running(tmp_path, **LIMITS) as world, normal_clients(world) as experience:
        slow: dict[str, list[socket.socket]] = {"smtp_data": []}
        for _ in range(EACH):
            slow["smtp_data"].append(await smtp_data(world))
            for attack in (smtp_command, http_header, http_body, smpp_partial):
                slow.setdefault(attack.__name__, []).append(attack(world))
        left = {name: list(sockets) for name, sockets in slow.items()}
        started = time.monotonic()
        while left and time.monotonic() - started < 10 * LIMIT_S:
            for name, sockets in list(left.items()):
                left[name] = [one for one in sockets if not _drip(one)]
                if not left[name]:
                    del left[name]
            await asyncio.sleep(0.1)
        assert not left, {name: len(sockets) for name, sockets in left.items()}
        for sockets in slow.values():
            for one in sockets:
                one.close()
    experience.check(slowest_s=5.0)


def _drip(one: socket.socket) -> bool:
    """Sends one octet more; whether the other side has had enough."""
    if is_closed(one):
        return True
    with contextlib.suppress(ConnectionError):
        one.send(b"1")
    return False


# --- who never reads ----------------------------------------------------------------------------------------


def smtp_deaf(world: World) -> tuple[socket.socket, bytes]:
    """Commands by the thousand, and no reply is read."""
    return connect(world.smtp, receive_octets=4096), b"EHLO deaf.example\r\n" * 500_000


def http_deaf(world: World) -> tuple[socket.socket, bytes]:
    """As many requests ahead as are taken, each for the largest answer there is."""
    return connect(world.http, receive_octets=4096), b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100


def smpp_deaf(world: World) -> tuple[socket.socket, bytes]:
    """A bind that asks for answers by the thousand."""
    secrets = world.account.secrets
    one = connect(world.smpp, receive_octets=4096)
    bind = BindTransceiver(1, system_id=secrets.smpp_system_id, password=secrets.smpp_password)
    return one, encode(bind) + encode(EnquireLink(2)) * 500_000


@pytest.mark.timeout(120)
async def test_who_never_reads_is_ended_and_costs_bounded_memory(tmp_path: Path) -> None:  # A6
    async with running(tmp_path, **LIMITS) as world, normal_clients(world) as experience:
        for attack in (smtp_deaf, http_deaf, smpp_deaf):
            before, open_before = world.forget_peak(), world.descriptors()
            deaf = [attack(world) for _ in range(EACH)]
            await asyncio.gather(*(asyncio.to_thread(_send_all, one, words) for one, words in deaf))
            if attack is not smpp_deaf:  # that one ends 30 s after enquire_link_s: tests/smpp/test_session.py
                await until(lambda: world.descriptors() <= open_before, what=f"the end of {attack.__name__}")  # noqa: B023 - awaited
            grown = world.peak_octets() - before
            print(f"{attack.__name__}: {grown / EACH / 2**20:.1f} MiB each")  # noqa: T201 - for docs/limits.md
            assert grown < EACH * 4 << 20, (attack.__name__, grown)
            for one, _ in deaf:
                one.close()
    experience.check(slowest_s=5.0)


def _send_all(one: socket.socket, words: bytes) -> None:
    """Sends until nothing more is taken."""
    one.settimeout(0.5)
    with contextlib.suppress(OSError):
        one.sendall(words)
