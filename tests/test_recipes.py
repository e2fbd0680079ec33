"""HACKING's recipe for a vertical, followed to the letter in a copy of the project: lint, and it works.

The smallest one (a table, an operation over HTTP, a noun on the command line) stands in `tests/recipes/`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_COPIED = ("gateway", "smtp", "smpp", "policy", "config", "bench", "tests", "pyproject.toml")
_LINES = {
    "gateway/verticals.py": [
        (
            "from gateway.ground import Ground\n",
            "from gateway.greetings.vertical import GREETINGS\nfrom gateway.ground import Ground\n",
        ),
        ("    SANDBOX,\n)", "    SANDBOX,\n    GREETINGS,\n)"),
    ],
    "pyproject.toml": [
        ('    "webhooks",\n    "sendernames",', '    "greetings",\n    "webhooks",\n    "sendernames",')
    ],
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project, without what was installed."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def run(folder: Path, *command: str) -> str:
    """What a command prints that must succeed in the copy."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_vertical_is_a_folder_two_lines_its_place_and_a_migration(copy: Path) -> None:
    python = sys.executable
    folder = copy / "gateway/greetings"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for part in (ROOT / "tests/recipes/greetings").glob("*.py.txt"):
        shutil.copy(part, folder / part.stem)
    tests = copy / "tests/greetings"
    tests.mkdir()
    (tests / "__init__.py").touch()
    shutil.move(folder / "test_api.py", tests / "test_api.py")
    for name, changes in _LINES.items():
        text = (copy / name).read_text()
        for before, after in changes:
            assert text.count(before) == 1, (name, before)
            text = text.replace(before, after)
        (copy / name).write_text(text)
    run(copy, python, "-m", "gateway.cli.new_migration", "greetings_first")
    run(copy, "ruff", "check", "gateway", "tests/greetings")
    run(copy, "lint-imports")
    run(copy, python, "-m", "pytest", "-p", "no:cacheprovider", "tests/greetings")
    (copy / "gateway.toml").write_text('[store]\nurl = "sqlite:gateway.db"\n')
    run(copy, python, "-m", "gateway", "db", "upgrade")
    run(copy, python, "-m", "gateway", "account", "create", "shop")
    assert run(copy, python, "-m", "gateway", "greeting", "list", "shop") == "None.\n"
