"""SenderNames: requested with two documents (R22, R23), decided by the operator, kept for good (R24).

A rejected request is changed and sent again free of charge; an approved one stays as long as the account.
Only the form is judged here; what is shown in which country is `policy.sender_name`'s (R25). Raises the
errors of `gateway.errors`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from config.sections.sendernames import SenderName as Rules
from gateway.accounts.service import open_account, plain_text
from gateway.clock import Clock
from gateway.errors import ConflictError, InvalidError, LimitError, NotFoundError
from gateway.events.record import of_account
from gateway.store.cache import Caches
from gateway.store.tx import Tx
from policy import sender_name as policy
from policy.verdict import Refuse

DECIDED: Final = "sendername.decided"
"""The kind of event."""
NAMES_MAX = 100  # per account
DOCUMENT_MAX_OCTETS = 5 * 1024 * 1024
_FILENAME_MAX = 200
_NOTE_MAX = 500
_ACCOUNTS_CACHED = 10_000
_MAGIC = {"application/pdf": b"%PDF-", "image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}

_COLUMNS = "account_id, name, status, note, created_ms, decided_ms"
_ONE = f"SELECT {_COLUMNS} FROM sender_name WHERE account_id = ? AND name = ?"  # noqa: S608 - constants only
_LIST = f"SELECT {_COLUMNS} FROM sender_name WHERE account_id = ? ORDER BY name"  # noqa: S608 - constants only
_PENDING = f"""
SELECT {_COLUMNS} FROM sender_name WHERE status = 'pending' ORDER BY created_ms LIMIT ?
"""  # noqa: S608 - constants only
_COUNT = "SELECT count(*) FROM sender_name WHERE account_id = ?"
_PUT = f"""
INSERT INTO sender_name ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (account_id, name) DO UPDATE SET status = excluded.status, note = excluded.note,
  decided_ms = excluded.decided_ms
"""  # noqa: S608 - constants only
_DELETE = "DELETE FROM sender_name WHERE account_id = ? AND name = ?"
_APPROVED = "SELECT name FROM sender_name WHERE account_id = ? AND status = 'approved'"
_PUT_DOCUMENT = """
INSERT INTO sender_name_document (account_id, name, kind, filename, content_type, data, uploaded_ms)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account_id, name, kind) DO UPDATE SET filename = excluded.filename,
  content_type = excluded.content_type, data = excluded.data, uploaded_ms = excluded.uploaded_ms
"""
_KINDS = "SELECT kind FROM sender_name_document WHERE account_id = ? AND name = ? ORDER BY kind"
_DOCUMENT = """
SELECT kind, filename, content_type, data FROM sender_name_document
WHERE account_id = ? AND name = ? AND kind = ?
"""
_MOVE_DOCUMENTS = "UPDATE sender_name_document SET name = ? WHERE account_id = ? AND name = ?"
_DELETE_DOCUMENTS = "DELETE FROM sender_name_document WHERE account_id = ? AND name = ?"


class NameStatus(StrEnum):
    """How far a request has come. A draft still lacks a document."""

    DRAFT = "draft"
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


class DocumentKind(StrEnum):
    """What must prove a name (R23)."""

    COMPANY_REGISTRATION = "company_registration"
    IDENTITY = "identity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document; `content_type` is that of a PDF, PNG or JPEG."""

    kind: DocumentKind
    filename: str
    content_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderName:
    """One requested sender. `note` says why it was rejected; `documents` which are there."""

    account_id: str
    name: str
    status: NameStatus
    note: str | None
    created_ms: int
    decided_ms: int | None
    documents: tuple[DocumentKind, ...] = ()


