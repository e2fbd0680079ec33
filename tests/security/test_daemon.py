"""A real daemon with every door open: what it prints, answers and stores, and which TLS it speaks."""

import asyncio
import base64
import json
import os
import re
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest

from bench.ports import free_port
from config import load
from gateway.cli import demo
from smpp.pdu import BindTransceiver, BindTransceiverResp, Splitter, SubmitSm, decode, encode
from tests.support.daemon_process import STARTED, Daemon

_BOUND_S = 10
CONFIG = """
[smtp]
port = {smtp}
tls_port = {smtps}
auth_failures_max = 10
[http]
port = {https}
tls = true
[smpp]
port = {smpp}
tls_port = {smpps}
[metrics]
port = {metrics}
[probe]
enabled = true
[limits]
auth_free_failures = 100
[log]
level = "debug"
format = "json"
[upstream.sandbox_mail]
type = "sandbox-mail"
[upstream.relay]
type = "relay"
host = "127.0.0.1"
port = 1
username = "relay-user"
password_env = "RELAY_PASSWORD"
[upstream.operator]
type = "smpp"
host = "127.0.0.1"
port = 1
system_id = "us"
password_file = "operator.secret"
[[mail.route]]
match = "relayed.example"
upstream = "relay"
[[mail.route]]
upstream = "sandbox_mail"
"""
RELAY_PASSWORD = "relay-Pa55word-of-the-operator"
OPERATOR_PASSWORD = "opPa55wd"
BODY = "words-of-the-body-that-are-private"
WRONG = "wr0ng-Pa55word-somebody-tried"


@dataclass
class Running:
    """The daemon under attack, what opens its doors, and everything it said."""

    daemon: Daemon
    folder: Path
    ports: dict[str, int]
    secrets: dict[str, str]
    answers: list[str] = field(default_factory=list)

    def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, str]:
        """One request of the API over TLS; status and everything that came back."""
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.ports['https']}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {key or self.secrets['api']}",
                "Content-Type": "application/json",
            },
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=_BOUND_S, context=trusting()) as answer:
                status, text = answer.status, f"{answer.headers}{answer.read().decode()}"
        except urllib.error.HTTPError as error:
            status, text = error.code, f"{error.headers}{error.read().decode()}"
        return status, text

    def said(self, text: str) -> None:
        """Something that the daemon answered."""
        self.answers.append(text)


def trusting() -> ssl.SSLContext:
    """A client's context that takes any certificate, and any cipher that this OpenSSL has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The daemon, with an account that has a credential of every kind."""
    folder = tmp_path_factory.mktemp("daemon")
    doors = ("smtp", "smtps", "https", "smpp", "smpps", "metrics")
    ports = {door: free_port() for door in doors}
    (folder / "gateway.toml").write_text(CONFIG.format(**ports))
    (folder / "operator.secret").write_text(OPERATOR_PASSWORD)
    (folder / "operator.secret").chmod(0o600)
    os.environ["RELAY_PASSWORD"] = RELAY_PASSWORD
    try:
        secrets = _account(folder)
        with Daemon(folder, "run") as daemon:
            daemon.until(STARTED)
            yield Running(daemon, folder, ports, secrets)
    finally:
        del os.environ["RELAY_PASSWORD"]


def _account(folder: Path) -> dict[str, str]:
    """The demo's account, which has everything; its secrets by what they open."""
    secrets = asyncio.run(demo.prepare(load(folder / "gateway.toml"))).secrets
    return {
        "api": secrets.api_key,
        "smtp": secrets.smtp_password,
        "smpp": secrets.smpp_password,
        "smtp_user": secrets.smtp_user,
        "smpp_user": secrets.smpp_system_id,
    }


