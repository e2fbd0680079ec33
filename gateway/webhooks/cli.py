"""`gateway webhook`: an account's webhooks, and what they were told."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from gateway.accounts.lookup import AccountArgument, find_account
from gateway.ground import Ground
from gateway.terminal.faults import CliError
from gateway.terminal.output import say, show_rows, when
from gateway.terminal.session import DEFAULT_CONFIG, ConfigOption, JsonOption, run_on_ground
from gateway.webhooks.service import Webhooks

app = typer.Typer(name="webhook", help="Webhooks, and what they were told.", add_completion=False)

WebhookArgument = Annotated[str, typer.Argument(metavar="WEBHOOK", help="The webhook's id.")]
_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AGO = re.compile(r"([0-9]{1,6})([smhd])")


@app.command("list")
def list_(
    account: AccountArgument, config: ConfigOption = DEFAULT_CONFIG, *, json: JsonOption = False
) -> None:
    """List an account's webhooks."""

    async def work(ground: Ground) -> list[dict[str, Any]]:
        found = await find_account(ground, account)
        return [
            {
                "id": one.id,
                "url": one.url,
                "events": list(one.events),
                "status": one.status.value,
                "note": one.note,
                "created": when(one.created_ms),
            }
            for one in await ground[Webhooks].list(found.id)
        ]

    columns = ("id", "url", "events", "status", "note", "created")
    empty = "It has none; it makes them over POST /v1/webhooks."
    show_rows(run_on_ground(config, work), columns, as_json=json, empty=empty)


@app.command()
def deliveries(
    account: AccountArgument,
    webhook: WebhookArgument,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 50,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """List what a webhook was told, the newest first."""

    async def work(ground: Ground) -> list[dict[str, Any]]:
        found = await find_account(ground, account)
        return [
            {
                "id": one.id,
                "status": one.status,
                "attempts": one.attempts,
                "queued": when(one.queued_ms),
                "next_attempt": when(one.next_attempt_ms) if one.status == "waiting" else None,
                "reply": one.reply,
            }
            for one in await ground[Webhooks].deliveries(found.id, webhook, limit=limit)
        ]

    columns = ("id", "status", "attempts", "queued", "next_attempt", "reply")
    show_rows(run_on_ground(config, work), columns, as_json=json, empty="It was told nothing yet.")


@app.command()
def replay(
    account: AccountArgument,
    webhook: WebhookArgument,
    delivery: Annotated[str | None, typer.Option(help="This delivery only.")] = None,
    since: Annotated[
        str | None, typer.Option(help="A time (RFC 3339) or an age such as 2h; default 1d.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    delivered: Annotated[bool, typer.Option("--delivered", help="Also what was delivered.")] = False,
) -> None:
    """Tell a webhook again what failed."""
    if delivery is not None and (since is not None or delivered):
        raise CliError("Give either --delivery, or --since and --delivered.")

    async def work(ground: Ground) -> int:
        found = await find_account(ground, account)
        if delivery is not None:
            await ground[Webhooks].replay(found.id, webhook, delivery)
            return 1
        since_ms = parse_since(since or "1d", ground.clock.now_ms())
        return await ground[Webhooks].replay_since(found.id, webhook, since_ms, delivered=delivered)

    count = run_on_ground(config, work)
    say("There is nothing to tell again." if not count else f"{count} deliveries are told again.")


def parse_since(text: str, now_ms: int) -> int:
    """Epoch milliseconds of an age (`90m`) or an RFC 3339 time. Raises CliError."""
    age = _AGO.fullmatch(text)
    if age is not None:
        return max(0, now_ms - int(age[1]) * _UNITS_MS[age[2]])
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CliError(
            f"--since: {text[:80]!r} is neither a time (2026-01-31T12:00:00Z) nor an age (2h)"
        ) from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0, int(at.timestamp() * 1000))
