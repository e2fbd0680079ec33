"""The locked versions: exactly what the project needs, each of them explained in docs/dependencies.md."""

import re
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNNING = PROJECT["dependencies"]
OPTIONAL = PROJECT["optional-dependencies"]
TESTING = OPTIONAL["dev"]


def normal(name: str) -> str:
    """A package's name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(file: str) -> dict[str, str]:
    """Versions by name; every line must be an exact one."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    assert all(len(pair) == 2 for pair in pairs), lines
    return {normal(name): version for name, version in pairs}


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


def test_what_the_code_imports_is_declared() -> None:
    modules = set()
    for package in ("gateway", "smtp", "smpp", "policy", "config"):
        for path in (ROOT / package).rglob("*.py"):
            modules |= set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE))
    foreign = modules - sys.stdlib_module_names - {"gateway", "smtp", "smpp", "policy", "config"}
    assert foreign
    optional = [one for extra, requirements in OPTIONAL.items() if extra != "dev" for one in requirements]
    declared = {normal(Requirement(one).name) for one in (*RUNNING, *optional)}
    known_as = {"dkim": "dkimpy", "spf": "pyspf", "dns": "dnspython"}
    assert {normal(known_as.get(module, module)) for module in foreign} - declared == set()
