"""What the gateway keeps its queue in: SQLite in its own folder, or a PostgreSQL server started for it."""

import os
import pwd
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psycopg

from bench.ports import free_port
from bench.tree import Tree

_NAME = "gateway"
_START_S = 30.0
_USER = "postgres"  # Debian's user for the server, which refuses root; also the database's superuser


class Database(Protocol):
    """A database in an installation's folder."""

    def start(self, home: Path) -> list[Tree]:
        """Its processes, ready; makes the database where there is none yet."""
        ...

    def settings(self) -> str:
        """What stands in [store]."""
        ...

    def execute(self, home: Path, statement: str) -> None:
        """One statement, committed."""
        ...


@dataclass(slots=True)
class Sqlite:
    """The default: a file, no process."""

    def start(self, home: Path) -> list[Tree]:  # noqa: ARG002 - the protocol's
        """Nothing to start."""
        return []

    def settings(self) -> str:
        """As it comes."""
        return ""

    def execute(self, home: Path, statement: str) -> None:
        """One statement, committed."""
        with closing(sqlite3.connect(home / "var" / "gateway.db")) as connection, connection:
            connection.execute(statement)


@dataclass(slots=True)
class Postgresql:
    """Debian's PostgreSQL with its defaults, fsync on, over loopback; it trusts whoever connects there."""

    port: int = field(default_factory=free_port)

    def start(self, home: Path) -> list[Tree]:
        """The server on the cluster in `home`."""
        cluster = home / "cluster"
        new = not cluster.exists()
        cluster.mkdir(mode=0o700, exist_ok=True)
        _give_away(cluster)
        if new:
            command = ["initdb", "-D", str(cluster), "-U", _USER, "-A", "trust", "-E", "UTF8"]
            subprocess.run([*_as_user(), *command, "--locale=C.UTF-8"], check=True, capture_output=True)
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        command = [shutil.which("postgres") or "postgres", "-D", str(cluster), "-p", str(self.port), *options]
        tree = Tree([*_as_user(), *command], home / "postgresql.log", cwd=cluster)
        _wait_for(self._url(_USER), tree)
        if new:
            with psycopg.connect(self._url(_USER), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {_NAME}")
        return [tree]

    def settings(self) -> str:
        """Its address."""
        return f'url = "{self._url(_NAME)}"'

    def execute(self, home: Path, statement: str) -> None:  # noqa: ARG002 - the protocol's
        """One statement, committed."""
        with psycopg.connect(self._url(_NAME)) as connection:
            connection.execute(statement.encode())

    def _url(self, database: str) -> str:
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"


def _give_away(cluster: Path) -> None:
    """To the server's user: what root has made or copied is root's."""
    if os.getuid() == 0:
        user = pwd.getpwnam(_USER)
        for path in (cluster, *cluster.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)


def _wait_for(url: str, tree: Tree) -> None:
    """Returns when the server answers. Raises RuntimeError with its log when it does not."""
    end = time.monotonic() + _START_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            if not tree.alive or time.monotonic() > end:
                tree.stop()
                raise RuntimeError(f"PostgreSQL did not start: {tree.log.read_text()[-2000:]}") from None
            time.sleep(0.05)
        else:
            return


def _as_user() -> list[str]:
    """How root becomes the server's user."""
    if os.getuid() != 0:
        return []
    return ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", "--"]
