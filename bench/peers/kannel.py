"""Kannel: bearerbox with its spool in a file, and smsbox."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from bench.certificate import certificate
from bench.ports import free_port, wait_for_port
from bench.servers import QUIET, SENDER_NAME, WINDOW, Target
from bench.tree import Tree

_KANNEL = """
group = core
admin-port = {admin_port}
admin-password = bench
admin-interface = 127.0.0.1
smsbox-port = {box_port}
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
log-level = {log_level}
log-file = {folder}/bearerbox.txt
store-type = file
store-location = {folder}/store
dlr-storage = internal
{certificate}

group = smsc
smsc = smpp
smsc-id = sink
host = 127.0.0.1
port = {sink_port}
transceiver-mode = true
smsc-username = bench
smsc-password = bench
system-type = bench
max-pending-submits = {window}

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {http_port}
sendsms-interface = 127.0.0.1
sendsms-port-ssl = {tls}
log-level = {log_level}
log-file = {folder}/smsbox.txt

group = sendsms-user
username = bench
password = bench
default-sender = {sender}
"""
_CERTIFICATE = """\
ssl-server-cert-file = {certificate.chain}
ssl-server-key-file = {certificate.key}
"""
_QUERY = urlencode(
    {"username": "bench", "password": "bench", "from": SENDER_NAME, "text": "Your code is 123456."}
)


@dataclass(slots=True)
class Kannel:
    """bearerbox with its spool in a file (never fsynced), and smsbox. Logs go to files, as on Debian."""

    tls: bool = False
    name: str = "Kannel"
    trees: list[Tree] = field(default_factory=list)

    def start(self, folder: Path, sink_port: int) -> Target:
        """Bearerbox, then smsbox."""
        ports = {name: free_port() for name in ("admin_port", "box_port", "http_port")}
        configuration = folder / "kannel.conf"
        tls = _CERTIFICATE.format(certificate=certificate(folder / "tls")) if self.tls else ""
        configuration.write_text(
            _KANNEL.format(
                folder=folder,
                sink_port=sink_port,
                sender=SENDER_NAME,
                window=WINDOW,
                log_level=2 if QUIET else 0,
                certificate=tls,
                tls=str(self.tls).lower(),
                **ports,
            )
        )
        self.trees.append(Tree(["bearerbox", "-v", "3", str(configuration)], folder / "bearerbox.log"))
        wait_for_port(ports["box_port"])
        self.trees.append(Tree(["smsbox", "-v", "3", str(configuration)], folder / "smsbox.log"))
        wait_for_port(ports["http_port"])
        path = f"/cgi-bin/sendsms?{_QUERY}&to=%2B4179"
        return Target(http_port=ports["http_port"], sms_path=path, tls=self.tls)

    def stop(self) -> None:
        """smsbox first."""
        for tree in reversed(self.trees):
            tree.stop()
        self.trees = []
