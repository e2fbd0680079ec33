"""`gateway queue`: what is on its way."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
import uvloop

from gateway.clock import SystemClock
from gateway.messages.model import Deferred, Outcome, Work
from tests.support.cli import Cli
from tests.support.fakes import FakeUpstream
from tests.world import Rig, rig

HOUR_MS = 3_600_000


def _later(work: Work, _attempt: int) -> Sequence[Outcome]:
    return [Deferred(reply="451 4.3.0 \x1b[2Jlater")] * len(work.deliveries)


def _send(cli: Cli, work: Callable[[Rig], Awaitable[str]]) -> str:
    """What `work` answers with a road on the database, whose upstream puts everything off."""

    async def main() -> str:
        upstream = FakeUpstream("hold", answer=_later, per_domain=True)
        async with rig(cli.folder, [upstream], clock=SystemClock()) as one:
            return await work(one)

    return uvloop.run(main())


async def _scheduled(one: Rig) -> str:
    verdict = await one.send_mail("b@example.net", "c@example.com", send_at_ms=one.clock.now_ms() + HOUR_MS)
    assert verdict.id is not None
    return verdict.id


async def _deferred(one: Rig) -> str:
    verdict = await one.send_mail("b@example.net")
    assert verdict.id is not None
    while not (await one.view(verdict.id)).recipients[0].attempts:
        pass  # each turn awaits a read; the test's own timeout bounds it
    return verdict.id


def test_the_queue_shows_depth_by_destination_and_messages(cli: Cli) -> None:
    assert "Nothing waits." in cli.ok("queue", "list")
    identity = _send(cli, _deferred)
    shown = cli("queue", "list", "--json").json
    assert [(row["destination"], row["waiting"]) for row in shown["destinations"]] == [
        ("hold/example.net", 1)
    ]
    assert [row["id"] for row in shown["messages"]] == [identity]
    text = cli.ok("queue", "list")
    assert identity in text
    assert "hold/example.net" in text
    assert cli("queue", "list", "--status", "delivered", "--json").json["messages"] == []


def test_a_message_is_shown_with_recipients_and_events(cli: Cli) -> None:
    identity = _send(cli, _deferred)
    shown = cli("queue", "show", identity, "--json").json
    assert (shown["status"], shown["channel"], shown["price_credits"]) == ("queued", "mail", 1)
    assert [(one["address"], one["attempts"]) for one in shown["recipients"]] == [("b@example.net", 1)]
    assert [event["type"] for event in shown["events"]] == ["message.accepted", "message.deferred"]
    text = cli.ok("queue", "show", identity)
    assert "451 4.3.0" in text
    assert "\x1b" not in text


def test_retry_makes_what_waits_due_at_once(cli: Cli) -> None:
    identity = _send(cli, _deferred)
    before = cli("queue", "show", identity, "--json").json["recipients"][0]["next_attempt"]
    assert "1 of its deliveries are due now" in cli.ok("queue", "retry", identity)
    assert cli("queue", "show", identity, "--json").json["recipients"][0]["next_attempt"] < before


def test_cancel_calls_back_what_has_not_left_and_refunds_it(cli: Cli) -> None:
    identity = _send(cli, _scheduled)
    assert cli("queue", "list", "--status", "scheduled", "--json").json["messages"][0]["id"] == identity
    assert "2 of its deliveries are cancelled" in cli.ok("queue", "cancel", identity)
    shown = cli("queue", "show", identity, "--json").json
    assert (shown["status"], shown["price_credits"], shown["refunded_credits"]) == ("cancelled", 2, 2)
    assert "can be called back" in cli("queue", "cancel", identity).refusal()
    assert "waits" in cli("queue", "retry", identity).refusal()
    assert "each equals the sum" in cli.ok("credit", "verify")


@pytest.mark.parametrize("message", ["nothing", "0" * 26, "", "'"])
@pytest.mark.parametrize("command", ["show", "retry", "cancel"])
def test_an_unknown_message_is_told_so(cli: Cli, command: str, message: str) -> None:
    assert "There is no message" in cli("queue", command, message).refusal()


def test_the_queue_of_an_unknown_account_is_an_error(cli: Cli) -> None:
    assert "There is no account 'Nobody'" in cli("queue", "list", "--account", "Nobody").refusal()
