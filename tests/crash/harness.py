"""The crash harness: clients send while everything around is killed, frozen, restarted; then it must add up.

Clients hand in mail (SMTP, HTTP) and SMS (HTTP, SMPP): single and in batches, in parts, to several
recipients, scheduled and cancelled, of an account with credits and of one that runs out of them. Each
recipient's address says what the far ends do with it (`fates`). The daemons (one on SQLite, several on
PostgreSQL) relay to a mail sink and an SMSC that live here. At random moments something is struck (`blows`).
At the end everything drains, and `judge` compares what clients were told, what arrived, and what is booked.

`python -m tests.crash.harness --kills 1000 --engine postgresql --daemons 2` prints the report and exits 1
when a rule is broken. The seed decides what each client sends and what is struck; when exactly, the machine.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

from tests.crash.accounts import PRODUCTS
from tests.crash.blows import Blows
from tests.crash.clients import Clients
from tests.crash.daemons import BATCH_MAX, MAX_CONNECTIONS, WINDOW, Daemon, Harness
from tests.crash.far_ends import FarEnds
from tests.crash.fates import ALL, FOREIGN, PARTS_MAX
from tests.crash.foreign import MissingError, foreign_far_ends, require
from tests.crash.judge import Judge, Rules
from tests.crash.mail_sink import MailSink
from tests.crash.report import Report
from tests.crash.seen import Seen, Senders
from tests.crash.smsc import Smsc
from tests.crash.webhooks import webhook_receiver
from tests.crash.world import CREDITS, POOR, RICH, Setting, World, world

PER_INCIDENT = PARTS_MAX * (MAX_CONNECTIONS + WINDOW + 2 * BATCH_MAX)
"""The most duplicates that the end of one process explains: what was under way, and what was unsettled."""
_GRANT = 30
_GRANT_EVERY_S = 8.0
_FAILURES = frozenset({"message.failed", "message.cancelled", "message.refunded", "message.unknown"})
WEBHOOKS = {
    RICH: _FAILURES,
    POOR: _FAILURES | {"message.submitted", "message.delivered", "message.deferred"},
}
_THROTTLED = 0.004
_FOREIGN = "foreign: Postfix's smtp-sink and node-smpp's SMSC"
_LEAST_S, _MOST_S = 0.3, 1.5  # between two blows
_REST_S = 0.05


async def run(setting: Setting, kills: int, *, foreign: bool = False) -> Report:
    """Strikes until so many were killed, drains, and judges. `foreign`: with far ends of others."""
    begun_s = time.monotonic()
    make_far_ends, fates = (foreign_far_ends, FOREIGN) if foreign else (_own_far_ends, ALL)
    async with world(setting, make_far_ends) as made, webhook_receiver(made) as url:
        blows, grants = Blows(made), Grants(made.daemons.members[0])
        for account, kinds in WEBHOOKS.items():
            await made.http(account).make_webhook(url, sorted(kinds))
        await _under_fire(made, Clients(made, rest_s=_REST_S, fates=fates), blows, grants, kills)
        books, drained = await made.drained()
        await made.end()
    rules = Rules(
        poor=POOR,
        webhooks=WEBHOOKS,
        granted=grants.expected(),
        per_incident=PER_INCIDENT,
        deaths=made.deaths,
    )
    verdict = Judge(made.tally, made.seen, books, made.incidents, rules).verdict()
    return Report(
        world=made,
        rules=rules,
        blows=blows.counts,
        kills=blows.kills,
        books=books,
        verdict=verdict,
        drained=drained,
        took_s=time.monotonic() - begun_s,
    )


def _own_far_ends(seen: Seen, senders: Senders, setting: Setting, _folder: Path) -> FarEnds:
    """The sinks of this project, which do what each address says."""
    smsc = Smsc(seen, senders, setting.rng("smsc"), throttled=_THROTTLED)
    return FarEnds(MailSink(seen, senders), smsc)


async def _under_fire(made: World, clients: Clients, blows: Blows, grants: "Grants", kills: int) -> None:
    """Lets every client send while blows fall, each at a random moment."""
    rng = made.setting.rng("moments")
    async with asyncio.TaskGroup() as group:
        for client in (*clients.rich(), *clients.poor()):
            group.create_task(client)
        granting = group.create_task(grants.run())
        while blows.kills < kills:
            await asyncio.sleep(rng.uniform(_LEAST_S, _MOST_S))  # the random moment
            await blows.strike()
        await asyncio.sleep(_MOST_S)
        clients.stop()
        granting.cancel()


class Grants:
    """Releases credits to the poor account now and then, by the command line while the daemons run."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._sure = dict.fromkeys(PRODUCTS, CREDITS[POOR])
        self._perhaps = dict.fromkeys(PRODUCTS, 0)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(_GRANT_EVERY_S)
            for product in self._sure:
                self._perhaps[product] += _GRANT
                with contextlib.suppress(RuntimeError):  # the database was away: it may be there, or not
                    await self._daemon.cli("credit", "grant", POOR, product, str(_GRANT))
                    self._perhaps[product] -= _GRANT
                    self._sure[product] += _GRANT

    def expected(self) -> dict[tuple[str, str], tuple[int, int]]:
        """By account and product: what was granted for sure, and what may have been besides."""
        expected = {(POOR, product): (self._sure[product], self._perhaps[product]) for product in self._sure}
        return expected | {(RICH, product): (CREDITS[RICH], 0) for product in self._sure}


def main() -> int:
    """The command line of the harness."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=int(os.environ.get("KILLS", "50")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "1")))
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--daemons", type=int, default=1, help="several need --engine postgresql")
    parser.add_argument("--workers", type=int, default=1, help="processes of each daemon")
    parser.add_argument("--folder", type=Path, help="where databases and logs stay; default: they do not")
    parser.add_argument("--far-ends", choices=("own", "foreign"), default="own", help=_FOREIGN)
    given = parser.parse_args()
    if given.daemons > 1 and given.engine == "sqlite":
        parser.error("SQLite serves one daemon: add --engine postgresql")
    if given.far_ends == "foreign":
        try:
            require()
        except MissingError as missing:
            parser.error(str(missing))
    setting = Setting(
        seed=given.seed,
        engine=given.engine,
        daemons=given.daemons,
        harness=Harness(workers=given.workers),
        folder=given.folder,
    )
    report = asyncio.run(run(setting, given.kills, foreign=given.far_ends == "foreign"))
    print(report.text())  # noqa: T201 - the report is what the command is for
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