class SenderNames:
    """Every account's SenderNames, and the look-up of the approved ones for the hot path."""

    def __init__(self, caches: Caches, clock: Clock, rules: Rules) -> None:
        self._caches = caches
        self._clock = clock
        self._rules = rules
        self._approved = caches.cache(_load_approved, _ACCOUNTS_CACHED)

    # --- hot -------------------------------------------------------------------------------------------

    def peek_approved(self, account_id: str) -> frozenset[str] | None:
        """The approved senders, if they are known without a read; else ask `approved`."""
        return self._approved.peek(account_id)

    async def approved(self, account_id: str, *, wanted: str | None = None) -> frozenset[str]:
        """The approved senders. When `wanted` is not among them, what other processes changed counts too."""
        names = await self._approved.get(account_id) or frozenset()
        if wanted is not None and wanted not in names and await self._caches.fresh():
            names = await self._approved.get(account_id) or frozenset()
        return names

    # --- the account's own -----------------------------------------------------------------------------

    async def request(self, account_id: str, name: str, documents: Sequence[Document] = ()) -> SenderName:
        """A new request: pending with both documents (R23), else a draft to complete by `resend`."""
        self._check_form(name)
        _check_documents(documents)

        def change(tx: Tx) -> SenderName:
            open_account(tx, account_id)
            if tx.one(_ONE, (account_id, name)) is not None:
                raise ConflictError(f"{name} was requested before; change that request instead.")
            self._check_room(tx, account_id)
            return self._send(tx, account_id, name, documents)

        return await self._caches.write(change)

    async def resend(
        self,
        account_id: str,
        name: str,
        *,
        new_name: str | None = None,
        documents: Sequence[Document] = (),
    ) -> SenderName:
        """A draft or a rejected request again, changed, free of charge (R24); old documents stay."""
        _check_documents(documents)
        if new_name is not None:
            self._check_form(new_name)

        def change(tx: Tx) -> SenderName:
            open_account(tx, account_id)
            if one(tx, account_id, name).status not in {NameStatus.DRAFT, NameStatus.REJECTED}:
                raise ConflictError(f"{name} is already with the operator or approved; it needs no change.")
            if new_name is None or new_name == name:
                return self._send(tx, account_id, name, documents)
            if tx.one(_ONE, (account_id, new_name)) is not None:
                raise ConflictError(f"{new_name} was requested before; change that request instead.")
            tx.run(_DELETE, (account_id, name))
            tx.run(_MOVE_DOCUMENTS, (new_name, account_id, name))
            return self._send(tx, account_id, new_name, documents)

        return await self._caches.write(change)

    async def get(self, account_id: str, name: str) -> SenderName:
        """The request, or NotFoundError."""
        return await self._caches.store.read(lambda tx: one(tx, account_id, name))

    async def list(self, account_id: str) -> "list[SenderName]":
        """All of an account's, by name."""
        return await self._caches.store.read(
            lambda tx: [_sender_name(tx, row) for row in tx.rows(_LIST, (account_id,))]
        )

    async def delete(self, account_id: str, name: str) -> None:
        """Takes the name and its documents away; messages under way keep it."""

        def change(tx: Tx) -> None:
            one(tx, account_id, name)
            tx.run(_DELETE, (account_id, name))
            tx.run(_DELETE_DOCUMENTS, (account_id, name))

        await self._caches.write(change)

    # --- the operator's --------------------------------------------------------------------------------

    async def pending(self, limit: int = 100) -> Sequence[SenderName]:
        """What waits for a decision, the oldest first, of all accounts."""
        return await self._caches.store.read(
            lambda tx: [_sender_name(tx, row) for row in tx.rows(_PENDING, (limit,))]
        )

    async def document(self, account_id: str, name: str, kind: DocumentKind) -> Document:
        """One document with its data, or NotFoundError."""
        row = await self._caches.store.read(lambda tx: tx.one(_DOCUMENT, (account_id, name, kind.value)))
        if row is None:
            raise NotFoundError("There is no such document.")
        return Document(kind=DocumentKind(row[0]), filename=row[1], content_type=row[2], data=bytes(row[3]))

    async def approve(self, account_id: str, name: str) -> SenderName:
        """The name may be used from now on. The operator may add one that was never requested."""

        def change(tx: Tx) -> SenderName:
            open_account(tx, account_id)
            if tx.one(_ONE, (account_id, name)) is None:
                self._check_form(name)
                self._check_room(tx, account_id)
            return self._decide(tx, account_id, name, NameStatus.APPROVED, None)

        return await self._caches.write(change)

    async def reject(self, account_id: str, name: str, note: str) -> SenderName:
        """The name may not be used; `note` tells the client what to change (R24)."""
        note = plain_text("note", note, _NOTE_MAX)

        def change(tx: Tx) -> SenderName:
            one(tx, account_id, name)
            return self._decide(tx, account_id, name, NameStatus.REJECTED, note)

        return await self._caches.write(change)

    # --- inside a transaction --------------------------------------------------------------------------

    def _decide(self, tx: Tx, account_id: str, name: str, status: NameStatus, note: str | None) -> SenderName:
        now_ms = self._clock.now_ms()
        tx.run(_PUT, (account_id, name, status.value, note, now_ms, now_ms))
        detail = {"name": name, "status": status.value} | ({"note": note} if note else {})
        of_account(tx, account_id, DECIDED, now_ms, detail)
        return one(tx, account_id, name)

    def _send(self, tx: Tx, account_id: str, name: str, documents: Sequence[Document]) -> SenderName:
        now_ms = self._clock.now_ms()
        rows = [
            (account_id, name, item.kind.value, item.filename.strip(), item.content_type, item.data, now_ms)
            for item in documents
        ]
        tx.run_many(_PUT_DOCUMENT, rows)
        complete = len(tx.rows(_KINDS, (account_id, name))) == len(DocumentKind)
        status = NameStatus.PENDING if complete else NameStatus.DRAFT
        tx.run(_PUT, (account_id, name, status.value, None, now_ms, None))
        return one(tx, account_id, name)

    def _check_form(self, name: str) -> None:
        verdict = policy.check_form(name, self._rules.max_length)  # R22
        if isinstance(verdict, Refuse):
            raise InvalidError("name", f"{verdict.text}; {verdict.advice}")

    def _check_room(self, tx: Tx, account_id: str) -> None:
        row = tx.one(_COUNT, (account_id,))
        if row is not None and row[0] >= NAMES_MAX:
            raise LimitError(f"The account has {NAMES_MAX} SenderNames; delete some that are not used.")


