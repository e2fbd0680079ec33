"""A notice leaves over the road that all mail takes, signed by the domain it comes from (R8)."""

from dataclasses import replace
from email import message_from_bytes, policy
from pathlib import Path

import dkim
import pytest

from config.schema import Settings
from gateway.accounts.service import Accounts
from gateway.credits import ledger
from gateway.credits.service import Credits
from gateway.domains.service import Domains
from gateway.ground import Ground
from gateway.messages.vertical import MESSAGES
from gateway.store.tx import Tx
from tests.faults.test_mail_relays import relay
from tests.faults.world import settings_for, world
from tests.smtp.fake_mx import FakeMx

DOMAIN = "gateway.example"

pytestmark = pytest.mark.usefixtures("cheap_rsa")


def settings(mx: FakeMx) -> Settings:
    given = settings_for(mail={"*": relay(mx)})
    return replace(given, notices=replace(given.notices, from_=f"Gateway <notices@{DOMAIN}>"))


async def spend(ground: Ground, account_id: str, credits: int) -> None:
    """Debits an account of mail credits, as acceptance does."""
    terms, now_ms = ground[Credits].terms, ground.clock.now_ms()

    def debit(tx: Tx) -> None:
        ledger.debit(tx, account_id, "mail", [credits], now_ms=now_ms, terms=terms)

    await ground.store.write(debit, locks=ledger.locks([(account_id, "mail")]))


async def publish(ground: Ground, account_id: str) -> dict[str, bytes]:
    """Has the account verify the domain of notices; the TXT records of its keys, by name."""
    domains = ground[Domains]
    await domains.add(account_id, DOMAIN)
    domain = await domains.approve(account_id, DOMAIN)
    return {key.record.name: key.record.value.encode() for key in domain.keys}


@pytest.mark.parametrize("verified", [True, False])
async def test_a_notice_is_signed_by_whichever_account_verified_its_domain(
    tmp_path: Path, *, verified: bool
) -> None:
    async with FakeMx.running() as mx, world(tmp_path, settings(mx)) as here:
        ground = here.ground
        here.road.offer(ground)
        operator = await ground[Accounts].create("operator")
        told = await ground[Accounts].create("told", "owner@example.net", language="it")
        records = await publish(ground, operator.id) if verified else {}
        await ground[Credits].grant(told.id, "mail", 201)
        await spend(ground, told.id, 2)
        (chore,) = MESSAGES.jobs(ground)
        assert (chore.name, chore.every_s) == ("notices_send", 60)
        await chore.work()
        await here.until(lambda: len(mx.transactions) == 1)
        (arrived,) = mx.transactions
        assert arrived.mail.startswith(f"MAIL FROM:<notices@{DOMAIN}>")
        assert arrived.rcpts == ["owner@example.net"]
        mail = message_from_bytes(arrived.content, policy=policy.default)
        assert mail["Subject"] == "Saldo basso di crediti per le e-mail: 199"
        signatures = [str(one) for one in mail.get_all("DKIM-Signature", [])]
        assert ["a=rsa-sha256" in one for one in signatures] == ([True, False] if verified else [])
        if verified:  # dkimpy knows Ed25519 only with a package that we do without
            assert dkim.DKIM(arrived.content).verify(
                0, dnsfunc=lambda name, timeout=5: records.get(name.decode().rstrip("."))
            )
        # The books of `world` hold messages against debits: these credits were spent on none.
        await ground.store.write(lambda tx: _give_back(tx, told.id, 2))


def _give_back(tx: Tx, account_id: str, credits: int) -> None:
    tx.run("UPDATE lot SET remaining = remaining + ? WHERE account_id = ?", (credits, account_id))
    tx.run("DELETE FROM posting WHERE account_id = ? AND kind = 'debit'", (account_id,))