def test_no_secret_is_ever_printed_answered_or_measured(running: Running) -> None:
    webhook_secret = _use_every_door(running)
    running.daemon.send(SIGHUP)
    running.daemon.until("configuration_reloaded")
    (running.folder / "gateway.toml").write_text(
        "[upstream.operator]\npassword = 'n0t-here-Pa55'\ntype = 1\n"
    )
    running.daemon.send(SIGHUP)
    running.daemon.until("configuration_not_reloaded")
    secrets = {name: running.secrets[name] for name in ("api", "smtp", "smpp")}
    secrets |= {"webhook": webhook_secret, "relay": RELAY_PASSWORD, "operator": OPERATOR_PASSWORD}
    secrets |= {"wrong": WRONG, "reloaded": "n0t-here-Pa55", "body": BODY}
    for said in (running.daemon.seen, *running.answers):
        for name, secret in secrets.items():
            for form in (secret, base64.b64encode(secret.encode()).decode().rstrip("="), repr(secret)[1:-1]):
                assert form not in said, (
                    f"{name} shows in: …{said[max(0, said.find(form) - 200) : said.find(form) + 60]}"
                )
    # Of people, no more than it takes to find a fault.
    assert "+41791234567" not in running.daemon.seen
    assert "private.person" not in running.daemon.seen
    # The looking would have found something: what may be shown is there.
    assert "message_accepted" in running.daemon.seen or "request_answered" in running.daemon.seen
    assert any("gateway_" in answer for answer in running.answers)


def test_what_is_only_compared_is_stored_as_a_hash(running: Running) -> None:
    stored = b"".join(path.read_bytes() for path in (running.folder / "var").rglob("*") if path.is_file())
    assert b"demo.example" in stored
    for name in ("api", "smtp", "smpp"):
        assert running.secrets[name].encode() not in stored, name
    for operators in (RELAY_PASSWORD, OPERATOR_PASSWORD):
        assert operators.encode() not in stored


def _use_every_door(running: Running) -> str:
    """Good and bad visits at every door; the webhook's secret, which its making shows."""
    status, made = running.call("POST", "/v1/webhooks", {"url": "https://hooks.example/x"})
    assert status == 201, made
    secret = re.search(r"whsec_[A-Za-z0-9+/=]+", made)
    assert secret is not None
    mail = {"from": "a@demo.example", "subject": BODY, "text": BODY}
    for path, body in (
        ("/v1/mail", {**mail, "to": "private.person@relayed.example"}),
        ("/v1/mail", {**mail, "to": "private.person@else.example"}),
        ("/v1/mail", {**mail, "from": "private.person@not-mine.example", "to": "x@else.example"}),
        ("/v1/sms", {"from": "DemoCo", "to": "+41791234567", "text": BODY}),
        ("/v1/sms", {"from": "DemoCo", "to": "+41791234567", "text": BODY, "password": WRONG}),
    ):
        running.said(running.call("POST", path, body)[1].replace(BODY, "") if path != "/v1/sms" else "")
    for path in (
        "/v1/account",
        "/v1/webhooks",
        "/v1/domains",
        "/openapi.json",
        "/docs",
        "/readyz",
        "/v1/nothing",
    ):
        running.said(running.call("GET", path)[1])
    key = running.secrets["api"]
    nearly = key[:-1] + ("y" if key.endswith("z") else "z")
    for wrong in (WRONG, f"gw_0123456789ab_{'0' * 32}", nearly):
        status, text = running.call("GET", f"/v1/messages?secret={WRONG}", key=wrong)
        assert status == 401
        running.said(text)
    _smtp(running)
    _smpp(running)
    metrics = f"http://127.0.0.1:{running.ports['metrics']}/metrics"
    with urllib.request.urlopen(metrics, timeout=_BOUND_S) as answer:
        running.said(answer.read().decode())
    return secret[0]


def _smtp(running: Running) -> None:
    user = running.secrets["smtp_user"]
    with smtplib.SMTP_SSL(
        "127.0.0.1", running.ports["smtps"], timeout=_BOUND_S, context=trusting()
    ) as client:
        client.login(user, running.secrets["smtp"])
        client.sendmail("a@demo.example", ["private.person@else.example"], f"Subject: x\r\n\r\n{BODY}\r\n")
    with smtplib.SMTP("127.0.0.1", running.ports["smtp"], timeout=_BOUND_S) as client:
        client.ehlo()
        running.said(
            repr(client.docmd("AUTH PLAIN", base64.b64encode(f"\0{user}\0{WRONG}".encode()).decode()))
        )
        running.said(repr(client.docmd(f"AUTH {WRONG}")))
        running.said(repr(client.docmd(WRONG)))
        client.starttls(context=trusting())
        with suppress(smtplib.SMTPException):
            client.login(user, WRONG)


