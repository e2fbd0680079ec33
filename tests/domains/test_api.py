"""Sender domains over HTTP."""

from pathlib import Path
from urllib.parse import quote

from tests.http.world import DOMAIN, MAIL, pages, world


async def test_a_domain_from_adding_to_sending(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        answer = await api.client.post("/v1/domains", json={"name": "Bücher.example"})
        assert answer.status_code == 201
        name = "xn--bcher-kva.example"
        domain = answer.json()
        assert (domain["name"], domain["status"]) == (name, "pending")
        assert answer.headers["location"] == f"/v1/domains/{name}"
        mail = {**MAIL, "from": f"a@{name}"}
        assert (await api.client.post("/v1/mail", json=mail)).status_code == 403

        records = [one for one in domain["records"] if one["purpose"] == "dkim"]
        assert {key["state"] for key in domain["keys"]} == {"new"}
        looked = (await api.client.post(f"/v1/domains/{name}/verify")).json()
        assert (looked["domain"]["status"], looked["items"][0]["state"]) == ("pending", "missing")
        for record in records:
            api.dns.texts[record["name"]] = [record["value"]]
        looked = (await api.client.post(f"/v1/domains/{name}/verify")).json()
        assert looked["domain"]["status"] == "verified"
        assert (await api.client.post("/v1/mail", json=mail)).status_code == 202

        checked = (await api.client.get(f"/v1/domains/{name}/check")).json()
        states = {row["what"]: row["state"] for row in checked["items"]}
        assert states["DMARC"] == "missing"
        assert [state for what, state in states.items() if what.startswith("DKIM")] == ["ok"] * len(records)

        rotated = (await api.client.post(f"/v1/domains/{name}/rotate")).json()
        assert len(rotated["keys"]) == 2 * len(records)
        shown = (await api.client.get(f"/v1/domains/{quote('bücher.example')}")).json()
        assert shown == rotated
        assert "PRIVATE" not in str(shown)
        assert await pages(api, "/v1/domains", "limit=1") == [[DOMAIN], [name]]

        assert (await api.client.delete(f"/v1/domains/{name}")).status_code == 204
        assert (await api.client.get(f"/v1/domains/{name}")).status_code == 404
        assert (await api.client.post("/v1/mail", json=mail)).status_code == 403


async def test_domains_that_are_none_are_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for name in ("", "localhost", "a b.example", "[192.0.2.1]", "a..example", "x" * 256, "a\0.example"):
            answer = await api.client.post("/v1/domains", json={"name": name})
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/name"), name
        answer = await api.client.post("/v1/domains", json={"name": DOMAIN})
        assert (answer.status_code, answer.json()["reason"]) == (409, "conflict")
