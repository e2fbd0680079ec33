"""Every regular expression of the product, found in its source, with what it is used for.

A call of `re` is an expression. Its pattern is evaluated in the namespace of its module, so that what is put
together from constants is whole. `Used.methods` are the ways in which the source calls it: one that is only
matched at the start of a text may cost more when it is searched for, and that does not matter.
"""

import ast
import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PACKAGES = ("config", "gateway", "policy", "smpp", "smtp")
_CALLS = frozenset({"compile", "match", "search", "fullmatch", "sub", "subn", "split", "findall", "finditer"})
_ANY_USE = frozenset({"match", "fullmatch", "search"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """One expression: where (`smtp.address:_NAMED`), compiled, and how it is called."""

    place: str
    pattern: re.Pattern[Any]
    methods: frozenset[str]


class UnknownPatternError(Exception):
    """A pattern that is not known before the program runs."""


@cache
def everything() -> tuple[Used, ...]:
    """Every expression of the product, those of `GIVEN` included."""
    return tuple(used for path in _sources() for used in _of_module(path))


def _sources() -> list[Path]:
    return sorted(
        path for name in PACKAGES for path in (ROOT / name).rglob("*.py") if "migrations" not in path.parts
    )


def _of_module(path: Path) -> Iterator[Used]:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    tree = ast.parse(path.read_text())
    calls = list(_calls(tree, ()))
    if not calls:
        return
    namespace = vars(importlib.import_module(name))
    for call, around in calls:
        target = _target(around)
        place = f"{name}:{target or _function(around) or call.lineno}"
        if place in GIVEN:
            patterns = GIVEN[place]()
        else:
            patterns = _evaluated(call, around, namespace, f"{path}:{call.lineno}")
        for pattern in patterns:
            yield Used(place=place, pattern=pattern, methods=_methods(call, around, tree, target))


def _calls(node: ast.AST, around: tuple[ast.AST, ...]) -> Iterator[tuple[ast.Call, tuple[ast.AST, ...]]]:
    """Each call of a function of `re`, with the nodes around it, the innermost last."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr in _CALLS
    ):
        yield node, around
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, (*around, node))


def _target(around: Sequence[ast.AST]) -> str:
    """The name at the module's level that the expression gets, or is a part of."""
    for node in around[1:2]:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            return node.targets[0].id
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            return node.target.id
    return ""


def _function(around: Sequence[ast.AST]) -> str:
    names = [node.name for node in around if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return names[-1] if names else ""


def _evaluated(
    call: ast.Call, around: Sequence[ast.AST], namespace: dict[str, Any], place: str
) -> list[re.Pattern[Any]]:
    """The patterns that the call may get: several where it stands in a comprehension."""
    flags = [one.value for one in call.keywords if one.arg == "flags"]
    # compile(p, f), match(p, text, f): flags come last, and are the only names of `re` among the arguments.
    flags += [one for one in call.args[1:] if "re." in ast.unparse(one)]
    wanted: ast.expr = ast.Tuple(elts=[call.args[0], flags[0] if flags else ast.Constant(0)], ctx=ast.Load())
    for node in reversed(around):
        if isinstance(node, ast.GeneratorExp | ast.ListComp | ast.SetComp):
            wanted = ast.ListComp(elt=wanted, generators=node.generators)
    try:
        found = eval(ast.unparse(wanted), dict(namespace))
    except NameError as error:
        raise UnknownPatternError(
            f"{place}: the pattern is made at run time ({error}); say in GIVEN of {__name__} what it can be"
        ) from None
    pairs = found if isinstance(found, list) else [found]
    return [re.compile(pattern, flags) for pattern, flags in pairs if isinstance(pattern, str | bytes)]


def _methods(call: ast.Call, around: Sequence[ast.AST], tree: ast.AST, target: str) -> frozenset[str]:
    """How the expression is called, as far as the source tells; else in every way."""
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr != "compile":
        return frozenset({call.func.attr})
    parent = around[-1]
    if isinstance(parent, ast.Attribute):
        return frozenset({parent.attr})
    if not target or not isinstance(parent, ast.Assign | ast.AnnAssign):
        return _ANY_USE
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == target
    }
    return frozenset(used & _CALLS) or _ANY_USE


def _national() -> list[re.Pattern[Any]]:
    """What `policy.phone` takes out of the phonenumbers library, for every country code."""
    import phonenumbers

    from policy import phone

    plans = [phone._plan(str(code)) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE]
    mobile = [plan.mobile for plan in plans if plan is not None]
    return [*mobile, *(plan.trunk for plan in plans if plan is not None and plan.trunk is not None)]


GIVEN = {"policy.phone:_plan": _national}
"""The patterns of calls whose pattern is not written there."""

MOST_CHARACTERS = {
    "policy.phone:_plan": (16, "E.164: a plus and 15 digits, which `_INTERNATIONAL` has seen"),
}
"""Expressions that meet no longer texts than these, with the reason; all others are fed 20,000 characters."""
