"""`gateway queue`: what is on its way, message by message; tried at once or called back."""

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from gateway.accounts.lookup import find_account
from gateway.ground import Ground
from gateway.messages import query
from gateway.messages.model import Channel
from gateway.messages.query import Filter, MessageView
from gateway.messages.queue.cancel import Cancelling, retry_now
from gateway.messages.queue.cancel import locks as cancel_locks
from gateway.terminal.faults import CliError
from gateway.terminal.output import say, show_json, show_record, show_rows, when
from gateway.terminal.session import DEFAULT_CONFIG, ConfigOption, JsonOption, run_on_ground

app = typer.Typer(name="queue", help="Messages on their way.", add_completion=False)

IdArgument = Annotated[str, typer.Argument(metavar="MESSAGE", help="The message's id.")]
_DESTINATIONS_MAX = 1000
_MESSAGE_COLUMNS = ("id", "account", "channel", "status", "sender", "recipients", "accepted", "send_at")
_RECIPIENT_COLUMNS = (
    "address",
    "status",
    "attempts",
    "next_attempt",
    "price_credits",
    "refunded_credits",
    "reply",
)
_EVENT_COLUMNS = ("at", "type", "recipient", "detail")


class Shown(StrEnum):
    """Which messages `list` shows."""

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    DELIVERED = "delivered"
    PARTLY_DELIVERED = "partly_delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


@app.command("list")
def list_(
    account: Annotated[str | None, typer.Option(help="Of this account only.")] = None,
    status: Annotated[Shown, typer.Option(help="Messages in this status.")] = Shown.QUEUED,
    limit: Annotated[int, typer.Option(min=1, max=query.PAGE_MAX, help="How many, the newest first.")] = 50,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """List how much waits for which destination, and the newest messages."""

    async def work(ground: Ground) -> dict[str, Any]:
        account_id = None if account is None else (await find_account(ground, account)).id
        now_ms = ground.clock.now_ms()
        wanted = Filter(account_id=account_id, status=status.value, limit=limit)
        depth = await ground.store.read(lambda tx: query.queue_by_destination(tx, limit=_DESTINATIONS_MAX))
        page = await ground.store.read(lambda tx: query.listing(tx, wanted, now_ms=now_ms))
        return {
            "destinations": [
                {"destination": destination, "waiting": count, "next_attempt": when(next_ms)}
                for destination, count, next_ms in depth
            ],
            "messages": [_message_row(view) for view in page],
        }

    shown = run_on_ground(config, work)
    if json:
        show_json(shown)
        return
    columns = ("destination", "waiting", "next_attempt")
    show_rows(shown["destinations"], columns, as_json=False, empty="Nothing waits.")
    if shown["messages"]:
        say()
        show_rows(shown["messages"], _MESSAGE_COLUMNS, as_json=False, empty="")


@app.command()
def show(message: IdArgument, config: ConfigOption = DEFAULT_CONFIG, *, json: JsonOption = False) -> None:
    """Show a message with its recipients and events."""
    view = run_on_ground(config, lambda ground: _find(ground, message))
    recipients = [_recipient_row(one) for one in view.recipients]
    events = [
        {"at": when(one.at_ms), "type": one.type, "recipient": one.recipient, "detail": one.detail}
        for one in view.events
    ]
    fields = _message_row(view) | {
        "subject": view.subject,
        "size_octets": view.size_octets,
        "price_credits": view.price_credits,
        "refunded_credits": view.refunded_credits,
        "finished": when(view.finished_ms),
        "tags": view.tags,
        "metadata": view.metadata,
    }
    if json:
        show_json(fields | {"recipients": recipients, "events": events})
        return
    show_record(fields, as_json=False)
    say()
    show_rows(recipients, _RECIPIENT_COLUMNS, as_json=False, empty="It has no recipients.")
    say()
    show_rows(events, _EVENT_COLUMNS, as_json=False, empty="It has no events.")


@app.command()
def retry(message: IdArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Try what waits of a message at once."""

    async def work(ground: Ground) -> int:
        view = await _find(ground, message)
        now_ms = ground.clock.now_ms()
        return await ground.store.write(
            lambda tx: retry_now(tx, view.account_id, view.id, now_ms=now_ms),
            locks=cancel_locks(view.account_id, view.id, view.channel),
            urgent=True,
        )

    count = run_on_ground(config, work)
    if not count:
        raise CliError(
            f"Nothing of {message} waits: it is final, or an attempt is under way. See: gateway queue show"
        )
    say(f"{count} of its deliveries are due now.")


@app.command()
def cancel(message: IdArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Call back what has not left of a message; credits go back where refunds say so."""

    async def work(ground: Ground) -> int:
        view = await _find(ground, message)
        channel = Channel(view.channel)
        return await ground[Cancelling].cancel(view.account_id, view.id, channel, urgent=True)

    count = run_on_ground(config, work)
    if not count:
        raise CliError(
            f"Nothing of {message} can be called back: it has left, or is leaving, or an attempt without an "
            "answer may have delivered it. See: gateway queue show"
        )
    say(f"{count} of its deliveries are cancelled.")


async def _find(ground: Ground, message_id: str) -> MessageView:
    now_ms = ground.clock.now_ms()
    view = await ground.store.read(lambda tx: query.find_any(tx, message_id, now_ms=now_ms))
    if view is None:
        raise CliError(f"There is no message {message_id[:80]!r}; it may be older than what is kept.")
    return view


def _message_row(view: MessageView) -> dict[str, Any]:
    return {
        "id": view.id,
        "account": view.account_id,
        "channel": view.channel,
        "ingress": view.ingress,
        "status": view.status,
        "sender": view.sender,
        "recipients": view.recipient_count,
        "accepted": when(view.accepted_ms),
        "send_at": when(view.send_at_ms),
    }


def _recipient_row(one: query.RecipientView) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.structs.asdict(one)
    row["next_attempt"] = when(row.pop("next_attempt_ms"))
    return row
