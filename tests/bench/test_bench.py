"""The harness of `make bench` runs from one end to the other; how fast is asked elsewhere."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.bench.support import bench


@pytest.mark.skipif(sys.platform != "linux", reason="the harness reads /proc")
@pytest.mark.skipif(
    not shutil.which("smtp-source", path="/usr/sbin:/usr/bin"), reason="needs Debian's postfix"
)
def test_mails_reach_the_sink_and_their_cost_is_written_down(tmp_path: Path) -> None:
    results, chart = tmp_path / "latest.json", tmp_path / "chart.svg"
    options = ["--peers", "none", "--cases", "mail", "--messages", "600", "--runs", "1"]
    done = bench(*options, "--results", str(results), "--chart", str(chart))
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(results.read_text())["runs"]
    assert run["messages"] >= 600
    assert run["cpu_s"] > 0
    assert run["memory_mib"] > 0
    assert 0 < run["p50_ms"] <= run["p99_ms"]
    assert "gateway" in chart.read_text()
    assert "| mail, a connection each | gateway |" in done.stdout
