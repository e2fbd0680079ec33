"""The queue of webhook deliveries in the store: what is due, claimed, settled; a webhook at a time.

A claim counts the attempt and pushes its time ahead by the length of a lease. If the process dies, the row
is simply due again then; a late outcome of a lost claim changes nothing, since the attempt's number has
moved on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.store.locks import Locks, named
from gateway.store.tx import Tx

BACKLOG_MAX = 100_000  # deliveries that may wait for one webhook (A6)
_HOOKS_AT_ONCE = 500
_DROPPED_AT_ONCE = 1000

_NEXT_HOOK = """
SELECT account_id, webhook_id FROM webhook_delivery
WHERE status = 'waiting' AND (account_id, webhook_id) > (?, ?)
ORDER BY account_id, webhook_id LIMIT 1
"""
_HOOK = "SELECT url, secret, status FROM webhook WHERE account_id = ? AND id = ?"
_DUE = """
SELECT id, body, attempts, queued_ms FROM webhook_delivery
WHERE account_id = ? AND webhook_id = ? AND status = 'waiting' AND next_attempt_ms <= ?
ORDER BY next_attempt_ms LIMIT ?
"""
_LEFT = """
SELECT 1 FROM webhook_delivery
WHERE account_id = ? AND id = ? AND status = 'waiting' AND attempts = ? AND next_attempt_ms <= ?"""
_CLAIM = """
UPDATE webhook_delivery SET attempts = attempts + 1, next_attempt_ms = ?
WHERE account_id = ? AND id = ? AND status = 'waiting' AND attempts = ? AND next_attempt_ms <= ?
"""
_SETTLE = """
UPDATE webhook_delivery SET status = ?, next_attempt_ms = ?, reply = ?
WHERE account_id = ? AND id = ? AND status = 'waiting' AND attempts = ?
"""
_DROP = """
UPDATE webhook_delivery SET status = 'failed', reply = ? WHERE account_id = ? AND id IN (
  SELECT id FROM webhook_delivery
  WHERE account_id = ? AND webhook_id = ? AND status = 'waiting' LIMIT ?{skip_locked})
"""
_BACKLOG = """
SELECT count(*) FROM (
  SELECT 1 FROM webhook_delivery WHERE account_id = ? AND webhook_id = ? AND status = 'waiting' LIMIT ?
) AS waiting
"""
_DISABLE = """
UPDATE webhook SET status = 'disabled', note = ? WHERE account_id = ? AND id = ? AND status = 'active'
"""

Hook = tuple[str, str]
"""(account id, webhook id)"""
START: Hook = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One delivery whose time has come. `attempts` were made before."""

    account_id: str
    webhook_id: str
    id: str
    url: str
    secret: str = field(repr=False)
    body: str = field(repr=False)
    attempts: int
    queued_ms: int


@dataclass(slots=True)
class Scan:
    """What one look found. `idle` webhooks are gone or disabled: what waits for them is to be dropped."""

    due: list[Due] = field(default_factory=list)
    idle: list[Hook] = field(default_factory=list)
    resume: Hook = START
    """Where the next look begins: behind the last webhook of this one, or at the start again."""


@dataclass(slots=True, kw_only=True)
class Places:
    """How many tries may begin: of all targets, of each, and of the suspect ones together."""

    left: int
    of_suspects: int
    of_unknown: int
    """For each target that is not in `known`."""
    known: dict[Hook, int]
    suspects: frozenset[Hook] = frozenset()

    def room(self, hook: Hook) -> int:
        """How many may begin for this target."""
        most = min(self.left, self.known.get(hook, self.of_unknown))
        return max(0, min(most, self.of_suspects) if hook in self.suspects else most)

    def take(self, hook: Hook, count: int) -> None:
        """Counts those that will begin."""
        self.left -= count
        if hook in self.suspects:
            self.of_suspects -= count


def scan(tx: Tx, resume: Hook, places: Places, *, now_ms: int) -> Scan:
    """What is due behind `resume`, of each webhook and of all together as much as `places` allows.

    Every webhook with something waiting gets its turn, however much waits for another.
    """
    found = Scan(resume=resume)
    for _ in range(_HOOKS_AT_ONCE):
        row = tx.one(_NEXT_HOOK, found.resume)
        if row is None:
            found.resume = START
            break
        found.resume = hook = (row[0], row[1])
        target = tx.one(_HOOK, hook)
        if target is None or target[2] != "active":
            found.idle.append(hook)
            continue
        room = places.room(hook)
        if room > 0:
            rows = tx.rows(_DUE, (*hook, now_ms, room))
            places.take(hook, len(rows))
            found.due += [_due(hook, target, due) for due in rows]
        if places.left <= 0:
            break
    return found


def locks(hook: Hook) -> Locks:
    """What is locked before deliveries of `hook` are settled or replayed."""
    return named(f"webhook:{hook[0]}:{hook[1]}")


def claim(tx: Tx, due: Sequence[Due], *, now_ms: int, lease_ms: int) -> list[Due]:
    """Those of `due` that are ours now: another process may have been faster. It is a sweep."""
    keys = [(item.account_id, item.id, item.attempts, now_ms) for item in due]
    if tx.shared:
        left = tx.rows_many(_LEFT + tx.skip_locked, keys)
        due = [item for item, rows in zip(due, left, strict=True) if rows]
    return [
        item
        for item in due
        if tx.run(_CLAIM, (now_ms + lease_ms, item.account_id, item.id, item.attempts, now_ms)) == 1
    ]


def settle(tx: Tx, claimed: Due, status: str, next_attempt_ms: int, reply: str) -> bool:
    """Writes the outcome of a claimed delivery; False when the claim was lost meanwhile."""
    tx.require(locks((claimed.account_id, claimed.webhook_id)))
    row = (status, next_attempt_ms, reply, claimed.account_id, claimed.id, claimed.attempts + 1)
    return tx.run(_SETTLE, row) == 1


def drop(tx: Tx, hooks: Sequence[Hook], reply: str) -> None:
    """Ends up to a thousand of what waits for each of `hooks`. It is a sweep."""
    sql = _DROP.format(skip_locked=tx.skip_locked)
    for account_id, webhook_id in hooks:
        tx.run(sql, (reply, account_id, account_id, webhook_id, _DROPPED_AT_ONCE))


def overfull(tx: Tx, hooks: Sequence[Hook]) -> list[Hook]:
    """Those of `hooks` for which more waits than may."""
    return [hook for hook in hooks if _waiting(tx, hook) > BACKLOG_MAX]


def disable(tx: Tx, hook: Hook, note: str) -> None:
    """Tells the webhook nothing more until its owner enables it."""
    tx.run(_DISABLE, (note, *hook))


def _waiting(tx: Tx, hook: Hook) -> int:
    row = tx.one(_BACKLOG, (*hook, BACKLOG_MAX + 1))
    return 0 if row is None else int(row[0])


def _due(hook: Hook, target: tuple[Any, ...], row: tuple[Any, ...]) -> Due:
    return Due(
        account_id=hook[0],
        webhook_id=hook[1],
        id=row[0],
        url=target[0],
        secret=target[1],
        body=row[1],
        attempts=row[2],
        queued_ms=row[3],
    )
