"""An operation: one method on one path, what it takes, gives and needs. Served and described from here."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.http.wire.call import Call, Reply
from gateway.http.wire.problem import ProblemDetails

Handler = Callable[[Call], Awaitable[Reply]]
PUBLIC = "public"
"""The scope of what needs no key."""
ANY_KEY = ""
"""The scope of what any key of the account may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """See the module. `scope` is PUBLIC, ANY_KEY, or the scope that the key must have."""

    id: str
    method: str
    path: str  # /v1/messages/{id}
    handler: Handler
    tag: str
    summary: str
    scope: str
    description: str = ""
    params: Mapping[str, str] = field(default_factory=dict)  # path parameter → what it is
    query: type | None = None
    body: type | None = None
    body_examples: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    answer: type | None = None  # None: no body, or not JSON
    answer_example: Any = None
    answer_content_type: str = "application/json"
    problems: tuple[int, ...] = ()  # statuses beside those that every operation can have
    refusal: type = ProblemDetails  # how a problem's body looks here
    idempotent: bool = False  # takes Idempotency-Key
    described: bool = True  # in the OpenAPI document
