"""Paths as a file gives them: relative to its folder, `~` for a home folder."""

from pathlib import Path

from config.fault import Fault


def resolve(folder: Path, text: str) -> Path | Fault:
    """The path, or a `Fault` whose key path is the caller's to fill in."""
    if not text:
        return Fault(key_path="", message="must not be empty")
    if "\0" in text:
        return Fault(key_path="", message="must not contain a NUL")
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        return Fault(key_path="", message="begins with the home folder of a user who has none")
