"""The command line in tests: the real one, in this process or in one of its own, on a folder of its own."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog

from gateway.cli import app
from gateway.cli.opening import opened
from gateway.ground import Ground
from gateway.terminal.session import opening, run_on_ground

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
CONFIG = """
[store]
url = "sqlite:gateway.db"
busy_timeout_s = 2

[notices]
from = "notices@gateway.example"
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, as JSON."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    def refusal(self, code: int = 1) -> str:
        """The one line of an error, whose exit code must be `code` and which must be all that is printed."""
        assert self.code == code, (self.out, self.err)
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("gateway"), self.err
        assert "Traceback" not in self.err
        assert "unexpected fault" not in self.err
        return self.err.rstrip("\n")

    def refusal_to_start(self) -> str:
        """The last line of a daemon that did not start; what it logged may stand before it."""
        assert self.code == 1, (self.out, self.err)
        assert self.out == ""
        assert "Traceback" not in self.err, self.err
        line = self.err.splitlines()[-1]
        assert line.startswith("gateway: "), self.err
        assert "unexpected fault" not in line
        return line


class Cli:
    """`gateway …` in `folder`, whose gateway.toml and database are there."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.config = folder / "gateway.toml"
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Done:
        """Runs the command in this process."""
        self._capsys.readouterr()
        try:
            code = app.run(arguments)
        finally:
            structlog.reset_defaults()
        out, err = self._capsys.readouterr()
        return Done(code, out, err)

    def ok(self, *arguments: str) -> str:
        """The output of a command that must succeed."""
        done = self(*arguments)
        assert done.code == 0, done.err
        return done.out

    def ground(self, work: Callable[[Ground], Awaitable[T]]) -> T:
        """What `work` answers on the open database."""
        with opening(opened):
            return run_on_ground(self.config, work)

    def account(self, name: str = "Shop") -> str:
        """A new account; its id."""
        return str(self("account", "create", name, "--json").json["id"])


def environment(**more: str) -> dict[str, str]:
    """For a process of its own: this project's code, and nothing of the operator's."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    return {**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **more}


def gateway(*arguments: str, cwd: Path, **more: str) -> Done:
    """Runs `python -m gateway …` in a process of its own, in the folder `cwd`."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def make_newer(database: Path) -> None:
    """Lets the database look as if a program of the future had upgraded it."""
    connection = sqlite3.connect(database)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
