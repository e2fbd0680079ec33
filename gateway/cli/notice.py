"""`gateway notice`: what accounts were told by mail, what waits, and why something was not told."""

from typing import Annotated, Any

import typer

from gateway.accounts.lookup import AccountArgument, find_account
from gateway.ground import Ground
from gateway.notices import queue
from gateway.notices.queue import Kept
from gateway.terminal.output import show_rows, when
from gateway.terminal.session import DEFAULT_CONFIG, ConfigOption, JsonOption, run_on_ground

app = typer.Typer(name="notice", help="What accounts are told by mail.", add_completion=False)

_COLUMNS = ("kind", "queued", "status", "message", "note")
_MOST = 1000


@app.command("list")
def list_(
    account: AccountArgument,
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="How many, the newest first.")] = 50,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """List an account's notices, the newest first."""

    async def work(ground: Ground) -> list[dict[str, Any]]:
        found = await find_account(ground, account)
        kept = await ground.store.read(lambda tx: queue.of_account(tx, found.id, limit))
        return [_row(one) for one in kept]

    show_rows(run_on_ground(config, work), _COLUMNS, as_json=json, empty="There is no notice.")


def _row(one: Kept) -> dict[str, Any]:
    not_sent = "waiting" if one.note is None else "not sent"
    return {
        "kind": one.kind,
        "queued": when(one.queued_ms),
        "status": not_sent if one.sent_ms is None else "sent",
        "sent": when(one.sent_ms),
        "message": one.message_id,
        "note": one.note,
    }
