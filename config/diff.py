"""Which keys differ between two settings: what a reload has to say."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from config.kinds import key_name
from config.schema import Settings


def differences(old: Settings, new: Settings) -> tuple[str, ...]:
    """The key paths whose values differ, in the schema's order; a list counts as one key."""
    return tuple(_walk("", old, new))


def _walk(path: str, old: Any, new: Any) -> list[str]:
    """The differing paths under one value."""
    if old == new:
        return []
    if is_dataclass(old) and type(old) is type(new):
        pairs = [(key_name(f.name), getattr(old, f.name), getattr(new, f.name)) for f in fields(old)]
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        pairs = [(name, old.get(name), new.get(name)) for name in dict.fromkeys([*old, *new])]
    else:
        return [path]
    return [found for name, a, b in pairs for found in _walk(f"{path}.{name}" if path else name, a, b)]
