"""Every route of the API, as its OpenAPI document has it: who may not, gets nothing and learns nothing."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.accounts.credentials import Credentials
from gateway.http.describe import openapi
from gateway.http.describe.catalogue import about
from gateway.sendernames.service import SenderNames
from gateway.verticals import OPERATIONS, SCOPES
from tests.http.world import DOMAIN, MAIL, SMS, World, make_settings, world
from tests.upstreams.test_sandbox_api import CapturingMail

DESCRIBED = about(OPERATIONS)
DOCUMENT: dict[str, Any] = openapi.document(DESCRIBED, server="/")
LIMITS = make_settings(http={"rate_per_s": 0}, limits={"auth_free_failures": 1_000_000})
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOT_AN_ID = {"/v1/credits/recharge/{product}"}  # a product is a word that everybody knows
_PARAMETER = re.compile(r"\{(\w+)\}")
_SCOPE = re.compile(r"Scope: `([a-z:]+)`\.")


@dataclass(frozen=True, slots=True)
class Route:
    """One described operation."""

    method: str
    path: str
    described: dict[str, Any]

    @property
    def body(self) -> Any:
        """A request that is right, from the description's own examples."""
        content = self.described.get("requestBody", {}).get("content", {}).get("application/json", {})
        examples = [example["value"] for example in content.get("examples", {}).values()]
        return examples[0] if examples else None

    @property
    def scope(self) -> str:
        """The scope that is described; "" for any key."""
        found = _SCOPE.search(self.described.get("description", ""))
        return found[1] if found else ""


def routes() -> Iterator[Route]:
    """What the document describes."""
    for path, item in DOCUMENT["paths"].items():
        for method, described in item.items():
            if method.upper() in METHODS:
                yield Route(method.upper(), path, described)


ROUTES = list(routes())
KEYED = [route for route in ROUTES if route.described.get("security") != []]
BY_ID = sorted({route.path for route in ROUTES if "{" in route.path} - NOT_AN_ID)
NOTHING_THERE = {"id": "00000000000000000000000000", "name": "nothing-there.example"}


@asynccontextmanager
async def furnished(folder: Path) -> AsyncIterator[tuple[World, dict[str, str]]]:
    """An API on which the first account has one of everything; the id of each by its path's first words."""
    capture = CapturingMail()
    async with world(folder, settings=LIMITS, upstreams=[capture]) as api:
        scheduled = await api.client.post("/v1/sms", json={**SMS, "send_at": _tomorrow(api)})
        assert scheduled.status_code == 202, scheduled.text
        await api.ground[SenderNames].approve(api.account_id, "ONLYADA")
        hook = await api.client.post("/v1/webhooks", json={"url": "https://example.org/hooks"})
        capture.keep(api.account_id, 7)
        yield (
            api,
            {
                "/v1/messages": scheduled.json()["id"],
                "/v1/domains": DOMAIN,
                "/v1/sendernames": "ONLYADA",
                "/v1/webhooks": hook.json()["id"],
                "/v1/sandbox/mail": f"{7:026d}",
            },
        )


def _tomorrow(api: World) -> str:
    now = datetime.fromtimestamp(api.ground.clock.now_ms() / 1000, UTC)
    return (now + timedelta(days=1)).isoformat()


def real(path: str, ids: dict[str, str]) -> tuple[str, str]:
    """The path with the first account's id in it, and that id."""
    prefix = path.partition("/{")[0]
    found = ids[prefix]  # a new kind of id: make one in `furnished`
    return _PARAMETER.sub(found, path), found


def missing(path: str) -> tuple[str, str]:
    """The path with an id that nobody has."""
    prefix = path.partition("/{")[0]
    (parameter,) = _PARAMETER.findall(path)
    nobody = "NOTTHERE" if prefix == "/v1/sendernames" else NOTHING_THERE[parameter]
    return _PARAMETER.sub(nobody, path), nobody


def test_the_document_is_what_is_served_and_has_ids() -> None:
    assert {(route.method, route.path) for route in ROUTES} == {(one.method, one.path) for one in DESCRIBED}
    assert len(BY_ID) >= 10
    assert len(KEYED) >= 35


async def test_another_accounts_ids_are_as_unknown_as_ids_that_nobody_has(tmp_path: Path) -> None:
    async with furnished(tmp_path) as (api, ids), api.client_with(api.other_key) as other:
        for path in BY_ID:
            bodies = {route.method: route.body for route in ROUTES if route.path == path}
            for method in METHODS:
                (of_ada, ada_id), (of_nobody, nobody) = real(path, ids), missing(path)
                theirs = await other.request(method, of_ada, json=bodies.get(method))
                none = await other.request(method, of_nobody, json=bodies.get(method))
                told = (method, path, theirs.status_code, theirs.text)
                assert theirs.status_code == (404 if method in bodies else 405), told
                assert theirs.status_code == none.status_code, told
                assert theirs.text.replace(ada_id, "ID") == none.text.replace(nobody, "ID"), told
        # And nothing of it had any effect.
        assert (await api.client.get(f"/v1/messages/{ids['/v1/messages']}")).json()["status"] == "scheduled"
        for prefix in ("/v1/domains", "/v1/sendernames", "/v1/webhooks", "/v1/sandbox/mail"):
            assert (await api.client.get(f"{prefix}/{ids[prefix]}")).status_code == 200, prefix


