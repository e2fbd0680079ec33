"""Fixtures that every folder of tests may ask for: databases on both engines, the command line, logs."""

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

import gateway.verticals  # noqa: F401 - all tables are known, as in every process
from smtp import dkim
from tests import world
from tests.postgres_server import MISSING, PostgresServer, postgres_server, programs
from tests.support.cli import CONFIG, Cli
from tests.support.databases import database_of, fresh_database, make_template

_make_keys = cache(dkim.make_keys)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an empty SQLite database (`tests.world.empty_database`)."""
    path = tmp_path_factory.mktemp("database") / "gateway.db"
    path.write_bytes(world.empty_database())
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL server of the tests' own, with a database to copy others from."""
    if programs() is None:
        pytest.skip(MISSING)
    with postgres_server() as server:
        make_template(server)
        yield server


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    """What is logged during the test."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The test runs on each engine: `database_url(tmp_path)` is a fresh database with the schema."""
    if request.param == "sqlite":
        yield request.param
        return
    server: PostgresServer = request.getfixturevalue("postgresql")
    with fresh_database(server) as url, database_of(tmp_path, url):
        yield request.param


@pytest.fixture
def cli(
    tmp_path: Path,
    empty_database: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Cli:
    """The command line on a fresh database."""
    shutil.copy(empty_database, tmp_path / "gateway.db")
    (tmp_path / "gateway.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    return Cli(tmp_path, capsys)


@pytest.fixture
def cheap_rsa(monkeypatch: pytest.MonkeyPatch) -> None:
    """RSA keys are made once and shared: a domain needs several, and their making is not what is tested."""
    monkeypatch.setattr(dkim, "make_keys", _make_keys)
