"""Submission without AUTH, for networks that the operator trusts; everybody else has to log in."""

import re
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cli import gateway
from tests.support.daemon_process import Daemon, configure

MAIL = "From: a@acme.example\r\nTo: b@example.net\r\nSubject: Hi\r\n\r\nHi\r\n"


@dataclass
class Door:
    """A daemon that trusts 127.0.0.2 for one account."""

    port: int

    def open(self, source: str) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, source_address=(source, 0), timeout=10)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    path = configure(tmp_path)
    trusted = '[[smtp.trusted]]\nnetwork = "127.0.0.2/32"\naccount = "acme"\n'
    text = re.sub(r"tls_port = \d+", "tls_port = 0", path.read_text())
    path.write_text(text.replace("[http]", trusted + "[http]"))
    for arguments in (
        ("db", "upgrade"),
        ("account", "create", "acme"),
        ("domain", "add", "acme", "acme.example"),
        ("domain", "approve", "acme", "acme.example"),
    ):
        assert gateway(*arguments, cwd=tmp_path).code == 0
    with Daemon(tmp_path) as daemon:
        text = daemon.until("gateway_started")
        yield Door(_smtp_port(text))
        assert daemon.stop() == 0


def _smtp_port(log: str) -> int:
    line = next(line for line in log.splitlines() if "smtp_listener_started" in line and "true" not in line)
    digits = line.replace('"', "").partition("port")[2].lstrip(":=")
    return int("".join(char for char in digits.split(",")[0].split()[0] if char.isdigit()))


def test_a_trusted_network_sends_without_a_login_and_others_do_not(door: Door) -> None:
    with door.open("127.0.0.2") as client:
        assert client.sendmail("a@acme.example", ["b@example.net"], MAIL) == {}
        code, text = client.docmd("MAIL FROM:<a@elsewhere.example>")
        assert (code, text[:5]) == (550, b"5.7.1")  # trusted, and bound to its own domains all the same
    with door.open("127.0.0.1") as client:
        client.ehlo()
        code, text = client.docmd("MAIL FROM:<a@acme.example>")
        assert code == 530
        assert client.docmd("RCPT TO:<b@example.net>")[0] == 503
