"""From a dict, as a TOML reader gives it, to the schema's dataclasses; every fault is collected.

`from_mapping(data, folder=..., env=...)` gives a `Settings` or raises `ConfigError`. Decoding is driven
by the type of each field alone: bool, int, float, str, Path, Secret, Literal, tuple of one type, dataclass,
mapping of names to a union of dataclasses told apart by `type`, Annotated with a demand of `config.kinds`,
and any of these `| None`. What keys say to each other is `config.check`'s.

Relative paths become absolute under `folder`. A secret key `password` may be given as `password_env` (a
variable in `env`) or `password_file` (a file only its owner and group can read).
"""

import difflib
import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from config.check import check
from config.fault import ConfigError, Fault
from config.kinds import Between, Secret, Text, key_name
from config.paths import resolve
from config.schema import Settings
from config.secrets import SECRET_FORMS, read_secret

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_INTEGER_BITS = 63  # TOML 1.0: integers are signed and have 64 bits
_FAULTY = object()
"""Stands for a value whose fault has been noted."""

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}


@dataclass(slots=True, kw_only=True)
class Decoding:
    """One run over one file: where relative paths start, the environment, and the faults so far."""

    folder: Path
    env: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)

    def fault(self, key_path: str, message: str, suggestion: str = "") -> Any:
        """Note a fault and give the stand-in for the value."""
        self.faults.append(Fault(key_path=key_path, message=message, suggestion=suggestion))
        return _FAULTY


def from_mapping(data: Mapping[str, Any], *, folder: Path, env: Mapping[str, str] | None = None) -> Settings:
    """The settings a parsed file means; `ConfigError` with every fault otherwise."""
    decoding = Decoding(folder=folder, env=env or {})
    sections = _decode_keys(decoding, "", Settings, data)
    sound = {name: section for name, section in sections.items() if section is not _FAULTY}
    settings, contradictions = check(Settings(**sound), folder, sound.keys())
    if faults := [*decoding.faults, *contradictions]:
        raise ConfigError(faults)
    return settings


def _decode_table(decoding: Decoding, path: str, cls: type[Any], table: Any, base: Any = None) -> Any:
    """An instance of a schema class from one table; the stand-in when a value in it is faulty.

    Keys that are not in the table have the value they have in `base`, or else the class's default.
    """
    if not isinstance(table, dict):
        return decoding.fault(path, f"must be a table, not {_show(table)}", f"write [{path}]")
    values = _decode_keys(decoding, path, cls, table, base)
    return _FAULTY if any(value is _FAULTY for value in values.values()) else cls(**values)


def _decode_keys(
    decoding: Decoding, path: str, cls: type[Any], table: Mapping[str, Any], base: Any = None
) -> dict[str, Any]:
    """The value of every field of a schema class; a fault for every key that is none of its fields."""
    hints = get_type_hints(cls, include_extras=True)
    attributes = {key_name(f.name): f.name for f in fields(cls)}
    known = {key_name(f.name): _default(f, base) for f in fields(cls)}
    secrets = [name for name in known if _is_secret(hints[attributes[name]])]
    spelled = {f"{name}{form}" for name in secrets for form in SECRET_FORMS}
    for key in table:
        if key not in known and key not in spelled:
            decoding.fault(_join(path, key), "unknown key", did_you_mean(key, [*known, *spelled]))
    return {
        attributes[name]: _decode_secret(decoding, path, name, default, table)
        if name in secrets
        else _decode_field(
            decoding, _join(path, name), hints[attributes[name]], default, table.get(name, MISSING)
        )
        for name, default in known.items()
    }


def _default(spec: Field[Any], base: Any) -> Any:
    """A field's default, or MISSING when it has none."""
    if base is not None:
        return getattr(base, spec.name)
    return spec.default_factory() if spec.default_factory is not MISSING else spec.default


def _decode_field(decoding: Decoding, path: str, hint: Any, default: Any, value: Any) -> Any:
    """The value of one key, or its default; a default path is resolved like a written one."""
    if is_dataclass(hint):
        table = {} if value is MISSING else value
        base = None if default is MISSING else default
        return _decode_table(decoding, path, cast(type[Any], hint), table, base)
    if value is not MISSING:
        return _decode(decoding, path, hint, value)
    if default is MISSING:
        return decoding.fault(path, "missing", f"it needs {_meaning(hint)}")
    return decoding.folder / default if isinstance(default, Path) else default


def _decode(decoding: Decoding, path: str, hint: Any, value: Any) -> Any:
    """The value of a key by its type."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _demand(decoding, path, args[1:], _decode(decoding, path, args[0], value))
    if origin is Literal:
        return _decode_literal(decoding, path, args, value)
    if origin in (Union, types.UnionType):
        return _decode(decoding, path, next(arg for arg in args if arg is not type(None)), value)
    return _decode_plain(decoding, path, hint, value)


def _decode_plain(decoding: Decoding, path: str, hint: Any, value: Any) -> Any:
    """The value of a key whose type stands alone."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        return _decode_list(decoding, path, args[0], value)
    if origin is Mapping:
        return _decode_named(decoding, path, get_args(args[1]), value)
    if is_dataclass(hint):
        return _decode_table(decoding, path, cast(type[Any], hint), value)
    return _decode_scalar(decoding, path, hint, value)


