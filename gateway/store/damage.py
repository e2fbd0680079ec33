"""A database that is damaged: how it is noticed while it serves, and what is said of it, once a minute.

Whoever reads or writes shows its errors to `look`; the check of the whole file (`gateway.store.integrity`)
reports with `found`. From then on nothing is accepted: what is written into a damaged file may be lost with
it. Several processes on one SQLite file tell each other by a file beside it.

It does not know how to mend: that is `gateway db check --full`, and a backup.
"""

import sqlite3
import time
from pathlib import Path

import structlog

from gateway.store.errors import StoreDamaged

log = structlog.get_logger(__name__)

RESTORE = "Restore it from a backup, or save what it still gives: sqlite3 OLD .recover | sqlite3 NEW."
ADVICE = f"Stop the gateway, and look with `gateway db check --full` where. {RESTORE}"
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_SAY_EVERY_S = 60.0
_LOOK_EVERY_S = 1.0


def tells_damage(error: BaseException) -> bool:
    """Whether SQLite's `error` says that the database is damaged, by its primary result code."""
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _CORRUPT


class Damage:
    """What is known of the damage of one database. `marker`: the file that tells the other processes; with
    `watch` it is looked at.
    """

    def __init__(self, marker: Path | None = None, *, watch: bool = False) -> None:
        self.text = ""
        """What was found; "" while nothing was."""
        self._marker = marker
        self._watch = watch
        self._say_at_s = float("-inf")
        self._look_at_s = float("-inf")

    def look(self, error: BaseException) -> bool:
        """Whether `error` says that the database is damaged."""
        if not tells_damage(error):
            return False
        self.found(str(getattr(error, "orig", error)))
        return True

    def found(self, text: str) -> None:
        """The database is damaged."""
        if not self.text:
            self.text = text
            if self._marker is not None:
                self._marker.write_text(f"{text}\n", encoding="utf-8")
        self._say()

    def refusal(self) -> StoreDamaged | None:
        """What whoever wants to write gets; None while the database is sound."""
        if self._watch and not self.text and self._marker is not None:
            self._read_marker(self._marker)
        if not self.text:
            return None
        self._say()
        return StoreDamaged(f"The database is damaged ({self.text}). {ADVICE}")

    def forget(self) -> None:
        """What an earlier process has found is to be found again."""
        if self._marker is not None:
            self._marker.unlink(missing_ok=True)

    def _read_marker(self, marker: Path) -> None:
        now_s = time.monotonic()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + _LOOK_EVERY_S
            if marker.exists():
                self.text = marker.read_text(encoding="utf-8").strip() or "found by another process"

    def _say(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._say_at_s:
            self._say_at_s = now_s + _SAY_EVERY_S
            log.error("database_damaged", found=self.text, advice=ADVICE)