async def test_no_list_shows_anything_of_another_account(tmp_path: Path) -> None:  # A7
    async with furnished(tmp_path) as (api, ids), api.client_with(api.other_key) as other:
        assert (await api.client.post("/v1/mail", json=MAIL)).status_code == 202
        assert (await api.client.post("/v1/sms", json=SMS)).status_code == 202
        names = [*ids.values(), api.account_id, "ada", "Ada"]
        for route in KEYED:
            if route.method != "GET" or "{" in route.path:
                continue
            answer = await other.get(route.path)
            assert answer.status_code == 200, (route.path, answer.text)
            assert not [name for name in names if name in answer.text], route.path
            first = await api.client.get(route.path, params={"limit": 1} if _is_list(route) else None)
            cursor = first.json().get("next") if _is_list(route) else None
            if cursor:
                stolen = await other.get(route.path, params={"cursor": cursor})
                assert stolen.status_code == 400, (route.path, stolen.text)


def _is_list(route: Route) -> bool:
    return any(one["name"] == "cursor" for one in route.described.get("parameters", ()))


@pytest.mark.parametrize(
    "key", [None, "gw_", "gw_0123456789ab_" + "0" * 32, "nonsense", "Basic Z3c6", "\xff", "x" * 5000]
)
async def test_without_a_good_key_every_route_is_401(tmp_path: Path, key: str | None) -> None:
    async with furnished(tmp_path) as (api, ids), api.client_with(None) as nobody:
        before = [await api.balance(product) for product in ("mail", "sms")]
        headers: dict[bytes, bytes] = (
            {} if key is None else {b"Authorization": f"Bearer {key}".encode("latin-1")}
        )
        for route in KEYED:
            path = real(route.path, ids)[0] if route.path in BY_ID else route.path
            answer = await nobody.request(route.method, path, json=route.body, headers=headers)
            assert answer.status_code == 401, (route, answer.text)
            assert answer.json()["reason"] == "unauthorized"
            assert "www-authenticate" in answer.headers
        assert before == [await api.balance(product) for product in ("mail", "sms")]


async def test_every_route_asks_for_its_scope_before_anything_else(tmp_path: Path) -> None:
    async with furnished(tmp_path) as (api, ids):
        before = [await api.balance(product) for product in ("mail", "sms")]
        for route in KEYED:
            if not route.scope:
                continue
            others = await api.make_key(*(SCOPES - {route.scope}))
            path = real(route.path, ids)[0] if route.path in BY_ID else route.path
            async with api.client_with(others) as client:
                bodies: tuple[Any, ...] = (route.body, {}, None)
                for body in bodies:
                    answer = await client.request(route.method, path, json=body)
                    assert answer.status_code == 403, (route, answer.text)
                    assert answer.json()["reason"] == "scope_missing"
            async with api.client_with(await api.make_key(route.scope)) as client:
                nowhere = missing(route.path)[0] if route.path in BY_ID else route.path
                answer = await client.request(route.method, nowhere)
                assert b"scope_missing" not in answer.content, route
        assert before == [await api.balance(product) for product in ("mail", "sms")]


def test_routes_that_take_any_key_are_these_alone() -> None:
    # The batch asks for the scope of each of its items; the account shows what the key itself may do.
    anyone = {route.path for route in KEYED if not route.scope}
    assert anyone == {"/v1/batch", "/v1/account"}
    public = {route.path for route in ROUTES if route.described.get("security") == []}
    assert public == {"/v1/changelog", "/healthz", "/readyz"}
    for operation in DESCRIBED:
        same = [one for one in KEYED if (one.method, one.path) == (operation.method, operation.path)]
        assert [one.scope for one in same] in ([operation.scope], [])


async def test_a_batch_asks_for_the_scope_of_each_item(tmp_path: Path) -> None:
    async with world(tmp_path) as api, api.client_with(await api.make_key("sms:send")) as client:
        items = [{"type": "mail", **MAIL}, {"type": "sms", **SMS}]
        answer = await client.post("/v1/batch", json={"items": items})
        mail, sms = answer.json()["items"]
        assert mail["problem"]["reason"] == "scope_missing"
        assert sms["accepted"] is True
        assert await api.balance("mail") == 100


async def test_a_revoked_key_opens_nothing_from_the_next_request_on(tmp_path: Path) -> None:
    async with world(tmp_path, settings=LIMITS) as api:
        found = await api.ground[Credentials].list(api.account_id)
        assert (await api.client.get("/v1/account")).status_code == 200
        await api.ground[Credentials].revoke(api.account_id, found[0].id)
        for route in KEYED:
            answer = await api.client.request(route.method, _PARAMETER.sub("x", route.path), json=route.body)
            assert answer.status_code == 401, route
