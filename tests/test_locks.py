"""The locked versions: exactly what the project needs, each of them explained in docs/dependencies.md."""

import ast
import re
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.security.lock import LOCKS, renewed

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNNING = PROJECT["dependencies"]
OPTIONAL = PROJECT["optional-dependencies"]
TESTING = OPTIONAL["dev"]
# A lock has names, versions and hashes, and says nothing of where files come from.
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.+!]+)( +--hash=sha256:[0-9a-f]{64})+")


def normal(name: str) -> str:
    """A package's name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(file: str) -> dict[str, str]:
    """Versions by name; every line must be an exact one, with the hashes of its files."""
    text = (ROOT / file).read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pins = [_PIN.fullmatch(line) for line in lines]
    assert all(pins), [line for line, pin in zip(lines, pins, strict=True) if not pin]
    return {normal(pin["name"]): pin["version"] for pin in pins if pin}


def needed(requirements: list[str]) -> dict[str, str]:
    """What is installed here of these packages and of all that they need."""
    found: dict[str, str] = {}
    seen = set()
    waiting = [Requirement(one) for one in requirements]
    while waiting:
        wanted = waiting.pop()
        key = (normal(wanted.name), *sorted(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        package = distribution(wanted.name)
        found[normal(wanted.name)] = package.version
        for line in package.requires or []:
            one = Requirement(line)
            extras = wanted.extras or {""}
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(one)
    return found


def test_the_lock_for_running_is_what_the_project_needs() -> None:
    assert needed(RUNNING) == locked("requirements.lock")


def test_the_lock_for_tests_is_what_tests_need_besides() -> None:
    running = locked("requirements.lock")
    besides = {name: version for name, version in needed(TESTING).items() if name not in running}
    assert besides == locked("requirements-dev.lock")


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-dev.lock", "requirements-build.lock"])
def test_every_locked_package_is_explained(file: str) -> None:
    words = set(re.findall(r"[a-z0-9-]+", (ROOT / "docs/dependencies.md").read_text().lower()))
    assert set(locked(file)) - words == set()


@pytest.mark.parametrize("file", LOCKS)
def test_every_locked_package_has_its_hashes(file: str) -> None:
    assert locked(file)


def test_everything_that_is_installed_from_a_lock_is_held_against_its_hashes() -> None:
    for file in ("Makefile", "deploy/Dockerfile"):
        installs = re.findall(r"install [^\n]*", (ROOT / file).read_text())
        from_locks = [line for line in installs if " -r " in line]
        assert len(from_locks) >= 2
        assert [line for line in from_locks if "--require-hashes" not in line] == []


FILES = {
    "a_b-1.0-py3-none-any.whl": "1" * 64,
    "a_b-1.0.tar.gz": "2" * 64,
    "a_b-1.0-cp312-cp312-musllinux_1_2_aarch64.whl": "3" * 64,
    "a_b-1.0-cp39-abi3-win_amd64.whl": "4" * 64,
    "a_b-1.0-cp310-cp310-manylinux_2_17_x86_64.whl": "5" * 64,
    "a_b-1.0-pp311-pypy311_pp73-manylinux_2_17_x86_64.whl": "6" * 64,
    "a_b-1.0.1-py3-none-any.whl": "7" * 64,
    "a-1.0-py3-none-any.whl": "8" * 64,
    "a_b-1.0.exe": "9" * 64,
}


def test_a_renewed_lock_has_every_file_that_may_be_installed_and_no_other() -> None:
    text = "# Why.\nA.b==1.0 \\\n    --hash=sha256:old\n# More.\n"
    pins = "".join(f" \\\n    --hash=sha256:{str(number) * 64}" for number in (1, 2, 3, 4))
    asked: list[str] = []

    def files_of(name: str) -> dict[str, str]:
        asked.append(name)
        return FILES

    new = renewed(text, files_of)
    assert new == f"# Why.\nA.b==1.0{pins}\n# More.\n"
    assert renewed(new, files_of) == new
    assert asked == ["A.b", "A.b"]


def test_a_version_without_files_is_told() -> None:
    with pytest.raises(SystemExit, match=r"A.b==2.0: the index has no file"):
        renewed("A.b==2.0\n", lambda _: FILES)


def imported(source: str) -> set[str]:
    """The top-level packages that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {one.name.partition(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.partition(".")[0])
    return found


def test_what_the_code_imports_is_declared() -> None:
    modules = set()
    for package in ("gateway", "smtp", "smpp", "policy", "config"):
        for path in (ROOT / package).rglob("*.py"):
            modules |= imported(path.read_text())
    foreign = modules - sys.stdlib_module_names - {"gateway", "smtp", "smpp", "policy", "config"}
    assert foreign
    optional = [one for extra, requirements in OPTIONAL.items() if extra != "dev" for one in requirements]
    declared = {normal(Requirement(one).name) for one in (*RUNNING, *optional)}
    known_as = {"dkim": "dkimpy", "spf": "pyspf", "dns": "dnspython"}
    assert {normal(known_as.get(module, module)) for module in foreign} - declared == set()
