"""Fixtures of the application's tests."""

import shutil
from pathlib import Path

import pytest

from gateway.cli.db import upgrade_to_head
from tests.gateway.cli_rig import CONFIG, Cli


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with this program's schema and nothing in it; made once."""
    path = tmp_path_factory.mktemp("database") / "gateway.db"
    upgrade_to_head(path, busy_timeout_s=5)
    return path


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
