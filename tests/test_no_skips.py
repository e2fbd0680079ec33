"""The option --no-skips: proved on a small test run of its own, in a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = """
import pytest

@pytest.mark.skip(reason="no such program")
def test_that_is_skipped() -> None:
    pass

@pytest.mark.xfail(strict=True)
def test_that_is_expected_to_fail() -> None:
    assert False

def test_that_passes() -> None:
    pass
"""


def outcome(folder: Path, *options: str, ci: str = "") -> tuple[int, str]:
    """Exit code and output of pytest on the tests in `folder`, with this project's plugin."""
    shutil.copy(Path(__file__).parent / "support/no_skips.py", folder / "conftest.py")
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options]
    environment = {**os.environ, "CI": ci, "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize(("options", "ci"), [(["--no-skips"], ""), ([], "true")])
def test_a_skipped_test_fails_where_nothing_may_be_skipped(
    tmp_path: Path, options: list[str], ci: str
) -> None:
    (tmp_path / "test_some.py").write_text(_TESTS)
    code, output = outcome(tmp_path, *options, ci=ci)
    assert code == 1
    assert "nothing may be skipped here, and this was: Skipped: no such program" in output
    assert "1 passed, 1 xfailed, 1 error" in output


def test_a_skipped_test_is_none_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(_TESTS)
    code, output = outcome(tmp_path)
    assert code == 0
    assert "1 passed, 1 skipped, 1 xfailed" in output


def test_a_skipped_file_fails_too(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    code, output = outcome(tmp_path, "--no-skips")
    assert code != 0
    assert "nothing may be skipped here" in output
