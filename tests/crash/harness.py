"""The crash harness: clients send while daemons are killed and restarted, then every figure must add up.

Clients hand in mail (SMTP, HTTP) and SMS (HTTP, SMPP), each message with a token of its own in its text. The
daemons (one on SQLite, several on PostgreSQL) relay to a mail sink and an SMSC that live here and survive
them. At random moments one gets SIGKILL and is started again. At the end they drain, and the report says what
was acknowledged, lost, doubled.

`python -m tests.crash.harness --kills 1000 --engine postgresql --daemons 2` prints the report and exits 1
when an invariant does not hold.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from smpp.simulator import Simulator, SimulatorConfig
from smpp.smsc import SmscConfig
from tests.crash.clients import Tally, client, http_send, smpp_send, smtp_send
from tests.crash.daemons import Account, Daemon, Daemons, Database, Engine, fresh_database, make_account
from tests.smtp.fake_mx import FakeMx

_TOKEN = re.compile(r"token-[a-z]+-\d+")
_DRAIN_S = 120.0


@dataclass
class Report:
    """What the harness found."""

    engine: str = "sqlite"
    daemons: int = 1
    kills: int = 0
    acknowledged: int = 0
    accepted: int = 0
    lost: list[str] = field(default_factory=list)
    refused_but_delivered: list[str] = field(default_factory=list)
    keyed_twice: list[str] = field(default_factory=list)
    duplicates_after_crash: int = 0
    unbalanced: int = 0
    credits_off: int = 0
    not_final: int = 0

    @property
    def holds(self) -> bool:
        """Whether A1 to A4 held."""
        return not (
            self.lost or self.refused_but_delivered or self.keyed_twice or self.unbalanced or self.credits_off
        )


# --- the run -------------------------------------------------------------------------------------------


async def run(
    kills: int,
    *,
    seed: int,
    engine: Engine = "sqlite",
    daemons: int = 1,
    least_s: float = 0.3,
    most_s: float = 1.5,
) -> Report:
    """Kills one of the daemons `kills` times under load, drains, and reports."""
    rng = random.Random(seed)
    report = Report(engine=engine, daemons=daemons, kills=kills)
    tally = Tally()
    smsc = Simulator(
        SimulatorConfig(smsc=SmscConfig(port=0, system_id="sandbox"), receipt_delay_s=0.05, memory=5_000_000)
    )
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(fresh_database(engine, folder))
        await smsc.start()
        stack.push_async_callback(smsc.stop)
        sink = await stack.enter_async_context(FakeMx.running())
        members = [
            Daemon(folder / f"daemon{number}", sink.port, smsc.port, store_url=database.url)
            for number in range(daemons)
        ]
        account = await make_account(members[0])
        stack.callback(end_all, members)
        await asyncio.gather(*(one.start() for one in members))
        await under_fire(Daemons(members, rng), account, tally, kills, rng, least_s=least_s, most_s=most_s)
        await drain(database)
        for one in members:
            if (code := await one.end(signal.SIGTERM)) != 0:
                raise RuntimeError(f"the daemon ended with {code}")
        texts = [transaction.content.decode() for transaction in sink.transactions]
        texts += [message.text for message in smsc.messages()]
        judge(report, tally, texts, database)
    return report


async def under_fire(
    daemons: Daemons,
    account: Account,
    tally: Tally,
    kills: int,
    rng: random.Random,
    *,
    least_s: float,
    most_s: float,
) -> None:
    """Lets every kind of client send while daemons are killed, each at a random moment."""
    stop = asyncio.Event()
    async with smpp_send(daemons, account) as smpp:
        sends = {
            "mailkeyed": (http_send(daemons, account, "/v1/mail", keyed=True), True),
            "mail": (http_send(daemons, account, "/v1/mail", keyed=False), False),
            "smskeyed": (http_send(daemons, account, "/v1/sms", keyed=True), True),
            "sms": (http_send(daemons, account, "/v1/sms", keyed=False), False),
            "smtp": (smtp_send(daemons, account), False),
            "smpp": (smpp, False),
        }
        clients = [
            asyncio.create_task(client(name, send, tally, stop, keyed=keyed))
            for name, (send, keyed) in sends.items()
        ]
        for _ in range(kills):
            await asyncio.sleep(rng.uniform(least_s, most_s))  # the random moment of the kill
            victim = rng.choice(daemons.members)
            await victim.end(signal.SIGKILL)
            await victim.start()
        await asyncio.sleep(most_s)
        stop.set()
        await asyncio.gather(*clients)


def end_all(daemons: list[Daemon]) -> None:
    """Leaves no process behind, whatever went wrong."""
    for one in daemons:
        if one.process is not None and one.process.returncode is None:
            one.process.kill()


async def drain(database: Database) -> None:
    """Waits until every message is final, with a bound."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while database.number("SELECT count(*) FROM message WHERE status = 'queued'"):
                await asyncio.sleep(0.2)


