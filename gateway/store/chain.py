"""Hash chains: rows that cannot be changed, left out or put in later without being found out.

A chain is a list of digests. Each of its rows holds the hash of the row before (`prev`) and a hash over all
that it holds itself, so that who knows the last hash (`head`) vouches for everything before it. Of what is
sealed a chain holds the digest alone: personal content can be erased, and the chain still verifies. What can
be guessed (a name, a number) can be guessed from its digest, too: such content is given a random salt, which
is erased with it.

Rows are sealed after they were committed, by a job that calls `seal_all`, never inside a transaction that
accepts messages. A row's seal and its owner's mark that it is sealed are one transaction, alone with the
chain (`locks`): whenever the process dies, a row is sealed once, or not yet.

`verify` finds every change of a row that is there. A chain that ends too early, or that somebody has computed
anew from some row on, is sound in itself: it is found by a head that was kept elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

import structlog

from gateway.store.errors import StoreBusy, StoreFailed
from gateway.store.locks import Locks, named
from gateway.store.store import Store
from gateway.store.tx import Row, Tx

log = structlog.get_logger(__name__)

_SLICE = 500
_NAMES = 200
_PAGE_ROWS = 1000
_LEAST_SEQ = -(2**63)

_HEAD = "SELECT seq, hash FROM chain WHERE name = ? ORDER BY seq DESC LIMIT 1"
_INSERT = "INSERT INTO chain (name, seq, digest, prev, hash, at_ms) VALUES (?, ?, ?, ?, ?, ?)"
_PAGE = """
SELECT seq, digest, prev, hash, at_ms FROM chain WHERE name = ? AND seq >= ? ORDER BY seq LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Head:
    """The last row of a chain: its number, from 1, and its hash."""

    seq: int
    hash: bytes


START = Head(0, bytes(32))
"""The head of a chain that has no row yet."""


class Because(StrEnum):
    """Why a chain breaks at a row."""

    MISSING = "missing"  # no row has this number, and a later one is there
    FOREIGN = "foreign"  # a number that no chain has
    PREV = "wrong_prev"  # it does not hold the hash of the row before
    CHANGED = "changed"  # its hash is not that of what it holds
    REWRITTEN = "rewritten"  # sound in itself, but the known head had another hash
    CUT = "cut"  # the chain ends before the known head


@dataclass(frozen=True, slots=True)
class Broken:
    """The first row at which a chain breaks, and why."""

    seq: int
    because: Because


class Source(Protocol):
    """Who owns rows that are sealed.

    A row takes part in one chain. It keeps its number there, which also says that it is sealed, and is not
    changed by anybody who does not hold `locks` of its chain.
    """

    name: str
    """What the rows are, as one of a few words (the label `name` of gateway_chain_unsealed)."""

    def unsealed(self, tx: Tx) -> int:
        """How many rows are not sealed yet."""
        ...

    def chains(self, tx: Tx, after: str, limit: int) -> Sequence[str]:
        """The names of up to `limit` chains with such rows, in their order, from behind `after` on."""
        ...

    def locks(self, chain: str) -> Locks:
        """What is held while rows of `chain` are sealed, besides the chain itself."""
        ...

    def rows(self, tx: Tx, chain: str, limit: int) -> Sequence[tuple[Row, bytes]]:
        """Up to `limit` rows to be sealed next: the key and the digest (`digest`) of each."""
        ...

    def mark(self, tx: Tx, chain: str, sealed: Sequence[tuple[Row, int]]) -> int:
        """Keeps with each row, by its key, its number in the chain; how many were not sealed before."""
        ...


class NotSealed(Exception):
    """Rows stay unsealed: their owner did not mark them, or (of `seal_all`) chains could not be sealed."""


# --- digests ------------------------------------------------------------------------------------------------


def digest(value: Any) -> bytes:
    """SHA-256 of `value` as canonical JSON: keys sorted by their characters, no blanks, UTF-8, integers only.

    Raises TypeError for what is neither dict, list, tuple, str, int, bool nor None (above all for a float,
    which is not written alike everywhere) and for a key that is no str; ValueError for text that is not
    UTF-8.
    """
    _refuse_unsteady(value)
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def _refuse_unsteady(value: Any) -> None:
    if isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key of canonical JSON is text, not {type(key).__name__}")
            _refuse_unsteady(one)
    elif isinstance(value, list | tuple):
        for one in value:
            _refuse_unsteady(one)
    elif value is not None and not isinstance(value, str | int):
        raise TypeError(f"{type(value).__name__} has no canonical JSON")


