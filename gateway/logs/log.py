"""Structured logs: one line per event on standard error, as JSON or for people, whoever it was that logged.

structlog, the standard library's logging, Twisted's logger and warnings all pass the same processors:
exceptions as fields (`error_type`, `error`, `exception`), the mask (`gateway.logs.mask`), times in UTC.
Event names are constant and in the past tense: `delivery_deferred`. A line of a foreign library keeps its
words under `message` and has the name `library_logged`. Logging never raises and never waits
(`gateway.logs.sink`): what cannot be written is lost.

A line that is written for every message or request is a `Frequent`: typed, so that nothing else can get into
it, and made and written for a tenth of the cost.
"""

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from config.sections.observe import Log
from gateway.logs.mask import mask_event
from gateway.logs.sink import Sink

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_EXCEPTION_MAX = 8000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]|\n")
# Libraries that tell at this level what belongs into no log (whole dialogues, URLs) or far too much.
_QUIET = (
    "twisted",
    "httpx",
    "httpcore",
    "mail.log",
    "mail.error",
    "mail.debug",
    "sqlalchemy",
    "alembic",
)
_encode = msgspec.json.Encoder(enc_hook=str).encode


def configure(settings: Log, stream: TextIO | None = None) -> None:
    """Sends all logging of this process to `stream` (standard error); again, when the settings changed."""
    stream = stream or sys.stderr
    if _state.sink is None or _state.sink.stream is not stream:
        flush()
        _state.sink = Sink(stream)
    _state.level = _LEVELS[settings.level]
    _state.json = settings.format == "json"
    _state.processors[:] = processors(settings, colors=stream.isatty())
    structlog.configure(
        processors=_state.processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=Lines,
        cache_logger_on_first_use=True,  # `_below_level` looks at the level, so that it can change later
    )
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, Bridge)]:
        root.removeHandler(handler)
    root.addHandler(Bridge())
    root.setLevel(_state.level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, _state.level))
    logging.captureWarnings(capture=True)
    _begin_twisted()


def processors(settings: Log, *, colors: bool = False) -> list[Processor]:
    """What every line passes, the renderer last."""
    chain: list[Processor] = [
        _below_level,
        structlog.contextvars.merge_contextvars,
        exceptions_as_fields,
        mask_event,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.format == "json":
        return [*chain, render_json]
    return [*chain, one_line, structlog.dev.ConsoleRenderer(colors=colors)]


# --- processors ------------------------------------------------------------------------------------------


def _below_level(_logger: WrappedLogger, method: str, event_dict: EventDict) -> EventDict:
    if _LEVELS.get(method, logging.ERROR) < _state.level:
        raise structlog.DropEvent
    return event_dict


def exceptions_as_fields(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """`exc_info` as `error_type`, `error` and, with the traceback, `exception`."""
    info = event_dict.pop("exc_info", None)
    error = info if isinstance(info, BaseException) else None
    if isinstance(info, tuple):
        error = info[1]
    elif info and error is None:
        error = sys.exc_info()[1]
    if error is None:
        return event_dict
    event_dict.setdefault("error_type", type(error).__name__)
    try:
        event_dict.setdefault("error", str(error))
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - A7: an exception whose own text cannot be made
        text = "".join(traceback.format_tb(error.__traceback__))
    event_dict["exception"] = text[-_EXCEPTION_MAX:]
    return event_dict


def render_json(_logger: WrappedLogger, _method: str, event_dict: Mapping[str, Any]) -> str:
    """The line as a JSON object."""
    try:
        return _encode(event_dict).decode()
    except UnicodeEncodeError:  # a lone surrogate, from octets that are no UTF-8
        plain = {key: _encodable(value) for key, value in event_dict.items()}
        return _encode(plain).decode()


def one_line(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """For people: no text can break the line or steer the terminal; the traceback alone has lines."""
    for key, value in event_dict.items():
        if isinstance(value, str) and key != "exception":
            event_dict[key] = _CONTROL.sub(_escape, value)
    return event_dict


def _escape(match: "re.Match[str]") -> str:
    return match.group().encode("unicode_escape").decode("ascii")


def _encodable(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


# --- where lines go ----------------------------------------------------------------------------------------


class _State:
    """The one sink of the process. Loggers are made once and look here for every line."""

    def __init__(self) -> None:
        self.sink: Sink | None = None
        self.level = logging.INFO
        self.json = True
        self.processors: list[Processor] = []
        self.twisted = False


_state = _State()


def _write(line: str) -> None:
    if _state.sink is not None:
        _state.sink.put(line.encode("utf-8", "backslashreplace"), urgent=True)


def flush() -> None:
    """Returns when every line is written that can be."""
    if _state.sink is not None:
        _state.sink.flush()


class Lines:
    """What structlog writes to: a logger of a name; every method writes a finished line."""

    def __init__(self, name: str = "gateway") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        """Writes it."""
        _write(line)

    log = debug = info = warning = warn = error = err = exception = critical = fatal = failure = msg


class Frequent(msgspec.Struct, kw_only=True):
    """The base of lines at level info that come by the thousand; a subclass says event, logger and fields.

    They pass no mask. So their fields are ids, numbers and words of ours; whoever fills in a text from
    outside masks it first (`mask_text`).
    """

    event: str
    logger: str
    timestamp: datetime
    level: str = "info"


def tell(line: Frequent) -> None:
    """Writes it, within 20 ms."""
    sink = _state.sink
    if sink is None or _state.level > logging.INFO:
        return
    if _state.json:
        sink.put(_encode(line))
        return
    event: Any = msgspec.structs.asdict(line)
    event["timestamp"] = line.timestamp.isoformat().replace("+00:00", "Z")
    for process in _state.processors[-2:]:
        event = process(Lines(line.logger), "info", event)
    sink.put(str(event).encode("utf-8", "backslashreplace"))


class Bridge(logging.Handler):
    """Brings the standard library's records onto the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line: Any = _event_of(record)
            for process in _state.processors:
                line = process(Lines(record.name), _method_of(record), line)
        except structlog.DropEvent:
            return
        except Exception:  # noqa: BLE001 - A7; the standard library's way would print the record unmasked
            line = f'{{"event":"log_record_dropped","logger":"{record.name}"}}'
        _write(str(line))


def _method_of(record: logging.LogRecord) -> str:
    if record.levelno >= logging.ERROR:
        return "error"
    if record.levelno >= logging.WARNING:
        return "warning"
    return "info" if record.levelno >= logging.INFO else "debug"


def _event_of(record: logging.LogRecord) -> EventDict:
    """The record of a foreign library as an event: its words under one name."""
    event: EventDict = {"event": "library_logged", "message": record.getMessage()}
    if record.exc_info:
        event["exc_info"] = record.exc_info
    return event


def _begin_twisted() -> None:
    """Twisted's events go to the standard library's logger `twisted`, from the first call on."""
    if _state.twisted:
        return
    from twisted.logger import STDLibLogObserver, globalLogBeginner  # noqa: PLC0415 - costs time to import

    _state.twisted = True
    observer: Any = STDLibLogObserver(name="twisted")  # zope's interfaces confuse the type checker
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
