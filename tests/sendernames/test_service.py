"""SenderNames: form (R22), documents (R23), a free second try (R24), and the look-up for the hot path."""

import asyncio
from pathlib import Path

import pytest

from gateway.errors import ConflictError, InvalidError, LimitError, NotFoundError
from gateway.sendernames import service as service_module
from gateway.sendernames.service import Document, DocumentKind, NameStatus
from tests.support.services import CountingStore, services

REGISTER = Document(
    kind=DocumentKind.COMPANY_REGISTRATION,
    filename="register.pdf",
    content_type="application/pdf",
    data=b"%PDF-1.7 register",
)
PASSPORT = Document(
    kind=DocumentKind.IDENTITY,
    filename="passport.jpg",
    content_type="image/jpeg",
    data=b"\xff\xd8\xff\xe0 passport",
)
BOTH = (REGISTER, PASSPORT)


def document(**changes: object) -> Document:
    """The passport, changed."""
    fields = {"kind": DocumentKind.IDENTITY, "filename": "a.pdf", "content_type": "application/pdf"}
    return Document(**({**fields, "data": b"%PDF-"} | changes))  # type: ignore[arg-type]  # odd on purpose


async def test_a_request_with_both_documents_is_pending(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        asked = await rig.sendernames.request(account.id, "AdaShop", BOTH)
        assert (asked.status, asked.documents) == (
            NameStatus.PENDING,
            (DocumentKind.COMPANY_REGISTRATION, DocumentKind.IDENTITY),
        )
        assert await rig.sendernames.approved(account.id) == frozenset()
        assert [one.name for one in await rig.sendernames.pending()] == ["AdaShop"]
        assert await rig.sendernames.document(account.id, "AdaShop", DocumentKind.IDENTITY) == PASSPORT


async def test_a_request_that_lacks_a_document_is_a_draft_until_it_comes(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        draft = await rig.sendernames.request(account.id, "AdaShop", [REGISTER])
        assert draft.status is NameStatus.DRAFT
        assert await rig.sendernames.pending() == []
        complete = await rig.sendernames.resend(account.id, "AdaShop", documents=[PASSPORT])
        assert complete.status is NameStatus.PENDING


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Ada Shop",
        "ElevenChars",
        'Ada"',
        "Ada'",
        "Ada-Shop",
        "Zürich",
        "Ada\n",
        "Ada\x00",
        "12345678901234567",
    ],
)
async def test_a_name_of_the_wrong_form_is_refused(tmp_path: Path, name: str) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        with pytest.raises(InvalidError) as caught:
            await rig.sendernames.request(account.id, name, BOTH)
        assert caught.value.field == "name"
        with pytest.raises(InvalidError):
            await rig.sendernames.approve(account.id, name)
        assert await rig.sendernames.list(account.id) == []


async def test_a_number_is_the_other_allowed_form(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.sendernames.approve(account.id, "+41791234567")
        assert await rig.sendernames.approved(account.id) == {"+41791234567"}


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (document(data=b"MZ\x90 not a PDF"), "documents.identity.data"),
        (document(data=b""), "documents.identity.data"),
        (document(data=b"%PDF-" + bytes(service_module.DOCUMENT_MAX_OCTETS)), "documents.identity.data"),
        (document(content_type="text/html"), "documents.identity.content_type"),
        (document(content_type="image/png"), "documents.identity.data"),
        (document(filename="../etc/passwd"), "documents.identity.filename"),
        (document(filename="a\r\nb.pdf"), "documents.identity.filename"),
        (document(filename=""), "documents.identity.filename"),
    ],
)
async def test_a_document_must_be_what_it_says(tmp_path: Path, bad: Document, field: str) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        with pytest.raises(InvalidError) as caught:
            await rig.sendernames.request(account.id, "AdaShop", [REGISTER, bad])
        assert caught.value.field == field
        with pytest.raises(InvalidError, match="once"):
            await rig.sendernames.request(account.id, "AdaShop", [PASSPORT, PASSPORT])


