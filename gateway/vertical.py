"""A vertical: one capability of the gateway in a folder of its own, and what it adds to each part."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import typer
from sqlalchemy import Table

from config.schema import Settings
from gateway.ground import Ground
from gateway.http.gate.operation import Operation
from gateway.http.gate.translate import Translations
from gateway.http.wire.kinds import Kind
from gateway.jobs.chores import Chore
from gateway.jobs.retention import Purge
from gateway.notices.kind import NoticeKind
from gateway.store.tx import Listener


def _nothing(_ground: Ground) -> None:
    return


def _no_jobs(_ground: Ground) -> Sequence[Chore]:
    return ()


def _no_purges(_settings: Settings) -> Sequence[Purge]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertical:
    """See the module. All but the name is optional."""

    name: str
    tables: Sequence[Table] = ()
    """Its own, which nobody else writes or reads."""
    make: Callable[[Ground], None] = _nothing
    """Makes its services and adds them to the ground; nothing is started."""
    operations: Sequence[Operation] = ()
    """What it serves over HTTP."""
    commands: Sequence[typer.Typer] = ()
    """Its nouns on the command line."""
    scopes: Sequence[str] = ()
    """What an API key may be allowed to do with it."""
    kinds: Sequence[Kind] = ()
    """The kinds of problems that it answers, besides those of everybody (`gateway.http.wire.kinds`)."""
    problems: Translations = field(default_factory=dict)
    """Which of its errors is which problem."""
    event_kinds: Mapping[str, str] = field(default_factory=dict)
    """Its kinds of events, each with the scope that a key needs to be told of them."""
    listens: Listener | None = None
    """Is told of events inside the transaction that writes them."""
    notices: Sequence[NoticeKind] = ()
    """What it has accounts told of by mail."""
    jobs: Callable[[Ground], Sequence[Chore]] = _no_jobs
    """What it has to do now and then, by one process at a time."""
    purges: Callable[[Settings], Sequence[Purge]] = _no_purges
    """What of its rows is not kept for ever."""
