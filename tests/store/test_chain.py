"""Hash chains: what is sealed is sealed once, and every change of it is found."""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from gateway.store import chain, postgresql, schema, sqlite
from gateway.store.chain import START, Because, Broken, Head, NotSealed, digest
from gateway.store.locks import NOTHING, Locks
from gateway.store.store import Store, sqlite_path
from gateway.store.tx import Row, Tx
from tests.support.databases import database_url

NOW_MS = 1_790_000_000_000
NAME = "audit"
on_each_engine = pytest.mark.usefixtures("engine")


# --- digests ------------------------------------------------------------------------------------------------


def test_a_digest_is_that_of_the_sorted_json_without_blanks() -> None:
    text = '{"a":[1,true,null,"é\\n"],"b":{"x":-2,"y":""}}'
    value = {"b": {"y": "", "x": -2}, "a": (1, True, None, "é\n")}
    assert digest(value) == hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize("value", [1.0, {"a": [1.5]}, float("nan"), b"x", {1: "a"}, {"a": {None: 1}}, {1}])
def test_what_is_not_written_alike_everywhere_has_no_digest(value: Any) -> None:
    with pytest.raises(TypeError):
        digest(value)


def test_text_that_is_not_utf_8_has_no_digest() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        digest("\ud800")


# --- one chain ----------------------------------------------------------------------------------------------


@contextmanager
def writer_of(folder: Path) -> Iterator[Engine]:
    """The writer's engine of the folder's database, with the schema."""
    url = database_url(folder)
    engine, readers = (
        postgresql.open_engines(url)
        if postgresql.is_url(url)
        else sqlite.open_engines(sqlite_path(url), busy_timeout_s=5)
    )
    schema.upgrade(engine)
    try:
        yield engine
    finally:
        engine.dispose()
        readers.dispose()


@contextmanager
def transaction(engine: Engine) -> Iterator[Tx]:
    """A transaction that may append to the chain; nothing of it stays."""
    with engine.connect() as connection:
        begun = connection.begin()
        tx = Tx(connection)
        tx.lock(chain.locks(NAME, "other"))
        yield tx
        begun.rollback()


@pytest.fixture
def tx(engine: str, tmp_path: Path) -> Iterator[Tx]:
    with writer_of(tmp_path) as opened, transaction(opened) as begun:
        yield begun


def sealed(tx: Tx, count: int, name: str = NAME) -> Head:
    """The head of a chain with `count` rows."""
    return chain.seal(tx, name, [digest(number) for number in range(count)], now_ms=NOW_MS)


def test_a_chain_goes_on_from_its_head(tx: Tx) -> None:
    assert chain.head(tx, NAME) == START
    assert chain.verify(tx, NAME) == START
    first = sealed(tx, 2)
    assert first.seq == 2
    assert sealed(tx, 0) == first
    other = sealed(tx, 2, "other")
    last = chain.seal(tx, NAME, [digest("x")], now_ms=NOW_MS + 1)
    assert chain.head(tx, NAME) == chain.verify(tx, NAME) == chain.verify(tx, NAME, known=first) == last
    assert last.seq == 3
    assert other != first, "a row of one chain fits into another"


CHANGES = [
    ("UPDATE chain SET digest = prev WHERE name = 'audit' AND seq = 2", Broken(2, Because.CHANGED)),
    ("UPDATE chain SET hash = prev WHERE name = 'audit' AND seq = 2", Broken(2, Because.CHANGED)),
    ("UPDATE chain SET at_ms = at_ms + 1 WHERE name = 'audit' AND seq = 2", Broken(2, Because.CHANGED)),
    ("UPDATE chain SET prev = hash WHERE name = 'audit' AND seq = 2", Broken(2, Because.PREV)),
    ("DELETE FROM chain WHERE name = 'audit' AND seq = 2", Broken(2, Because.MISSING)),
    ("DELETE FROM chain WHERE name = 'audit' AND seq <= 2", Broken(1, Because.MISSING)),
    ("UPDATE chain SET seq = 0 WHERE name = 'audit' AND seq = 4", Broken(0, Because.FOREIGN)),
    ("UPDATE chain SET name = 'x' WHERE name = 'audit' AND seq >= 3", Broken(3, Because.CUT)),
    ("DELETE FROM chain WHERE name = 'audit'", Broken(1, Because.CUT)),
]


@pytest.mark.parametrize(("change", "found"), CHANGES)
def test_a_change_is_found_where_it_is(tx: Tx, change: str, found: Broken) -> None:
    known = sealed(tx, 4)
    assert tx.run(change) > 0
    assert chain.verify(tx, NAME, known=known) == found
    if found.because is not Because.CUT:
        assert chain.verify(tx, NAME) == found


