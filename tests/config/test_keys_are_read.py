"""Every key of the schema is read by somebody outside `config`, or stands in NOT_YET with who will read it.

What is read is found in the source. An attribute counts as a key of a section where what stands before the
dot is known to be that section: an argument or a field annotated with its class, or a name that such a thing
was given to.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from config import Settings
from config.sections.upstreams import Upstream
from smtp.limits import MailLimits

ROOT = Path(__file__).parents[2]
NOT_YET = {
    "retention.statistics_years": "mail feedback: opens, clicks, unsubscribes",  # R43
}
"""Keys that may be written and that nothing reads yet, each with the capability that will read it.

The table in docs/operations.md is the same.
"""
_BY_CONFIG = {"sms.price_credits"}
"""Read by `Settings` itself, which makes a route of it."""

_CONTAINERS = {"tuple", "list", "sorted", "enumerate", "next"}
Kinds = frozenset[type]
_NONE: Kinds = frozenset()


def classes() -> dict[str, type]:
    """The classes of the schema, by name."""
    found: dict[str, type] = {}
    waiting: list[Any] = [Settings, *get_args(Upstream)]
    while waiting:
        one = waiting.pop()
        if is_dataclass(one) and isinstance(one, type) and one.__name__ not in found:
            found[one.__name__] = one
            waiting += get_type_hints(one).values()
        waiting += get_args(one)
    return found


class Reader(ast.NodeVisitor):
    """Finds the keys that one module reads. `attributes`: what attributes of other classes are."""

    def __init__(self, known: dict[str, Kinds], attributes: dict[str, Kinds]) -> None:
        self._known = dict(known)
        self._attributes = attributes
        self._names: list[dict[str, Kinds]] = [{}]
        self.read: set[str] = set()

    def kinds(self, node: ast.expr | None) -> Kinds:
        """The classes of the schema that the value of an expression may be of."""
        if isinstance(node, ast.Name):
            return next((names[node.id] for names in reversed(self._names) if node.id in names), _NONE)
        if isinstance(node, ast.Attribute):
            owners = self.kinds(node.value)
            if not owners:
                return self._attributes.get(node.attr, _NONE)
            hints = [get_type_hints(owner).get(node.attr) for owner in owners]
            return frozenset(kind for hint in hints for kind in _members(hint))
        if isinstance(node, ast.Call):
            return self._answered(node)
        parts: list[ast.expr] = []
        if isinstance(node, ast.Subscript | ast.Starred | ast.Await):
            parts = [node.value]
        elif isinstance(node, ast.GeneratorExp | ast.ListComp):
            parts = [node.elt]
        elif isinstance(node, ast.Tuple | ast.List):
            parts = node.elts
        elif isinstance(node, ast.IfExp):
            parts = [node.body, node.orelse]
        return frozenset[type]().union(*(self.kinds(one) for one in parts))

    def _answered(self, node: ast.Call) -> Kinds:
        """Of a container made of what is known, of `settings.upstream.items()`, of a function's answer."""
        if isinstance(node.func, ast.Name):
            if node.func.id in _CONTAINERS:
                return frozenset[type]().union(*(self.kinds(one) for one in node.args))
            return self._attributes.get(node.func.id, _NONE)
        if isinstance(node.func, ast.Attribute):
            return self.kinds(node.func.value) or self._attributes.get(node.func.attr, _NONE)
        return _NONE

    def annotated(self, node: ast.expr | None) -> Kinds:
        """The classes that an annotation names."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        names = [getattr(one, "id", getattr(one, "attr", "")) for one in ast.walk(node)] if node else []
        return frozenset[type]().union(*(self._known.get(name, _NONE) for name in names))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        spec = node.args
        named = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
        self._public(node.name, self.annotated(node.returns))
        self._names.append({one.arg: self.annotated(one.annotation) for one in named})
        self.generic_visit(node)
        self._names.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's own names

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            self._bind(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        kinds = self.annotated(node.annotation)
        self._note(node.target, kinds)
        if isinstance(node.target, ast.Name):
            self._public(node.target.id, kinds)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._bind(node.target, node.iter)
        self.generic_visit(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp) -> None:
        for one in node.generators:
            self._bind(one.target, one.iter)
        self.generic_visit(node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp  # noqa: N815 - ast's own names

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._count(node.value, node.attr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id == "getattr":
            name = node.args[1]
            self._count(node.args[0], str(name.value) if isinstance(name, ast.Constant) else "*")
        self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for one in node.names:
            if one.asname and one.name in self._known:
                self._known[one.asname] = self._known[one.name]

    def _count(self, owner: ast.expr, key: str) -> None:
        self.read |= {f"{kind.__name__}.{key}" for kind in self.kinds(owner)}

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, its in zip(target.elts, value.elts, strict=False):
                self._note(one, self.kinds(its))
        else:
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                self._note(one, self.kinds(value))

    def _note(self, target: ast.expr, kinds: Kinds) -> None:
        if isinstance(target, ast.Name):
            self._names[-1][target.id] = kinds
        elif isinstance(target, ast.Attribute):
            self._public(target.attr, kinds)

    def _public(self, name: str, kinds: Kinds) -> None:
        """Notes what an attribute of that name, or what a function, gives."""
        if kinds:
            self._attributes[name] = self._attributes.get(name, _NONE) | kinds


def _members(hint: Any) -> Iterator[type]:
    """The classes in a type such as Mapping[str, A | B]."""
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for one in get_args(hint):
        yield from _members(one)


def keys_read(sources: list[str]) -> set[str]:
    """The keys that these modules read, as `Class.key`."""
    known = {name: frozenset([kind]) for name, kind in classes().items()}
    known |= {"Upstream": frozenset(get_args(Upstream))}
    attributes: dict[str, Kinds] = {"load": frozenset([Settings])}
    trees = [ast.parse(source) for source in sources]
    read: set[str] = set()
    for _ in range(3):  # what one module's attributes are, another one's names may come from
        for tree in trees:
            reader = Reader(known, attributes)
            reader.visit(tree)
            read |= reader.read
    return read


def keys_of(name: str, kind: type) -> set[str]:
    """The keys of a class, as the file has them: `section.key`, or `Class.key` of a part of a section."""
    return {path_of(f"{name}.{key.name}") for key in fields(kind)}


def path_of(key: str) -> str:
    name, _, rest = key.partition(".")
    sections = {getattr(hint, "__name__", ""): section for section, hint in get_type_hints(Settings).items()}
    return f"{sections.get(name, name)}.{rest}"


def test_every_key_is_read_or_is_known_not_to_be() -> None:
    sources = [
        path.read_text()
        for package in ("gateway", "smtp", "smpp", "policy")
        for path in (ROOT / package).rglob("*.py")
    ]
    read = {path_of(key) for key in keys_read(sources)} | _BY_CONFIG
    if "limits.*" in read:  # gateway.road.mail_limits copies them by their names
        read |= {f"limits.{name}" for name in MailLimits.__struct_fields__}
    keys = set[str]().union(*(keys_of(name, kind) for name, kind in classes().items()))
    assert keys - read == set(NOT_YET)


def test_people_are_told_what_nothing_reads_yet() -> None:
    text = (ROOT / "docs/operations.md").read_text().partition("## Keys that nothing reads yet")[2]
    rows = re.findall(r"(?m)^\| `([^`]+)` \| (.+) \|$", text.partition("\n## ")[0])
    assert dict(rows) == NOT_YET


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("def f(smtp: Smtp, other: Other): return smtp.port, other.host", {"Smtp.port"}),
        ("class A:\n  def f(self, s: Settings): self._x = s.retention\n  def g(self): self._x.event_days",
         {"Settings.retention", "Retention.event_days"}),
        ("from config.sections.messages import SenderName as Rules\ndef f(r: 'Rules | None'): r.max_length",
         {"SenderName.max_length"}),
        ("def f(s: Settings):\n  a, b = s.mail, s.sms\n  return [one.upstream for one in b.route]",
         {"Settings.mail", "Settings.sms", "Sms.route", "SmsRoute.upstream"}),
        ("def f():\n  return load('x').probe.timeout_s", {"Settings.probe", "Probe.timeout_s"}),
        ("def f(one: SmppUpstream): return getattr(one, 'binds', 0)", {"SmppUpstream.binds"}),
        ("def f(s: Settings): return Retention(statistics_years=1).statistics_years", set()),
    ],
)  # fmt: skip
def test_what_is_read_is_told_from_what_only_has_the_same_name(source: str, read: set[str]) -> None:
    assert keys_read([source]) == read
