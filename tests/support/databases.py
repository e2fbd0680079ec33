"""Which database a test's folder has: SQLite in the folder itself, or what the fixture `engine` says."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from gateway.store import postgresql, schema
from tests.postgres_server import PostgresServer

_urls: dict[Path, str] = {}
_numbers = count()


def database_url(folder: Path) -> str:
    """The URL of the database that belongs to `folder`."""
    return _urls.get(folder, f"sqlite:{folder / 'gateway.db'}")


@contextmanager
def database_of(folder: Path, url: str) -> Iterator[None]:
    """Gives `folder` another database for the time being."""
    before = _urls.get(folder)
    _urls[folder] = url
    try:
        yield
    finally:
        if before is None:
            del _urls[folder]
        else:
            _urls[folder] = before


@contextmanager
def fresh_database(server: PostgresServer, *, empty: bool = False) -> Iterator[str]:
    """The URL of a new database with this program's schema (`empty`: with nothing), gone at the end."""
    name = f"test_{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {'template0' if empty else TEMPLATE}")
    try:
        yield server.url(name)
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


TEMPLATE = "gateway_template"


def make_template(server: PostgresServer) -> None:
    """Makes the database that others are copied from."""
    server.execute(f"CREATE DATABASE {TEMPLATE}")
    engines = postgresql.open_engines(server.url(TEMPLATE), password=None, holder="template")
    schema.upgrade(engines[0])
    for engine in engines:
        engine.dispose()
