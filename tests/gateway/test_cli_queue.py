"""`gateway queue` and `gateway webhook`: what is on its way, and what was told."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
import uvloop

from gateway.clock import SystemClock
from gateway.ground import Ground
from gateway.messages.model import Deferred, Outcome, Work
from gateway.store.tx import Tx
from gateway.terminal.faults import CliError
from gateway.webhooks import outbox
from gateway.webhooks.cli import parse_since
from gateway.webhooks.service import Issued, Webhooks
from tests.gateway.cli_rig import Cli
from tests.gateway.fakes import FakeUpstream
from tests.gateway.rig import Rig, rig

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


# --- messages ----------------------------------------------------------------------------------------------


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


# --- webhooks ----------------------------------------------------------------------------------------------


def _webhook(cli: Cli, account_id: str) -> Issued:
    return cli.ground(lambda ground: ground[Webhooks].create(account_id, "https://hook.example/told"))


def _tell(cli: Cli, account_id: str, webhook_id: str, *, status: str) -> str:
    """A delivery of the webhook in this status; its id."""

    async def work(ground: Ground) -> str:
        now_ms = ground.clock.now_ms()

        def change(tx: Tx) -> str:
            identity = outbox.enqueue_one(tx, account_id, webhook_id, "webhook.test", {}, now_ms)
            tx.run("UPDATE webhook_delivery SET status = ?, attempts = 3 WHERE id = ?", (status, identity))
            return identity

        return await ground.store.write(change)

    return cli.ground(work)


def test_webhooks_and_their_deliveries_are_listed(cli: Cli) -> None:
    account = cli.account()
    assert "It has none" in cli.ok("webhook", "list", "Shop")
    issued = _webhook(cli, account)
    listed = cli("webhook", "list", "Shop", "--json")
    assert [one["url"] for one in listed.json] == ["https://hook.example/told"]
    assert issued.secret not in listed.out
    assert "It was told nothing yet" in cli.ok("webhook", "deliveries", "Shop", issued.webhook.id)
    told = _tell(cli, account, issued.webhook.id, status="failed")
    rows = cli("webhook", "deliveries", "Shop", issued.webhook.id, "--json").json
    assert [(row["id"], row["status"]) for row in rows] == [(told, "failed")]


def test_replay_tells_again_what_failed(cli: Cli) -> None:
    account = cli.account()
    webhook = _webhook(cli, account).webhook.id
    failed = _tell(cli, account, webhook, status="failed")
    delivered = _tell(cli, account, webhook, status="delivered")

    def states() -> dict[str, str]:
        rows = cli("webhook", "deliveries", "Shop", webhook, "--json").json
        return {row["id"]: row["status"] for row in rows}

    assert "1 deliveries" in cli.ok("webhook", "replay", "Shop", webhook)
    assert states() == {failed: "waiting", delivered: "delivered"}
    assert "nothing to tell again" in cli.ok("webhook", "replay", "Shop", webhook, "--since", "2h")
    assert "1 deliveries" in cli.ok("webhook", "replay", "Shop", webhook, "--delivery", delivered)
    assert states() == {failed: "waiting", delivered: "waiting"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--since", "yesterday"], "'yesterday' is neither a time"),
        (["--since", "2h", "--delivery", "x"], "either --delivery, or --since"),
        (["--delivery", "x"], "There is no such delivery"),
    ],
)
def test_replay_refuses_what_it_cannot_do(cli: Cli, options: list[str], said: str) -> None:
    account = cli.account()
    webhook = _webhook(cli, account).webhook.id
    assert said in cli("webhook", "replay", "Shop", webhook, *options).refusal()


def test_a_webhook_of_another_account_is_not_found(cli: Cli) -> None:
    account = cli.account()
    webhook = _webhook(cli, account).webhook.id
    cli.account("Other")
    assert "There is no such webhook" in cli("webhook", "replay", "Other", webhook).refusal()
    assert "There is no such webhook" in cli("webhook", "deliveries", "Other", webhook).refusal()


def test_an_age_or_a_time_says_since_when() -> None:
    now_ms = 1_790_000_000_000
    assert parse_since("90m", now_ms) == now_ms - 90 * 60_000
    assert parse_since("999999d", now_ms) == 0
    assert parse_since("0001-01-01T00:00:00+23:00", now_ms) == 0
    assert parse_since("2026-09-21T14:13:20Z", 0) == now_ms
    assert parse_since("2026-09-21T14:13:20", 0) == now_ms
    assert parse_since("2026-09-21T16:13:20+02:00", 0) == now_ms
    for text in ("", "-2h", "2w", "2 h", "٣h", "tomorrow"):
        with pytest.raises(CliError):
            parse_since(text, now_ms)