def _secured(port: int) -> ssl.SSLSocket:
    return trusting().wrap_socket(socket.create_connection(("127.0.0.1", port), _BOUND_S))


def _smpp(running: Running) -> None:
    for password in (running.secrets["smpp"], WRONG[:8]):
        with _secured(running.ports["smpps"]) as connection:
            bind = BindTransceiver(1, system_id=running.secrets["smpp_user"], password=password)
            connection.sendall(encode(bind))
            splitter = Splitter()
            frames: list[bytes] = []
            while not frames:
                data = connection.recv(4096)
                assert data, "closed without an answer to the bind"
                frames += splitter.feed(data)
            answer = decode(frames[0])
            assert isinstance(answer, BindTransceiverResp)
            assert (answer.command_status == 0) is (password == running.secrets["smpp"])
            running.said(repr(frames))
            submit = SubmitSm(
                2, source_addr="DemoCo", destination_addr="41791234567", short_message=BODY.encode()
            )
            connection.sendall(encode(submit))


# --- TLS --------------------------------------------------------------------------------------------------

LISTENERS = ("smtps", "https", "smpps", "starttls")


def handshake(running: Running, listener: str, context: ssl.SSLContext) -> tuple[str, str]:
    """Version and cipher that a listener agreed to. Raises OSError where it did not."""
    port = running.ports["smtp" if listener == "starttls" else listener]
    with socket.create_connection(("127.0.0.1", port), _BOUND_S) as bare:
        if listener == "starttls":
            for command, code in ((b"", b"220"), (b"EHLO c\r\n", b"250"), (b"STARTTLS\r\n", b"220")):
                bare.sendall(command)
                assert bare.recv(4096).startswith(code)
        with context.wrap_socket(bare) as connection:
            cipher = connection.cipher()
            assert cipher is not None
            assert connection.compression() is None
            return connection.version() or "", cipher[0]


@pytest.mark.parametrize("listener", LISTENERS)
def test_every_listener_speaks_tls_1_2_and_1_3(running: Running, listener: str) -> None:
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        context = trusting()
        context.minimum_version = context.maximum_version = version
        agreed, cipher = handshake(running, listener, context)
        assert agreed == name
        assert "GCM" in cipher or "CHACHA20" in cipher


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the versions are old, which is the point
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("listener", LISTENERS)
def test_no_listener_speaks_anything_older(running: Running, listener: str, version: ssl.TLSVersion) -> None:
    context = trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")  # or this side would refuse already
    context.minimum_version = context.maximum_version = version
    with pytest.raises(OSError, match=r"(?i)version|reset|eof|closed|alert"):
        handshake(running, listener, context)


@pytest.mark.parametrize(
    "ciphers",
    [
        "AES128-GCM-SHA256:AES256-SHA",
        "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES256-SHA",
        "aNULL",
        "eNULL",
        "kDHE+SHA1",
    ],
)
@pytest.mark.parametrize("listener", LISTENERS)
def test_weak_ciphers_are_refused(running: Running, listener: str, ciphers: str) -> None:
    context = trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with pytest.raises(OSError, match=r"(?i)handshake|reset|eof|alert"):
        handshake(running, listener, context)


@pytest.mark.parametrize("listener", ["smtps", "https", "smpps"])
def test_a_tls_listener_says_nothing_in_clear(running: Running, listener: str) -> None:
    with socket.create_connection(("127.0.0.1", running.ports[listener]), _BOUND_S) as bare:
        bare.sendall(b"GET /v1/account HTTP/1.1\r\nHost: x\r\n\r\n")
        with suppress(ConnectionError):
            assert bare.recv(4096)[:1] in {b"", b"\x15"}  # the end, or an alert of TLS


def test_passwords_are_not_taken_in_clear(running: Running) -> None:
    with smtplib.SMTP("127.0.0.1", running.ports["smtp"], timeout=_BOUND_S) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        token = base64.b64encode(
            f"\0{running.secrets['smtp_user']}\0{running.secrets['smtp']}".encode()
        ).decode()
        code, _ = client.docmd("AUTH PLAIN", token)
        assert code in {530, 538}
