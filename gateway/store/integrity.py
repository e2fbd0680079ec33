"""Is the SQLite database whole? What can be seen at once before it is opened, and a look at all of it.

`check_file` takes constant time: the file's size against the number of pages that its header names (SQLite's
file format, section 1.3), and a write-ahead log whose database is gone. `quick_check` reads everything, table
by table, on a connection of its own in a thread, while the gateway accepts; it follows a stop that was not
clean. SQLite lets go of the interpreter's lock while it reads.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from gateway.store.damage import RESTORE, Damage, tells_damage
from gateway.store.errors import StoreError

log = structlog.get_logger(__name__)

_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table'"
_MAGIC = b"SQLite format 3\0"
_HEADER_OCTETS = 100
_PAGE_OCTETS = frozenset(1 << power for power in range(9, 17))
_WAL_HEADER_OCTETS = 32
_FRAME_HEADER_OCTETS = 24
_SAY_EVERY_S = 10.0
_INTERRUPT_EVERY = 10_000  # instructions of SQLite's machine between two looks whether to go on

Progress = Callable[[str, int, int], None]
"""Is told which table comes next, how many are done, and how many there are."""


def check_file(path: Path) -> None:
    """Raises StoreError where the file cannot be the whole database. A file that is not there is no fault."""
    wal_octets = _size(Path(f"{path}-wal"))
    octets = _size(path)
    if not octets:
        if wal_octets:
            raise StoreError(
                f"{path}: is empty or gone, but its log {path}-wal holds {wal_octets} octets. Put the "
                "database back from a backup, or move the log away to begin with an empty one."
            )
        return
    with path.open("rb") as file:
        header = file.read(_HEADER_OCTETS)
    page_octets = int.from_bytes(header[16:18])
    page_octets = 65_536 if page_octets == 1 else page_octets
    if len(header) < _HEADER_OCTETS or not header.startswith(_MAGIC) or page_octets not in _PAGE_OCTETS:
        raise StoreError(
            f"{path}: not a usable SQLite database (its header is not one). "
            "Restore it from a backup, or move it away to start with an empty one."
        )
    if header[24:28] != header[92:96]:
        return  # the number of pages is not kept up to date (section 1.3.8)
    missing = int.from_bytes(header[28:32]) - octets // page_octets
    frames = max(0, wal_octets - _WAL_HEADER_OCTETS) // (page_octets + _FRAME_HEADER_OCTETS)
    if missing > frames:  # a checkpoint that was cut short leaves its pages in the log
        raise StoreError(
            f"{path}: has been cut off, {missing} of its pages are missing at the end. {RESTORE}"
        )


def quick_check(path: Path, *, progress: Progress, stopping: Callable[[], bool] = lambda: False) -> str:
    """What is wrong with the database, "" if nothing is. Ends early, with "", once `stopping`.

    Raises sqlite3.Error where it cannot be read for another reason than damage.
    """
    return _checked(path, "quick_check", progress, stopping)


def full_check(path: Path, *, progress: Progress) -> str:
    """The same, and every index against its table."""
    return _checked(path, "integrity_check", progress, lambda: False)


def _checked(path: Path, pragma: str, progress: Progress, stopping: Callable[[], bool]) -> str:
    table = "the schema"
    with _reading(path, stopping) as connection:
        try:
            tables = [name for (name,) in connection.execute(_TABLES)]
            for done, table in enumerate(tables):
                progress(table, done, len(tables))
                for (line,) in connection.execute(f"PRAGMA {pragma}('{table}')"):
                    if line != "ok":
                        return " ".join(f"{table}: {line}".split())[:300]
        except sqlite3.OperationalError:
            if stopping():
                return ""
            raise
        except sqlite3.DatabaseError as error:
            if tells_damage(error):
                return f"{table}: {error}"
            raise
    return ""


@contextmanager
def _reading(path: Path, stopping: Callable[[], bool]) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.set_progress_handler(lambda: int(stopping()), _INTERRUPT_EVERY)
        yield connection


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # whoever opens the database says what is wrong with the folder
        return 0


class BackgroundCheck:
    """The look at the whole database after a stop that was not clean; `sound` is called if it is whole."""

    def __init__(self, path: Path, damage: Damage, sound: Callable[[], None]) -> None:
        self._path = path
        self._damage = damage
        self._sound = sound
        self._stopping = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._say_at_s = 0.0

    async def start(self) -> None:
        """Begins."""
        log.warning("database_check_started", reason="the last stop was not clean")
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Ends it, finished or not."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()

        def progress(table: str, done: int, of: int) -> None:
            if loop.time() >= self._say_at_s:
                self._say_at_s = loop.time() + _SAY_EVERY_S
                log.info("database_check_progress", table=table, done=done, of=of)

        try:
            text = await asyncio.to_thread(
                quick_check, self._path, progress=progress, stopping=self._stopping.is_set
            )
        except sqlite3.Error as error:
            log.warning("database_check_failed", error=str(error))
            return
        if text:
            self._damage.found(text)
        elif not self._stopping.is_set():
            self._sound()
            log.info("database_check_done")
