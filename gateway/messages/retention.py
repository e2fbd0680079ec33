"""What of the road's own tables is not kept for ever: content, deliveries and messages that are final.

A message that is not final stays, whatever its age. What belongs to final messages is searched for by
readers, in steps along the key: a million queued messages to pass over would hold up the writer.
"""

from functools import partial

from config.sections.retention import Retention as Keep
from gateway.ids import id_floor
from gateway.jobs.retention import SLICE, accounts_in, whole_days
from gateway.store.locks import Locks
from gateway.store.store import Store
from gateway.store.tx import Row, Tx, placeholders

_FINAL = "('delivered', 'partly_delivered', 'failed', 'cancelled')"
_SEARCHED = 2000  # rows that one search looks at, final or not
_HOUR_MS = 3_600_000

# Each table with the rest of its key.
_KEYS = {"content": ("message_id",), "delivery": ("message_id", "n"), "message": ("id",)}
_BEFORE_ALL: dict[str, Row] = {"content": ("",), "delivery": ("", -1), "message": ("",)}
_STEP_END = {  # where a step ends: (account_id, key seen last, id floor, rows)
    table: f"""
    SELECT {", ".join(key)} FROM {table}
    WHERE account_id = ? AND ({", ".join(key)}) > ({placeholders(key)[1:-1]}) AND {key[0]} < ?
    ORDER BY {", ".join(key)} LIMIT 1 OFFSET ?
    """  # noqa: S608 - the names stand in this file
    for table, key in _KEYS.items()
}
_STEP = {  # what is final in a step: (account_id, key seen last, the step's end, both as ids of messages)
    table: f"""
    SELECT {", ".join("t." + name for name in key)} FROM {table} t
    CROSS JOIN message m WHERE m.account_id = t.account_id AND m.id = t.{key[0]} AND t.account_id = ?
    AND ({", ".join("t." + name for name in key)}) > ({placeholders(key)[1:-1]})
    AND ({", ".join("t." + name for name in key)}) <= ({placeholders(key)[1:-1]})
    AND m.id >= ? AND m.id <= ? AND m.status IN {_FINAL}
    """  # noqa: S608 - the names stand in this file
    for table, key in _KEYS.items()
}
# Then it is deleted by key. A final message stays final; it is asked again, so that no mistake loses a mail.
_DELETE = {
    table: f"""
    DELETE FROM {table} WHERE account_id = ? AND {" AND ".join(name + " = ?" for name in key)} AND EXISTS (
      SELECT 1 FROM message m
      WHERE m.account_id = {table}.account_id AND m.id = {table}.{key[0]} AND m.status IN {_FINAL})
    """  # noqa: S608 - the names stand in this file
    for table, key in _KEYS.items()
}


class FinalMessages:
    """Deletes what belongs to final messages, each kind after its own time."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep

    async def purge(self, store: Store, now_ms: int) -> int:
        """How many rows went (`gateway.jobs.retention.Purge`)."""
        messages = id_floor(whole_days(self._keep.message_days)(now_ms))
        content = id_floor(now_ms - self._keep.content_hours * _HOUR_MS)
        total = 0
        for account_id in await store.read(partial(accounts_in, table="message")):
            total += await _final(store, "content", account_id, content)
            total += await _final(
                store, "delivery", account_id, messages
            )  # before the message that they name
            total += await _final(store, "message", account_id, messages)
        return total


async def _final(store: Store, table: str, account_id: str, floor: str) -> int:
    """Deletes from `table` what belongs to final messages with ids below `floor`."""
    total, end = 0, _BEFORE_ALL[table]
    while end[0] < floor:
        step = partial(_step, table=table, account_id=account_id, seen=end, floor=floor)
        end, found = await store.read(step)
        for start in range(0, len(found), SLICE):
            keys = [(account_id, *key) for key in found[start : start + SLICE]]
            total += await store.write(
                partial(Tx.run_many, sql=_DELETE[table], rows=keys),
                locks=Locks(messages=frozenset((account_id, key[1]) for key in keys)),
            )
    return total


def _step(tx: Tx, *, table: str, account_id: str, seen: Row, floor: str) -> tuple[Row, list[Row]]:
    """Where the step after `seen` ends (at `floor`, if it is the last), and the keys in it that are final."""
    end = tx.one(_STEP_END[table], (account_id, *seen, floor, _SEARCHED - 1)) or (floor, *seen[1:])
    return end, tx.rows(_STEP[table], (account_id, *seen, *end, seen[0], end[0]))
