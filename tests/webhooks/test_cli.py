"""`gateway webhook`: what was told, and telling it again."""

import pytest

from gateway.ground import Ground
from gateway.store.tx import Tx
from gateway.terminal.faults import CliError
from gateway.webhooks import outbox
from gateway.webhooks.cli import parse_since
from gateway.webhooks.service import Issued, Webhooks
from tests.support.cli import Cli


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
