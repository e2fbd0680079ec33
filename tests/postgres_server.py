"""A private PostgreSQL for tests: a server of its own on a free port, in a temporary folder, with fsync.

Runs Debian's programs (`/usr/lib/postgresql/*/bin`) or those on the PATH; as the user `postgres` when we are
root, since the server refuses root. It trusts whoever connects from loopback, where alone it listens.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from bench.ports import free_port

MISSING = "PostgreSQL's server programs are not installed (on Debian: apt-get install postgresql)"
_USER = "postgres"  # Debian's user for the server; also the name of the database's superuser
_START_S = 30.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
}


def programs() -> Path | None:
    """The folder of initdb and postgres, None where they are not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: float(one.parent.name))
    for folder in reversed(folders):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return None if found is None else Path(found).parent


class PostgresServer:
    """One server. `start` and `stop` may be called again and again; `remove` deletes what it kept."""

    def __init__(self, *, port: int | None = None, settings: dict[str, str] | None = None) -> None:
        folder = programs()
        if folder is None:
            raise RuntimeError(MISSING)
        self._programs = folder
        self._account = pwd.getpwnam(_USER) if os.getuid() == 0 else None
        self._settings = _SETTINGS | (settings or {})
        self.folder = Path(tempfile.mkdtemp(prefix="gateway-postgresql-"))
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._settled = port is not None
        self._tries = 3

    def init(self) -> None:
        """Makes an empty cluster."""
        if self._account is not None:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self.run("initdb", "-D", str(self.data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.folder / "data"

    def run(self, program: str, *arguments: str) -> None:
        """Runs one of PostgreSQL's programs to its end. Raises RuntimeError with what it said."""
        done = subprocess.run(
            [self._programs / program, *arguments], capture_output=True, text=True, check=False, **self._as()
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr}{done.stdout}")

    def start(self) -> None:
        """Starts the server and waits until it answers; at first on another port where this one is taken."""
        while True:
            try:
                self._start()
            except RuntimeError:
                if self._settled or not self._tries:
                    raise
                self._tries -= 1
                self.port = free_port()
            else:
                self._settled = True
                return

    def _start(self) -> None:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, "-p", str(self.port), *options],
                stdout=log,
                stderr=log,
                **self._as(),
            )
        until_s = time.monotonic() + _START_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if self.process.poll() is not None or time.monotonic() > until_s:
                    raise RuntimeError((self.folder / "log").read_text()) from error
                time.sleep(0.05)
            else:
                return

    def stop(self, *, hard: bool = False) -> None:
        """Ends the server: by a fast shutdown, or `hard` as if it had crashed."""
        if self.process is not None:
            if hard:
                # The postmaster ends its children at once and writes nothing more.
                self.process.send_signal(3)  # SIGQUIT: immediate shutdown
            else:
                self.process.send_signal(2)  # SIGINT: fast shutdown
            self.process.wait(30)
            self.process = None

    def remove(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, *, port: int | None = None) -> str:
        """The URI of a database, also by way of another port of this machine (a proxy's)."""
        return f"postgresql://{_USER}@127.0.0.1:{port or self.port}/{database}"

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Executes statements outside of transactions."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _as(self) -> dict[str, Any]:
        """How to run as the unprivileged user."""
        if self._account is None:
            return {}
        return {
            "user": self._account.pw_uid,
            "group": self._account.pw_gid,
            "extra_groups": [],
            "cwd": self.folder,
        }


@contextmanager
def postgres_server(settings: dict[str, str] | None = None) -> Iterator[PostgresServer]:
    """A running server; ended and removed at the end."""
    server = PostgresServer(settings=settings)
    try:
        server.init()
        server.start()
        yield server
    finally:
        server.stop()
        server.remove()
