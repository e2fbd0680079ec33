"""Delivery receipts in the store: parts of an SMS become final, and with the last one the delivery.

A receipt is written before its deliver_sm_resp leaves (A1 for receipts), all of one read in one operation.
One that comes before its submit_sm_resp is parked and applied when the parts are recorded. Ids are looked up
per upstream: as they stand, and only where no part bears that id in their other readings (hex in one place,
decimal in the other), if the upstream's receipts may have any (`smpp.receipt.keys`).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.credits import ledger
from gateway.messages.events import EventKind
from gateway.messages.model import Channel, Status
from gateway.messages.receipts import client as client_receipts
from gateway.messages.receipts.client import Due
from gateway.messages.settle import effects
from gateway.messages.settle.settlement import Settlement
from gateway.store.locks import Locks, MessageKey
from gateway.store.operation import Operation
from gateway.store.tx import Tx, placeholders

_FIND = """
SELECT p.upstream_id, p.account_id, p.message_id, p.n, p.status, d.address, d.status, d.attempts,
  m.recipients, m.accepted_ms, m.ingress, CASE WHEN m.ingress = 'smpp' THEN m.envelope END,
  (SELECT count(*) FROM sms_part s
   WHERE s.account_id = p.account_id AND s.message_id = p.message_id AND s.n = p.n)
