"""Reading `gateway.toml` from disk.

`load(path)` raises `ConfigError` for a file that is missing, unreadable, not UTF-8, broken TOML, or whose
keys are wrong (`config.decode`) or contradict each other (`config.check`). It writes nothing and
opens no port.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config import toml
from config.decode import from_mapping
from config.fault import ConfigError, Fault
from config.schema import Settings

_PLACE = re.compile(r"\(at (?:line (\d+), column (\d+)|end of document)\)\Z")


def load(path: Path | str, *, env: Mapping[str, str] | None = None) -> Settings:
    """The settings of the file; relative paths in it start at the file's own folder."""
    path = Path(path)
    try:
        data = _parse(path)
        return from_mapping(data, folder=path.resolve().parent, env=os.environ if env is None else env)
    except ConfigError as error:
        raise ConfigError(error.faults, source=str(path)) from None


def _parse(path: Path) -> dict[str, Any]:
    """The file as TOML; a fault names line and column."""
    try:
        with path.open("rb") as file:
            raw = file.read(toml.OCTETS_MAX + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            [Fault(key_path=str(path), message=f"cannot be read ({reason})", suggestion="is the path right?")]
        ) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        message = f"the octet 0x{raw[error.start]:02x} is not UTF-8"
        place = f"{path}:{line}:{column}"
        raise ConfigError(
            [Fault(key_path=place, message=message, suggestion="save the file as UTF-8")]
        ) from None
    try:
        return toml.parse(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_fault(path, text, str(error))]) from None


def _syntax_fault(path: Path, text: str, error: str) -> Fault:
    """The parser's message with its place in front, as editors and compilers write it."""
    place = _PLACE.search(error)
    message = _PLACE.sub("", error).rstrip()
    if place is None:
        return Fault(key_path=str(path), message=message)
    if place[1]:
        return Fault(key_path=f"{path}:{place[1]}:{place[2]}", message=message)
    lines = text.split("\n")
    return Fault(
        key_path=f"{path}:{len(lines)}:{len(lines[-1]) + 1}", message=message, suggestion="the file ends here"
    )
