"""The account over HTTP."""

from pathlib import Path

from tests.http.world import world


async def test_the_account_is_shown_without_its_secrets(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        body = (await api.client.get("/v1/account")).json()
        assert (body["id"], body["name"], body["status"]) == (api.account_id, "Ada", "active")
        assert (body["key"]["scopes"], body["rate_per_s"]) == (["*"], 1000.0)
        assert api.key.rpartition("_")[2] not in str(body)
