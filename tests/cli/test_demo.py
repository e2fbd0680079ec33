"""The demo as a newcomer meets it: started, copied from, stopped, started again."""

import json
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import gateway
from tests.support.daemon_process import Daemon, configure

READY = "is ready"
KEYS = [
    *("GATEWAY_URL", "GATEWAY_API_KEY", "SMTP_HOST", "SMTP_PORT", "SMTP_USER", "SMTP_PASSWORD"),
    *("SMPP_HOST", "SMPP_PORT", "SMPP_SYSTEM_ID", "SMPP_PASSWORD", "METRICS_URL"),
]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = ("curl", "swaks", "python3")


def _env(folder: Path) -> dict[str, str]:
    """What demo.env says; every line must be KEY=value."""
    path = folder / "var" / "demo.env"
    assert path.stat().st_mode & 0o777 == 0o600
    lines = [line.split("=", 1) for line in path.read_text().splitlines()]
    assert [key for key, _ in lines[: len(KEYS)]] == KEYS
    return dict(lines)


def _get(env: dict[str, str], path: str) -> Any:
    request = urllib.request.Request(
        env["GATEWAY_URL"] + path, headers={"Authorization": f"Bearer {env['GATEWAY_API_KEY']}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_the_demo_starts_twice_and_keeps_everything(tmp_path: Path) -> None:
    configure(tmp_path)
    with Daemon(tmp_path, "demo") as daemon:
        daemon.until(READY)
        first = _env(tmp_path)
        assert _get(first, "/v1/credits")["balances"] == {
            "mail": 500,
            "sms": 100,
            "validation": 0,
            "query": 0,
        }
        assert [one["name"] for one in _get(first, "/v1/domains")["items"]] == ["demo.example"]
        # The command line works beside the daemon.
        granted = gateway("credit", "grant", "demo", "sms", "1", cwd=tmp_path)
        assert granted.code == 0, granted.err
        assert _get(first, "/v1/credits")["balances"]["sms"] == 101
        # A second daemon on the same database does not start, and breaks nothing.
        assert "another gateway" in gateway("demo", cwd=tmp_path).refusal_to_start()
        assert daemon.stop() == 0
    certificate = (tmp_path / "var/tls/localhost.pem").read_bytes()
    assert (tmp_path / "var/tls/localhost.key").stat().st_mode & 0o777 == 0o600
    with Daemon(tmp_path, "demo") as daemon:
        daemon.until(READY)
        second = _env(tmp_path)
        for key in ("GATEWAY_API_KEY", "SMTP_USER", "SMTP_PASSWORD", "SMPP_SYSTEM_ID", "SMPP_PASSWORD"):
            assert second[key] == first[key]
        assert _get(second, "/v1/credits")["balances"]["sms"] == 101
        assert daemon.stop(signal.SIGINT) == 0
    assert (tmp_path / "var/tls/localhost.pem").read_bytes() == certificate
    assert len(json.loads(gateway("account", "list", "--json", cwd=tmp_path).out)) == 1


def test_every_command_that_the_demo_prints_works_as_it_stands(tmp_path: Path) -> None:  # R70
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed (apt-get install {' '.join(missing)})")
    configure(tmp_path)
    with Daemon(tmp_path, "demo") as daemon:
        text = daemon.until(READY)
        while text.count("/metrics") < 2:  # the list of ports, and the last command
            text += daemon.until("/metrics")
        commands = _commands(text)
        assert [command.split()[0] for command in commands] == [
            "curl", "curl", "swaks", "python3", "curl", "curl", "curl"
        ]  # fmt: skip
        outputs = [_shell(command) for command in commands]
        env = _env(tmp_path)
        assert _get(env, "/v1/credits")["balances"] == {"mail": 497, "sms": 99, "validation": 0, "query": 0}
        sent = _get(env, "/v1/messages")["items"]
        assert sorted((one["channel"], one["ingress"]) for one in sent) == [
            ("mail", "http"), ("mail", "smtp"), ("mail", "smtp"), ("sms", "http")
        ]  # fmt: skip
        assert json.loads(outputs[0])["id"] in {one["id"] for one in sent}
        assert "gateway_" in outputs[-1]
        assert daemon.stop() == 0


def _commands(text: str) -> list[str]:
    """The commands between the comments, continued lines joined."""
    lines = text.partition("Try it:")[2].replace("\\\n", " ").splitlines()
    stripped = [line.strip() for line in lines]
    return [line for line in stripped if line.split(" ")[0] in PROGRAMS and len(shlex.split(line)) > 1]


def _shell(command: str) -> str:
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=30, check=False, env={"PATH": PATH}
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def test_the_certificate_is_good_for_this_machine(tmp_path: Path) -> None:
    configure(tmp_path)
    with Daemon(tmp_path, "demo") as daemon:
        daemon.until(READY)
        port = int(_env(tmp_path)["SMTPS_PORT"])
        trusted = ssl.create_default_context(cafile=str(tmp_path / "var/tls/localhost.pem"))
        for name in ("localhost", "127.0.0.1", "::1"):
            with (
                socket.create_connection(("127.0.0.1", port), 10) as plain,
                trusted.wrap_socket(plain, server_hostname=name) as wrapped,
            ):
                assert wrapped.version() in {"TLSv1.2", "TLSv1.3"}
        assert daemon.stop() == 0
