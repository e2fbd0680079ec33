"""The cases: which load, which sink, which servers take turns, and what was promised."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.backlog import Backlogged
from bench.databases import Postgresql
from bench.fairness import ACCOUNTS, FairnessLoad, Neighbours
from bench.loads import Accepted, MailLoad, OwnMailLoad, PacedSmsLoad, SmppLoad, Work
from bench.peers.haraka import Haraka
from bench.peers.jasmin import Jasmin
from bench.peers.kannel import Kannel
from bench.peers.postfix import Postfix
from bench.promises import Promise
from bench.servers import Gateway, Server, Target
from bench.sinks import Sink, mail_sink, no_sink, receipts_sink, sms_sink, tls_mail_sink
from bench.wrk import HttpLoad

Load = Callable[[Target, Work], Accepted]

_MAIL = ("smtp-source", "smtp-sink")
_MEMORY = Promise(figure="memory_mib", most=250_000_000 / (1 << 20))
# docs/limits.md: the program, four times what is in DATA, three times limits.queue_memory_octets.
_LARGE_MEMORY = Promise(figure="memory_mib", most=110 + 4 * 40_000_000 / (1 << 20) + 3 * 64)
_P99 = Promise(figure="p99_ms", most=5.0, fsyncs=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server to compare with: how it is made, given a folder for templates.

    `package` is its name in `bench.install`; without one it is the gateway itself, in another state.
    """

    make: Callable[[Path], Server]
    package: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table, and its peers' rows.

    `paced`: the load at full speed only finds the rate; then this one drives half of it, and is what counts.
    """

    key: str
    title: str
    load: Load
    sink: Callable[[Path], Sink]
    gateway: Callable[[Path], Server]
    messages: int
    paced: Load | None = None
    needs: tuple[str, ...] = ()
    peers: tuple[Peer, ...] = ()
    promises: tuple[Promise, ...] = ()


def _cpu(peer: str, most: float, aim: float | None = None, case: str = "") -> Promise:
    return Promise(figure="cpu_s_per_1000", peer=peer, most=most, aim=aim, case=case)


def _speed(peer: str, least: float) -> Promise:
    return Promise(figure="messages_per_s", peer=peer, least=least)


def _mail(*, dkim: bool, reuse: bool, messages: int) -> Case:
    peers = [Peer(make=lambda _: Postfix(dkim=dkim), package="postfix")]
    if not dkim:
        peers.append(Peer(make=lambda _: Haraka(), package="haraka"))
    name = "Postfix + OpenDKIM" if dkim else "Postfix"
    return Case(
        key=("dkim" if dkim else "mail") + ("-reuse" if reuse else ""),
        title=("mail, DKIM RSA-2048" if dkim else "mail")
        + (", kept connections" if reuse else ", a connection each"),
        load=MailLoad(reuse=reuse),
        sink=mail_sink,
        gateway=lambda home: Gateway(template=home / "sqlite", dkim=dkim),
        messages=messages,
        needs=_MAIL,
        peers=tuple(peers),
        promises=(_cpu(name, 1 / 4, 1 / 6 if dkim else 1 / 8), _speed(name, 4), _MEMORY),
    )


def _mail_tls(*, reuse: bool, messages: int) -> Case:
    return Case(
        key="mail-tls" + ("-reuse" if reuse else ""),
        title="mail over STARTTLS" + (", kept connections" if reuse else ", a connection each"),
        load=OwnMailLoad(reuse=reuse),
        sink=tls_mail_sink,
        gateway=lambda home: Gateway(template=home / "sqlite", tls=True),
        messages=messages,
        needs=("openssl",),
        peers=(Peer(make=lambda _: Postfix(tls=True), package="postfix"),),
        promises=(_MEMORY,),
    )


_MAIL_CASES = (
    _mail(dkim=False, reuse=False, messages=6000),
    _mail(dkim=False, reuse=True, messages=6000),
    _mail(dkim=True, reuse=False, messages=3000),
    _mail(dkim=True, reuse=True, messages=3000),
    _mail_tls(reuse=False, messages=1500),
    _mail_tls(reuse=True, messages=3000),
    Case(
        key="mail-postgresql",
        title="mail, kept connections, PostgreSQL",
        load=MailLoad(reuse=True),
        sink=mail_sink,
        gateway=lambda home: Gateway(template=home / "postgresql", database=Postgresql()),
        messages=4000,
        needs=(*_MAIL, "initdb"),
        promises=(_cpu("gateway", 2.5, case="mail-reuse"),),
    ),
    Case(
        key="mail-half",
        title="mail at half load",
        load=MailLoad(reuse=True),
        paced=OwnMailLoad(),
        sink=mail_sink,
        gateway=lambda home: Gateway(template=home / "sqlite"),
        messages=8000,
        needs=_MAIL,
        promises=(_P99,),
    ),
    Case(
        key="mail-10mb",
        title="mail of 10 MB, four at once",
        load=MailLoad(reuse=True, size_octets=10_000_000, sessions=3),  # the probe is the fourth
        sink=mail_sink,
        gateway=lambda home: Gateway(template=home / "sqlite"),
        messages=120,
        needs=_MAIL,
        promises=(_LARGE_MEMORY,),
    ),
    Case(
        key="queue",
        title="100,000 mails for a dead destination",
        load=MailLoad(reuse=True),
        sink=no_sink,
        gateway=lambda home: Gateway(template=home / "sqlite"),
        messages=91_000,  # after a warm-up of a tenth
        needs=_MAIL,
        promises=(_MEMORY,),
    ),
    Case(
        key="backlog",
        title="mail while 1,000,000 wait",
        load=MailLoad(reuse=True),
        sink=mail_sink,
        gateway=lambda home: Backlogged(template=home / "full", queued=1_000_000),
        messages=6000,
        needs=_MAIL,
        peers=(Peer(make=lambda home: Backlogged(template=home / "empty")),),
        promises=(Promise(figure="accepted_per_s", peer="gateway, empty queue", least=0.9),),
    ),
)

_SMS_CASES = (
    Case(
        key="sms-http",
        title="SMS, one HTTP request each",
        load=HttpLoad(),
        sink=sms_sink,
        gateway=lambda home: Gateway(template=home / "sqlite", kind="sms"),
        messages=20_000,
        needs=("wrk",),
        peers=(
            Peer(make=lambda _: Kannel(), package="kannel"),
            Peer(make=lambda _: Jasmin(), package="jasmin"),
        ),
        promises=(
            _cpu("Kannel", 1 / 2, 1 / 3),
            _speed("Kannel", 1.5),
            _cpu("Jasmin", 1 / 8, 1 / 16),
            _MEMORY,
        ),
    ),
    Case(
        key="sms-batch",
        title="SMS, HTTP batches of 100",
        load=HttpLoad(batch=100),
        sink=sms_sink,
        gateway=lambda home: Gateway(template=home / "sqlite", kind="sms"),
        messages=40_000,
        needs=("wrk",),
        promises=(_cpu("Kannel", 1 / 6, 1 / 10, case="sms-http"), _MEMORY),
    ),
    Case(
        key="sms-smpp",
        title="SMS over SMPP, with receipts",
        load=SmppLoad(),
        sink=receipts_sink,
        gateway=lambda home: Gateway(template=home / "sqlite", kind="sms", receipts=True),
        messages=15_000,
        promises=(_cpu("Kannel", 1 / 2, 1 / 4, case="sms-http"), _MEMORY),
    ),
    Case(
        key="sms-https",
        title="SMS, one HTTPS request each",
        load=HttpLoad(),
        sink=sms_sink,
        gateway=lambda home: Gateway(template=home / "sqlite", kind="sms", tls=True),
        messages=20_000,
        needs=("wrk", "openssl"),
        peers=(Peer(make=lambda _: Kannel(tls=True), package="kannel"),),
        promises=(_MEMORY,),
    ),
    Case(
        key="sms-postgresql",
        title="SMS, one HTTP request each, PostgreSQL",
        load=HttpLoad(),
        sink=sms_sink,
        gateway=lambda home: Gateway(template=home / "postgresql", kind="sms", database=Postgresql()),
        messages=10_000,
        needs=("wrk", "initdb"),
        promises=(_cpu("gateway", 2.5, case="sms-http"),),
    ),
    Case(
        key="sms-half",
        title="SMS over HTTP at half load",
        load=HttpLoad(),
        paced=PacedSmsLoad(),
        sink=sms_sink,
        gateway=lambda home: Gateway(template=home / "sqlite", kind="sms"),
        messages=20_000,
        needs=("wrk",),
        promises=(_P99,),
    ),
)

_FAIRNESS = Case(
    key="fairness",
    title="a quiet account beside one at every door, 100,000 queued",
    load=FairnessLoad(),
    sink=mail_sink,
    gateway=lambda home: Neighbours(template=home / "one"),
    messages=200,
    needs=("smtp-sink",),
    peers=(Peer(make=lambda home: Neighbours(template=home / "spread", spread=ACCOUNTS)),),
    promises=(
        Promise(figure="p99_ms", peer=f"gateway, {ACCOUNTS} accounts", most=2.0),
        Promise(figure="p99_ms", most=250.0),
    ),
)

CASES = (*_MAIL_CASES, *_SMS_CASES, _FAIRNESS)
