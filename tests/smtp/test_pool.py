"""The pool: connections are kept, shared, bounded and replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from smtp.client import Content, Tls
from smtp.options import Options, Peer, Timeouts
from smtp.outcome import Envelope, Outcome, Recipient, Result, Stage
from smtp.pool import ConnectionPool, Destination, Limits
from smtp.tls import TlsPolicy
from tests.smtp.fake_mx import DROP, HANG, FakeMx, Script

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"
OPTIONS = Options(
    helo="gw.example",
    tls=TlsPolicy(mode=Tls.OFF),
    timeouts=Timeouts(connect_s=5, greeting_s=1, command_s=1, final_s=1, quit_s=1),
)


def to(*servers: FakeMx, name: str = "x.example") -> Destination:
    return Destination(
        name=name, peers=[Peer("localhost", "127.0.0.1", mx.port) for mx in servers], options=OPTIONS
    )


def envelope(address: str = "r@x.example") -> Envelope:
    return Envelope(mail_from="s@example.org", recipients=[Recipient(address)])


@asynccontextmanager
async def pooled(**limits: float) -> AsyncIterator[ConnectionPool]:
    pool = ConnectionPool(Limits(**limits))  # type: ignore[arg-type]  # keywords of the test's own choice
    try:
        yield pool
    finally:
        await pool.close()


async def send(pool: ConnectionPool, destination: Destination) -> Outcome:
    async with asyncio.timeout(20):
        (outcome,) = await pool.deliver(destination, envelope(), MESSAGE)
    return outcome


async def begin(pool: ConnectionPool, destination: Destination) -> Outcome:
    """As `send`, over a kept connection by callback wherever there is one."""
    outcomes: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
    if not pool.begin(destination, envelope(), Content.of(MESSAGE), outcomes.set_result):
        return await send(pool, destination)
    async with asyncio.timeout(20):
        (outcome,) = await outcomes
    return outcome


Way = Callable[[ConnectionPool, Destination], Coroutine[None, None, Outcome]]
EITHER_WAY = pytest.mark.parametrize("deliver", [send, begin])


@EITHER_WAY
async def test_one_connection_serves_many_messages_and_says_quit_at_the_end(deliver: Way) -> None:
    async with FakeMx.running() as mx:
        async with pooled() as pool:
            for _ in range(5):
                assert (await deliver(pool, to(mx))).result is Result.DELIVERED
            assert (pool.opened, pool.idle, pool.busy) == (1, 1, 0)
        assert len(mx.transactions) == 5
        assert mx.connections == 1
        assert mx.commands[-1] == "QUIT"


async def test_destinations_do_not_share_connections() -> None:
    async with FakeMx.running() as mx, pooled() as pool:
        await send(pool, to(mx, name="a.example"))
        await send(pool, to(mx, name="b.example"))
        assert mx.connections == 2


@EITHER_WAY
async def test_parallel_deliveries_are_bounded_per_destination(deliver: Way) -> None:
    async with FakeMx.running() as mx, pooled(per_destination=3) as pool:
        outcomes = await asyncio.gather(*[deliver(pool, to(mx)) for _ in range(20)])
        assert {outcome.result for outcome in outcomes} == {Result.DELIVERED}
        assert mx.most_open <= 3
        assert len(mx.transactions) == 20


async def test_connections_in_all_are_bounded_and_idle_ones_make_room() -> None:
    async with FakeMx.running() as mx, pooled(total=2) as pool:
        for number in range(5):
            await send(pool, to(mx, name=f"{number}.example"))
            assert pool.idle <= 2
        outcomes = await asyncio.gather(*[send(pool, to(mx, name=f"{n}.example")) for n in range(10)])
        assert {outcome.result for outcome in outcomes} == {Result.DELIVERED}
        assert pool.idle <= 2


async def test_delivery_that_finds_no_turn_in_time_is_deferred() -> None:
    async with (
        FakeMx.running(Script({"CONTENT": HANG})) as mx,
        pooled(per_destination=1, wait_s=0.05) as pool,
    ):
        first = asyncio.create_task(send(pool, to(mx)))
        async with asyncio.timeout(5):
            await mx.content_read.wait()
        second = await send(pool, to(mx))
        assert (second.result, second.reply.enhanced, second.stage) == (
            Result.DEFERRED,
            "4.3.1",
            Stage.CONNECT,
        )
        assert (await first).result is Result.UNKNOWN


@EITHER_WAY
async def test_connection_is_renewed_after_its_share_of_messages(deliver: Way) -> None:
    async with FakeMx.running() as mx, pooled(messages_per_connection=2) as pool:
        for _ in range(5):
            await deliver(pool, to(mx))
        assert mx.connections == 3


@EITHER_WAY
async def test_connection_that_the_server_closed_meanwhile_is_replaced_unseen(deliver: Way) -> None:
    async with FakeMx.running(Script(messages_per_connection=1)) as mx, pooled() as pool:
        for _ in range(3):
            assert (await deliver(pool, to(mx))).result is Result.DELIVERED
        assert mx.connections == 3


@EITHER_WAY
@pytest.mark.parametrize("action", [DROP, "421 4.4.2 idle too long"])
async def test_kept_connection_that_fails_at_mail_is_replaced_once(action: str, deliver: Way) -> None:
    async with FakeMx.running() as mx, pooled() as pool:
        await send(pool, to(mx))
        mx.script.replies = {"MAIL": action}
        outcome = await deliver(pool, to(mx))  # the kept one and a new one both fail
        assert outcome.result is Result.DEFERRED
        assert mx.connections == 2
        assert pool.busy == 0


@EITHER_WAY
async def test_unknown_on_a_kept_connection_is_never_tried_again(deliver: Way) -> None:
    async with FakeMx.running() as mx, pooled() as pool:
        await deliver(pool, to(mx))
        mx.script.replies = {"CONTENT": DROP}
        assert (await deliver(pool, to(mx))).result is Result.UNKNOWN
        assert mx.connections == 1
        assert len(mx.transactions) == 2


@EITHER_WAY
async def test_idle_connections_are_closed_in_time_and_forgotten(deliver: Way) -> None:
    async with FakeMx.running() as mx, pooled(idle_s=0.05) as pool:
        await deliver(pool, to(mx))
        await mx.until(lambda mx: mx.open_connections == 0)
        assert pool.idle == 0
        assert mx.commands[-1] == "QUIT"


@pytest.mark.parametrize("greeting", ["554 5.7.1 not you", "421 4.3.2 busy", DROP])
async def test_next_host_is_tried_where_the_first_does_not_want_us(greeting: str) -> None:
    async with FakeMx.running(Script({"GREETING": greeting})) as first, FakeMx.running() as second:
        async with pooled() as pool:
            assert (await send(pool, to(first, second))).result is Result.DELIVERED
        assert (first.connections, second.connections) == (1, 1)


async def test_no_host_answering_is_deferred_with_the_last_reason() -> None:
    async with FakeMx.running() as mx:
        gone = to(mx)
    async with pooled() as pool:
        outcome = await send(pool, gone)
        assert (outcome.result, outcome.reply.enhanced, outcome.stage) == (
            Result.DEFERRED,
            "4.4.1",
            Stage.CONNECT,
        )
        nowhere = Destination(name="n.example", peers=[], options=OPTIONS)
        assert (await send(pool, nowhere)).reply.enhanced == "4.4.4"


@pytest.mark.parametrize(
    ("greeting", "result"),
    [("554 5.7.1 blocked", Result.DEFERRED), ("521 5.3.2 no mail here", Result.FAILED)],
)
async def test_only_521_at_the_greeting_is_final(greeting: str, result: Result) -> None:
    async with FakeMx.running(Script({"GREETING": greeting})) as mx, pooled() as pool:
        assert (await send(pool, to(mx))).result is result


async def test_cancelled_delivery_frees_its_turn() -> None:
    async with FakeMx.running(Script({"CONTENT": HANG})) as mx, pooled(per_destination=1) as pool:
        task = asyncio.create_task(send(pool, to(mx)))
        async with asyncio.timeout(5):
            await mx.content_read.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        mx.script.replies = {}
        assert (await send(pool, to(mx))).result is Result.DELIVERED
        assert pool.busy == 0


async def test_nothing_is_kept_of_destinations_without_connections() -> None:
    async with FakeMx.running(Script({"GREETING": "554 no"})) as mx, pooled() as pool:
        for number in range(10):
            await send(pool, to(mx, name=f"{number}.example"))
        assert pool._lines == {}


async def test_begin_without_a_kept_connection_does_nothing() -> None:
    async with FakeMx.running() as mx, pooled(per_destination=1) as pool:
        refused: list[list[Outcome]] = []
        assert not pool.begin(to(mx), envelope(), Content.of(MESSAGE), refused.append)
        await send(pool, to(mx))
        first = asyncio.create_task(begin(pool, to(mx)))
        await asyncio.sleep(0)
        assert not pool.begin(
            to(mx), envelope(), Content.of(MESSAGE), refused.append
        )  # its only turn is taken
        assert (await first).result is Result.DELIVERED
        assert (refused, mx.connections) == ([], 1)


async def test_closing_the_pool_ends_what_was_begun() -> None:
    async with FakeMx.running() as mx, pooled() as pool:
        await send(pool, to(mx))
        mx.script.replies = {"CONTENT": HANG}
        mx.content_read.clear()
        first = asyncio.create_task(begin(pool, to(mx)))
        async with asyncio.timeout(5):
            await mx.content_read.wait()
        assert pool.busy == 1
        await pool.close()
        assert (await first).result is Result.UNKNOWN
        assert (pool.busy, mx.connections) == (0, 1)
