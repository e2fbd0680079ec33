"""A whole process, scraped over a real socket: what it tells, and what it keeps to itself.

`tests.observe.observed` sends a message for every outcome, logs what should never be logged, probes its doors
and serves its metrics under Twisted's reactor on uvloop.
"""

import errno
import http.client
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.messages.observer import Observer
from tests.observe.observed import NUMBER, PERSON, SECRET, WORDS

ROOT = Path(__file__).parents[2]
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)


@dataclass
class Seen:
    """All that the process showed."""

    scrape: str
    later: str
    index: bytes
    headers: dict[str, str]
    log: str
    code: int
    kept_connection_ended: bool
    stopped_s: float
    first: dict[str, int]
    last: dict[str, int]
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)

    def value(self, name: str, **labels: str) -> float | None:
        """The first scrape's sample of this name and these labels."""
        return self.values.get((f"gateway_{name}", tuple(sorted(labels.items()))))


def parse(seen: Seen) -> None:
    for family in text_string_to_metric_families(seen.scrape):
        seen.types[family.name] = family.type
        for sample in family.samples:
            seen.values[sample.name, tuple(sorted(sample.labels.items()))] = sample.value


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("observed")
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.observe.observed", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "log").read_text()
        first = json.loads(line)
        base = f"http://127.0.0.1:{first['port']}"
        with urllib.request.urlopen(f"{base}/metrics", timeout=10) as answer:
            scrape, headers = answer.read().decode(), dict(answer.headers)
        with urllib.request.urlopen(f"{base}/", timeout=10) as answer:
            index = answer.read()
        kept = http.client.HTTPConnection("127.0.0.1", first["port"], timeout=10)
        kept.request("GET", "/metrics")
        later = kept.getresponse().read().decode()
        started_s = time.monotonic()
        process.stdin.close()
        ended = kept.sock.recv(1) == b"" if kept.sock is not None else True
        last = json.loads(process.stdout.readline())
        code = process.wait(timeout=20)
        stopped_s = time.monotonic() - started_s
        kept.close()
        log.seek(0)
        one = Seen(scrape, later, index, headers, log.read(), code, ended, stopped_s, first, last)
    parse(one)
    return one


def test_everything_that_happened_is_counted(seen: Seen) -> None:
    value = seen.value
    assert value("accepted_total", channel="mail", ingress="test") == 6
    assert value("accepted_total", channel="sms", ingress="test") == 1
    assert value("refused_total", channel="mail", ingress="other", reason="sender_not_allowed") == 1
    assert value("refused_total", channel="sms", ingress="test", reason="insufficient_credits") == 1
    assert value("refused_total", channel="mail", ingress="smtp", reason="other") == 1
    ends = {
        outcome: value("deliveries_total", channel="mail", upstream="mx", outcome=outcome)
        for outcome in ("delivered", "failed", "deferred", "postponed", "unknown")
    }
    assert ends["delivered"] == 2  # the mail, and the notification of the one that failed
    assert ends["failed"] == 1
    assert ends["deferred"] == 1
    assert (ends["postponed"] or 0) >= 1
    assert ends["unknown"] == 2  # the one that said so, and the attempt that broke
    assert value("deliveries_total", channel="sms", upstream="operator", outcome="submitted") == 1
    assert value("credits_debited_total", product="mail") == 6
    assert value("auth_failures_total", ingress="smtp", reason="credentials") == 1
    assert value("webhook_tries_total", outcome="delivered") == 1
    assert value("smpp_bound", upstream="operator") == 1
    assert value("smpp_throttled_total", upstream="operator") == 5
    assert value("store_writable") == 1
    assert (value("commit_seconds_count") or 0) > 0
    assert (value("queue_deliveries", channel="mail") or 0) >= 3
    assert value("connections", ingress="smtp") is not None


def test_probes_go_on_and_succeed(seen: Seen) -> None:  # R56
    for service in ("smtp", "api", "sms"):
        assert seen.value("probe_success", service=service) == 1
        assert 0 < (seen.value("probe_duration_seconds", service=service) or 0) < 5
        assert abs((seen.value("probe_last_timestamp_seconds", service=service) or 0) - time.time()) < 60
    assert "probe_failed" not in seen.log


def test_a_round_of_probes_never_overlaps_the_one_before(seen: Seen) -> None:
    assert seen.last["probe_rounds"] >= 3
    assert seen.last["most_probes_at_once"] == 1


def test_the_process_ends_cleanly_and_hangs_up_on_whoever_is_connected(seen: Seen) -> None:
    assert seen.code == 0, seen.log
    assert seen.kept_connection_ended
    assert seen.stopped_s < 10
    assert "probes_ended" not in seen.log
    assert "observation_broke" not in seen.log


def test_a_port_that_is_taken_is_told_as_any_other_listener_does(seen: Seen) -> None:
    assert seen.first["second_start"] == errno.EADDRINUSE