def judge(report: Report, tally: Tally, texts: list[str], database: Database) -> None:
    """Compares what clients were told with what arrived and what the books say."""
    arrived = Counter(token for text in texts for token in set(_TOKEN.findall(text)))
    stored = dict(database.rows("SELECT id, status FROM message WHERE ingress <> 'report'"))
    report.accepted = len(stored)
    debited = database.number("SELECT sum(price_credits) FROM message")
    left = database.number("SELECT sum(remaining) FROM lot")
    granted = database.number("SELECT sum(granted) FROM lot")
    refunded = database.number("SELECT sum(refunded_credits) FROM message")
    report.credits_off = (granted - left) - (debited - refunded)
    report.unbalanced = database.number(
        """SELECT count(*) FROM lot l WHERE l.remaining <>
        (SELECT coalesce(sum(p.credits), 0) FROM posting p WHERE p.lot_id = l.id)"""
    )
    metadata = database.rows("SELECT metadata FROM message WHERE metadata IS NOT NULL")
    report.acknowledged = len(tally.acked)
    report.not_final = sum(status == "queued" for status in stored.values())
    for token, message_id in tally.acked.items():
        if stored.get(message_id) not in {"delivered", "queued"} or (
            stored[message_id] == "delivered" and not arrived[token]
        ):
            report.lost.append(token)
    report.refused_but_delivered = sorted(tally.refused & arrived.keys())
    keyed = Counter(json.loads(text)["key"] for (text,) in metadata)
    report.keyed_twice = [token for token, count in keyed.items() if count > 1]
    report.duplicates_after_crash = sum(count - 1 for count in arrived.values() if count > 1)


def render(report: Report) -> str:
    """The report as lines."""
    return "\n".join(
        (
            f"engine                 {report.engine}",
            f"daemons                {report.daemons}",
            f"kills                  {report.kills}",
            f"acknowledged           {report.acknowledged}",
            f"accepted (stored)      {report.accepted}",
            f"lost                   {len(report.lost)} {report.lost[:5]}",
            f"refused but delivered  {len(report.refused_but_delivered)}",
            f"one key, two messages  {len(report.keyed_twice)}",
            f"credits off            {report.credits_off}",
            f"lots out of balance    {report.unbalanced}",
            f"not final yet          {report.not_final}",
            f"delivered twice        {report.duplicates_after_crash} (taken by the other side, not settled)",
        )
    )


def main() -> int:
    """The command line of the harness."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=int(os.environ.get("KILLS", "50")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "1")))
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--daemons", type=int, default=1, help="several need --engine postgresql")
    arguments = parser.parse_args()
    if arguments.daemons > 1 and arguments.engine == "sqlite":
        parser.error("SQLite serves one daemon: add --engine postgresql")
    report = asyncio.run(
        run(arguments.kills, seed=arguments.seed, engine=arguments.engine, daemons=arguments.daemons)
    )
    print(render(report))  # noqa: T201 - the report is what the command is for
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
