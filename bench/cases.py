"""The cases: which load, which sink, the gateway against which peer, and what CPU share was promised."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.loads import Accepted, HttpLoad, MailLoad, SmppLoad
from bench.peers import Kannel, Postfix
from bench.servers import Gateway, Server, Target
from bench.sinks import Sink, mail_sink, sms_sink

Load = Callable[[Target, int, Path], Accepted]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table.

    `peer` makes the peer's server; without one, the peer's figure is that of the case `compare`. `share` is
    the largest part of the peer's CPU per message that the gateway may take, `aim` what it strives for,
    `speed` the least multiple of the peer's messages per second; 0 where nothing was promised.
    """

    key: str
    title: str
    load: Load
    sink: Callable[[], Sink]
    gateway: Callable[[Path], Gateway]
    messages: int
    needs: tuple[str, ...] = ()
    peer: Callable[[], Server] | None = None
    package: str = ""
    compare: str = ""
    share: float = 0.0
    aim: float = 0.0
    speed: float = 0.0


def _mail(*, dkim: bool, reuse: bool, messages: int) -> Case:
    work = "mail, DKIM RSA-2048" if dkim else "mail"
    return Case(
        key=("dkim" if dkim else "mail") + ("-reuse" if reuse else ""),
        title=f"{work}, {'kept connections' if reuse else 'a connection each'}",
        load=MailLoad(reuse),
        sink=mail_sink,
        gateway=lambda template: Gateway(template=template, kind="mail", dkim=dkim),
        messages=messages,
        needs=("smtp-source", "smtp-sink"),
        peer=lambda: Postfix(dkim),
        package="postfix",
        share=1 / 4,
        aim=1 / 6 if dkim else 1 / 8,
        speed=4.0,
    )


def _sms_sink() -> Sink:
    return sms_sink(receipts=False)


def _receipts_sink() -> Sink:
    return sms_sink(receipts=True)


def _sms_gateway(template: Path) -> Gateway:
    return Gateway(template=template, kind="sms")


CASES = (
    _mail(dkim=False, reuse=False, messages=6000),
    _mail(dkim=False, reuse=True, messages=6000),
    _mail(dkim=True, reuse=False, messages=4000),
    _mail(dkim=True, reuse=True, messages=4000),
    Case(
        key="sms-http",
        title="SMS, one HTTP request each",
        load=HttpLoad(),
        sink=_sms_sink,
        gateway=_sms_gateway,
        messages=20_000,
        needs=("wrk",),
        peer=Kannel,
        package="kannel",
        share=1 / 2,
        aim=1 / 3,
        speed=1.5,
    ),
    Case(
        key="sms-batch",
        title="SMS, HTTP batches of 100",
        load=HttpLoad(batch=100),
        sink=_sms_sink,
        gateway=_sms_gateway,
        messages=40_000,
        needs=("wrk",),
        compare="sms-http",
        share=1 / 6,
        aim=1 / 10,
    ),
    Case(
        key="sms-smpp",
        title="SMS over SMPP, with receipts",
        load=SmppLoad(),
        sink=_receipts_sink,
        gateway=lambda template: Gateway(template=template, kind="sms", receipts=True),
        messages=20_000,
        compare="sms-http",
        share=1 / 2,
        aim=1 / 4,
    ),
)