async def test_an_approved_name_is_used_and_kept(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.sendernames.request(account.id, "AdaShop", BOTH)
        rig.clock.advance(60)
        approved = await rig.sendernames.approve(account.id, "AdaShop")
        assert (approved.status, approved.decided_ms) == (NameStatus.APPROVED, rig.clock.now_ms())
        assert approved.created_ms == rig.clock.started_ms
        assert await rig.sendernames.approved(account.id) == {"AdaShop"}
        with pytest.raises(ConflictError):
            await rig.sendernames.resend(account.id, "AdaShop", documents=BOTH)
        assert await rig.events(account.id) == [
            ("sendername.decided", '{"name":"AdaShop","status":"approved"}')
        ]


async def test_a_rejected_request_is_changed_and_sent_again(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.sendernames.request(account.id, "AdaShop", BOTH)
        rejected = await rig.sendernames.reject(account.id, "AdaShop", "the register is from 1999")
        assert (rejected.status, rejected.note) == (NameStatus.REJECTED, "the register is from 1999")
        again = await rig.sendernames.resend(account.id, "AdaShop", new_name="AdaStore")
        assert (again.name, again.status, again.note) == ("AdaStore", NameStatus.PENDING, None)
        with pytest.raises(NotFoundError):
            await rig.sendernames.get(account.id, "AdaShop")
        assert (await rig.events(account.id))[0][1] == (
            '{"name":"AdaShop","status":"rejected","note":"the register is from 1999"}'
        )


async def test_a_changed_name_must_be_free_and_well_formed(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.sendernames.request(account.id, "AdaShop", [REGISTER])
        await rig.sendernames.approve(account.id, "AdaStore")
        with pytest.raises(ConflictError):
            await rig.sendernames.resend(account.id, "AdaShop", new_name="AdaStore")
        with pytest.raises(InvalidError):
            await rig.sendernames.resend(account.id, "AdaShop", new_name="Ada Store")
        assert (await rig.sendernames.get(account.id, "AdaShop")).documents == (
            DocumentKind.COMPANY_REGISTRATION,
        )


async def test_a_name_is_requested_once(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.sendernames.request(account.id, "AdaShop", BOTH)
        with pytest.raises(ConflictError):
            await rig.sendernames.request(account.id, "AdaShop", BOTH)
        with pytest.raises(ConflictError, match="already with the operator"):
            await rig.sendernames.resend(account.id, "AdaShop")


async def test_the_number_of_names_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "NAMES_MAX", 1)
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.sendernames.request(account.id, "AdaShop")
        with pytest.raises(LimitError):
            await rig.sendernames.request(account.id, "AdaStore")


async def test_a_deleted_name_is_gone_with_its_documents(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.sendernames.request(account.id, "AdaShop", BOTH)
        await rig.sendernames.approve(account.id, "AdaShop")
        await rig.sendernames.delete(account.id, "AdaShop")
        assert await rig.sendernames.approved(account.id) == frozenset()
        with pytest.raises(NotFoundError):
            await rig.sendernames.document(account.id, "AdaShop", DocumentKind.IDENTITY)


async def test_another_accounts_name_is_not_found(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        ada, bob = await rig.account("Ada"), await rig.account("Bob")
        await rig.sendernames.request(ada.id, "AdaShop", BOTH)
        await rig.sendernames.approve(ada.id, "AdaShop")
        assert await rig.sendernames.approved(bob.id, wanted="AdaShop") == frozenset()
        for attempt in (rig.sendernames.get, rig.sendernames.delete, rig.sendernames.resend):
            with pytest.raises(NotFoundError):
                await attempt(bob.id, "AdaShop")
        with pytest.raises(NotFoundError):
            await rig.sendernames.reject(bob.id, "AdaShop", "no")
        assert (await rig.sendernames.request(bob.id, "AdaShop", BOTH)).status is NameStatus.PENDING


async def test_the_approved_names_are_known_without_a_read(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.sendernames.approve(account.id, "AdaShop")
        assert rig.sendernames.peek_approved(account.id) is None
        await rig.sendernames.approved(account.id)
        spy = CountingStore(rig.store)
        assert rig.sendernames.peek_approved(account.id) == frozenset({"AdaShop"})
        assert await rig.sendernames.approved(account.id, wanted="AdaShop") == {"AdaShop"}
        assert spy.reads == 0


async def test_an_account_without_names_is_held_too(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.sendernames.approved(account.id)
        assert rig.sendernames.peek_approved(account.id) == frozenset()


async def test_a_name_approved_by_another_process_works_at_once(tmp_path: Path) -> None:
    async with services(tmp_path) as daemon, services(tmp_path) as command:
        account = await command.account()
        assert await daemon.sendernames.approved(account.id) == frozenset()
        await command.sendernames.approve(account.id, "AdaShop")
        assert await daemon.sendernames.approved(account.id, wanted="AdaShop") == {"AdaShop"}


async def test_a_flood_of_unapproved_names_asks_one_question_at_a_time(tmp_path: Path) -> None:
    async with services(tmp_path) as rig:
        account = await rig.account()
        await rig.sendernames.approved(account.id)
        await rig.caches.fresh()
        spy = CountingStore(rig.store)
        asked = [rig.sendernames.approved(account.id, wanted=f"Name{n}") for n in range(500)]
        await asyncio.gather(*asked)
        assert spy.reads <= 3
