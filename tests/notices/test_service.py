"""Notices: queued with what they tell of, and sent as mails exactly once (R8)."""

import asyncio
from collections.abc import Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import pytest
from structlog.typing import EventDict

from gateway.jobs.retention import sweeping_accounts, whole_days
from gateway.messages import notices as module
from gateway.messages.accept.accepting import insert_free
from gateway.messages.model import Message
from gateway.notices import queue
from gateway.store.tx import Tx
from policy.retention import DAY_MS
from tests.notices.rig import AUTHOR, Told, settings, told
from tests.world import ACCOUNT, OTHER_ACCOUNT

pytestmark = pytest.mark.usefixtures("engine")
LOW = {"product": "mail", "balance": 9, "below": 10}


def parsed(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=policy.default)


async def queued(
    one: Told, key: str = "k", *, account_id: str = ACCOUNT, kind: str = "credits.low", language: str = "en"
) -> bool:
    """Queues a notice; whether it was a new one."""
    now_ms = one.clock.now_ms()
    return await one.road.store.write(
        lambda tx: queue.queue(tx, account_id, kind, language, LOW, key, now_ms)
    )


async def test_a_debit_that_falls_below_the_limit_tells_the_account_in_its_language(tmp_path: Path) -> None:
    async with told(tmp_path, settings(low=2000), mail_credits=2000) as one:
        await one.account(language="pt")
        await one.road.send_mail()
        await one.notices().send()
        ((_, message_id, price, _),) = await one.messages()
        assert (await one.road.settled(message_id)).status == "delivered"
        assert (price, await one.road.balance()) == (0, 1999), "a notice costs nothing"
        (content,) = one.arrived()
        mail = parsed(content)
        assert (mail["From"], mail["To"]) == (AUTHOR, "owner@example.net")
        assert mail["Subject"] == "Saldo baixo de créditos de e-mail: 1.999"
        assert (mail["Auto-Submitted"], mail["Content-Language"]) == ("auto-generated", "pt")
        assert mail["Message-ID"] == f"<{message_id}@localhost>"
        assert mail["Date"].datetime.timestamp() == one.clock.now_ms() // 1000
        text = " ".join(mail.get_content().split())
        assert "da conta Shop caiu para 1.999, abaixo do limite de 2.000." in text
        view = await one.road.view(message_id)
        assert (view.sender, view.subject) == ("notices@gateway.example", mail["Subject"])


@pytest.mark.parametrize("language", [None, "xx"])
async def test_an_account_without_a_language_of_ours_is_told_in_the_configured_one(
    tmp_path: Path, language: str | None
) -> None:
    async with told(tmp_path, settings(language="fr")) as one:
        await one.account(language=language)
        for _ in range(3):
            await one.road.send_mail()
        await one.notices().send()
        await one.upstream.wait_for(4)
        assert parsed(one.arrived()[0])["Content-Language"] == "fr"


async def test_an_account_is_told_once_a_day_and_product(tmp_path: Path) -> None:
    async with told(tmp_path) as one:
        await one.account()
        for _ in range(3):  # each time the balance falls from 10 to 9 again
            await one.road.send_mail("a@example.net", "b@example.net", "c@example.net")
            await one.road.credits.grant(ACCOUNT, "mail", 3)
        assert len(await one.rows()) == 1
        one.clock.advance(86_400)
        await one.road.send_mail("a@example.net", "b@example.net", "c@example.net")
        assert await one.rows("dedupe_key") == [
            ("credits.low:mail:2026-09-21",), ("credits.low:mail:2026-09-22",)
        ]  # fmt: skip


async def test_a_dedupe_key_is_an_accounts_own(tmp_path: Path) -> None:
    async with told(tmp_path) as one:
        assert await queued(one)
        assert not await queued(one)
        assert await queued(one, account_id=OTHER_ACCOUNT)


async def test_a_notice_goes_with_the_debit_that_it_tells_of(tmp_path: Path) -> None:
    class Broken(Exception):
        pass

    async with told(tmp_path) as one:
        now_ms = one.clock.now_ms()

        def change(tx: Tx) -> None:
            queue.queue(tx, ACCOUNT, "credits.low", None, LOW, "k", now_ms)
            raise Broken

        with pytest.raises(Broken):
            await one.road.store.write(change)
        assert await one.rows() == []


