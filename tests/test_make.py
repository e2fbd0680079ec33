"""`make` and `.ci/system` where something is missing: what they say, and that they touch nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str, programs: Path | None = None) -> tuple[int, str]:
    """Exit code and everything that is printed."""
    environment = dict(os.environ)
    if programs is not None:
        environment |= {"PATH": str(programs), "SBIN": str(programs)}
    for name in ("MAKEFLAGS", "MAKELEVEL", "PYTHON", "VENV"):
        environment.pop(name, None)  # this may itself run under make
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def tool(folder: Path, name: str, script: str) -> None:
    """A program that answers as `script` says."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the few programs that the scripts themselves use."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "grep", "dirname", "rm", "chmod"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def test_without_a_python_make_says_where_to_get_one(tmp_path: Path) -> None:
    code, said = run("make", "run", "PYTHON=", f"VENV={tmp_path}/venv")
    assert code == 2
    assert "no Python 3.11 or newer with venv and pip was found" in said
    assert "apt-get install python3-venv" in said
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_refused(tmp_path: Path) -> None:
    tool(tmp_path, "python2.7", "exit 1")
    code, said = run("make", "run", f"PYTHON={tmp_path}/python2.7", f"VENV={tmp_path}/venv")
    assert code == 2
    assert "is older than Python 3.11" in said
    assert not (tmp_path / "venv").exists()


def test_help_lists_every_target_for_people() -> None:
    code, said = run("make", "help")
    assert code == 0
    targets = [line.split()[0] for line in said.splitlines()]
    assert targets == [
        "help",
        "run",
        "test",
        "check",
        "crash",
        "freeze",
        "fuzz",
        "bench",
        "audit",
        "sbom",
        "lock",
        "migration",
        "lint",
        "format",
        "system",
        "clean",
    ]


def test_without_a_test_check_asks_which_and_installs_nothing(tmp_path: Path) -> None:
    code, said = run("make", "check", f"VENV={tmp_path}/venv")
    assert code == 2
    assert "which test? For example: make check T=tests/" in said
    assert not (tmp_path / "venv").exists()


def test_check_runs_the_one_test_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    tool(tmp_path / "bin", "python", 'printf "<%s>" "$@"')
    (tmp_path / ".development").touch()
    code, said = run(
        "make", "-o", f"{tmp_path}/.development", "check", f"VENV={tmp_path}", "T=tests/a.py::b[c d]"
    )
    assert code == 0, said
    assert "<-m><pytest><tests/a.py::b[c d]>" in said


def test_elsewhere_the_system_packages_are_named_and_not_installed(programs: Path) -> None:
    tool(programs, "id", "echo 1000")
    tool(programs, "apt-get", "echo INSTALLED; exit 1")
    code, said = run(".ci/system", programs=programs)
    assert code == 0
    assert "packages not installed:" in said
    for package in ("swaks", "postfix", "prometheus", "nodejs", "npm"):
        assert package in said
    assert "INSTALLED" not in said


def test_root_on_debian_installs_what_is_missing_and_tries_again_with_new_lists(programs: Path) -> None:
    tool(programs, "id", "echo 0")
    log = programs / "log"
    policy = programs / "policy-rc.d"
    tool(
        programs,
        "apt-get",
        f"""
        echo "$DEBIAN_FRONTEND $*" >>{log}
        grep -q 'exit 101' {policy} || exit 1  # no daemon may start
        [ "$1" = update ] || [ -e {log}.once ] || {{ : >{log}.once; exit 100; }}
        """,
    )
    code, said = run(".ci/system", programs=programs)
    assert code == 0, said
    first, second, third = log.read_text().splitlines()
    assert first == third
    assert first.startswith("noninteractive install -y")
    assert "--no-install-recommends" in first
    assert second == "noninteractive update -qq"
    assert not policy.exists()