def test_a_chain_that_was_computed_anew_is_found_by_a_head_from_before(tx: Tx) -> None:
    old = sealed(tx, 3)
    tx.run("DELETE FROM chain WHERE name = ? AND seq >= 2", (NAME,))
    new = chain.seal(tx, NAME, [digest("x"), digest("y"), digest("z")], now_ms=NOW_MS)
    assert chain.verify(tx, NAME) == chain.verify(tx, NAME, known=new) == new
    assert chain.verify(tx, NAME, known=old) == Broken(3, Because.REWRITTEN)


def test_a_value_of_another_type_is_a_change(tmp_path: Path) -> None:
    """SQLite takes a number or a text where octets belong."""
    with writer_of(tmp_path) as engine:
        for change in (
            "digest = 'x'",
            "digest = 1.5",
            "at_ms = 1.5",
            "at_ms = x'00'",
            "prev = 'x'",
            "hash = 7",
        ):
            with transaction(engine) as tx:
                sealed(tx, 3)
                tx.run(f"UPDATE chain SET {change} WHERE seq = 2")
                assert isinstance(broken := chain.verify(tx, NAME), Broken)
                assert broken.seq == 2


_OCTETS = st.binary(min_size=32, max_size=32)
_ROWS = 7


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, Row]:
    """Any change of one row of _ROWS."""
    seq = draw(st.integers(1, _ROWS))
    column = draw(st.sampled_from(["digest", "prev", "hash", "at_ms", "seq", "name", "row"]))
    where = "WHERE name = 'audit' AND seq = ?"
    if column == "row":
        return f"DELETE FROM chain {where}", (seq,)
    if column == "name":
        return f"UPDATE chain SET name = ? {where}", (draw(st.text("abc", max_size=5)), seq)
    if column == "seq":
        numbers = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, _ROWS + 3)
        new: Any = draw(numbers.filter(lambda number: not 1 <= number <= _ROWS))
    else:
        new = draw(st.integers(0, 2**62) if column == "at_ms" else _OCTETS)
    return f"UPDATE chain SET {column} = ? {where} AND {column} <> ?", (new, seq, new)


@on_each_engine
def test_any_change_of_any_row_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_PAGE_ROWS", 3)

    with writer_of(tmp_path) as engine:

        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(changes(), st.booleans())
        @example(("UPDATE chain SET seq = ? WHERE name = 'audit' AND seq = ?", (-(2**63), _ROWS)), True)
        def found(change: tuple[str, Row], goes_on: bool) -> None:
            with transaction(engine) as tx:
                head = sealed(tx, _ROWS)
                touched = tx.run(*change)
                if goes_on:  # and nothing that is sealed afterwards hides it
                    tx.run("DELETE FROM chain WHERE name = 'audit' AND seq > ?", (_ROWS,))
                    chain.seal(tx, NAME, [digest("later")], now_ms=NOW_MS)
                assert touched == 1
                assert isinstance(chain.verify(tx, NAME, known=head), Broken)

        found()


# --- sealing what has gathered ------------------------------------------------------------------------------


@dataclass
class Notes:
    """A source: a table of notes, each in a chain; `dies` is the step at which sealing breaks off."""

    name: str = "notes"
    dies: str = ""

    def make(self, tx: Tx) -> None:
        tx.run(f"CREATE TABLE {self.name} (id INTEGER PRIMARY KEY, chain VARCHAR(80), seq INTEGER)")

    def add(self, tx: Tx, name: str, first: int, count: int) -> None:
        rows = [(number, name) for number in range(first, first + count)]
        tx.run_many(f"INSERT INTO {self.name} VALUES (?, ?, NULL)", rows)

    def unsealed(self, tx: Tx) -> int:
        return int(tx.rows(f"SELECT count(*) FROM {self.name} WHERE seq IS NULL")[0][0])

    def chains(self, tx: Tx, after: str, limit: int) -> Sequence[str]:
        sql = f"SELECT DISTINCT chain FROM {self.name} WHERE seq IS NULL AND chain > ? ORDER BY chain LIMIT ?"
        return [name for (name,) in tx.rows(sql, (after, limit))]

    def locks(self, chain: str) -> Locks:
        return NOTHING

    def rows(self, tx: Tx, chain: str, limit: int) -> Sequence[tuple[Row, bytes]]:
        self._die("rows")
        sql = f"SELECT id FROM {self.name} WHERE chain = ? AND seq IS NULL ORDER BY id LIMIT ?"
        return [((number,), digest(number)) for (number,) in tx.rows(sql, (chain, limit))]

    def mark(self, tx: Tx, chain: str, sealed: Sequence[tuple[Row, int]]) -> int:
        self._die("mark")
        if self.dies == "forgotten":
            return 0
        sql = f"UPDATE {self.name} SET seq = ? WHERE id = ? AND seq IS NULL"
        count = tx.run_many(sql, [(seq, *key) for key, seq in sealed])
        self._die("marked")
        if self.dies == "second slice":
            self.dies = "rows"
        return count

    def sealed(self, tx: Tx) -> list[Row]:
        return tx.rows(f"SELECT chain, seq, id FROM {self.name} WHERE seq IS NOT NULL ORDER BY chain, seq")

    def _die(self, where: str) -> None:
        if self.dies == where:
            raise RuntimeError("died")


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    with writer_of(folder):
        yield Store.open(database_url(folder))