def one(tx: Tx, account_id: str, name: str) -> SenderName:
    """The request, or NotFoundError; inside a transaction."""
    row = tx.one(_ONE, (account_id, name))
    if row is None:
        raise NotFoundError("There is no such SenderName; request it first.")
    return _sender_name(tx, row)


def _sender_name(tx: Tx, row: tuple[Any, ...]) -> SenderName:
    account_id, name, status, note, created_ms, decided_ms = row
    return SenderName(
        account_id=account_id,
        name=name,
        status=NameStatus(status),
        note=note,
        created_ms=created_ms,
        decided_ms=decided_ms,
        documents=tuple(DocumentKind(kind) for (kind,) in tx.rows(_KINDS, (account_id, name))),
    )


def _load_approved(tx: Tx, account_id: str) -> frozenset[str]:
    return frozenset(name for (name,) in tx.rows(_APPROVED, (account_id,)))


def _check_documents(documents: Sequence[Document]) -> None:
    if len({item.kind for item in documents}) != len(documents):
        raise InvalidError("documents", "each kind may be sent once")
    for item in documents:
        where = f"documents.{item.kind.value}"
        filename = plain_text(f"{where}.filename", item.filename, _FILENAME_MAX)
        if "/" in filename or "\\" in filename:
            raise InvalidError(f"{where}.filename", "must be a name without folders")
        magic = _MAGIC.get(item.content_type)
        if magic is None:
            raise InvalidError(f"{where}.content_type", f"must be one of {', '.join(_MAGIC)}")
        if len(item.data) > DOCUMENT_MAX_OCTETS:
            raise InvalidError(f"{where}.data", f"must have at most {DOCUMENT_MAX_OCTETS} octets")
        if not item.data.startswith(magic):
            raise InvalidError(f"{where}.data", f"is not {item.content_type}")
