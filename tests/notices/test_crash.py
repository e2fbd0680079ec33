"""A process that dies while it sends a notice neither loses nor doubles it (R8, A1, A2)."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from email import message_from_bytes, policy
from pathlib import Path

import httpx
import pytest

from gateway.notices import queue
from gateway.store.store import Store
from tests.faults.installation import CREDITS, DOMAIN, Installation, installation
from tests.notices.killed import notices
from tests.support.cli import ROOT, environment
from tests.support.databases import database_url
from tests.world import ACCOUNT

_ACCOUNT = """
INSERT INTO account (id, name, status, email, created_ms) VALUES (?, 'Shop', 'active', 'a@b.example', 0)
"""
_MESSAGES = """
SELECT m.id FROM message m JOIN delivery d ON d.message_id = m.id JOIN content c ON c.message_id = m.id
"""
_LOW = {"product": "mail", "balance": 9, "below": 10}


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("where", "sent"), [("marked", 0), ("written", 0), ("committed", 1)])
async def test_a_kill_between_any_two_lines_leaves_one_mail_for_one_notice(
    tmp_path: Path, where: str, sent: int
) -> None:
    url = database_url(tmp_path)
    store = Store.open(url, upgrade=True, exclusive=False)
    await store.write(lambda tx: tx.run(_ACCOUNT, (ACCOUNT,)))
    await store.write(lambda tx: queue.queue(tx, ACCOUNT, "credits.low", None, _LOW, "k", 1_790_000_000_000))
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.notices.killed", url, where],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(await store.read(lambda tx: tx.rows(_MESSAGES))) == sent
    rings: list[str] = []
    await notices(store, lambda: rings.append("rung")).send()
    assert len(rings) == 1 - sent
    ((message_id,),) = await store.read(lambda tx: tx.rows(_MESSAGES))
    assert await store.read(lambda tx: tx.rows("SELECT message_id, note FROM notice")) == [(message_id, None)]
    await store.close()


def give_address(one: Installation, account_id: str) -> None:
    """Where the account's notices go, and in which language; no daemon runs."""
    connection = sqlite3.connect(one.url.removeprefix("sqlite:"))
    with connection:
        sql = "UPDATE account SET email = 'owner@example.net', language = 'pt' WHERE id = ?"
        connection.execute(sql, (account_id,))
    connection.close()


def low_balances(one: Installation) -> list[bytes]:
    """The notices that arrived at the mail server."""
    return [each.content for each in one.sink.transactions if each.rcpts == ["owner@example.net"]]


async def test_a_daemon_that_is_killed_before_it_has_told_a_low_balance_tells_it_once_it_is_back(
    tmp_path: Path,
) -> None:
    async with installation(tmp_path) as one:
        more = f'[notices]\nfrom = "notices@{DOMAIN}"\n[credits]\nlow_balance_threshold = {CREDITS}\n'
        one.config.write_text(one.config.read_text() + more)
        logins = await one.furnish()
        give_address(one, logins.account_id)
        await one.start()
        mail = {"from": f"a@{DOMAIN}", "to": "b@example.net", "subject": "Hello", "text": "Hello"}
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            answer = await client.post(
                f"http://127.0.0.1:{one.http_port}/v1/mail",
                json=mail,
                headers={"Authorization": f"Bearer {logins.key}"},
            )
        assert answer.status_code == 202
        assert one.process is not None
        one.process.kill()
        await one.process.wait()
        assert low_balances(one) == []
        for _ in range(2):
            await one.start()
            async with asyncio.timeout(30):
                while not low_balances(one):
                    await asyncio.sleep(0.02)  # polls what arrives at the sink; bounded above
            one.process.kill()
            await one.process.wait()
        (content,) = low_balances(one)
        told = message_from_bytes(content, policy=policy.default)
        assert told["Subject"] == "Saldo baixo de créditos de e-mail: 9.999.999"
        assert f"d={DOMAIN};" in str(told["DKIM-Signature"]).replace("\r\n\t", "").replace(" ", "")