FROM sms_part p
LEFT JOIN delivery d ON d.account_id = p.account_id AND d.message_id = p.message_id AND d.n = p.n
LEFT JOIN message m ON m.account_id = p.account_id AND m.id = p.message_id
WHERE p.upstream = ? AND p.upstream_id IN """
_AT_ONCE = (1, 2, 4, 8, 16, 32, 64, 128)  # ids in one statement: few texts, so that each stays prepared
_MARK = "UPDATE sms_part SET status = ? WHERE upstream = ? AND upstream_id = ?"
_PARTS = "SELECT DISTINCT status FROM sms_part WHERE account_id = ? AND message_id = ? AND n = ?"
_LOCK_PART = "SELECT 1 FROM sms_part WHERE upstream = ? AND upstream_id = ? FOR UPDATE NOWAIT"
_SETTLE = """
UPDATE delivery SET status = ?, reply = ?, next_attempt_ms = ?, updated_ms = ?, holder = NULL
WHERE account_id = ? AND message_id = ? AND n = ? AND status = 'sent'
"""
_PARK = """
INSERT INTO parked_receipt (upstream, upstream_id, receipt, received_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (upstream, upstream_id) DO """
_PARK_EXACT = _PARK + "UPDATE SET receipt = excluded.receipt, received_ms = excluded.received_ms"
_PARK_READING = _PARK + "NOTHING"
_PARKED = "SELECT upstream_id, receipt FROM parked_receipt WHERE upstream = ? AND upstream_id IN "
_UNPARK = "DELETE FROM parked_receipt WHERE upstream = ? AND upstream_id = ?"
_UNPARK_SAME = _UNPARK + " AND receipt = ?"
_ANY_PARKED = "SELECT 1 FROM parked_receipt LIMIT 1"
_COUNT_PARKED = "SELECT count(*) FROM parked_receipt"
_OLDEST_PARKED = "SELECT upstream, upstream_id FROM parked_receipt ORDER BY received_ms LIMIT ?{skip_locked}"
_SUBMITTED = (
    "SELECT upstream_id, message_id FROM sms_part WHERE upstream = ? AND account_id = ? AND upstream_id IN "
)
_PURGE_PARTS = """
DELETE FROM sms_part WHERE (upstream, upstream_id) IN (
  SELECT upstream, upstream_id FROM sms_part WHERE submitted_ms < ? LIMIT ?{skip_locked})
"""
_PURGE_PARKED = """
DELETE FROM parked_receipt WHERE (upstream, upstream_id) IN (
  SELECT upstream, upstream_id FROM parked_receipt WHERE received_ms < ? LIMIT ?{skip_locked})
"""
# An enumeration's value is slow to ask for.
_SENT, _DELIVERED, _FAILED = Status.SENT.value, Status.DELIVERED.value, Status.FAILED.value
_encode = msgspec.json.Encoder().encode


class PartReceipt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an upstream says of one part. `ids` are all forms its message id may stand for, as it is first."""

    upstream: str
    ids: tuple[str, ...]
    delivered: bool
    state: str  # the receipt's own word: DELIVRD, UNDELIV, …
    error: str = ""
    received_ms: int


_decode = msgspec.json.Decoder(PartReceipt).decode


class _Part(NamedTuple):
    """A part of an SMS with what its delivery and its message say (None if they are gone)."""

    upstream_id: str
    account_id: str
    message_id: str
    n: int
    status: str
    address: str
    delivery_status: str | None
    attempts: int
    recipients: int
    accepted_ms: int
    ingress: str
    envelope: str | None  # of what SMPP clients sent
    parts: int

    @property
    def delivery(self) -> "_Key":
        return self.account_id, self.message_id, self.n


_Key = tuple[str, str, int]
_Parts = dict[tuple[str, str], _Part]
"""By upstream and its message id."""


class _Ended(NamedTuple):
    """A delivery that a receipt made final."""

    place: int
    """That of the receipt among all."""
    part: _Part
    one: Settlement


class Applied(NamedTuple):
    """What receipts did."""

    ended: list[_Ended]
    """The deliveries they made final."""
    owed: list[Due]
    """What SMPP clients are told of them."""
    unknown: list[int]
    """Which are for no part that is known."""


class ApplyReceipts(Operation[list[str | None]]):
    """Applies receipts: for each the status that its delivery reached by it, or None (there are more parts,
    it was told before, or it is parked).

    `settled` is told of every delivery that became final: (upstream, status, seconds since acceptance);
    `owed` of the receipts for SMPP clients that were queued with them.
    """

    priority = 2  # after the parts that the same batch records

    def __init__(
        self,
        *receipts: PartReceipt,
        refund_on: frozenset[str],
        keep_content: bool,
        parked_max: int,
        settled: Callable[[str, str, float], None] = lambda _upstream, _status, _seconds: None,
        owed: Callable[[Sequence[Due]], None] = lambda _owed: None,
    ) -> None:
        self.receipts = receipts
        self.weight = len(receipts)
        self.refund_on = refund_on
        self.keep_content = keep_content
        self.parked_max = parked_max
        self.applied: list[_Ended] = []
        self.owing: list[Due] = []
        self._settled = settled
        self._owed = owed

    def committed(self, result: list[str | None]) -> None:
        del result
        for _index, part, one in self.applied:
            self._settled(one.upstream, one.status.value, (one.at_ms - part.accepted_ms) / 1000)
        if self.owing:
            self._owed(self.owing)

    @classmethod
    def locks(cls, tx: Tx, operations: "Sequence[ApplyReceipts]") -> Locks:
        receipts = [receipt for one in operations for receipt in one.receipts]
        return _locks(receipts, _find(tx, receipts), operations[0].refund_on)

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[ApplyReceipts]") -> list[Any]:
        receipts = [receipt for one in operations for receipt in one.receipts]
        refund_on = operations[0].refund_on  # the same configuration for all
        keep_content = any(one.keep_content for one in operations)
        applied = apply(tx, receipts, refund_on, keep_content=keep_content)
        if applied.unknown:
            _park(tx, [receipts[index] for index in applied.unknown], operations[0].parked_max)
        statuses: list[str | None] = [None] * len(receipts)
        for ended in applied.ended:
            statuses[ended.place] = ended.one.status.value
        for one in operations:
            one.applied, one.owing = [], []
        operations[0].applied, operations[0].owing = applied.ended, applied.owed  # told together
        rest = iter(statuses)
        return [[next(rest) for _ in one.receipts] for one in operations]


# --- which part a receipt is for --------------------------------------------------------------------------


def parts_of(upstreams: Collection[str]) -> frozenset[str]:
    """What keeps the recording of parts (shared) and the parking of receipts (alone) of `upstreams` apart.

    Otherwise a receipt could be parked by one process just when another, which records its part, has looked
    for it in vain.
    """
    return frozenset(f"parts:{upstream}" for upstream in upstreams)


def _locks(receipts: Sequence[PartReceipt], parts: _Parts, refund_on: frozenset[str]) -> Locks:
    """What is locked before the receipts are applied: the messages they are for, so that one process sees the
    last part of a delivery; for those that are for none (yet) the parts that may just be recorded.
    """
    unknown: set[str] = set()
    refunded: set[tuple[str, str]] = set()
    for receipt in receipts:
        part = _meant(parts, receipt)
        if part is None:
            unknown.add(receipt.upstream)
        elif not receipt.delivered and "undelivered" in refund_on:
            refunded.add((part.account_id, Channel.SMS))
    return Locks(names=parts_of(unknown) | ledger.locks(refunded).names, messages=_messages(parts))


def _messages(parts: _Parts) -> frozenset[MessageKey]:
    return frozenset((one.account_id, one.message_id) for one in parts.values())


def _find(tx: Tx, receipts: Sequence[PartReceipt]) -> _Parts:
    """By the ids as they stand; by their other readings only where that finds nothing."""
    found: _Parts = {}
    _add(tx, found, [(one.upstream, one.ids[:1]) for one in receipts])
    missing = [one for one in receipts if len(one.ids) > 1 and _meant(found, one) is None]
    if missing:
        _add(tx, found, [(one.upstream, one.ids[1:]) for one in missing])
    return found


def _add(tx: Tx, found: _Parts, asked: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    wanted: dict[str, dict[str, None]] = {}
    for upstream, ids in asked:
        wanted.setdefault(upstream, {}).update(dict.fromkeys(ids))
    for upstream, members in wanted.items():
        for some in _slices(list(members)):
            for row in tx.rows(_FIND + placeholders(some), (upstream, *some)):
                found[upstream, row[0]] = _Part._make(row)


def _slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids in lists of a few sizes; the last id fills the rest of a list."""
    start = 0
    while start < len(ids):
        size = next((size for size in _AT_ONCE if size >= len(ids) - start), _AT_ONCE[-1])
        some = ids[start : start + size]
        yield [*some, *([some[-1]] * (size - len(some)))]
        start += size


def _meant(parts: _Parts, receipt: PartReceipt) -> _Part | None:
    """The part that bears the id as it stands; else one that bears another reading of it."""
    exact = parts.get((receipt.upstream, receipt.ids[0]))
    if exact is not None or len(receipt.ids) == 1:
        return exact
    found = [part for one in receipt.ids[1:] if (part := parts.get((receipt.upstream, one))) is not None]
    waiting = (part for part in found if part.status == part.delivery_status == _SENT)
    return next(waiting, found[0] if found else None)


# --- what it does -----------------------------------------------------------------------------------------


def apply(
    tx: Tx, receipts: Sequence[PartReceipt], refund_on: frozenset[str], *, keep_content: bool
) -> Applied:
    """Marks parts, and settles the deliveries all of whose parts are final by now."""
    parts = _find(tx, receipts)
    if tx.shared:
        tx.require(Locks(messages=_messages(parts)))
    unknown, last = _mark(tx, receipts, parts)
    several = [key for key, (_, part) in last.items() if part.parts > 1]
    states = {
        key: {row[0] for row in rows}
        for key, rows in zip(several, tx.rows_many(_PARTS, several), strict=True)
    }
    ended = []
    for key, (index, part) in last.items():
        receipt = receipts[index]
        told = states.get(key) or {_state(receipt)}
        if _SENT not in told:
            delivered = told == {_DELIVERED}
            ended.append(_Ended(index, part, _settlement(part, receipt, refund_on, delivered=delivered)))
    return Applied(ended, _end(tx, ended, keep_content=keep_content), unknown)


def _mark(
    tx: Tx, receipts: Sequence[PartReceipt], parts: _Parts
) -> tuple[list[int], dict[_Key, tuple[int, _Part]]]:
    """Marks the parts that receipts are for. The receipts for none; the last one for each open delivery."""
    unknown: list[int] = []
    marks: dict[tuple[str, str], str] = {}
    last: dict[_Key, tuple[int, _Part]] = {}
    for index, receipt in enumerate(receipts):
        part = _meant(parts, receipt)
        if part is None:
            unknown.append(index)
        elif part.parts == 1:  # its delivery alone tells whether it is final
            if part.delivery_status == _SENT:
                last.setdefault(part.delivery, (index, part))
        elif part.status == _SENT and (receipt.upstream, part.upstream_id) not in marks:
            marks[receipt.upstream, part.upstream_id] = _state(receipt)
            if part.delivery_status == _SENT:
                last[part.delivery] = index, part
    if tx.shared:  # an SMSC may give an id twice: then it is being recorded for another SMS just now
        tx.run_many(_LOCK_PART, list(marks))
    tx.run_many(_MARK, [(state, *key) for key, state in marks.items()])
    return unknown, last


def _state(receipt: PartReceipt) -> str:
    return _DELIVERED if receipt.delivered else _FAILED


def _settlement(
    part: _Part, receipt: PartReceipt, refund_on: frozenset[str], *, delivered: bool
) -> Settlement:
    reply = f"{receipt.state} err:{receipt.error}" if receipt.error else receipt.state
    return Settlement(
        account_id=part.account_id,
        message_id=part.message_id,
        n=part.n,
        address=part.address,
        status=Status.DELIVERED if delivered else Status.FAILED,
        attempts=part.attempts,
        next_attempt_ms=receipt.received_ms,
        at_ms=receipt.received_ms,
        reply=reply,
        kind=EventKind.DELIVERED if delivered else EventKind.FAILED,
        detail={"receipt": reply} if delivered else {"receipt": reply, "reason": "undelivered"},
        refund=not delivered and "undelivered" in refund_on,
        upstream=receipt.upstream,
        sms=True,
        ingress=part.ingress,
        recipients=part.recipients,
    )


def _end(tx: Tx, ended: Sequence[_Ended], *, keep_content: bool) -> list[Due]:
    """Writes deliveries that became final; what SMPP clients are owed for them."""
    settlements = [one for _, _, one in ended]
    tx.run_many(
        _SETTLE,
        [
            (
                _DELIVERED if one.status is Status.DELIVERED else _FAILED,
                one.reply,
                one.at_ms,
                one.at_ms,
                one.account_id,
                one.message_id,
                one.n,
            )
            for one in settlements
        ],
    )
    effects.record_events(tx, settlements)
    owed = [
        due
        for _, part, one in ended
        if part.envelope is not None
        and (due := client_receipts.owed(one, part.envelope, part.accepted_ms)) is not None
    ]
    client_receipts.queue(tx, owed)
    for one in settlements:
        if one.refund:
            effects.refund(tx, one)
    effects.finish_messages(tx, settlements, keep_content=keep_content)
    return owed


# --- receipts that come too early -------------------------------------------------------------------------


def apply_parked(
    tx: Tx, settlements: Sequence[Settlement], refund_on: frozenset[str], *, keep_content: bool
) -> None:
    """Applies receipts that came before the parts of `settlements` were recorded, each once."""
    recorded: dict[str, list[str]] = {}
    for one in settlements:
        if one.upstream_ids:
            recorded.setdefault(one.upstream, []).extend(one.upstream_ids)
    if not recorded or tx.one(_ANY_PARKED) is None:
        return
    parked: dict[str, PartReceipt] = {}
    for upstream, ids in recorded.items():
        for some in _slices(ids):
            for _, text in tx.rows(_PARKED + placeholders(some), (upstream, *some)):
                parked[text] = _decode(text)
    if parked:
        applied = apply(tx, list(parked.values()), refund_on, keep_content=keep_content)
        again = {list(parked)[index] for index in applied.unknown}
        used = [(text, receipt) for text, receipt in parked.items() if text not in again]
        tx.run_many(
            _UNPARK_SAME, [(receipt.upstream, one, text) for text, receipt in used for one in receipt.ids]
        )


def _park(tx: Tx, receipts: Sequence[PartReceipt], parked_max: int) -> None:
    """Keeps receipts whose parts are not known (yet), each under every form of its id; the oldest make room.

    The form in which an id stands displaces another reading of another id, never the other way round. What
    makes room may be any upstream's, and is taken last, where nobody is at it.
    """
    tx.require(Locks(names=parts_of({one.upstream for one in receipts})))
    texts = [_encode(one).decode() for one in receipts]
    exact = [
        (one.upstream, one.ids[0], text, one.received_ms) for one, text in zip(receipts, texts, strict=True)
    ]
    readings = [
        (one.upstream, reading, text, one.received_ms)
        for one, text in zip(receipts, texts, strict=True)
        for reading in one.ids[1:]
    ]
    tx.run_many(_PARK_EXACT, exact)
    tx.run_many(_PARK_READING, readings)
    over = int((tx.one(_COUNT_PARKED) or (0,))[0]) - parked_max
    if over > 0:
        tx.run_many(_UNPARK, tx.rows(_OLDEST_PARKED.format(skip_locked=tx.skip_locked), (over,)))


def submitted(tx: Tx, upstream: str, ids: Sequence[str], account_id: str) -> dict[str, str]:
    """Those of an upstream's message `ids` that are the account's, with the message of each."""
    found: dict[str, str] = {}
    for start in range(0, len(ids), _AT_ONCE[-1]):
        some = ids[start : start + _AT_ONCE[-1]]
        sql = _SUBMITTED + placeholders(some)
        found.update((str(one), str(message)) for one, message in tx.rows(sql, (upstream, account_id, *some)))
    return found


def purge_parts(tx: Tx, *, before_ms: int, limit: int) -> int:
    """Forgets up to `limit` parts that were submitted before `before_ms`; how many it were. It is a sweep."""
    return tx.run(_PURGE_PARTS.format(skip_locked=tx.skip_locked), (before_ms, limit))


def purge_parked(tx: Tx, *, before_ms: int, limit: int) -> int:
    """The same for receipts whose part never came."""
    return tx.run(_PURGE_PARKED.format(skip_locked=tx.skip_locked), (before_ms, limit))
