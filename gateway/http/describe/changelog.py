"""/v1/changelog: every change of the API, from a file beside this one (R30)."""

from datetime import date
from pathlib import Path
from typing import Literal

import msgspec

from gateway.http.gate.operation import PUBLIC, Operation
from gateway.http.wire.call import Call, Reply, json_reply


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `breaking`: requests that worked may fail; announced long before `date`."""

    date: date
    kind: Literal["added", "changed", "deprecated", "removed", "fixed"]
    breaking: bool
    text: str


class ChangeList(msgspec.Struct, frozen=True, kw_only=True):
    """All changes, the newest first."""

    items: list[Change]
    next: str | None


CHANGES = msgspec.json.decode((Path(__file__).parent / "changelog.json").read_bytes(), type=list[Change])
_EXAMPLE = {"date": "2026-11-16", "kind": "added", "breaking": False, "text": "The first version."}


async def list_changes(_call: Call) -> Reply:
    """What changed, and will."""
    return json_reply(ChangeList(items=CHANGES, next=None))


OPERATIONS = (
    Operation(
        id="listChanges",
        method="GET",
        path="/v1/changelog",
        handler=list_changes,
        tag="About",
        summary="Changes of this API",
        scope=PUBLIC,
        answer=ChangeList,
        answer_example={"items": [_EXAMPLE], "next": None},
    ),
)
