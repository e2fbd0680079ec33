"""What a server under test is to the harness, and the gateway as one; the peers are in `bench.peers`."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from bench.certificate import certificate
from bench.databases import Database, Sqlite
from bench.ports import free_port
from bench.tree import ROOT, Tree

_QUIET_LOG = """
            [log]
            level = "warning"
"""
CREDITS = 50_000_000
MAIL_FROM = "a@bench.example"
SENDER_NAME = "Bench"
QUIET = os.environ.get("LOGS", "default") == "quiet"  # both sides log warnings only; else as they come
WINDOW = 50  # submit_sm under way at once towards the SMSC, for the gateway and for Kannel


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the load goes. What a server has no door for stays 0 or empty.

    `sms_path`: a GET that submits an SMS when the number's last seven digits follow; else POST /v1/sms.
    `logins`: a file with those of many accounts, of which `spread` make the load.
    """

    smtp_port: int = 0
    http_port: int = 0
    smpp_port: int = 0
    sms_path: str = ""
    api_key: str = ""
    system_id: str = ""
    password: str = ""
    tls: bool = False
    logins: str = ""
    spread: int = 0


class Server(Protocol):
    """A server under test: started with its sink's port in a folder of its own, ended by its ids."""

    name: str
    trees: list[Tree]

    def start(self, folder: Path, sink_port: int) -> Target:
        """Returns when it takes messages."""
        ...

    def stop(self) -> None:
        """Returns when every process has ended."""
        ...


@dataclass(kw_only=True)
class Gateway:
    """The gateway as it comes: every queue durable, credits, policy, metrics and logs on; TLS if asked.

    `template` keeps a prepared installation between runs. `receipts`: the SMSC is asked for them. `root` is
    the checkout whose gateway it is.
    """

    template: Path
    kind: str = "mail"
    dkim: bool = False
    receipts: bool = False
    tls: bool = False
    database: Database = field(default_factory=Sqlite)
    name: str = "gateway"
    root: Path = ROOT
    trees: list[Tree] = field(default_factory=list)

    def start(self, folder: Path, sink_port: int) -> Target:
        """The installation on free ports."""
        home = self.installed(folder)
        ports = {name: free_port() for name in ("smtp", "http", "smpp", "metrics")}
        self.trees = self.database.start(home)
        (home / "gateway.toml").write_text(self._settings(ports, sink_port))
        if not self.dkim:
            self.database.execute(home, "DELETE FROM dkim_key")
        command = [sys.executable, "-m", "gateway", "run"]
        tree = Tree(command, folder / "gateway.log", cwd=home, env=environment(self.root))
        self.trees = [tree, *self.trees]
        wait_until_ready(ports["http"], tree, tls=self.tls)
        logins: Mapping[str, Any] = json.loads((home / "logins.json").read_text())
        return Target(
            smtp_port=ports["smtp"],
            http_port=ports["http"],
            smpp_port=ports["smpp"],
            tls=self.tls,
            **dict(logins),
        )

    def installed(self, folder: Path) -> Path:
        """A copy of the template, which is made on first use."""
        if not self.template.exists():
            self.prepare()
        return Path(shutil.copytree(self.template, folder / "gateway"))

    def stop(self) -> None:
        """SIGTERM drains it; its database goes last."""
        for tree in self.trees:
            tree.stop()

    def _settings(self, ports: Mapping[str, int], sink_port: int) -> str:
        return f"""
            [store]
            {self.database.settings()}
            [smtp]
            port = {ports["smtp"]}
            tls_port = 0
            [[smtp.trusted]]
            network = "127.0.0.1/32"
            account = "bench"
            [http]
            port = {ports["http"]}
            rate_per_s = 0
            tls = {str(self.tls).lower()}
            [smpp]
            port = {ports["smpp"]}
            [metrics]
            port = {ports["metrics"]}
            [mail]
            dkim_ed25519 = false
            {self._certificate()}
            {_QUIET_LOG if QUIET else ""}
            {self.upstreams(sink_port)}"""

    def _certificate(self) -> str:
        if not self.tls:
            return ""
        made = certificate(self.template.parent / "tls")
        return f"""
            [tls]
            certificate = "{made.chain}"
            key = "{made.key}"
            """

    def upstreams(self, sink_port: int) -> str:
        """The way out."""
        if self.kind == "sms":
            return f"""
            [upstream.operator]
            type = "smpp"
            host = "127.0.0.1"
            port = {sink_port}
            system_id = "bench"
            password = "bench"
            window = {WINDOW}
            receipts = {str(self.receipts).lower()}
            """
        return f"""
            [upstream.sink]
            type = "relay"
            host = "127.0.0.1"
            port = {sink_port}
            tls = "{"opportunistic" if self.tls else "none"}"
            """

    def prepare(self) -> None:
        """The template: one account, made by the command line as an operator would."""
        self.template.mkdir(parents=True)
        databases = self.database.start(self.template)
        try:
            self._furnish()
        finally:
            for tree in databases:
                tree.stop()

    def _furnish(self) -> None:
        ports = dict.fromkeys(("smtp", "http", "smpp", "metrics"), 0)
        (self.template / "gateway.toml").write_text(self._settings(ports, 9))
        self._cli("db", "upgrade")
        self._cli("account", "create", "bench")
        for product in ("mail", "sms"):
            self._cli("credit", "grant", "bench", product, str(CREDITS))
        self._cli("domain", "add", "bench", MAIL_FROM.partition("@")[2])
        self._cli("domain", "approve", "bench", MAIL_FROM.partition("@")[2])
        self._cli("sendername", "add", "bench", SENDER_NAME)
        key = self._cli("key", "create", "bench", "--json")
        smpp = self._cli("credential", "create", "bench", "smpp", "--json")
        logins = {"api_key": key["key"], "system_id": smpp["username"], "password": smpp["password"]}
        (self.template / "logins.json").write_text(json.dumps(logins))

    def _cli(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=self.template,
            env=environment(self.root),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"gateway {' '.join(arguments)}: {done.stderr or done.stdout}")
        answer: dict[str, Any] = json.loads(done.stdout) if "--json" in arguments else {}
        return answer


def environment(root: Path) -> dict[str, str]:
    """The gateway of the checkout `root`, whatever is installed, and no proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | {"PYTHONPATH": str(root)}


def wait_until_ready(http_port: int, tree: Tree, *, tls: bool = False, within_s: float = 60.0) -> None:
    """Returns when /readyz says so. Raises RuntimeError with the log's end when it never does."""
    end = time.monotonic() + within_s
    url = f"{'https' if tls else 'http'}://127.0.0.1:{http_port}/readyz"
    with httpx.Client(trust_env=False, timeout=2, verify=not tls) as client:
        while tree.alive and time.monotonic() < end:
            try:
                if client.get(url).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
    tree.stop()
    raise RuntimeError(f"the gateway did not start: {tree.log.read_text()[-2000:]}")
