"""Receipts for SMPP clients in the store: queued with the settlement they tell of, kept until acknowledged.

A receipt belongs to the system_id its message came by, and goes to any bind of that one which can receive
(`gateway.ingress.receipt_sender`). It is queued in the transaction that makes the message final, whoever
settles it, so none is lost and none told that did not happen.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.messages.model import SmsEnvelope, Source, Status
from gateway.store.tx import Row, Tx
from smpp import receipt as wire
from smpp.constants import MessageState
from smpp.pdu import DeliverSm, SubmitSm

if TYPE_CHECKING:
    from gateway.messages.settlement import Settlement

INGRESS = "smpp"
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
  WHERE account_id = ? ORDER BY queued_ms, message_id LIMIT ?)
"""
_PURGE = """
DELETE FROM client_receipt WHERE (account_id, system_id, message_id) IN (
  SELECT account_id, system_id, message_id FROM client_receipt WHERE queued_ms < ? LIMIT ?)
"""
_STATE = """
SELECT m.status, m.finished_ms, d.reply,
  (SELECT e.detail FROM event e
   WHERE e.account_id = m.account_id AND e.message_id = m.id AND e.kind = 'message.failed'
   ORDER BY e.id DESC LIMIT 1)
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

    client_source: str = ""
    client_destination: Source | None = None
    service_type: str = ""
    failure_only: bool = False  # registered_delivery 2, section 5.2.17


class ClientReceipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One receipt as it is kept: the addresses are those of the client's submit_sm, not yet swapped."""

    message_id: str
    state: int
    error: str = ""
    submitted_ms: int
    done_ms: int
    source: Source
    destination: Source
    service_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A receipt to offer now; it was offered `attempts` times before."""

    key: Key
    receipt: ClientReceipt
    attempts: int


_decode_envelope = msgspec.json.Decoder(ClientEnvelope).decode
_decode_receipt = msgspec.json.Decoder(ClientReceipt).decode


def enqueue(tx: Tx, settlements: "Sequence[Settlement]") -> None:
    """Queues the receipts that final settlements owe to SMPP clients; costs one look-up per final SMS."""
    final = [
        one for one in settlements if one.status in _FINAL and (one.sms or one.status is Status.CANCELLED)
    ]
    keys = [(one.account_id, one.message_id, one.n, one.status.value) for one in final]
    found = zip(final, tx.rows_many(_MESSAGE, keys), strict=True)
    rows = [row for one, messages in found for message in messages if (row := _row(one, message)) is not None]
    tx.run_many(_INSERT, rows)


def _row(one: "Settlement", found: Row) -> tuple[Any, ...] | None:
    envelope = _decode_envelope(found[0])
    if envelope.client is None or (envelope.failure_only and one.status is Status.DELIVERED):
        return None
    state, error = state_of(one.status, one.detail.get("reason"), one.reply)
    receipt = ClientReceipt(
        message_id=one.message_id,
        state=state,
        error=error,
        submitted_ms=found[1],
        done_ms=one.at_ms,
        source=Source(
            address=envelope.client_source, ton=envelope.client_ton or 0, npi=envelope.client_npi or 0
        ),
        destination=envelope.client_destination or Source(address="", ton=0, npi=0),
        service_type=envelope.service_type,
    )
    body = _encode(receipt).decode()
    return (one.account_id, envelope.client, one.message_id, body, one.at_ms, one.at_ms)


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
    submit = SubmitSm(
        service_type=receipt.service_type,
        source_addr_ton=receipt.source.ton,
        source_addr_npi=receipt.source.npi,
        source_addr=receipt.source.address,
        dest_addr_ton=receipt.destination.ton,
        dest_addr_npi=receipt.destination.npi,
        destination_addr=receipt.destination.address,
    )
    told = wire.Receipt(
        message_id=receipt.message_id,
        state=MessageState(receipt.state),
        error=receipt.error,
        submit_date=datetime.fromtimestamp(receipt.submitted_ms / 1000, UTC),
        done_date=datetime.fromtimestamp(receipt.done_ms / 1000, UTC),
    )
    pdu = wire.deliver_sm(told, submit)
    return pdu if tlvs else msgspec.structs.replace(pdu, tlvs=())


def due(tx: Tx, client: Client, held: Collection[Key], room: int, *, now_ms: int) -> list[Due]:
    """Up to `room` receipts of `client` whose time has come, without those in `held`."""
    rows = tx.rows(_DUE, (*client, now_ms, room + len(held)))
    found = [
        Due(key=(*client, message_id), receipt=_decode_receipt(body), attempts=attempts)
        for message_id, body, attempts in rows
        if (*client, message_id) not in held
    ]
    return found[:room]


def settle(tx: Tx, acknowledged: Sequence[Key], postponed: Sequence[tuple[int, Key]]) -> None:
    """Forgets what was acknowledged; offers the others again at their times (epoch milliseconds)."""
    tx.run_many(_DROP, acknowledged)
    tx.run_many(_POSTPONE, [(due_ms, *key) for due_ms, key in postponed])


def crowded(tx: Tx, kept: int) -> list[tuple[str, int]]:
    """The accounts for which more than `kept` receipts wait, with how many are too many."""
    return [(account_id, count - kept) for account_id, count in tx.rows(_CROWDED, (kept,))]


def drop_oldest(tx: Tx, account_id: str, count: int) -> int:
    """Drops the `count` oldest receipts of the account; how many there were."""
    return tx.run(_DROP_OLDEST, (account_id, count))


def purge(tx: Tx, *, before_ms: int, limit: int) -> int:
    """Deletes up to `limit` receipts that nobody fetched since `before_ms`; how many it were."""
    return tx.run(_PURGE, (before_ms, limit))


def message_state(tx: Tx, account_id: str, message_id: str) -> tuple[MessageState, int | None] | None:
    """The state of the account's SMS and when it became final, or None if it has no such SMS."""
    row = tx.one(_STATE, (account_id, message_id))
    if row is None:
        return None
    status, finished_ms, reply, detail = row
    reason = msgspec.json.decode(detail).get("reason") if detail else None
    return state_of(status, reason, reply)[0], finished_ms
