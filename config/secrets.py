"""Secrets from where they are kept: in place, in the environment, or in a file of their own."""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.fault import Fault
from config.kinds import Secret
from config.paths import resolve

SECRET_FORMS = ("", "_env", "_file")
"""The endings of the keys by which a secret may be given."""

_LONGEST_OCTETS = 65_536


def read_secret(form: str, value: Any, folder: Path, env: Mapping[str, str]) -> Secret | Fault:
    """The secret a key gives, or a `Fault` whose key path is the caller's to fill in."""
    if not isinstance(value, str):
        return _fault("must be a text")
    if form == "_env":
        if not env.get(value):
            return _fault(f"the environment variable {value} is not set", "set it before the start")
        return Secret(env[value])
    if form == "_file":
        path = resolve(folder, value)
        return path if isinstance(path, Fault) else _read_file(path)
    return Secret(value) if value else _fault("must not be empty")


def _read_file(path: Path) -> Secret | Fault:
    """The file's text without its last line end; only its owner and group may have access to it."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return _fault(f"{path} is not a file")
        if mode & stat.S_IRWXO:
            return _fault(f"{path} is open to every user of this machine", f"run chmod o= {path}")
        raw = path.read_bytes()
    except OSError as error:
        return _fault(f"{path} cannot be read ({error.strerror})")
    try:
        text = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        return _fault(f"{path} is not UTF-8 text")
    if not text or len(raw) > _LONGEST_OCTETS or "\n" in text or "\0" in text:
        return _fault(f"{path} must hold the secret on one line")
    return Secret(text)


def _fault(message: str, suggestion: str = "") -> Fault:
    """A fault at a key the caller knows."""
    return Fault(key_path="", message=message, suggestion=suggestion)
