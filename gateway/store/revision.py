"""The revision: one number that counts every change to what caches hold, in the change's own transaction."""

from gateway.store.locks import named
from gateway.store.tx import Tx

LOCK = named("revision")
"""Whoever counts it is alone with what caches hold."""

_BUMP = """
INSERT INTO revision (id, value) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET value = revision.value + 1
"""
_TOUCH = "UPDATE revision SET value = value WHERE id = 1"
_READ = "SELECT value FROM revision WHERE id = 1"


def bump(tx: Tx) -> int:
    """Counts the revision up; its new value. Every process empties its caches when it sees it."""
    tx.require(LOCK)
    tx.run(_BUMP)
    return read(tx)


def read(tx: Tx) -> int:
    """The revision that this transaction sees; 0 before the first change."""
    row = tx.one(_READ)
    return 0 if row is None else int(row[0])


def touch(tx: Tx) -> int:
    """Writes the revision as it is: whether anything can be written."""
    return tx.run(_TOUCH)