async def agree(store: Store, notes: Notes) -> list[str]:
    """Shows that marks and rows of chains are the same and each chain sound; the chains' names."""
    marks = await store.read(notes.sealed)
    rows = await store.read(lambda tx: tx.rows("SELECT name, seq, digest FROM chain ORDER BY name, seq"))
    assert [(name, seq, bytes(one)) for name, seq, one in rows] == [
        (name, seq, digest(number)) for name, seq, number in marks
    ]
    names = sorted({name for name, _, _ in marks})
    for name in names:
        assert isinstance(await store.read(partial(chain.verify, name=name)), Head)
    return names


@on_each_engine
async def test_everything_is_sealed_in_slices_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "_SLICE", 4)
    monkeypatch.setattr(chain, "_NAMES", 2)
    notes, empty = Notes(), Notes("empty")
    with opened(tmp_path) as store:
        await store.write(notes.make)
        await store.write(empty.make)
        for index, (name, count) in enumerate([("a", 9), ("b", 4), ("c", 1), ("d", 3), ("e", 8)]):
            await store.write(partial(notes.add, name=name, first=index * 10, count=count))
        assert await store.read(lambda tx: chain.unsealed(tx, [notes, empty])) == {"notes": 25, "empty": 0}
        for _ in range(2):
            left = await chain.seal_all(store, [empty, notes], now_ms=NOW_MS)
            assert left == {"notes": 0, "empty": 0}
            assert await agree(store, notes) == ["a", "b", "c", "d", "e"]
        await store.write(lambda tx: notes.add(tx, "b", 100, 2))
        await chain.seal_all(store, [notes], now_ms=NOW_MS)
        assert [seq for name, seq, _ in await store.read(notes.sealed) if name == "b"] == [1, 2, 3, 4, 5, 6]
        await agree(store, notes)
        await store.close()


@on_each_engine
@pytest.mark.parametrize("dies", ["rows", "mark", "marked", "forgotten", "second slice"])
async def test_what_breaks_off_anywhere_has_sealed_whole_slices_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    monkeypatch.setattr(chain, "_SLICE", 4)
    notes, sound = Notes(dies=dies), Notes("sound")
    with opened(tmp_path) as store:
        for source in (notes, sound):
            await store.write(source.make)
        await store.write(lambda tx: notes.add(tx, "a", 0, 6))
        await store.write(lambda tx: sound.add(tx, "s", 0, 2))
        with pytest.raises(NotSealed, match="1 chains"):
            await chain.seal_all(store, [notes, sound], now_ms=NOW_MS)
        done = 4 if dies == "second slice" else 0
        assert await store.read(lambda tx: chain.unsealed(tx, [notes, sound])) == {
            "notes": 6 - done, "sound": 0,
        }  # fmt: skip
        await store.write(lambda tx: tx.run("DELETE FROM chain WHERE name = 's'"))
        await agree(store, notes)
        notes.dies = ""
        assert await chain.seal_all(store, [notes], now_ms=NOW_MS) == {"notes": 0}
        await agree(store, notes)
        await store.close()


@on_each_engine
async def test_two_processes_that_seal_at_once_seal_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "_SLICE", 3)
    notes = Notes()
    with opened(tmp_path) as store:
        other = Store.open(database_url(tmp_path))
        await store.write(notes.make)
        for index, name in enumerate("abc"):
            await store.write(partial(notes.add, name=name, first=index * 100, count=40))
        await asyncio.gather(*(chain.seal_all(one, [notes], now_ms=NOW_MS) for one in (store, other) * 2))
        assert await store.read(notes.unsealed) == 0
        assert len(await agree(store, notes)) == 3
        await other.close()
        await store.close()
