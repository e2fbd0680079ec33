"""Runs the benchmark as a user would."""

import os
import subprocess
import sys

from bench.tree import ROOT


def bench(*options: str, within_s: float = 120.0) -> "subprocess.CompletedProcess[str]":
    """`python -m bench` with `options`. Raises TimeoutExpired where it is not done `within_s`."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