@pytest.mark.parametrize(
    ("account", "note"),
    [
        ({"email": None}, module.NO_ADDRESS),
        ({"status": "closed"}, module.CLOSED),
        ({"email": "not an address"}, module.NO_TEXT),
        (None, module.NO_ACCOUNT),
    ],
)
async def test_whom_nothing_can_be_told_is_noted_and_holds_up_nobody(
    tmp_path: Path, account: dict[str, str] | None, note: str
) -> None:
    async with told(tmp_path) as one:
        if account is not None:
            await one.account(**account)
        await one.account(OTHER_ACCOUNT)
        await queued(one)
        await queued(one, account_id=OTHER_ACCOUNT)
        assert not await one.notices().send()
        (first, second) = await one.rows()
        assert first == (None, None, note)
        assert second[0] == one.clock.now_ms()
        assert [row[:2] for row in await one.messages()] == [(OTHER_ACCOUNT, second[1])]
        await one.account("2" * 26)
        await one.notices().send()
        assert len(await one.messages()) == 1, "neither is looked at again"


async def test_a_kind_that_this_program_does_not_know_is_noted(tmp_path: Path) -> None:
    async with told(tmp_path) as one:
        await one.account()
        await queued(one, kind="gone.away")
        await one.notices().send()
        assert await one.rows() == [(None, None, module.NO_TEXT)]


async def test_without_a_sender_notices_wait_and_the_start_says_so_once(
    tmp_path: Path, logged: list[EventDict]
) -> None:
    async with told(tmp_path, settings(author="")) as one:
        await one.account()
        await queued(one)
        notices = one.notices()
        assert not await notices.send()
        assert not await notices.send()
        assert await one.rows() == [(None, None, None)]
        assert [line["log_level"] for line in logged if line["event"] == "notices_without_sender"] == [
            "warning"
        ]


async def test_a_hundred_go_at_once_and_the_rest_right_after(tmp_path: Path) -> None:
    async with told(tmp_path) as one:
        await one.account()
        for number in range(103):
            await queued(one, f"k{number}")
        notices = one.notices()
        assert await notices.send()
        assert len(await one.messages()) == 100
        assert not await notices.send()
        assert len(await one.messages()) == 103


async def test_what_fails_in_the_middle_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with told(tmp_path) as one:
        await one.account()
        await queued(one)
        broken = ConnectionError("the database is gone")

        def fail(tx: Tx, messages: Sequence[Message]) -> None:
            insert_free(tx, messages)
            raise broken

        monkeypatch.setattr(module, "insert_free", fail)
        with pytest.raises(ConnectionError):
            await one.notices().send()
        assert (await one.rows(), await one.messages()) == ([(None, None, None)], [])
        monkeypatch.undo()
        await one.notices().send()
        assert len(await one.messages()) == 1


async def test_two_processes_at_the_same_notice_send_one_mail(tmp_path: Path) -> None:
    async with told(tmp_path) as one:
        await one.account()
        await queued(one)
        await asyncio.gather(*(one.notices().send() for _ in range(5)))
        assert len(await one.messages()) == 1


async def test_old_notices_go_whether_they_were_sent_or_not(tmp_path: Path) -> None:
    async with told(tmp_path) as one:
        await one.account()
        await queued(one, "sent")
        await one.notices().send()
        await queued(one, "waiting")
        await queued(one, "other", account_id=OTHER_ACCOUNT)
        purge = sweeping_accounts("notice", queue.purge, whole_days(90))
        assert await purge(one.road.store, one.clock.now_ms() + 89 * DAY_MS) == 0
        assert await purge(one.road.store, one.clock.now_ms() + 91 * DAY_MS) == 3
        assert await one.rows() == []
        assert await queued(one, "sent"), "its key is free again"


async def test_no_more_is_read_than_is_asked_for(tmp_path: Path) -> None:
    async with told(tmp_path) as one:
        for number in range(3):
            await queued(one, f"k{number}")
        found = await one.road.store.read(partial(queue.waiting, limit=2))
        assert [one.data for one in found] == [LOW, LOW]
