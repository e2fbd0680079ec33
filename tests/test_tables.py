"""Each table is written and read by the part of the gateway that owns it, and by nobody else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from gateway.verticals import TABLES

PACKAGE = Path(__file__).parents[1] / "gateway"
OWNERS = {table.name: owner for owner, tables in TABLES.items() for table in tables}
_USES = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+\"?([a-z_]+)", re.IGNORECASE)
_OF_ALL = {
    "store/copy.py",  # moves every table there is
    "store/migrations",
}
_FOREIGN = {
    (
        "store/tx.py",
        "message",
    ),  # rows of messages are the last thing that a batch locks (gateway.store.locks)
}


def owner_of(path: Path) -> str:
    """The part of the gateway that a module belongs to."""
    parts = path.relative_to(PACKAGE).parts
    return "sandbox" if parts[:2] == ("upstreams", "sandbox") else parts[0]


def uses(path: Path) -> Iterator[str]:
    """The tables that a module's statements name, and those it imports from another's tables.py."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (name for name in _USES.findall(node.value) if name in OWNERS)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").endswith(".tables"):
            yield from (alias.name for alias in node.names if alias.name in OWNERS)


def test_a_table_is_used_by_its_owner_alone() -> None:
    foreign = {
        (str(path.relative_to(PACKAGE)), name)
        for path in PACKAGE.glob("**/*.py")
        if path.name not in ("vertical.py", "verticals.py")
        and not str(path.relative_to(PACKAGE)).startswith(tuple(_OF_ALL))
        for name in uses(path)
        if OWNERS[name] != owner_of(path)
    }
    assert foreign == _FOREIGN, "ask the owner's service for what its tables hold"
