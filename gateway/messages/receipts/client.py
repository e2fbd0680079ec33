"""Receipts for SMPP clients in the store: queued with the settlement they tell of, kept until acknowledged.

A receipt belongs to the system_id its message came by, and goes to any bind of that one which can receive
(`gateway.ingress.receipt_sender`). It is queued in the transaction that makes the message final, whoever
settles it, so none is lost and none told that did not happen.
"""

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from gateway.events.record import last_detail
from gateway.messages.events import EventKind
from gateway.messages.model import SmsEnvelope, Source, Status
from gateway.messages.settle.settlement import Settlement
from gateway.store.locks import Locks, named
from gateway.store.operation import Operation
from gateway.store.tx import Tx
from smpp import receipt as wire
from smpp.constants import EsmClass, MessageState
from smpp.pdu import DeliverSm

INGRESS = "smpp"
_DELIVERY_RECEIPT = int(EsmClass.DELIVERY_RECEIPT)
_FINAL = frozenset({Status.DELIVERED, Status.FAILED, Status.CANCELLED})

# The status is that of this transaction: a settlement that came too late to count finds another one.
_MESSAGE = """
SELECT m.envelope, m.accepted_ms
FROM message m JOIN delivery d ON d.account_id = m.account_id AND d.message_id = m.id
WHERE m.account_id = ? AND m.id = ? AND m.ingress = 'smpp' AND d.n = ? AND d.status = ?
"""
_INSERT = """
INSERT INTO client_receipt (account_id, system_id, message_id, body, attempts, due_ms, queued_ms)
VALUES (?, ?, ?, ?, 0, ?, ?) ON CONFLICT (account_id, system_id, message_id) DO NOTHING
"""
_DUE = """
SELECT message_id, body, attempts FROM client_receipt
WHERE account_id = ? AND system_id = ? AND due_ms <= ? ORDER BY due_ms, message_id LIMIT ?
"""
_DROP = "DELETE FROM client_receipt WHERE account_id = ? AND system_id = ? AND message_id = ?"
_POSTPONE = """
UPDATE client_receipt SET due_ms = ?, attempts = attempts + 1
WHERE account_id = ? AND system_id = ? AND message_id = ?
"""
_CROWDED = "SELECT account_id, count(*) FROM client_receipt GROUP BY account_id HAVING count(*) > ?"
_DROP_OLDEST = """
DELETE FROM client_receipt WHERE (account_id, system_id, message_id) IN (
  SELECT account_id, system_id, message_id FROM client_receipt
  WHERE account_id = ? ORDER BY queued_ms, message_id LIMIT ?{skip_locked})
"""
_PURGE = """
DELETE FROM client_receipt WHERE (account_id, system_id, message_id) IN (
  SELECT account_id, system_id, message_id FROM client_receipt WHERE queued_ms < ? LIMIT ?{skip_locked})
"""
_STATE = """
SELECT m.status, m.finished_ms, d.reply
FROM message m JOIN delivery d ON d.account_id = m.account_id AND d.message_id = m.id AND d.n = 0
WHERE m.account_id = ? AND m.id = ? AND m.channel = 'sms'
"""
_ERROR = re.compile(r"\berr:([0-9A-Za-z]{1,10})")
_UPSTREAM_STATES = {
    state.name: state
    for state in (
        MessageState.EXPIRED,
        MessageState.DELETED,
        MessageState.UNDELIVERABLE,
        MessageState.REJECTED,
        MessageState.UNKNOWN,
    )
}
_BY_REASON = {
    "expired": MessageState.EXPIRED,
    "rejected": MessageState.REJECTED,
    "no_receipt": MessageState.UNKNOWN,
    "unknown": MessageState.UNKNOWN,
}
_encode = msgspec.json.Encoder().encode

Client = tuple[str, str]
"""(account id, system_id)"""
Key = tuple[str, str, str]
"""(account id, system_id, message id)"""


