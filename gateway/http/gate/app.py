"""The application: every path with its operations, from a request's header to its answer's octets.

What every request needs is done here, once: its path, the gate, the problem that an error is, the line in the
log. Whatever a handler raises becomes a problem; a fault of ours is logged and answered 500 without details.
"""

import itertools
import os
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
import structlog

from gateway.http.gate.access import Authenticator, Gate
from gateway.http.gate.operation import PUBLIC, Operation
from gateway.http.gate.router import NOWHERE, Router
from gateway.http.gate.translate import Translations, problem_of
from gateway.http.wire import answer, kinds
from gateway.http.wire.call import Call, Gone, Reply
from gateway.http.wire.problem import CONTENT_TYPE, Problem
from gateway.http.wire.site import Site
from gateway.logs import log as logs
from gateway.logs.mask import mask_text

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_encode = msgspec.json.Encoder().encode


class _Answered(logs.Frequent, kw_only=True):
    """The line of every request."""

    event: str = "request_answered"
    logger: str = __name__
    route: str
    method: str
    status: int
    ms: float
    account_id: str | None
    request_id: str


class App:
    """The whole API; paths and handlers come with their operations."""

    def __init__(
        self,
        site: Site,
        authenticator: Authenticator,
        operations: Iterable[Operation],
        translations: Translations,
    ) -> None:
        self.site = site
        self.beginnings = answer.Beginnings(time.time())
        self._gate = Gate(site, authenticator)
        self._translations = translations
        self._router = Router(operations)
        # The random part keeps two processes apart.
        self._request_ids = itertools.count(int.from_bytes(os.urandom(6)) << 24)

    def set_date(self, now_s: float) -> None:
        """What the field Date says from now on."""
        self.beginnings.set_date(now_s)

    async def answer(self, call: Call) -> bytes:
        """The answer, ready to be written; `call.closes` says whether the connection ends with it.

        Raises Gone when the client left before its request was here.
        """
        started_s = time.perf_counter()
        given = call.headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            call.request_id = given.decode()
        else:
            given = None
            call.request_id = f"{next(self._request_ids):x}"
        path = NOWHERE
        try:
            path, call.path, call.params = self._router.find(call.target)
            operation = path.operation(call.method)
            if operation.scope != PUBLIC and not self._gate.passes(call, operation):
                await self._gate.admit(call, operation)
            reply = await operation.handler(call)
            octets = answer.octets(self.beginnings, call, reply)
        except Gone:
            raise
        except Exception as error:  # noqa: BLE001 - A7: no request ends a process or stays unanswered
            reply = self._refusal(call, path.path, error)
            octets = answer.octets(self.beginnings, call, reply)
        principal = call.principal
        logs.tell(
            _Answered(
                timestamp=datetime.now(UTC),
                route=path.path,
                method=call.method,
                status=reply.status,
                ms=round((time.perf_counter() - started_s) * 1000, 2),
                account_id=None if principal is None else principal.account_id,
                request_id=call.request_id if given is None else mask_text(call.request_id),
            )
        )
        return octets

    def _refusal(self, call: Call, route: str, error: Exception) -> Reply:
        problem = problem_of(error, self._translations)
        if problem is None:
            log.error("request_broke", route=route, request_id=call.request_id, exc_info=error)
            problem = Problem(kinds.INTERNAL_ERROR)
        return problem_reply(problem)


def problem_reply(problem: Problem, extra: msgspec.Struct | None = None) -> Reply:
    """The answer that a problem is; `extra` takes the place of its details."""
    body = _encode(problem.details if extra is None else extra)
    return Reply(problem.kind.status, body, CONTENT_TYPE, problem.headers)
