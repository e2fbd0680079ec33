"""Programs people use against the submission server, on both event loops: smtplib and swaks."""

from __future__ import annotations

import asyncio
import shutil
import smtplib
import subprocess
from collections.abc import Callable, Coroutine
from email.message import EmailMessage
from functools import cache
from typing import Any

import pytest
import uvloop

from smtp.server import Envelope
from tests.smtp.submission_support import Running, running, trusting_context

Run = Callable[[Coroutine[Any, Any, None]], None]
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
BODY = "line\n.dot\n..dots\n\n" + "long " * 500 + "\n"


def message() -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "a@a.example", "b@b.example", "Grüße"
    made.set_content(BODY)
    return made


def send_over(kind: str, server: Running) -> None:
    """Three messages over one smtplib connection of this kind: as an object, as octets with LF, as text."""
    if kind == "implicit":
        client: smtplib.SMTP = smtplib.SMTP_SSL(
            "127.0.0.1", server.tls_port, context=trusting_context(), timeout=5
        )
    else:
        client = smtplib.SMTP("127.0.0.1", server.port, timeout=5)
    with client:
        if kind == "starttls":
            client.starttls(context=trusting_context())
        client.login("user", "secret")
        client.send_message(message())
        client.sendmail("a@a.example", ["b@b.example", "c@b.example"], message().as_bytes())
        client.sendmail("a@a.example", "b@b.example", message().as_string(), mail_options=["BODY=8BITMIME"])


@LOOPS
@pytest.mark.parametrize("kind", ["plain", "starttls", "implicit"])
def test_smtplib_sends_the_same_message_in_every_way(run: Run, kind: str) -> None:
    async def scenario() -> None:
        async with running(allow_plain_auth_on_loopback=kind == "plain") as server, asyncio.timeout(20):
            await asyncio.to_thread(send_over, kind, server)
            as_object, as_octets, as_text = (envelope.content for envelope in server.application.messages)
            assert as_object == as_text == message().as_bytes().replace(b"\n", b"\r\n")
            assert as_octets == as_object + b"\r\n"  # smtplib itself adds a CRLF behind a bare LF
            assert [len(envelope.rcpt_tos) for envelope in server.application.messages] == [1, 2, 1]
            assert (server.application.sessions[-1].tls is None) == (kind == "plain")

    run(scenario())


@LOOPS
@pytest.mark.parametrize("kind", ["plain", "starttls", "implicit"])
def test_megabytes_arrive_whole(run: Run, kind: str) -> None:
    octets = bytes(range(32, 127)) * 7 + b"\r\n"
    large = octets * (3_000_000 // len(octets))

    def send(server: Running) -> None:
        if kind == "implicit":
            client: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", server.tls_port, context=trusting_context())
        else:
            client = smtplib.SMTP("127.0.0.1", server.port)
        with client:
            if kind == "starttls":
                client.starttls(context=trusting_context())
            client.login("user", "secret")
            client.sendmail("a@a.example", "b@b.example", large)

    async def scenario() -> None:
        async with running(size_limit_octets=4_000_000) as server, asyncio.timeout(20):
            await asyncio.to_thread(send, server)
            assert [envelope.content for envelope in server.application.messages] == [large]

    run(scenario())


def test_smtplib_sees_the_refusals_it_knows() -> None:
    def refused(server: Running) -> None:
        with smtplib.SMTP("127.0.0.1", server.port, timeout=5) as client:
            with pytest.raises(smtplib.SMTPSenderRefused) as sender:
                client.sendmail("a@a.example", "b@b.example", b"x")
            assert sender.value.smtp_code == 530
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("user", "wrong")
        with smtplib.SMTP("127.0.0.1", server.port, timeout=5) as client:
            client.login("user", "secret")
            with pytest.raises(smtplib.SMTPSenderRefused) as too_big:
                client.sendmail("a@a.example", "b@b.example", b"x" * 200_000)
            assert too_big.value.smtp_code == 552

    async def scenario() -> None:
        async with running() as server, asyncio.timeout(20):
            await asyncio.to_thread(refused, server)
            assert server.application.messages == []

    asyncio.run(scenario())


@cache
def missing_for_swaks() -> str:
    """What swaks needs and this machine does not have, "" for nothing."""
    if shutil.which("swaks") is None:
        return "swaks is not installed (apt-get install swaks)"
    support = subprocess.run(["swaks", "--support"], capture_output=True, text=True, check=False)
    if "TLS not available" in support.stdout + support.stderr:
        return "swaks has no TLS (apt-get install libnet-ssleay-perl)"
    return ""


@pytest.mark.parametrize(
    "options", [["--auth", "LOGIN"], ["--auth", "PLAIN", "-tls"], ["-tlsc"]], ids=" ".join
)
async def test_swaks_sends(options: list[str]) -> None:
    missing = missing_for_swaks()
    if missing and ("TLS" not in missing or options[-1].startswith("-tls")):
        pytest.skip(missing)
    async with running() as server:
        port = server.tls_port if "-tlsc" in options else server.port
        process = await asyncio.create_subprocess_exec(
            "swaks",
            *("--server", f"127.0.0.1:{port}", "--from", "a@a.example", "--to", "b@b.example"),
            *("--auth-user", "user", "--auth-password", "secret", "--ehlo", "client.example", *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(20):
            output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        (envelope,) = server.application.messages
        assert isinstance(envelope, Envelope)
        assert b"Subject: test" in envelope.content