class ClientEnvelope(SmsEnvelope, frozen=True, kw_only=True, omit_defaults=True):
    """The envelope of an SMS that came over SMPP: also what its receipt must repeat (section 4.6.1).

    `client` is set only if receipts are wanted. The road reads it as the plain envelope.
    """

    client: str | None = None  # system_id of the SMPP client that wants receipts
    client_ton: int | None = None  # the source's TON and NPI as the client gave them
    client_npi: int | None = None
    client_source: str = ""
    client_destination: Source | None = None
    service_type: str = ""
    failure_only: bool = False  # registered_delivery 2, section 5.2.17


class ClientReceipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One receipt as it is kept: the addresses are those of the client's submit_sm, not yet swapped."""

    message_id: str
    state: int
    error: str = ""
    submitted_ms: int
    done_ms: int
    source: Source
    destination: Source
    service_type: str = ""


class Due(msgspec.Struct, frozen=True, gc=False):
    """A receipt to offer now; it was offered `attempts` times before."""

    key: Key
    receipt: ClientReceipt
    attempts: int


class _Client(msgspec.Struct, frozen=True, gc=False):
    """What a ClientEnvelope says of the client alone."""

    client: str | None = None
    client_ton: int = 0
    client_npi: int = 0
    client_source: str = ""
    client_destination: Source | None = None
    service_type: str = ""
    failure_only: bool = False


_NO_SOURCE = Source(address="", ton=0, npi=0)
_decode_client = msgspec.json.Decoder(_Client).decode
_decode_receipt = msgspec.json.Decoder(ClientReceipt).decode


def enqueue(tx: Tx, settlements: Sequence[Settlement]) -> None:
    """Queues the receipts that final settlements owe to SMPP clients; costs one look-up per final SMS."""
    final = [
        one for one in settlements if one.status in _FINAL and (one.sms or one.status is Status.CANCELLED)
    ]
    if not final:
        return
    keys = [(one.account_id, one.message_id, one.n, one.status.value) for one in final]
    found = zip(final, tx.rows_many(_MESSAGE, keys), strict=True)
    queue(tx, [due for one, rows in found for row in rows if (due := owed(one, *row)) is not None])


def owed(one: Settlement, envelope: str, accepted_ms: int) -> Due | None:
    """The receipt that a final settlement owes to the client whose `envelope` (JSON) this is, if any."""
    client = _decode_client(envelope)
    if client.client is None or (client.failure_only and one.status is Status.DELIVERED):
        return None
    state, error = state_of(one.status, one.detail.get("reason"), one.reply)
    receipt = ClientReceipt(
        message_id=one.message_id,
        state=state,
        error=error,
        submitted_ms=accepted_ms,
        done_ms=one.at_ms,
        source=Source(address=client.client_source, ton=client.client_ton, npi=client.client_npi),
        destination=client.client_destination or _NO_SOURCE,
        service_type=client.service_type,
    )
    return Due((one.account_id, client.client, one.message_id), receipt, 0)


def queue(tx: Tx, receipts: Sequence[Due]) -> None:
    """Keeps receipts until they are acknowledged."""
    tx.run_many(
        _INSERT,
        [
            (*one.key, _encode(one.receipt).decode(), one.receipt.done_ms, one.receipt.done_ms)
            for one in receipts
        ],
    )


def state_of(status: str, reason: str | None, reply: str | None) -> tuple[MessageState, str]:
    """message_state (section 5.2.28) and the error of a message that is `status`, final or not.

    An upstream's own word for a failure is handed on where it fits; parts that disagree are UNDELIVERABLE.
    """
    if status == Status.DELIVERED:
        return MessageState.DELIVERED, ""
    if status == Status.CANCELLED:
        return MessageState.DELETED, ""
    if status == Status.PARTLY_DELIVERED:
        return MessageState.UNKNOWN, ""  # several recipients, which SMPP cannot tell apart
    if status != Status.FAILED:
        return MessageState.ENROUTE, ""
    reply = reply or ""
    error = _ERROR.search(reply)
    state = _BY_REASON.get(reason or "")
    if state is None:
        state = _UPSTREAM_STATES.get(reply.partition(" ")[0], MessageState.UNDELIVERABLE)
    return state, error[1] if error else ""


