"""Jasmin with the RabbitMQ and the Redis that it needs; all of them are counted.

Its defaults, save that the connector's limit of one SMS a second is lifted. Only jasmind runs: the daemons
for receipts and for incoming messages have nothing to do in these cases.
"""

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from bench.install import JASMIN, RABBITMQ
from bench.ports import free_port, wait_for_port
from bench.servers import QUIET, SENDER_NAME, Target
from bench.tree import Tree

_SETTINGS = """
[jcli]
port = {jcli}
authentication = False
[http-api]
bind = 127.0.0.1
port = {http}
log_level = {level}
[smpp-server]
bind = 127.0.0.1
port = {smpp}
[smpp-server-pb]
bind = 127.0.0.1
port = {smpp_pb}
[router]
bind = 127.0.0.1
port = {router}
[client-management]
bind = 127.0.0.1
port = {manager}
[amqp-broker]
port = {amqp}
spec = {spec}
[redis-client]
port = {redis}
[sm-listener]
log_level = {level}
[service-smppclient]
log_level = {level}
"""
_DIALOGUE = """
group -a
gid bench
ok
user -a
uid bench
gid bench
username bench
password bench
ok
smppccm -a
cid sink
host 127.0.0.1
port {sink_port}
username bench
password bench
submit_throughput 0
ok
mtrouter -a
type DefaultRoute
connector smppc(sink)
rate 0.0
ok
smppccm -1 sink
"""
_QUERY = urlencode(
    {"username": "bench", "password": "bench", "from": SENDER_NAME, "content": "Your code is 123456."}
)
_SPEC = "lib/python*/site-packages/txamqp/specs/standard/amqp0-9-1.stripped.xml"
_PORTS = ("jcli", "http", "smpp", "smpp_pb", "router", "manager", "amqp", "redis", "epmd", "erlang")


@dataclass(slots=True)
class Jasmin:
    """jasmind, its broker and its cache."""

    name: str = "Jasmin"
    trees: list[Tree] = field(default_factory=list)

    def start(self, folder: Path, sink_port: int) -> Target:
        """Broker and cache first; then user, connector and route by its console."""
        ports = {name: free_port() for name in _PORTS}
        home = folder / "jasmin"
        (home / "etc" / "jasmin" / "store").mkdir(parents=True)
        settings = home / "etc" / "jasmin" / "jasmin.cfg"
        (spec,) = JASMIN.glob(_SPEC)
        settings.write_text(_SETTINGS.format(spec=spec, level="WARNING" if QUIET else "INFO", **ports))
        self.trees += [_rabbitmq(folder, ports), _redis(folder, ports["redis"])]
        wait_for_port(ports["amqp"], within_s=60)
        wait_for_port(ports["redis"])
        command = [str(JASMIN / "bin" / "python"), str(JASMIN / "bin" / "jasmind.py"), "-c", str(settings)]
        environment = {"ROOT_PATH": str(home), "PYTHONPATH": ""}  # its `smpp` is another one than ours
        self.trees.append(Tree(command, folder / "jasmin.log", env=environment, cwd=home))
        wait_for_port(ports["http"])
        wait_for_port(ports["jcli"])
        _configure(ports["jcli"], _DIALOGUE.format(sink_port=sink_port).split("\n")[1:-1])
        return Target(http_port=ports["http"], sms_path=f"/send?{_QUERY}&to=4179")

    def stop(self) -> None:
        """Jasmin first."""
        for tree in reversed(self.trees):
            tree.stop()
        self.trees = []


def _rabbitmq(folder: Path, ports: dict[str, int]) -> Tree:
    """A broker of its own: node, cookie, port mapper, data."""
    home = folder / "rabbitmq"
    home.mkdir()
    environment = {
        "HOME": str(home),
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "bench@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(ports["amqp"]),
        "RABBITMQ_DIST_PORT": str(ports["erlang"]),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
    }
    return Tree([str(RABBITMQ)], folder / "rabbitmq.log", env=environment, cwd=home)


def _redis(folder: Path, port: int) -> Tree:
    home = folder / "redis"
    home.mkdir()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(home)]
    return Tree(command, folder / "redis.log")


def _configure(port: int, lines: Iterable[str]) -> None:
    """Says each line to the console as it asks for it. Raises RuntimeError with what it says of a fault."""
    said = ""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as console:
        for line in lines:
            console.sendall(line.encode() + b"\r\n")
            answer = _prompt(console)
            said += answer
            if any(word in answer.lower() for word in ("error", "unknown", "failed", "incorrect")):
                raise RuntimeError(f"Jasmin's console: {said}")


def _prompt(console: socket.socket) -> str:
    """What comes until the console asks."""
    said = b""
    while not said.endswith((b"jcli : ", b"\n> ", b"\r> ")):
        block = console.recv(4096)
        if not block:
            raise RuntimeError(f"Jasmin's console: {said.decode(errors='replace')}")
        said += block
    return said.decode(errors="replace")
