"""Mail leaves by a smarthost, by MX, or into the sandbox: signed, retried, judged by what is answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from config.kinds import Secret
from config.sections.upstreams import MxUpstream, RelayUpstream, SandboxMailUpstream
from gateway.clock import SystemClock
from gateway.messages.ports import Upstream
from gateway.upstreams.mx import Mx
from gateway.upstreams.rate import Rate
from gateway.upstreams.relay import Relay
from gateway.upstreams.sandbox.mail import SandboxMail
from gateway.upstreams.signing import Signing
from smtp.dkim import Signer, dns_record, load_key, make_keys, verify
from smtp.dns_client import DnsPython
from smtp.resolver import Resolver
from tests.smtp.fake_dns import DnsServer
from tests.smtp.fake_mx import DROP, FakeMx, Script, self_signed
from tests.support.fakes import FakeUpstream
from tests.world import ACCOUNT, Rig, rig

RSA_PEM, ED25519_PEM = make_keys()
KEYS = [
    load_key(RSA_PEM, domain="example.org", selector="gw1r"),
    load_key(ED25519_PEM, domain="example.org", selector="gw1e"),
]


class Keys:
    """The signing keys of example.org."""

    def known(self, account_id: str, domain: str) -> bool:
        return True

    def peek(self, account_id: str, domain: str) -> Signer | None:
        return Signer(KEYS) if (account_id, domain) == (ACCOUNT, "example.org") else None

    async def get(self, account_id: str, domain: str) -> Signer | None:
        return self.peek(account_id, domain)

    async def of_domain(self, domain: str) -> Signer | None:
        return self.peek(ACCOUNT, domain)


def signing() -> Signing:
    return Signing(Keys(), SystemClock())


def published(name: str) -> bytes | None:
    """The TXT record that the keys call for."""
    records = {record.name: record.text.encode() for record in map(dns_record, KEYS)}
    return records.get(name.rstrip("."))


def relay(port: int, **settings: object) -> Relay:
    defaults: dict[str, object] = {"host": "127.0.0.1", "port": port, "tls": "none"}
    config = RelayUpstream(**{**defaults, **settings})  # type: ignore[arg-type]  # any field, by name
    return Relay("relay", config, helo="gw.example", signing=signing(), rate=Rate(0))


@asynccontextmanager
async def road(folder: Path, upstream: Upstream) -> AsyncIterator[Rig]:
    async with rig(folder, [upstream, FakeUpstream("sms")], clock=SystemClock()) as one:
        yield one


async def events(one: Rig, message_id: str, kind: str) -> None:
    """Returns once the message has an event of this kind, within ten seconds."""
    async with asyncio.timeout(10):
        while not any(event.type == kind for event in (await one.view(message_id)).events):
            await asyncio.sleep(0.005)


async def test_a_smarthost_gets_the_mail_signed_twice_and_dkimpy_agrees(tmp_path: Path) -> None:  # R70
    async with FakeMx.running() as mx, road(tmp_path, relay(mx.port)) as one:
        verdict = await one.send_mail("b@example.net", "c@example.net")
        assert (await one.settled(verdict.id or "")).status == "delivered"
        (transaction,) = mx.transactions
        assert transaction.rcpts == ["b@example.net", "c@example.net"]
        results = verify(transaction.content, published)
        assert [(one.algorithm, one.valid) for one in results] == [
            ("rsa-sha256", True),
            ("ed25519-sha256", True),
        ]


async def test_one_connection_serves_many_mails(tmp_path: Path) -> None:
    async with FakeMx.running() as mx, road(tmp_path, relay(mx.port, max_connections=1)) as one:
        for _ in range(10):
            verdict = await one.send_mail()
            await one.settled(verdict.id or "")
        assert len(mx.transactions) == 10
        assert mx.connections == 1


async def test_a_smarthost_with_tls_and_auth_and_a_certificate_to_check(tmp_path: Path) -> None:
    certificate = self_signed()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(certificate.pem)
    script = Script(
        extensions=("PIPELINING", "STARTTLS", "AUTH PLAIN", "8BITMIME"),
        tls=certificate.context,
        replies={"AUTH": "235 2.7.0 ok"},
    )
    async with FakeMx.running(script) as mx:
        upstream = relay(
            mx.port,
            host="localhost",
            tls="required",
            ca_file=ca_file,
            username="user",
            password=Secret("secret"),
        )
        async with road(tmp_path, upstream) as one:
            verdict = await one.send_mail()
            assert (await one.settled(verdict.id or "")).status == "delivered"
            assert any(command.startswith("AUTH PLAIN") for command in mx.commands)


async def test_a_smarthost_without_the_required_tls_gets_nothing(tmp_path: Path) -> None:
    async with FakeMx.running() as mx, road(tmp_path, relay(mx.port, tls="required")) as one:
        verdict = await one.send_mail()
        await events(one, verdict.id or "", "message.deferred")
        assert mx.transactions == []
        assert (await one.view(verdict.id or "")).status == "queued"


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ({"RCPT": "451 4.7.1 greylisted"}, "message.deferred"),
        ({"CONTENT": "452 4.3.1 full"}, "message.deferred"),
        ({"RCPT": "550 5.1.1 unknown"}, "message.failed"),
        ({"CONTENT": "554 5.6.0 spam"}, "message.failed"),
        ({"CONTENT": DROP}, "message.unknown"),
    ],
)
async def test_what_the_other_side_says_decides(tmp_path: Path, replies: dict[str, str], kind: str) -> None:
    async with FakeMx.running(Script(replies)) as mx, road(tmp_path, relay(mx.port)) as one:
        verdict = await one.send_mail(mail_from="")
        await events(one, verdict.id or "", kind)


async def test_a_smarthost_that_is_down_is_asked_again_and_the_mail_waits(tmp_path: Path) -> None:
    async with FakeMx.running() as mx:
        port = mx.port
    async with road(tmp_path, relay(port, connect_timeout_s=1.0)) as one:
        verdict = await one.send_mail()
        await events(one, verdict.id or "", "message.deferred")
        assert one.road.dispatcher.pause_left_s("relay") > 0


@asynccontextmanager
async def mx_road(folder: Path, script: Script) -> AsyncIterator[tuple[Rig, FakeMx]]:
    """A road that finds its exchanger in a real (local) DNS."""
    async with AsyncExitStack() as stack:
        mx = await stack.enter_async_context(FakeMx.running(script))
        dns = await stack.enter_async_context(
            DnsServer.running(
                {
                    ("example.net.", "MX"): ["10 mx.example.net."],
                    ("mx.example.net.", "A"): ["127.0.0.1"],
                    ("nomail.example.", "MX"): ["0 ."],
                }
            )
        )
        resolver = Resolver(
            DnsPython(["127.0.0.1"], port=dns.port, timeout_s=2),
            rng=Random(1),
            clock=SystemClock().monotonic_s,
            is_allowed=lambda _address: True,
        )
        settings = MxUpstream(port=mx.port)
        upstream = Mx("mx", settings, helo="gw.example", resolver=resolver, signing=signing())
        yield await stack.enter_async_context(road(folder, upstream)), mx


async def test_a_domain_is_reached_by_its_mx(tmp_path: Path) -> None:
    async with mx_road(tmp_path, Script()) as (one, mx):
        verdict = await one.send_mail("b@example.net")
        assert (await one.settled(verdict.id or "")).status == "delivered"
        assert mx.transactions[0].rcpts == ["b@example.net"]


async def test_a_certificate_never_bounces_and_tls_is_used(tmp_path: Path) -> None:
    script = Script(extensions=("PIPELINING", "STARTTLS"), tls=self_signed().context)
    async with mx_road(tmp_path, script) as (one, mx):
        verdict = await one.send_mail("b@example.net")
        assert (await one.settled(verdict.id or "")).status == "delivered"
        assert "STARTTLS" in mx.commands


async def test_tls_that_breaks_is_followed_by_clear(tmp_path: Path) -> None:
    script = Script(extensions=("PIPELINING", "STARTTLS"), tls_breaks=True)
    async with mx_road(tmp_path, script) as (one, _):
        verdict = await one.send_mail("b@example.net")
        assert (await one.settled(verdict.id or "")).status == "delivered"


@pytest.mark.parametrize(
    ("address", "code"), [("b@nomail.example", "5.1.10"), ("b@nowhere.example", "5.1.2")]
)
async def test_a_domain_without_mail_fails_at_once(tmp_path: Path, address: str, code: str) -> None:
    async with mx_road(tmp_path, Script()) as (one, _):
        verdict = await one.send_mail(address, mail_from="")
        view = await one.settled(verdict.id or "")
        assert view.status == "failed"
        assert code in (view.recipients[0].reply or "")


@asynccontextmanager
async def sandbox_road(folder: Path, kept: int = 100) -> AsyncIterator[tuple[Rig, SandboxMail]]:
    """A road into the sandbox, which is made when the store is there."""
    fakes = [FakeUpstream("sandbox"), FakeUpstream("sms")]
    async with rig(folder, fakes, clock=SystemClock(), mail_credits=200, start=False) as one:
        settings = SandboxMailUpstream(kept=kept)
        upstream = SandboxMail("sandbox", settings, store=one.store, signing=signing(), clock=SystemClock())
        one.road.router._upstreams["sandbox"] = upstream  # type: ignore[index]  # in place of the fake
        await one.road.queue.start()
        yield one, upstream


async def test_the_sandbox_shows_what_would_have_left(tmp_path: Path) -> None:
    async with sandbox_road(tmp_path) as (one, sandbox):
        verdict = await one.send_mail("b@example.net", "c@elsewhere.example")
        assert (await one.settled(verdict.id or "")).status == "delivered"
        (captured,) = await sandbox.captured(ACCOUNT, None, 10)
        assert captured["message_id"] == verdict.id
        assert captured["recipients"] == ["b@example.net", "c@elsewhere.example"]
        whole = await sandbox.captured_one(ACCOUNT, captured["id"])
        assert whole is not None
        raw = whole.pop("raw")
        assert whole == captured
        assert (captured["author"], captured["subject"]) == ("a@example.org", "Hello")
        assert captured["size_octets"] == len(raw)
        assert all(one.valid for one in verify(raw, published))
        assert await sandbox.captured_one("1" * 26, captured["id"]) is None


@pytest.mark.parametrize(
    ("local", "kind"),
    [
        ("bounce", "message.failed"),
        ("full+tag", "message.deferred"),
        ("greylist", "message.deferred"),
        ("unknown", "message.unknown"),
    ],
)
async def test_magic_addresses(tmp_path: Path, local: str, kind: str) -> None:
    async with sandbox_road(tmp_path) as (one, _):
        verdict = await one.send_mail(f"{local}@magic.test")
        await events(one, verdict.id or "", kind)


async def test_a_bounce_is_told_by_a_dsn_in_the_sandbox(tmp_path: Path) -> None:
    async with sandbox_road(tmp_path) as (one, sandbox):
        await one.send_mail("bounce@magic.test")
        async with asyncio.timeout(10):
            while not (captured := await sandbox.captured(ACCOUNT, None, 10)):
                await asyncio.sleep(0.01)
        assert captured[0]["recipients"] == ["a@example.org"]
        assert captured[0]["mail_from"] == ""
        whole = await sandbox.captured_one(ACCOUNT, captured[0]["id"])
        assert whole is not None
        assert b"bounce@magic.test" in whole["raw"]


async def test_the_oldest_captures_make_room(tmp_path: Path) -> None:
    async with sandbox_road(tmp_path, kept=5) as (one, sandbox):
        verdicts = [await one.send_mail() for _ in range(100)]
        for verdict in verdicts:
            await one.settled(verdict.id or "")
        last = await one.send_mail()
        await one.settled(last.id or "")
        assert len(await sandbox.captured(ACCOUNT, None, 200)) <= 104