def _decode_scalar(decoding: Decoding, path: str, kind: type[Any], value: Any) -> Any:
    """A bool, int, float, str or Path; true is not a number and 1 is not true."""
    if type(value) is int and value.bit_length() > _INTEGER_BITS:
        return decoding.fault(path, "is too large a number")
    if kind is float and type(value) is int:
        return float(value)
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        return decoding.fault(path, f"must be a finite number, not {value}")
    wanted: type[Any] = str if kind is Path else kind
    if type(value) is not wanted:
        return decoding.fault(path, f"must be {_WORDS[kind]}, not {_show(value)}", _retype(kind, value))
    if kind is Path:
        found = resolve(decoding.folder, value)
        return decoding.fault(path, found.message) if isinstance(found, Fault) else found
    if kind is str and "\0" in value:
        return decoding.fault(path, "must not contain a NUL")
    return value


def _decode_literal(decoding: Decoding, path: str, choices: Sequence[Any], value: Any) -> Any:
    """One of the choices; a wrong one is answered with all of them."""
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return value
    listed = ", ".join(_show(choice) for choice in choices)
    near = did_you_mean(value, [str(choice) for choice in choices]) if isinstance(value, str) else ""
    return decoding.fault(path, f"{_show(value)} is not one of {listed}", near)


def _decode_list(decoding: Decoding, path: str, hint: Any, value: Any) -> Any:
    """A tuple; each member's fault carries its position from 0."""
    if not isinstance(value, list):
        suggestion = f"write [[{path}]]" if is_dataclass(hint) else f"write [{_show(value)}]"
        return decoding.fault(path, f"must be a list, not {_show(value)}", suggestion)
    items = [_decode(decoding, f"{path}[{index}]", hint, item) for index, item in enumerate(value)]
    return _FAULTY if any(item is _FAULTY for item in items) else tuple(items)


def _decode_named(decoding: Decoding, path: str, members: Sequence[type], value: Any) -> Any:
    """A mapping of names to members of a union told apart by `type`."""
    if not isinstance(value, dict):
        return decoding.fault(path, f"must hold tables, not {_show(value)}", f"write [{path}.NAME]")
    by_type = {get_args(get_type_hints(member)["type"])[0]: member for member in members}
    decoded: dict[str, Any] = {}
    for name, table in value.items():
        here = _join(path, name)
        decoded[name] = _FAULTY
        if not _NAME.match(name):
            decoding.fault(here, "is not a usable name", "take up to 32 of a-z, 0-9 and _, a letter first")
        if not isinstance(table, dict):
            decoding.fault(here, f"must be a table, not {_show(table)}", f"write [{path}.NAME]")
        elif "type" not in table:
            listed = ", ".join(_show(choice) for choice in by_type)
            decoding.fault(_join(here, "type"), "missing", f"it needs one of {listed}")
        else:
            kind = _decode_literal(decoding, _join(here, "type"), tuple(by_type), table["type"])
            if kind is not _FAULTY:
                decoded[name] = _decode_table(decoding, here, by_type[kind], table)
    return _FAULTY if any(item is _FAULTY for item in decoded.values()) else decoded


def _demand(decoding: Decoding, path: str, demands: Iterable[Any], value: Any) -> Any:
    """The value if it meets every demand of its kind."""
    if value is _FAULTY:
        return value
    for demand in demands:
        if isinstance(demand, (Between, Text)) and not demand.holds(value):
            return decoding.fault(path, f"must be {demand.meaning}, not {_show(value)}")
    return value


def _decode_secret(
    decoding: Decoding, path: str, name: str, default: Any, table: Mapping[str, Any]
) -> Secret | None:
    """A secret given in place, by a variable or by a file; the default when in none of them."""
    given = [f"{name}{form}" for form in SECRET_FORMS if f"{name}{form}" in table]
    if not given:
        if default is MISSING:
            suggestion = f"give {name}, {name}_env or {name}_file"
            return cast(None, decoding.fault(_join(path, name), "missing", suggestion))
        return cast("Secret | None", default)
    if len(given) > 1:
        text = f"contradicts {', '.join(given[:-1])}"
        return cast(None, decoding.fault(_join(path, given[-1]), text, "keep one of them"))
    key = given[0]
    found = read_secret(key.removeprefix(name), table[key], decoding.folder, decoding.env)
    if isinstance(found, Secret):
        return found
    return cast(None, decoding.fault(_join(path, key), found.message, found.suggestion))


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`did you mean …?` for the nearest choice, or nothing when none is near."""
    near = difflib.get_close_matches(word, sorted(choices), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def _is_secret(hint: Any) -> bool:
    """Whether a key of this type is a secret."""
    return hint is Secret or Secret in get_args(hint)


def _join(path: str, key: str) -> str:
    """A key path; a key that TOML would quote is quoted."""
    shown = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'
    return f"{path}.{shown}" if path else shown


def _show(value: Any) -> str:
    """A value as TOML would write it, cut to a readable length."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}…"'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS:
        return "a number of too many digits"
    return str(value)


def _retype(kind: type, value: Any) -> str:
    """How a value of the wrong type could be written, where that is plain to see."""
    if isinstance(value, str):
        text = value.strip()
        if kind in (int, float) and re.fullmatch(r"-?\d+(\.\d+)?", text):
            return f"write {text} without quotes" if kind is float or "." not in text else ""
        if kind is bool and text.lower() in ("true", "false", "yes", "no", "on", "off"):
            return f"write {'true' if text.lower() in ('true', 'yes', 'on') else 'false'} without quotes"
    if kind in (str, Path) and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f'write "{value}"'
    if kind is int and isinstance(value, float) and value.is_integer():
        return f"write {value:.0f}"
    return ""


def _meaning(hint: Any) -> str:
    """What a missing key wants, in words."""
    if get_origin(hint) is Annotated:
        kind, *demands = get_args(hint)
        texts = [demand.meaning for demand in demands if isinstance(demand, (Between, Text))]
        return f"{_WORDS[kind]} {texts[0]}" if kind is not str and texts else (texts or [_WORDS[kind]])[0]
    return _WORDS.get(hint, "a value")
