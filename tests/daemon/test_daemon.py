"""What a daemon does that nobody asks it for: its jobs, and what it learns of the command line's changes."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from config.schema import Settings
from config.sections.store import Store
from gateway.accounts.credentials import ALL_SCOPES, Credentials, Issued
from gateway.accounts.lookup import find_account
from gateway.accounts.secrets import CredentialKind
from gateway.accounts.service import Accounts
from gateway.cli.opening import opened
from gateway.clock import SystemClock
from gateway.events.record import of_account
from gateway.ground import Ground
from gateway.observe.metrics import Metrics
from gateway.sendernames.service import DECIDED
from gateway.starting import open_store
from gateway.terminal.session import opening, run_on_ground
from gateway.verticals import make
from gateway.webhooks.service import Webhooks
from tests.support.cli import Cli
from tests.support.daemon_process import Daemon, configure

T = TypeVar("T")
JOBS = {
    *("caches", "queue", "readings"),
    *("webhooks_send", "receipts_send", "binds_check"),
    *("credits_expiry", "notices_send", "orders_reconcile", "retention"),
}
_DONE = re.compile(r'^gateway_job_last_success_timestamp_seconds\{job="(\w+)"\} [1-9]', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Running:
    """A demo: a whole gateway, with an account of the name demo."""

    folder: Path
    env: dict[str, str]

    def command(self, work: Callable[[Ground], Awaitable[T]]) -> T:
        """What `work` answers, done as a command beside the daemon does it."""
        with opening(opened):
            return run_on_ground(self.folder / "gateway.toml", work)

    def metrics(self) -> str:
        """Its exposition."""
        with urllib.request.urlopen(self.env["METRICS_URL"], timeout=10) as answer:
            return str(answer.read().decode())

    def status(self, key: str) -> int:
        """What a request with this key is answered."""
        headers = {"Authorization": f"Bearer {key}"}
        request = urllib.request.Request(self.env["GATEWAY_URL"] + "/v1/credits", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for all tests."""
    folder = tmp_path_factory.mktemp("demo")
    configure(folder)
    with Daemon(folder, "demo", patience_s=110) as daemon:
        daemon.until("is ready")
        lines = (folder / "var/demo.env").read_text().splitlines()
        yield Running(folder, dict(line.split("=", 1) for line in lines))


def until(condition: Callable[[], bool]) -> None:
    """Returns once it holds; what another process does can only be polled. Bounded."""
    end_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def test_every_door_is_told_ready(running: Running) -> None:
    with urllib.request.urlopen(running.env["GATEWAY_URL"] + "/readyz", timeout=10) as answer:
        checks = json.load(answer)["checks"]
    assert checks == dict.fromkeys(("store", "running", "smtp", "smpp", "http"), True)


def test_every_job_has_had_its_round(running: Running) -> None:
    until(lambda: set(_DONE.findall(running.metrics())) >= JOBS)
    assert set(_DONE.findall(running.metrics())) == JOBS


def test_a_key_that_the_command_line_revokes_opens_nothing_any_more(running: Running) -> None:
    async def create(ground: Ground) -> Issued:
        account = (await find_account(ground, "demo")).id
        return await ground[Credentials].create(account, CredentialKind.API, scopes=[ALL_SCOPES])

    issued = running.command(create)
    revoked = issued.credential
    assert running.status(issued.secret) == 200
    running.command(lambda ground: ground[Credentials].revoke(revoked.account_id, revoked.id))
    until(lambda: running.status(issued.secret) == 401)


async def test_what_happens_in_a_daemon_is_told_to_webhooks(cli: Cli) -> None:
    settings = Settings(store=Store(url=f"sqlite:{cli.folder / 'gateway.db'}"))
    store = open_store(settings, Metrics())
    ground = make(settings, store, SystemClock())
    try:
        account = (await ground[Accounts].create("Shop")).id
        issued = await ground[Webhooks].create(account, "https://hook.example/told")
        await store.write(lambda tx: of_account(tx, account, DECIDED, 1, {}))
        queued = await ground[Webhooks].deliveries(account, issued.webhook.id)
        assert [json.loads(one.body)["type"] for one in queued] == [DECIDED]
    finally:
        await ground.caches.close()
        await store.close()
