"""/healthz and /readyz: for load balancers and supervisors; no key is asked."""

import msgspec

from gateway.http.gate.operation import PUBLIC, Operation
from gateway.http.wire.call import Call, Reply, json_reply


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: str


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Whether work is taken, and each check by name."""

    ready: bool
    checks: dict[str, bool]


async def get_health(_call: Call) -> Reply:
    """Always 200 while the event loop turns."""
    return json_reply(Alive(status="ok"))


async def get_readiness(call: Call) -> Reply:
    """200 when every check is true, else 503."""
    checks = dict(await call.site.readiness.checks())
    ready = all(checks.values())
    return json_reply(Ready(ready=ready, checks=checks), 200 if ready else 503)


OPERATIONS = (
    Operation(
        id="getHealth",
        method="GET",
        path="/healthz",
        handler=get_health,
        tag="About",
        summary="Whether the process answers",
        scope=PUBLIC,
        answer=Alive,
        answer_example={"status": "ok"},
    ),
    Operation(
        id="getReadiness",
        method="GET",
        path="/readyz",
        handler=get_readiness,
        tag="About",
        summary="Whether work is taken: 200, else 503",
        scope=PUBLIC,
        answer=Ready,
        answer_example={"ready": True, "checks": {"store": True}},
    ),
)
