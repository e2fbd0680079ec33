"""What needs no key: health, readiness, and what has changed."""

from pathlib import Path

from tests.http.world import world


async def test_health_readiness_and_changes_need_no_key(tmp_path: Path) -> None:  # R30
    async with world(tmp_path) as api, api.client_with(None) as anyone:
        assert (await anyone.get("/healthz")).json() == {"status": "ok"}
        ready = await anyone.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "checks": {"store": True}})
        api.readiness.states["smtp"] = False
        unready = await anyone.get("/readyz")
        assert unready.status_code == 503
        assert unready.json() == {"ready": False, "checks": {"store": True, "smtp": False}}
        changes = (await anyone.get("/v1/changelog")).json()["items"]
        assert changes == sorted(changes, key=lambda one: one["date"], reverse=True)
        assert changes
