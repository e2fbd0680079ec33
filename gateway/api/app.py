"""The application: every path with its operations, from the request's header to the answer's last octet.

Plain ASGI on Starlette's router, without middleware: what every request needs is done here, once. Whatever a
handler raises becomes a problem; a fault of ours is logged and answered 500 without details.
"""

import itertools
import os
import re
import time
from collections.abc import Iterable, Sequence

import msgspec
import structlog
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api import access, problems
from gateway.api.call import NO_CONTENT, Call, Gone, Reply
from gateway.api.operation import PUBLIC, Operation
from gateway.api.parts import Parts
from gateway.api.problems import Header, Problem

log = structlog.get_logger(__name__)

_LINGER_S = 2.0
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_COMMON: Sequence[Header] = ((b"x-content-type-options", b"nosniff"),)
_PRIVATE: Sequence[Header] = (*_COMMON, (b"cache-control", b"no-store"))
_encode = msgspec.json.Encoder().encode


def build(parts: Parts, operations: Iterable[Operation]) -> ASGIApp:
    """The whole API as one ASGI application; paths are matched in the order of their operations."""
    paths: dict[str, list[Operation]] = {}
    for operation in operations:
        paths.setdefault(operation.path, []).append(operation)
    request_ids = _request_ids()
    routes = [Route(path, _Path(parts, path, members, request_ids)) for path, members in paths.items()]
    return Router(routes, redirect_slashes=False, default=_Path(parts, "", (), request_ids))


def _request_ids() -> "itertools.count[int]":
    """Where counting starts; the random part keeps two processes apart."""
    return itertools.count(int.from_bytes(os.urandom(6)) << 24)


class _Path:
    """One path. The path "" stands for all that are not there."""

    def __init__(
        self, parts: Parts, path: str, operations: Sequence[Operation], request_ids: "itertools.count[int]"
    ) -> None:
        self._parts = parts
        self._path = path
        self._request_ids = request_ids
        self._operations = {operation.method: operation for operation in operations}
        if "GET" in self._operations:
            self._operations.setdefault("HEAD", self._operations["GET"])
        self._allow = ", ".join(sorted(self._operations)).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s = time.perf_counter()
        call = Call(scope, receive, self._parts)
        call.request_id = self._request_id(call)
        try:
            try:
                reply = await self._answer(call)
            except Gone:
                return
            except Exception as error:  # noqa: BLE001 - A7: no request ends a process or stays unanswered
                reply = self._refusal(call, error)
            await self._send(call, reply, send)
        finally:
            call.release()
        log.info(
            "request_answered",
            route=self._path,
            method=scope["method"],
            status=reply.status,
            ms=round((time.perf_counter() - started_s) * 1000, 2),
            account_id=call.principal.account_id if call.principal is not None else None,
            request_id=call.request_id,
        )

    async def _answer(self, call: Call) -> Reply:
        operation = self._operations.get(call.scope["method"])
        if operation is None:
            raise self._no_operation()
        if operation.scope != PUBLIC:
            await access.admit(call, operation)
        return await operation.handler(call)

    def _no_operation(self) -> Problem:
        if not self._operations:
            return Problem("not_found", "There is nothing at this path. The API is described at /docs.")
        allow = self._allow
        return Problem(
            "method_not_allowed", f"Use {allow.decode()} on this path.", headers=[(b"allow", allow)]
        )

    def _request_id(self, call: Call) -> str:
        """The client's own, if it is a plain word; else one of ours."""
        given = call.headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode()
        return f"{next(self._request_ids):x}"

    def _refusal(self, call: Call, error: Exception) -> Reply:
        problem = problems.of_error(error)
        if problem is None:
            log.error("request_broke", route=self._path, request_id=call.request_id, exc_info=error)
            problem = Problem("internal_error")
        return problem_reply(problem)

    async def _send(self, call: Call, reply: Reply, send: Send) -> None:
        headers = [
            (b"x-request-id", call.request_id.encode()),
            *(_PRIVATE if call.principal is not None or reply.status >= 400 else _COMMON),
            *call.rate_headers,
            *reply.headers,
        ]
        if reply.status != NO_CONTENT:  # RFC 9110 section 8.6: no Content-Length with 204
            headers.append((b"content-length", b"%d" % len(reply.body)))
            headers.append((b"content-type", reply.content_type))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        closing = (b"connection", b"close") in reply.headers
        body = b"" if call.scope["method"] == "HEAD" else reply.body
        if closing and not call.expects_continue:
            # The answer goes out before the connection closes, even though the client is still sending.
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await call.discard(_LINGER_S)
            body = b""
        await send({"type": "http.response.body", "body": body})


def problem_reply(problem: Problem, extra: msgspec.Struct | None = None) -> Reply:
    """The answer that a problem is; `extra` takes the place of its details."""
    body = _encode(problem.details if extra is None else extra)
    return Reply(problem.kind.status, body, problems.CONTENT_TYPE, problem.headers)
