"""Runs the benchmark as a user would."""

import os
import subprocess
import sys

from bench.tree import ROOT


def bench(*options: str) -> "subprocess.CompletedProcess[str]":
    """`python -m bench` with `options`, which is given two minutes."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
