"""Measuring in a process of its own, which is killed when an input freezes it."""

import gc
import logging
import multiprocessing
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from tests.fuzz.cost.entry import Entry
from tests.fuzz.cost.forms import Case
from tests.fuzz.cost.judge import Finding, judge
from tests.fuzz.cost.measure import Measured, measure

CASE_S = 20.0
"""A whole case, all sizes and runs. A linear parser takes a tenth of a second."""
_START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One case, measured and judged. Without `measured` the process had to be killed."""

    case: Case
    measured: Measured | None
    findings: tuple[Finding, ...]


class Worker:
    """The process; `run` starts it where there is none. A context manager ends it."""

    def __init__(self) -> None:
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection[Any, Any]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, entry: Entry, case: Case, most_octets: int | None = None) -> Result:
        """The case judged. What is found is measured again, and counts if it is found again."""
        most = min(case.most_octets(entry), most_octets or case.most_octets(entry))
        measured = self._measured(case, most)
        findings = _findings(entry, measured)
        if findings and measured is not None:
            measured = self._measured(case, most)
            kinds = {found.kind for found in findings}
            findings = [found for found in _findings(entry, measured) if found.kind in kinds | {"frozen"}]
        return Result(case=case, measured=measured, findings=tuple(findings))

    def _measured(self, case: Case, most_octets: int) -> Measured | None:
        """What the process measured, None when it had to be killed."""
        measured: Measured | None = self._asked((case, most_octets))
        return measured

    def _asked(self, question: tuple[Case, int] | str) -> Any:
        """The answer, None when the process had to be killed."""
        self._start()
        self._pipe.send(question)
        try:
            if self._pipe.poll(CASE_S):
                return self._pipe.recv()
        except EOFError:
            pass
        self._kill()
        return None

    def expressions(self, place: str) -> tuple[Finding, ...]:
        """What is wrong with the regular expressions at a place in the source (`expressions.check`)."""
        found = self._asked(place)
        return tuple(_frozen()) if found is None else found

    def _start(self) -> None:
        if self._process is not None:
            return
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(_START_S) or self._pipe.recv() != "ready":
            raise RuntimeError("the measuring process did not start")

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()
            self._pipe.close()

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._pipe.send(None)
            self._process.join(5.0)
        self._kill()


def _findings(entry: Entry, measured: Measured | None) -> list[Finding]:
    return _frozen() if measured is None else judge(entry, measured)


def _frozen() -> list[Finding]:
    return [Finding("frozen", f"no end within {CASE_S:g} s, or the process died; it was killed")]


def _serve(pipe: "Connection[Any, Any]") -> None:
    """Runs in the process: cases in, what they cost out; places of expressions in, findings out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable()  # libraries remark on every input that is none
    from tests.fuzz.cost import expressions
    from tests.fuzz.cost.entries import ENTRIES

    gc.freeze()  # what is there stays there: nothing to look at for each measurement
    pipe.send("ready")
    while (asked := pipe.recv()) is not None:
        if isinstance(asked, str):
            pipe.send(tuple(expressions.check(asked)))
        else:
            case, most_octets = asked
            pipe.send(measure(ENTRIES[case.entry], case, most_octets))