def _hash(name: str, seq: int, digest_: bytes, prev: bytes, at_ms: int) -> bytes:
    return digest([name, seq, bytes(digest_).hex(), bytes(prev).hex(), at_ms])


# --- one chain ----------------------------------------------------------------------------------------------


def locks(*names: str) -> Locks:
    """What is locked before anything is appended to the chains `names`."""
    return named(*(f"chain:{name}" for name in names))


def head(tx: Tx, name: str) -> Head:
    """The chain's last row; START while it has none."""
    row = tx.one(_HEAD, (name,))
    return START if row is None else Head(int(row[0]), bytes(row[1]))


def seal(tx: Tx, name: str, digests: Iterable[bytes], *, now_ms: int) -> Head:
    """Appends `digests` to the chain `name`, in their order; the new head."""
    tx.require(locks(name))
    last = head(tx, name)
    rows: list[Row] = []
    for one in digests:
        hash_ = _hash(name, last.seq + 1, one, last.hash, now_ms)
        rows.append((name, last.seq + 1, one, last.hash, hash_, now_ms))
        last = Head(last.seq + 1, hash_)
    tx.run_many(_INSERT, rows)
    return last


def verify(tx: Tx, name: str, *, known: Head = START) -> Head | Broken:
    """The chain's head if all of it is sound, or where it breaks first; reads a page of rows at a time.

    `known` is a head that the chain had once: up to there it must still be what it was.
    """
    last = START
    first = _LEAST_SEQ
    while rows := tx.rows(_PAGE, (name, first, _PAGE_ROWS)):
        for row in rows:
            broken = _judge(name, row, last, known)
            if broken is not None:
                return broken
            last = Head(row[0], row[3])
        first = last.seq + 1
    return last if last.seq >= known.seq else Broken(last.seq + 1, Because.CUT)


def _judge(name: str, row: Row, last: Head, known: Head) -> Broken | None:
    seq, digest_, prev, hash_, at_ms = row
    wanted = last.seq + 1
    if seq != wanted:
        return Broken(wanted, Because.MISSING) if seq > wanted else Broken(seq, Because.FOREIGN)
    if prev != last.hash:
        return Broken(seq, Because.PREV)
    try:
        sound = hash_ == _hash(name, seq, digest_, prev, at_ms)
    except TypeError:  # SQLite lets a column hold what it is not made for
        sound = False
    if not sound:
        return Broken(seq, Because.CHANGED)
    if seq == known.seq and hash_ != known.hash:
        return Broken(seq, Because.REWRITTEN)
    return None


# --- sealing what has gathered ------------------------------------------------------------------------------


async def seal_all(store: Store, sources: Sequence[Source], *, now_ms: int) -> dict[str, int]:
    """Seals what is not sealed yet, slice by slice; how many rows are left by now, by the name of the source.

    A chain that cannot be sealed holds up no other: it is logged, and NotSealed comes at the end. Raises what
    `Store.write` raises while the database is away or full.
    """
    failed = 0
    for source in sources:
        after = ""
        while names := await store.read(partial(source.chains, after=after, limit=_NAMES)):
            for name in names:
                try:
                    await _seal_chain(store, source, name, now_ms)
                except (StoreBusy, StoreFailed):
                    raise
                except Exception:
                    failed += 1
                    log.exception("chain_not_sealed", source=source.name, chain=name)
            after = names[-1]
    if failed:
        raise NotSealed(f"{failed} chains could not be sealed")
    return await store.read(partial(unsealed, sources=sources))


def unsealed(tx: Tx, sources: Sequence[Source]) -> dict[str, int]:
    """How many rows are not sealed yet, by the name of the source."""
    return {source.name: source.unsealed(tx) for source in sources}


async def _seal_chain(store: Store, source: Source, name: str, now_ms: int) -> None:
    needed = Locks.all_of([locks(name), source.locks(name)])
    count = _SLICE
    while count == _SLICE:
        count = await store.write(partial(_seal_slice, source=source, name=name, now_ms=now_ms), locks=needed)


def _seal_slice(tx: Tx, *, source: Source, name: str, now_ms: int) -> int:
    """Seals up to _SLICE rows of one chain; how many. Raises NotSealed, and has sealed none."""
    rows = source.rows(tx, name, _SLICE)
    last = seal(tx, name, [digest_ for _, digest_ in rows], now_ms=now_ms)
    first = last.seq - len(rows) + 1
    marked = source.mark(tx, name, [(key, first + index) for index, (key, _) in enumerate(rows)])
    if marked != len(rows):  # they would be sealed again and again
        raise NotSealed(f"{len(rows) - marked} of {len(rows)} rows were not marked as sealed")
    return len(rows)
