"""The description of the API: true to what is served, complete, and safe to look at."""

import base64
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from gateway.accounts.credentials import ALL_SCOPES
from gateway.cli.demo import account as demo
from gateway.http.describe import openapi
from gateway.http.describe.catalogue import about
from gateway.http.gate.operation import ANY_KEY, PUBLIC, Operation
from gateway.messages.api import examples as examples_of
from gateway.messages.api.submit import BatchRequest
from gateway.verticals import KINDS, OPERATIONS, SCOPES
from tests.http.world import world

DESCRIBED = about(OPERATIONS)
DOCUMENT = openapi.document(DESCRIBED, server="/")
NAMES = [operation.id for operation in DESCRIBED]


@pytest.fixture(params=DESCRIBED, ids=NAMES)
def operation(request: pytest.FixtureRequest) -> Operation:
    """Each operation in turn."""
    one: Operation = request.param
    return one


def test_the_document_is_openapi_3_1_with_every_operation_once() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    described = [one for place in DOCUMENT["paths"].values() for one in place.values()]
    assert sorted(one["operationId"] for one in described) == sorted(set(NAMES))


def test_every_operation_has_examples_that_its_types_take(operation: Operation) -> None:
    if operation.body is not None:
        assert operation.body_examples
        for example in operation.body_examples.values():
            msgspec.json.decode(msgspec.json.encode(example), type=operation.body)
    if operation.answer is not None:
        decoded: object = msgspec.json.decode(
            msgspec.json.encode(operation.answer_example), type=operation.answer
        )
        assert isinstance(decoded, operation.answer)


def test_every_example_fits_its_schema(operation: Operation) -> None:
    described = DOCUMENT["paths"][operation.path][operation.method.lower()]
    for schema, example in examples(described):
        whole = {**schema, "components": DOCUMENT["components"]}
        jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(example)


def examples(described: dict[str, Any]) -> list[tuple[dict[str, Any], Any]]:
    """Every schema of an operation with an example of it."""
    contents = list(described.get("requestBody", {}).get("content", {}).values())
    contents += [
        one for answer in described["responses"].values() for one in answer.get("content", {}).values()
    ]
    found = []
    for content in contents:
        if "example" in content:
            found.append((content["schema"], content["example"]))
        found += [(content["schema"], one["value"]) for one in content.get("examples", {}).values()]
    return found


def test_every_scope_exists_and_is_used() -> None:
    used = {operation.scope for operation in DESCRIBED} - {PUBLIC, ANY_KEY}
    assert used <= SCOPES - {ALL_SCOPES}
    assert SCOPES - used == {"keys:read", "keys:write"}  # the command line's


def test_requests_take_no_unknown_fields() -> None:
    bodies = [one.body for one in DESCRIBED if one.body is not None]
    queries = [one.query for one in DESCRIBED if one.query is not None]
    for kind in (*bodies, *queries):
        assert kind.__struct_config__.forbid_unknown_fields, kind  # type: ignore[attr-defined]  # msgspec's
    assert BatchRequest in bodies


def test_the_hot_paths_are_matched_first() -> None:
    assert [one.path for one in DESCRIBED[:2]] == ["/v1/sms", "/v1/mail"]


def test_every_kind_of_problem_has_a_known_status_and_advice() -> None:
    for kind in KINDS:
        assert re.fullmatch("[a-z_-]+", kind.reason)
        assert 400 <= kind.status < 600
        assert kind.title
        assert kind.advice.endswith(".")


def test_the_examples_work_in_the_demo() -> None:
    assert examples_of.SMS["simple"]["from"] == demo.SENDER_NAME
    assert examples_of.MAIL["simple"]["from"] == f"Shop <shop@{demo.DOMAIN}>"
    assert demo.DOMAIN.encode() in base64.b64decode(examples_of.MAIL["raw"]["raw"])


async def test_the_document_is_served_without_a_key(tmp_path: Path) -> None:
    async with world(tmp_path) as api, api.client_with(None) as anyone:
        answer = await anyone.get("/openapi.json")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == DOCUMENT


async def test_the_pages_show_everything_and_load_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as api, api.client_with(None) as anyone:
        page = await anyone.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        for operation in DESCRIBED:
            assert f'id="{operation.id}"' in page.text
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert page.headers["x-frame-options"] == "DENY"
        for text in (page.text, (await anyone.get("/docs/problems")).text):
            assert "<script" not in text
            assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)
            assert "{{" not in text
        problems_page = (await anyone.get("/docs/problems")).text
        for reason in (kind.reason for kind in KINDS):
            assert f'id="{reason}"' in problems_page
        root = await anyone.get("/")
        assert (root.status_code, root.headers["location"]) == (302, "/docs")
