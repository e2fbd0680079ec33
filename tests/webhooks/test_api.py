"""Webhooks over HTTP."""

from pathlib import Path

from gateway.verticals import EVENT_KINDS, SCOPES
from tests.http.world import SMS, make_settings, pages, world


async def test_a_webhook_is_made_changed_told_and_taken_away(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        body = {"url": "https://example.org/hooks", "events": ["message.delivered"]}
        made = await api.client.post("/v1/webhooks", json=body)
        assert made.status_code == 201
        hook = made.json()
        path = f"/v1/webhooks/{hook['id']}"
        assert hook["secret"].startswith("whsec_")
        assert made.headers["location"] == path
        shown = (await api.client.get(path)).json()
        assert "secret" not in shown
        assert (shown["url"], shown["events"], shown["status"]) == (*body.values(), "active")

        sent = (await api.client.post("/v1/sms", json=SMS)).json()["id"]
        await api.settled(sent)
        deliveries = (await api.client.get(f"{path}/deliveries")).json()["items"]
        assert [(one["status"], one["body"]["type"]) for one in deliveries] == [
            ("waiting", "message.delivered")
        ]
        tested = await api.client.post(f"{path}/test")
        assert tested.status_code == 202
        assert (await pages(api, f"{path}/deliveries", "limit=1"))[0] == [tested.json()["delivery_id"]]
        replayed = await api.client.post(f"{path}/replay", json={"delivery_id": deliveries[0]["id"]})
        assert (replayed.status_code, replayed.json()) == (202, {"replayed": 1})
        since = await api.client.post(f"{path}/replay", json={"since": "2026-01-01T00:00:00Z"})
        assert (since.status_code, since.json()) == (202, {"replayed": 0})

        renewed = (await api.client.post(f"{path}/secret")).json()
        assert renewed["secret"] != hook["secret"]
        changed = await api.client.patch(path, json={"status": "disabled", "events": ["*"]})
        assert (changed.json()["status"], changed.json()["events"]) == ("disabled", ["*"])
        assert (await api.client.post(f"{path}/test")).status_code == 409
        assert (await api.client.get("/v1/webhooks")).json()["items"] == [changed.json()]
        assert (await api.client.delete(path)).status_code == 204
        assert (await api.client.get(path)).status_code == 404


async def test_a_key_subscribes_to_no_more_than_it_may_read(tmp_path: Path) -> None:
    url = "https://example.org/hooks"
    async with world(tmp_path) as api:
        made = await api.client.post("/v1/webhooks", json={"url": url, "events": ["message.failed"]})
        theirs = f"/v1/webhooks/{made.json()['id']}"
        key = await api.make_key("webhooks:write", "webhooks:read", "credits:read")
        async with api.client_with(key) as client:
            for body, missing in (
                ({"url": url}, "domains:read, messages:read, sendernames:read"),
                ({"url": url, "events": ["credits.low", "message.delivered"]}, "messages:read"),
                ({"url": url, "events": ["domain.verified"]}, "domains:read"),
            ):
                answer = await client.post("/v1/webhooks", json=body)
                assert (answer.status_code, answer.json()["reason"]) == (403, "scope_missing")
                assert f"needs {missing}, which" in answer.json()["detail"]
            own = await client.post("/v1/webhooks", json={"url": url, "events": ["credits.low"]})
            assert own.status_code == 201
            ours = f"/v1/webhooks/{own.json()['id']}"
            for path, change, status in (
                (ours, {"events": ["*"]}, 403),
                (ours, {"events": ["credits.recharge"]}, 200),
                (ours, {"url": "https://example.net/"}, 200),
                (theirs, {"url": "https://example.net/"}, 403),  # what it tells would go elsewhere
                (theirs, {"url": "https://example.net/", "events": ["credits.low"]}, 200),
                (ours, {"status": "disabled"}, 200),
            ):
                assert (await client.patch(path, json=change)).status_code == status, (path, change)
            unknown = await client.post("/v1/webhooks", json={"url": url, "events": ["nonsense"]})
            assert unknown.status_code == 422
        all_of_them = await api.make_key(
            "webhooks:write", "credits:read", "messages:read", "domains:read", "sendernames:read"
        )
        async with api.client_with(all_of_them) as client:
            assert (await client.post("/v1/webhooks", json={"url": url})).status_code == 201


def test_every_event_names_what_may_be_read() -> None:
    assert EVENT_KINDS
    for kind, scope in EVENT_KINDS.items():
        assert kind.count(".") == 1
        assert scope in SCOPES


async def test_webhooks_to_private_targets_and_bad_requests_are_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        for body, pointer in (
            ({"url": "http://127.0.0.1/x"}, "/url"),
            ({"url": "https://169.254.169.254/latest"}, "/url"),
            ({"url": "https://[::1]/"}, "/url"),
            ({"url": "ftp://example.org/"}, "/url"),
            ({"url": "https://example.org/", "events": ["nonsense"]}, "/events"),
            ({"url": "https://example.org/", "events": []}, "/events"),
            ({"url": 7}, "/url"),
        ):
            answer = await api.client.post("/v1/webhooks", json=body)
            assert answer.status_code == 422, body
            assert answer.json()["errors"][0]["pointer"] == pointer
        hook = (await api.client.post("/v1/webhooks", json={"url": "https://example.org/"})).json()["id"]
        for change in ({}, {"delivery_id": "x", "since": "2026-01-01T00:00:00Z"}):
            answer = await api.client.post(f"/v1/webhooks/{hook}/replay", json=change)
            assert answer.status_code == 422
        answer = await api.client.post(f"/v1/webhooks/{hook}/replay", json={"delivery_id": "x"})
        assert answer.status_code == 404


async def test_the_number_of_webhooks_is_limited(tmp_path: Path) -> None:
    async with world(tmp_path, settings=make_settings(webhooks={"max_per_account": 1})) as api:
        body = {"url": "https://example.org/"}
        assert (await api.client.post("/v1/webhooks", json=body)).status_code == 201
        answer = await api.client.post("/v1/webhooks", json=body)
        assert (answer.status_code, answer.json()["reason"]) == (403, "limit_reached")
