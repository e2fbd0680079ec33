"""The OpenAPI 3.1 document, made of the operations and of the structs they decode and encode.

Schemas are msgspec's (JSON Schema 2020-12, which is OpenAPI 3.1's dialect), so what is described is what is
enforced.
"""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from gateway.http.gate.operation import ANY_KEY, PUBLIC, Operation
from gateway.http.wire.call import Call, Reply
from gateway.http.wire.problem import ProblemDetails

VERSION = "1.0.0"
_REF = "#/components/schemas/{name}"
_INTRODUCTION = """\
Send mail and SMS, paid with prepaid credits. Every answer is JSON; every error is
`application/problem+json` (RFC 9457), its types are explained at /docs/problems. Lists answer `items` and
`next`: pass `next` as `cursor` for the next page. Times are RFC 3339. Send `Idempotency-Key` with a
submission to make it safe to repeat.
"""
_EXAMPLE_PROBLEMS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_json", "The body cannot be read as JSON: Input data was truncated."),
    401: ("unauthorized", "Send your API key as Authorization: Bearer gw_…"),
    402: ("insufficient_credits", "This message costs 1 mail credits and the balance does not cover it."),
    403: ("scope_missing", "This key lacks the scope mail:send."),
    404: ("not_found", "There is no such message in this account."),
    408: ("request_timeout", "Send it again, faster or smaller."),
    409: ("conflict", "The message is delivered; only one that still waits can be cancelled."),
    413: ("too_large", "The request is larger than 41943040 octets."),
    414: ("address_too_long", "The address has 9000 octets with its query, 8192 are allowed."),
    415: ("unsupported_media_type", "Send Content-Type: application/json, not compressed."),
    422: ("invalid", "to[0]: the address needs an @ and a domain: user@example.org"),
    429: ("rate_limited", "This account may make 1000 requests a second."),
    500: ("internal_error", "Try again; if it stays, tell the operator X-Request-Id."),
    503: ("busy", "Nothing was stored. Try again after Retry-After seconds."),
}
_KEYED = (401, 403, 429, 500, 503)
_WITH_BODY = (400, 408, 413, 415, 422)
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Your own key for this request. The same request with the same key counts once and is "
    "answered alike for a day; another body under the same key is refused with 422.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The API key as a bearer token."},
    "basic": {"type": "http", "scheme": "basic", "description": "The API key as user or as password."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The API key."},
}


def document(operations: Sequence[Operation], *, server: str) -> dict[str, Any]:
    """The document as JSON values."""
    types = _types(operations)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        if operation.described:
            place = paths.setdefault(operation.path, {})
            place[operation.method.lower()] = _described(operation, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mail and SMS gateway", "version": VERSION, "description": _INTRODUCTION},
        "servers": [{"url": server}],
        "security": [{name: []} for name in _SECURITY_SCHEMES],
        "tags": [{"name": name} for name in dict.fromkeys(one.tag for one in operations)],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _SECURITY_SCHEMES},
    }


def operation(described: dict[str, Any]) -> Operation:
    """The operation that serves the document."""
    body = msgspec.json.encode(described)

    async def get_openapi(_call: Call) -> Reply:
        return Reply(200, body)

    return Operation(
        id="getOpenapi",
        method="GET",
        path="/openapi.json",
        handler=get_openapi,
        tag="About",
        summary="This document",
        scope=PUBLIC,
        described=False,
    )


def statuses(operation: Operation) -> list[int]:
    """The statuses of the problems that an operation can answer."""
    found = {*operation.problems, 500}
    if operation.scope != PUBLIC:
        found.update(_KEYED)
    if operation.body is not None:
        found.update(_WITH_BODY)
    if operation.query is not None:
        found.update((414, 422))
    if operation.params:
        found.add(414)
    return sorted(found)


def _types(operations: Iterable[Operation]) -> list[type]:
    found: dict[type, None] = {ProblemDetails: None}
    for one in operations:
        found.update({kind: None for kind in (one.refusal, one.body, one.answer) if kind is not None})
    return list(found)


def _described(operation: Operation, schemas: Mapping[type, Any]) -> dict[str, Any]:
    scope = "" if operation.scope in (PUBLIC, ANY_KEY) else f"Scope: `{operation.scope}`."
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": " ".join(filter(None, (operation.description, scope))),
        "tags": [operation.tag],
        "parameters": _parameters(operation),
        "responses": _responses(operation, schemas),
    }
    if operation.scope == PUBLIC:
        described["security"] = []
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {
                    "schema": schemas[operation.body],
                    "examples": {name: {"value": value} for name, value in operation.body_examples.items()},
                }
            },
        }
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in operation.params.items()
    ]
    if operation.query is not None:
        (_,), components = msgspec.json.schema_components([operation.query])
        schema = components[operation.query.__name__]
        parameters += [
            {"name": name, "in": "query", "required": False, "schema": one}
            for name, one in schema["properties"].items()
        ]
    return [*parameters, _IDEMPOTENCY_KEY] if operation.idempotent else parameters


def _responses(operation: Operation, schemas: Mapping[type, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": HTTPStatus(operation.status).phrase}
    if operation.answer is not None:
        content = {"schema": schemas[operation.answer], "example": operation.answer_example}
        success["content"] = {"application/json": content}
    elif operation.status != HTTPStatus.NO_CONTENT:
        success["content"] = {operation.answer_content_type: {}}
    responses = {str(operation.status): success}
    if operation.path == "/readyz":
        responses["503"] = {"description": "Not ready", "content": success["content"]}
    for status in statuses(operation):
        responses.setdefault(str(status), _problem(operation, status))
    return responses


def _problem(operation: Operation, status: int) -> dict[str, Any]:
    reason, detail = _EXAMPLE_PROBLEMS[status]
    schema = {"$ref": _REF.format(name=operation.refusal.__name__)}
    title = HTTPStatus(status).phrase
    example = {
        "type": f"/docs/problems#{reason}",
        "title": title,
        "status": status,
        "detail": detail,
        "reason": reason,
    }
    described: dict[str, Any] = {
        "description": title,
        "content": {"application/problem+json": {"schema": schema, "example": example}},
    }
    if status in (429, 503):
        described["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return described
