"""Requests that would take much more memory or time than their octets: refused before they are decoded."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.http.wire.call import decoded
from gateway.http.wire.problem import Problem
from gateway.messages.api.mail import MailRequest
from gateway.messages.api.submit import BatchRequest, MailItem, SmsItem
from gateway.webhooks.api import WebhookRequest
from tests.http.test_requests import reason
from tests.http.world import MAIL, SMS, world

_MAIL = msgspec.json.Decoder(MailRequest)
_ITEM: "msgspec.json.Decoder[MailItem | SmsItem]" = msgspec.json.Decoder(MailItem | SmsItem)
_BATCH = msgspec.json.Decoder(BatchRequest)
_WEBHOOK = msgspec.json.Decoder(WebhookRequest)
_OCTETS = 1_000_000


def _refusal(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> Problem:
    """The problem of a body, after no more memory than a third of the body was taken."""
    tracemalloc.start()
    try:
        with pytest.raises(Problem) as caught:
            decoded(decoder, body)
        peak_octets = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_octets < len(body) / 3
    return caught.value


def _many(token: bytes) -> bytes:
    return token * (_OCTETS // len(token))


@pytest.fixture(autouse=True)
def _outlines_are_made() -> None:
    """They are made once for each type, which takes memory of its own."""
    decoders: tuple[msgspec.json.Decoder[Any], ...] = (_MAIL, _ITEM, _BATCH, _WEBHOOK)
    for decoder in decoders:
        with pytest.raises(Problem):
            decoded(decoder, b" " * 70_000)


@pytest.mark.parametrize(
    ("decoder", "before", "token", "after", "pointer"),
    [
        (_MAIL, b'{"from":"a@b.example","to":[', b'"a",', b'""]}', "/to"),
        (_MAIL, b'{"from":"a@b.example","tags":[', b'"",', b'""]}', "/tags"),
        (_MAIL, b'{"from":"a@b.example","metadata":{"a":[', b"[],", b"1]}}", "/metadata"),
        (_MAIL, b'{"from":"a@b.example","headers":{', b'"a":"",', b'"a":""}}', "/headers"),
        (_MAIL, b'{"from":"a@b.example","attachments":[', b"{},", b"{}]}", "/attachments"),
        (_ITEM, b'{"type":"sms","from":"A","to":[', b'"1",', b'""]}', "/to"),
        (_BATCH, b'{"items":[', b"1,", b"1]}", "/items"),
        (_WEBHOOK, b'{"url":"https://a.example","events":[', b'"*",', b'"*"]}', "/events"),
    ],
)
def test_a_field_of_too_many_values_is_422_with_its_name(
    decoder: "msgspec.json.Decoder[Any]", before: bytes, token: bytes, after: bytes, pointer: str
) -> None:
    problem = _refusal(decoder, before + _many(token) + after)
    assert (problem.kind.status, [one.pointer for one in problem.errors]) == (422, [pointer])


@pytest.mark.parametrize(
    "between", [b',"metadata":{"a":[[],[],[],[]]}' * 3000, b"," + b" " * 100_000 + b'"metadata":{}']
)
def test_what_stands_twice_or_is_blank_hides_nothing(between: bytes) -> None:
    problem = _refusal(_MAIL, b'{"from":"a@b.example"' + between + b"}")
    assert problem.kind.status == 400


@pytest.mark.parametrize("name", ["x" * 100_000, "x` - at `$" + "[" * 100_000, "`" * 100_000])
def test_a_long_name_is_not_repeated(name: str) -> None:
    with pytest.raises(Problem) as caught:
        decoded(_MAIL, msgspec.json.encode({"from": "a@b.example", name: 1}))
    assert caught.value.kind.status == 422
    assert len(caught.value.detail) < 2000
    assert [len(one.pointer) < 2000 for one in caught.value.errors] == [True]


@pytest.mark.parametrize("field", ["text", "html", "raw"])
def test_large_texts_pass(field: str) -> None:
    value = "aGlo" * 50_000
    body = msgspec.json.format(
        msgspec.json.encode({"from": "a@b.example", "to": ["b@b.example"] * 1000, field: value}), indent=2
    )
    found = decoded(_MAIL, body)
    assert found.to == ["b@b.example"] * 1000
    assert getattr(found, field) == (b"hih" * 50_000 if field == "raw" else value)


async def test_addresses_and_parameters_have_limits(tmp_path: Path) -> None:
    async with world(tmp_path) as api:
        answer = await api.client.get("/v1/messages?" + "tag=a&" * 101)
        assert reason(answer, 422) == "invalid"
        assert "100 parameters" in answer.json()["detail"]
        for path in ("/v1/messages?tag=" + "%" * 9000, "/" + "a" * 9000, "/v1/messages/" + "%41" * 3000):
            assert reason(await api.client.get(path), 414) == "address_too_long"


async def test_metadata_has_a_limit_of_depth(tmp_path: Path) -> None:
    def nested(depth: int) -> dict[str, Any]:
        value: Any = 1
        for _ in range(depth - 1):
            value = [value]
        return {"a": value}

    posted: list[tuple[str, Callable[[int], Any]]] = [
        ("/v1/sms", lambda depth: {**SMS, "metadata": nested(depth)}),
        ("/v1/mail", lambda depth: {**MAIL, "metadata": nested(depth)}),
    ]
    async with world(tmp_path) as api:
        for path, body in posted:
            assert (await api.client.post(path, json=body(20))).status_code == 202
            answer = await api.client.post(path, json=body(21))
            assert reason(answer, 422) == "invalid"
            assert [one["pointer"] for one in answer.json()["errors"]] == ["/metadata"]