def deliver_sm(receipt: ClientReceipt, *, tlvs: bool = True) -> DeliverSm:
    """The PDU: addresses swapped, text by Appendix B. Without TLVs for a client of SMPP v3.3."""
    source, destination = receipt.source, receipt.destination
    state = MessageState(receipt.state)
    submitted, done = _minute(receipt.submitted_ms // 60_000), _minute(receipt.done_ms // 60_000)
    text = (
        f"id:{receipt.message_id} sub:001 dlvrd:{'001' if state is MessageState.DELIVERED else '000'}"
        f" submit date:{submitted} done date:{done}"
        f" stat:{wire.STAT_NAMES[state]} err:{receipt.error or '000'} text:"
    )
    return DeliverSm(
        service_type=receipt.service_type,
        source_addr_ton=destination.ton,
        source_addr_npi=destination.npi,
        source_addr=destination.address,
        dest_addr_ton=source.ton,
        dest_addr_npi=source.npi,
        destination_addr=source.address,
        esm_class=_DELIVERY_RECEIPT,
        short_message=text.encode("ascii", "replace"),
        tlvs=wire.tlvs(receipt.message_id, receipt.state) if tlvs else (),
    )


@lru_cache(maxsize=1024)
def _minute(minutes: int) -> str:
    """YYMMDDhhmm of so many minutes since the epoch."""
    return datetime.fromtimestamp(minutes * 60, UTC).strftime("%y%m%d%H%M")


def due(tx: Tx, client: Client, held: Collection[Key], room: int, *, now_ms: int) -> list[Due]:
    """Up to `room` receipts of `client` whose time has come, without those in `held`."""
    rows = tx.rows(_DUE, (*client, now_ms, room + len(held)))
    found = [
        Due((*client, message_id), _decode_receipt(body), attempts)
        for message_id, body, attempts in rows
        if (*client, message_id) not in held
    ]
    return found[:room]


class SettleReceipts(Operation[None]):
    """Forgets what was acknowledged; offers the others again at their times (epoch milliseconds)."""

    priority = 3  # after what queues receipts

    def __init__(self, acknowledged: Sequence[Key], postponed: Sequence[tuple[int, Key]]) -> None:
        self.acknowledged = acknowledged
        self.postponed = postponed
        self.weight = len(acknowledged) + len(postponed)

    @classmethod
    def locks(cls, tx: Tx, operations: "Sequence[SettleReceipts]") -> Locks:
        del tx
        keys = {key[:2] for one in operations for key in one.acknowledged}
        keys |= {key[:2] for one in operations for _, key in one.postponed}
        return named(*(f"receipts:{account_id}:{system_id}" for account_id, system_id in keys))

    @classmethod
    def run_batch(cls, tx: Tx, operations: "Sequence[SettleReceipts]") -> list[None]:
        tx.run_many(_DROP, [key for one in operations for key in one.acknowledged])
        tx.run_many(_POSTPONE, [(due_ms, *key) for one in operations for due_ms, key in one.postponed])
        return [None] * len(operations)


def crowded(tx: Tx, kept: int) -> list[tuple[str, int]]:
    """The accounts for which more than `kept` receipts wait, with how many are too many."""
    return [(account_id, count - kept) for account_id, count in tx.rows(_CROWDED, (kept,))]


def drop_oldest(tx: Tx, account_id: str, count: int) -> int:
    """Drops the `count` oldest receipts of the account; how many there were. It is a sweep, as `purge` is."""
    return tx.run(_DROP_OLDEST.format(skip_locked=tx.skip_locked), (account_id, count))


def purge(tx: Tx, *, before_ms: int, limit: int) -> int:
    """Deletes up to `limit` receipts that nobody fetched since `before_ms`; how many it were."""
    return tx.run(_PURGE.format(skip_locked=tx.skip_locked), (before_ms, limit))


def message_state(tx: Tx, account_id: str, message_id: str) -> tuple[MessageState, int | None] | None:
    """The state of the account's SMS and when it became final, or None if it has no such SMS."""
    row = tx.one(_STATE, (account_id, message_id))
    if row is None:
        return None
    status, finished_ms, reply = row
    reason = None
    if status == Status.FAILED:
        reason = last_detail(tx, account_id, message_id, EventKind.FAILED).get("reason")
    return state_of(status, reason, reply)[0], finished_ms