def test_the_first_page_leads_to_the_metrics(seen: Seen) -> None:
    assert b'href="/metrics"' in seen.index
    assert seen.headers["Content-Type"].startswith("text/plain; version=")


def test_no_personal_data_in_labels(seen: Seen) -> None:
    for text in (PERSON, NUMBER[1:], WORDS, SECRET, "@", "good.example", "0" * 26):
        assert text not in seen.scrape
        assert text not in seen.later


def test_no_personal_data_in_the_log(seen: Seen) -> None:
    for text in (PERSON, NUMBER[1:], NUMBER[5:], WORDS, SECRET):
        assert text not in seen.log, text
    assert "…@good.example" in seen.log  # something was there to be masked
    assert "+41…67" in seen.log


def test_every_line_of_the_log_is_an_event(seen: Seen) -> None:
    lines = [json.loads(line) for line in seen.log.splitlines()]
    assert len(lines) > 5
    for line in lines:
        assert re.fullmatch(r"[a-z][a-z0-9_]+", line["event"])
        assert line["level"] in {"debug", "info", "warning", "error"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])
        assert line["logger"]
    by_logger = {line["logger"]: line for line in lines}
    assert by_logger["twisted"]["message"] == "twisted tells of +41…67"
    assert by_logger["gateway.x"]["operations"] == 3


def test_every_call_of_the_observer_is_answered_by_a_metric(seen: Seen) -> None:
    calls = {name for name in vars(Observer) if not name.startswith("_")}
    assert calls == {
        *("accepted", "refused", "attempted", "receipted", "auth_failed", "connection_refused", "lease_lost"),
    }
    for name in (
        "lease_lost_total",
        "accepted_total",
        "refused_total",
        "deliveries_total",
        "end_to_end_seconds_count",
        "auth_failures_total",
    ):
        assert any(key[0] == f"gateway_{name}" for key in seen.values)


@needs_promtool
def test_promtool_finds_nothing_wrong_with_the_scrape(seen: Seen) -> None:
    done = promtool("check", "metrics", text=seen.scrape)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# --- deploy/ -----------------------------------------------------------------------------------------------


def promtool(*arguments: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
    """What promtool says."""
    assert PROMTOOL is not None
    return subprocess.run(
        [PROMTOOL, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT / "deploy" / "prometheus",
    )


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "gateway.rules.yml"),
        ("test", "rules", "gateway.rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts_configuration_and_rules(arguments: tuple[str, ...]) -> None:  # R56, R57
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def exposed_names(seen: Seen) -> set[str]:
    """Every name a query may use."""
    names = set()
    for name, kind in seen.types.items():
        names |= {name, f"{name}_total"} if kind == "counter" else {name}
        if kind == "histogram":
            names |= {f"{name}{suffix}" for suffix in ("_bucket", "_sum", "_count")}
    return names


def test_rules_and_dashboard_use_only_metrics_that_exist(seen: Seen) -> None:
    rules = (ROOT / "deploy/prometheus/gateway.rules.yml").read_text()
    recorded = set(re.findall(r"record: (\S+)", rules))
    expressions = [_without_comments(rules), *_dashboard_expressions()]
    used = {name for text in expressions for name in re.findall(r"\bgateway[_:][a-z0-9_:]+", text)}
    groups = set(re.findall(r"- name: (\S+)", rules))
    assert used - exposed_names(seen) - recorded - groups == set()
    assert len(used) > 30


def test_the_dashboard_leaves_no_metric_of_ours_unseen(seen: Seen) -> None:
    shown = " ".join(_dashboard_expressions())
    unseen = {name for name in seen.types if name not in shown and not name.startswith("gateway_process")}
    assert unseen == {
        "gateway_probe_success",  # shown as gateway:probe_up
        "gateway_probe_last_timestamp_seconds",
        "gateway_readings_timestamp_seconds",  # has an alert
        "gateway_credits_granted",
        "gateway_job_last_success_timestamp_seconds",  # with the period it has an alert
        "gateway_job_period_seconds",
        "gateway_job_failures",
    }


def test_the_dashboard_is_what_grafana_takes() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/gateway.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(places) == len(set(places))
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in dashboard["panels"])
    sources = {json.dumps(panel["datasource"]) for panel in dashboard["panels"] if "datasource" in panel}
    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}


def test_the_documentation_tells_of_every_metric_and_of_no_other(seen: Seen) -> None:
    text = (ROOT / "docs/metrics.md").read_text()
    told = set(re.findall(r"^\| `(gateway_[a-z0-9_]+)`", text, re.MULTILINE))
    ours = {f"{name}_total" if kind == "counter" else name for name, kind in seen.types.items()}
    assert told == ours


def _dashboard_expressions() -> list[str]:
    dashboard: Any = json.loads((ROOT / "deploy/grafana/gateway.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def _without_comments(text: str) -> str:
    return re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
