"""Auto-recharge on the road: a debit that falls below the threshold buys credits, once (R8, R13, R15)."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from config.schema import Settings
from gateway.credits.orders import Order, OrderError
from gateway.credits.tables import OrderStatus
from gateway.store.tx import Tx
from tests.support.fakes import FakeClock, FakeUpstream
from tests.world import ACCOUNT, Rig, rig


def settings(confirm: Literal["operator", "at-once"]) -> Settings:
    defaults = Settings()
    return replace(
        defaults, credits=replace(defaults.credits, invoice_confirm=confirm, low_balance_threshold=0)
    )


async def events(one: Rig, kind: str) -> list[str]:
    """The details of the account's events of one kind, in order."""

    def read(tx: Tx) -> list[Any]:
        return tx.rows(
            "SELECT detail FROM event WHERE account_id = ? AND kind = ? ORDER BY id", (ACCOUNT, kind)
        )

    return [detail for (detail,) in await one.store.read(read)]


async def charged(one: Rig) -> None:
    """Returns when the charges under way have ended."""
    async with asyncio.timeout(10):
        while one.credits._tasks:
            await asyncio.gather(*one.credits._tasks)


async def test_a_balance_strictly_below_the_threshold_buys_the_amount_once(tmp_path: Path) -> None:
    async with rig(tmp_path, [FakeUpstream()], settings=settings("at-once"), mail_credits=102) as one:
        await one.credits.set_recharge(ACCOUNT, "mail", enabled=True)
        await one.send_mail()
        await one.send_mail()
        await charged(one)
        assert await one.balance() == 100  # not below 100: R13 is strict
        await one.send_mail()
        await charged(one)
        assert await one.balance() == 2099
        told = await events(one, "credits.recharge")
        assert ['"created"' in text for text in told] == [True, False]
        assert '"confirmed"' in told[1]


async def test_one_order_is_in_flight_until_the_operator_confirms(tmp_path: Path) -> None:
    async with rig(tmp_path, [FakeUpstream()], settings=settings("operator"), mail_credits=50) as one:
        await one.credits.set_recharge(ACCOUNT, "mail", enabled=True)
        await asyncio.gather(*(one.send_mail() for _ in range(20)))
        await charged(one)
        (order,) = await one.credits.orders(ACCOUNT)
        assert (order.status, order.credits, order.reason) == ("pending", 2000, "recharge")
        assert await one.balance() == 30
        await one.credits.settle_order(ACCOUNT, order.id, confirmed=True)
        assert await one.balance() == 2030
        with pytest.raises(OrderError, match="confirmed"):
            await one.credits.settle_order(ACCOUNT, order.id, confirmed=True)
        assert await one.balance() == 2030


async def test_a_decline_backs_off_and_the_daily_cap_holds(tmp_path: Path) -> None:
    clock = FakeClock()
    async with rig(
        tmp_path, [FakeUpstream()], settings=settings("operator"), clock=clock, mail_credits=50
    ) as one:
        await one.credits.set_recharge(ACCOUNT, "mail", enabled=True, daily_cap=2500)
        await one.send_mail()
        await charged(one)
        (order,) = await one.credits.orders(ACCOUNT)
        await one.credits.settle_order(ACCOUNT, order.id, confirmed=False)
        await one.send_mail()
        assert len(await one.credits.orders(ACCOUNT)) == 1  # it backs off
        clock.advance(3601)
        await one.send_mail()
        await charged(one)
        newest = (await one.credits.orders(ACCOUNT))[0]
        assert newest.status == "pending"
        await one.credits.settle_order(ACCOUNT, newest.id, confirmed=True)
        await one.credits.set_recharge(ACCOUNT, "mail", enabled=True, threshold=5000, daily_cap=2500)
        await one.send_mail()
        await charged(one)
        assert len(await one.credits.orders(ACCOUNT)) == 2  # 2,000 more would pass the cap of 2,500


async def test_a_shortfall_closes_in_one_charge_and_the_send_passes_at_the_next_try(tmp_path: Path) -> None:
    async with rig(tmp_path, [FakeUpstream()], settings=settings("at-once"), mail_credits=3) as one:
        await one.credits.set_recharge(ACCOUNT, "mail", enabled=True, threshold=0, amount=5)
        recipients = [f"r{n}@example.net" for n in range(12)]
        assert (await one.send_mail(*recipients)).refused == "insufficient_credits"
        await charged(one)
        assert len(await one.credits.orders(ACCOUNT)) == 1
        assert await one.balance() >= 12
        assert (await one.send_mail(*recipients)).accepted  # R15


async def test_an_order_that_a_crash_left_uncharged_is_charged_by_the_next_one(tmp_path: Path) -> None:
    clock = FakeClock()
    async with rig(
        tmp_path, [FakeUpstream()], settings=settings("at-once"), mail_credits=50, clock=clock
    ) as one:
        await one.credits.set_recharge(ACCOUNT, "mail", enabled=True)
        one.road.acceptor._recharge = lambda _account_id, _order_id: None  # the process dies here
        await one.send_mail()
        assert await one.balance() == 49
        await one.credits.reconcile()
        assert await one.balance() == 49  # somebody may be charging it at this moment
        clock.advance(30)
        await one.credits.reconcile()
        assert await one.balance() == 2049
        await one.credits.reconcile()
        assert await one.balance() == 2049


async def test_a_low_balance_is_told_once_as_it_is_crossed(tmp_path: Path) -> None:  # R8
    defaults = Settings()
    low = replace(defaults, credits=replace(defaults.credits, low_balance_threshold=10))
    async with rig(tmp_path, [FakeUpstream()], settings=low, mail_credits=12) as one:
        for _ in range(5):
            await one.send_mail()
        assert len(await events(one, "credits.low")) == 1


async def test_more_than_two_million_at_once_needs_a_quote(tmp_path: Path) -> None:  # R9
    async with rig(tmp_path, [FakeUpstream()]) as one:
        with pytest.raises(OrderError, match="quote"):
            await one.credits.purchase(ACCOUNT, "mail", 2_000_001)
        with pytest.raises(OrderError, match="positive"):
            await one.credits.purchase(ACCOUNT, "mail", -5)


class Silent:
    """A provider that gives no answer so many times, and has charged all the same."""

    name = "invoice"

    def __init__(self, silences: int) -> None:
        self._silences = silences
        self.asked: list[str] = []

    async def charge(self, order: Order) -> OrderStatus:
        self.asked.append(order.id)
        return "unknown" if len(self.asked) <= self._silences else "confirmed"


async def test_an_order_without_an_answer_is_asked_for_again_until_there_is_one(tmp_path: Path) -> None:
    clock = FakeClock()
    async with rig(
        tmp_path, [FakeUpstream()], settings=settings("at-once"), mail_credits=50, clock=clock
    ) as one:
        provider = Silent(2)
        one.credits._providers = {"invoice": provider}
        await one.credits.set_recharge(ACCOUNT, "mail", enabled=True)
        await one.send_mail()
        await charged(one)
        statuses = []
        for _ in range(3):
            statuses.append((await one.credits.orders(ACCOUNT))[0].status)
            clock.advance(60)
            await one.credits.reconcile()
        assert statuses == ["unknown", "unknown", "confirmed"]
        assert len(provider.asked) == 3, "what is confirmed is not asked for"
        assert len(set(provider.asked)) == 1, "under one id, by which a provider knows it"
        assert await one.balance() == 2049
