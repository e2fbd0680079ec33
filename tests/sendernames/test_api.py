"""SenderNames over HTTP."""

import base64
from pathlib import Path

from gateway.sendernames.service import SenderNames
from tests.http.world import SMS, world

PDF = base64.b64encode(b"%PDF-1.7\n").decode()
DOCUMENTS = [
    {"kind": kind, "filename": f"{kind}.pdf", "content_type": "application/pdf", "content": PDF}
    for kind in ("company_registration", "identity")
]


async def test_a_sendername_from_draft_to_sending(tmp_path: Path) -> None:  # R23
    async with world(tmp_path) as api:
        names, account = api.ground[SenderNames], api.account_id
        answer = await api.client.post("/v1/sendernames", json={"name": "SHOP"})
        assert (answer.status_code, answer.json()["status"]) == (201, "draft")
        answer = await api.client.post("/v1/sendernames/SHOP/resend", json={"documents": DOCUMENTS})
        assert answer.json()["status"] == "pending"
        assert sorted(answer.json()["documents"]) == ["company_registration", "identity"]
        sms = {**SMS, "from": "STORE"}
        assert (await api.client.post("/v1/sms", json=sms)).status_code == 422
        await names.reject(account, "SHOP", "too general")
        assert (await api.client.get("/v1/sendernames/SHOP")).json()["note"] == "too general"
        answer = await api.client.post("/v1/sendernames/SHOP/resend", json={"name": "STORE"})
        assert (answer.json()["name"], answer.json()["status"]) == ("STORE", "pending")
        await names.approve(account, "STORE")
        assert (await api.client.post("/v1/sms", json=sms)).status_code == 202
        listed = (await api.client.get("/v1/sendernames")).json()
        assert [one["name"] for one in listed["items"]] == ["ACME", "STORE"]
        assert (await api.client.delete("/v1/sendernames/STORE")).status_code == 204
        assert (await api.client.delete("/v1/sendernames/STORE")).status_code == 404
        assert (await api.client.post("/v1/sms", json=sms)).status_code == 422


async def test_a_number_is_requested_and_found_by_its_address(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        answer = await api.client.post(
            "/v1/sendernames", json={"name": "+41791234567", "documents": DOCUMENTS}
        )
        assert answer.status_code == 201, answer.text
        assert (await api.client.get(answer.headers["location"])).json()["name"] == "+41791234567"


async def test_bad_sendername_requests_name_the_field(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for change, pointer in (
            ({"name": "AC ME"}, "/name"),
            ({"name": "ABCDEFGHIJK"}, "/name"),
            ({"name": "é"}, "/name"),
            ({"documents": [{**DOCUMENTS[0], "kind": "selfie"}]}, "/documents/0/kind"),
            ({"documents": [{**DOCUMENTS[0], "content": "!"}]}, "/documents/0/content"),
            ({"documents": [{**DOCUMENTS[0], "content": "AAAA"}]}, "/documents/company_registration/data"),
            (
                {"documents": [{**DOCUMENTS[0], "filename": "../x"}]},
                "/documents/company_registration/filename",
            ),
            ({"documents": [DOCUMENTS[0], DOCUMENTS[0]]}, "/documents"),
        ):
            answer = await api.client.post("/v1/sendernames", json={"name": "SHOP", **change})
            assert answer.status_code == 422, change
            assert answer.json()["errors"][0]["pointer"] == pointer
        answer = await api.client.post("/v1/sendernames", json={"name": "ACME"})
        assert answer.status_code == 409
