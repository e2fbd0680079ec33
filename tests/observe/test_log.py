"""Log lines: one shape for all, and nothing that happens to be logged can break them."""

import ast
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config.sections.observe import Log
from gateway.logs import log as logs
from gateway.logs.sink import Sink

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "smtp", "smpp")
_EVENT = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Where lines of `Bridge` and `Lines` go during the test; nothing is configured for the process."""
    stream = io.StringIO()
    monkeypatch.setattr(logs._state, "sink", Sink(stream))
    monkeypatch.setattr(logs._state, "level", logging.INFO)
    monkeypatch.setattr(logs._state, "json", True)
    monkeypatch.setattr(logs._state, "processors", logs.processors(Log(format="json")))
    return stream


def write(event: str, level: str = "info", log_format: Any = "json", **fields: Any) -> str:
    """The line that `log.<level>(event, **fields)` becomes."""
    line: Any = {"event": event, **fields}
    for process in logs.processors(Log(format=log_format)):
        line = process(logs.Lines("gateway.test"), level, line)
    return str(line)


def bridged(stream: io.StringIO, level: int, message: object, *args: object, **fields: Any) -> dict[str, Any]:
    """What becomes of a line of the standard library's logging."""
    logger = logging.Logger("foreign.library")  # noqa: LOG001 - one that knows no other handler
    logger.addHandler(logs.Bridge())
    logger.log(level, message, *args, **fields)
    lines = stream.getvalue().splitlines()
    return dict(json.loads(lines[-1])) if lines else {}


def test_a_line_has_its_event_fields_level_logger_and_a_time_in_utc() -> None:
    line = json.loads(write("delivery_deferred", message_id="x", attempt=2, upstream="mx"))
    stamp = line.pop("timestamp")
    assert stamp.endswith("Z")
    assert "T" in stamp
    assert line == {
        "event": "delivery_deferred",
        "message_id": "x",
        "attempt": 2,
        "upstream": "mx",
        "logger": "gateway.test",
        "level": "info",
    }


def _look_up(items: dict[str, str], key: str) -> str:
    return items[key]


def test_an_exception_becomes_fields() -> None:
    try:
        _look_up({}, "bob@example.org")
    except KeyError as error:
        given: list[Any] = [error, sys.exc_info(), True]
        lines = [json.loads(write("it_broke", "error", exc_info=info)) for info in given]
    for line in lines:
        assert line["error_type"] == "KeyError"
        assert line["error"] == "…@example.org'"
        assert "Traceback" in line["exception"]
        assert "bob@" not in line["exception"]


def test_an_error_that_has_no_text_is_logged_all_the_same() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    line = json.loads(write("it_broke", "error", exc_info=Odd()))
    assert line["error_type"] == "Odd"


@pytest.mark.parametrize(
    "odd", ["\ud800", 1 << 80, float("inf"), object(), {1: {2: b"x"}}, "\r\nfake", "\x1b[2J"]
)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_odd_values_make_one_clean_line(odd: object, log_format: str) -> None:
    line = write("it_happened", log_format=log_format, odd=odd)
    line.encode()
    assert "\n" not in line
    assert "\r" not in line
    assert "\x1b" not in line
    if log_format == "json":
        assert json.loads(line)["event"] == "it_happened"


def test_lines_of_foreign_libraries_keep_their_words_under_one_name(stream: io.StringIO) -> None:
    line = bridged(stream, logging.ERROR, "mail to %s failed", "bob@example.org")
    assert (line["event"], line["message"]) == ("library_logged", "mail to …@example.org failed")
    assert (line["logger"], line["level"]) == ("foreign.library", "error")
    line = bridged(stream, logging.WARNING, "thing_failed error=%s", "Locked")
    assert (line["event"], line["message"]) == ("library_logged", "thing_failed error=Locked")


def test_a_line_of_a_library_that_cannot_be_made_is_dropped_and_says_so(stream: io.StringIO) -> None:
    line = bridged(stream, logging.ERROR, "to %s and %s", "bob@example.org")
    assert line == {"event": "log_record_dropped", "logger": "foreign.library"}


def test_what_is_below_the_level_is_not_written(stream: io.StringIO) -> None:
    assert bridged(stream, logging.DEBUG, "chatter") == {}


def test_a_stream_that_is_gone_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(logs._state, "sink", Sink(Gone()))
    logs.Lines("x").info("a line")


class Counted(logs.Frequent, kw_only=True):
    """A line for the tests below."""

    event: str = "thing_counted"
    logger: str = "gateway.test"
    word: str
    number: int


def told(stream: io.StringIO, word: str) -> str:
    """What `word` in a frequent line becomes."""
    logs.tell(Counted(timestamp=datetime(2026, 11, 21, 8, 5, 0, 250, tzinfo=UTC), word=word, number=7))
    logs.flush()
    return stream.getvalue()


@pytest.mark.parametrize("word", ["plain", 'a"b\\c', "two\nlines\r", "\x1b[2J", "é\u2028"])
def test_a_frequent_line_is_one_line_of_json_like_all_others(stream: io.StringIO, word: str) -> None:
    text = told(stream, word)
    assert text.count("\n") == 1
    assert json.loads(text) == {
        "event": "thing_counted",
        "word": word,
        "number": 7,
        "logger": "gateway.test",
        "level": "info",
        "timestamp": "2026-11-21T08:05:00.000250Z",
    }


def test_a_frequent_line_for_people_cannot_steer_the_terminal(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs._state, "json", False)
    monkeypatch.setattr(logs._state, "processors", logs.processors(Log(format="console")))
    text = told(stream, "a\n\x1b[2Jb")
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert "2026-11-21T08:05:00.000250Z" in text
    assert "thing_counted" in text
    assert "number=7" in text


def test_a_frequent_line_stays_in_order_and_below_the_level_out(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(stream, "first")
    logs.Lines("gateway.test").warning(write("store_batch_failed", "warning", operations=3))
    monkeypatch.setattr(logs._state, "level", logging.WARNING)
    events = [json.loads(line)["event"] for line in told(stream, "second").splitlines()]
    assert events == ["thing_counted", "store_batch_failed"]


def test_every_event_in_the_source_has_a_constant_name() -> None:
    """A name that is put together at run time cannot be searched for, and may hold anything."""
    faults = []
    seen = 0
    for path in (one for package in PACKAGES for one in (ROOT / package).rglob("*.py")):
        for call in _log_calls(path):
            seen += 1
            if ast.unparse(call.args[0]) == "job.failed":
                continue  # a job's own name, looked at below
            name = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
            if not isinstance(name, str) or not _EVENT.fullmatch(name) or len(call.args) > 1:
                faults.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert seen > 20
    assert faults == []


def test_the_events_of_failing_jobs_are_constants_too() -> None:
    text = "".join(path.read_text() for path in (ROOT / "gateway").rglob("*.py"))
    given = re.findall(r"\bfailed=(\S+?)[,)\s]", text)
    names = [name.strip('"') for name in given if name.startswith('"')]
    assert len(names) == len(given) >= 6
    assert all(_EVENT.fullmatch(name) for name in names)


def test_our_own_lines_are_all_written_by_structlog() -> None:
    """The standard library's loggers know words and no fields: these modules only deal with foreign ones."""
    users = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^\s*(?:import|from) logging\b", path.read_text(), re.MULTILINE)
    }
    assert users == {"gateway/cli/app.py", "gateway/observe/dialogues.py", "gateway/logs/log.py"}


def _log_calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "log"
            and node.func.attr in {"debug", "info", "warning", "error", "exception", "critical"}
        ):
            yield node
