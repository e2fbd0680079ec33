"""HACKING's recipes for a vertical, an upstream and a column, followed to the letter in a copy: it works.

What they add stands in `tests/recipes/`: the smallest vertical (a table, an operation over HTTP, a noun on
the command line), and an upstream that writes mails into a folder.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_COPIED = ("gateway", "smtp", "smpp", "policy", "config", "bench", "tests", "pyproject.toml")
_VERTICAL = {
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


_UPSTREAM_SETTINGS = {
    "config/sections/upstreams.py": [
        (
            "\n\nUpstream = SandboxMailUpstream | ",
            '''

@dataclass(frozen=True, slots=True, kw_only=True)
class FolderUpstream:
    """Write every mail into a folder."""

    channel: ClassVar[Channel] = "mail"
    type: Literal["folder"] = "folder"
    path: Path


Upstream = FolderUpstream | SandboxMailUpstream | ''',
        )
    ]
}
_UPSTREAM = {
    "gateway/upstreams/registry.py": [
        (
            "from gateway.upstreams.mx import Mx\n",
            "from gateway.upstreams.folder import Folder\nfrom gateway.upstreams.mx import Mx\n",
        ),
        (
            "BUILDERS: dict[str, Callable[[str, Any, Tools], Upstream]] = {\n",
            """BUILDERS: dict[str, Callable[[str, Any, Tools], Upstream]] = {
    "folder": lambda name, settings, tools: Folder(name, settings, signing=tools.signing),
""",
        ),
    ],
    "tests/upstreams/test_registry.py": [
        (
            "NOBODY_THERE: dict[str, Callable[[int], Any]] = {\n",
            """NOBODY_THERE: dict[str, Callable[[int], Any]] = {
    "folder": lambda _port: FolderUpstream(path=Path("mails")),
""",
        ),
        ("    CHANNEL_OF,\n", "    CHANNEL_OF,\n    FolderUpstream,\n"),
    ],
}
_COLUMN = {
    "gateway/sendernames/tables.py": [
        (
            '    ms_column("decided_ms", nullable=True),\n',
            '    ms_column("decided_ms", nullable=True),\n    text_column("colour", nullable=True),\n',
        )
    ]
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


def change(copy: Path, lines: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Puts the one place of each file that a recipe names to what it says."""
    for name, changes in lines.items():
        text = (copy / name).read_text()
        for before, after in changes:
            assert text.count(before) == 1, (name, before)
            text = text.replace(before, after)
        (copy / name).write_text(text)


@pytest.mark.timeout(300)
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
    change(copy, _VERTICAL)
    run(copy, python, "-m", "gateway.cli.new_migration", "greetings_first")
    run(copy, "ruff", "check", "gateway", "tests/greetings")
    run(copy, "lint-imports")
    run(copy, python, "-m", "pytest", "-p", "no:cacheprovider", "tests/greetings")
    (copy / "gateway.toml").write_text('[store]\nurl = "sqlite:gateway.db"\n')
    run(copy, python, "-m", "gateway", "db", "upgrade")
    run(copy, python, "-m", "gateway", "account", "create", "shop")
    assert run(copy, python, "-m", "gateway", "greeting", "list", "shop") == "None.\n"


@pytest.mark.timeout(300)
def test_an_upstream_is_a_module_its_settings_and_a_line(copy: Path) -> None:
    shutil.copy(ROOT / "tests/recipes/folder.py.txt", copy / "gateway/upstreams/folder.py")
    change(copy, _UPSTREAM_SETTINGS)
    cases = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/upstreams/test_registry.py")
    with pytest.raises(AssertionError, match="BUILDERS lacks folder"):
        run(copy, *cases)
    change(copy, _UPSTREAM)
    run(copy, "ruff", "format", "config")
    run(copy, "ruff", "check", "gateway", "config", "tests/upstreams")
    run(copy, "lint-imports")
    run(copy, *cases)
    assert len(list((copy / "mails").iterdir())) == 2  # the case has two recipients


@pytest.mark.timeout(300)
def test_a_column_is_a_line_and_a_migration(copy: Path) -> None:
    python = sys.executable
    (copy / "gateway.toml").write_text('[store]\nurl = "sqlite:gateway.db"\n')
    run(copy, python, "-m", "gateway", "db", "upgrade")
    run(copy, python, "-m", "gateway", "account", "create", "shop")
    run(copy, python, "-m", "gateway", "sendername", "add", "shop", "Shop")
    change(copy, _COLUMN)
    tests = ("tests/store/test_migrations.py", "-k", "exactly_the_tables")
    cases = (python, "-m", "pytest", "-p", "no:cacheprovider", *tests)
    with pytest.raises(AssertionError, match="colour"):
        run(copy, *cases)
    run(copy, python, "-m", "gateway.cli.new_migration", "sendernames_colour")
    run(copy, *cases)
    run(copy, python, "-m", "gateway", "db", "upgrade")
    assert "Shop" in run(copy, python, "-m", "gateway", "sendername", "list", "shop")
