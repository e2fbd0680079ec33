"""What a database holds of tables and indexes, told so that two databases made in different ways compare."""

import re
from collections.abc import Iterator

from sqlalchemy import Connection

Catalogue = dict[str, list[str]]
"""By table or index: what it is made of."""

_CONSTRAINT = re.compile(r"(CONSTRAINT|PRIMARY KEY|UNIQUE|CHECK|FOREIGN KEY)\b", re.IGNORECASE)
_MASTER = """
SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'
"""
_POSTGRESQL = """
WITH ours AS (
  SELECT oid, relname FROM pg_class
  WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
    AND relname <> 'alembic_version'
)
SELECT relname AS name, concat_ws(' ', 'column', attname, format_type(atttypid, atttypmod),
  CASE WHEN attnotnull THEN 'NOT NULL' END, 'DEFAULT ' || pg_get_expr(adbin, adrelid),
  'COLLATE ' || collname, attidentity, attgenerated) AS part
FROM ours JOIN pg_attribute a ON attrelid = ours.oid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
LEFT JOIN pg_collation c ON c.oid = attcollation
WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT relname, concat_ws(' ', 'constraint', conname, pg_get_constraintdef(c.oid))
FROM ours JOIN pg_constraint c ON conrelid = ours.oid
UNION ALL
SELECT indexname, indexdef FROM pg_indexes JOIN ours ON relname = tablename
WHERE schemaname = current_schema()
"""


def catalogue(connection: Connection) -> Catalogue:
    """What is there, the migrations' own table excepted.

    The order of columns counts on SQLite alone: PostgreSQL adds them at the end only. The order of
    constraints, and where SQLite's ALTER TABLE has put them in its text, counts nowhere.
    """
    if connection.dialect.name == "sqlite":
        return {name: list(_definition(sql)) for name, sql in connection.exec_driver_sql(_MASTER).all()}
    found: Catalogue = {}
    for name, part in connection.exec_driver_sql(_POSTGRESQL).all():
        found.setdefault(name, []).append(part)
    return {name: sorted(parts) for name, parts in found.items()}


def _definition(sql: str) -> Iterator[str]:
    """A CREATE statement: its head and its end, its columns in their order, its constraints sorted."""
    text = " ".join(sql.replace('"', "").split())
    if not text.startswith("CREATE TABLE"):
        yield text
        return
    start, end = text.index("("), text.rindex(")")
    yield f"{text[:start].strip()} {text[end + 1 :].strip()}"
    parts = list(_parts(text[start + 1 : end]))
    yield from (part for part in parts if not _CONSTRAINT.match(part))
    yield from sorted(part for part in parts if _CONSTRAINT.match(part))


def _parts(body: str) -> Iterator[str]:
    """What stands between the commas that are in no brackets."""
    depth = start = 0
    for index, letter in enumerate(body):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            yield body[start:index].strip()
            start = index + 1
    yield body[start:].strip()
