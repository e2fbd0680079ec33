"""Postfix as a relay, with or without OpenDKIM as its milter."""

import os
import pwd
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from bench.certificate import certificate
from bench.ports import free_port, wait_for_port
from bench.servers import Target
from bench.tree import Tree

_SELECTOR = "bench"

# A plain relay, its defaults for durability (fsync of the queue file before 250) and for concurrency.
# Its log goes to syslog(3), whose daemon's time is not counted.
_MAIN_CF = """
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.bench.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
local_recipient_maps =
alias_maps =
relayhost = [127.0.0.1]:{sink_port}
{tls}
{milter}
"""
_NO_TLS = """
smtp_tls_security_level = none
smtpd_tls_security_level = none
"""
_TLS = """
smtp_tls_security_level = may
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate.chain}
smtpd_tls_key_file = {certificate.key}
"""
_MILTER = """
smtpd_milters = inet:127.0.0.1:{port}
milter_default_action = tempfail
"""
_MASTER_CF = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""
_OPENDKIM = """
Mode s
Syslog no
Domain bench.example
Selector {selector}
KeyFile {folder}/dkim.pem
Socket inet:{port}@127.0.0.1
InternalHosts 127.0.0.1
Canonicalization relaxed/relaxed
SignatureAlgorithm rsa-sha256
RequireSafeKeys no
"""


@dataclass(slots=True)
class Postfix:
    """Postfix as a relay to one host; with `dkim` every mail passes OpenDKIM. Needs root."""

    dkim: bool = False
    tls: bool = False
    name: str = "Postfix"
    trees: list[Tree] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.dkim:
            self.name = "Postfix + OpenDKIM"

    def start(self, folder: Path, sink_port: int) -> Target:
        """Its own configuration, queue and data folders."""
        port = free_port()
        milter = self._start_opendkim(folder) if self.dkim else ""
        for name in ("etc", "spool", "data"):
            (folder / name).mkdir(mode=0o755)
        os.chown(folder / "data", pwd.getpwnam("postfix").pw_uid, -1)
        tls = _TLS.format(certificate=certificate(folder / "tls")) if self.tls else _NO_TLS
        settings = _MAIN_CF.format(folder=folder, sink_port=sink_port, milter=milter, tls=tls)
        (folder / "etc" / "main.cf").write_text(settings)
        (folder / "etc" / "master.cf").write_text(_MASTER_CF.format(port=port))
        command = ["postfix", "-c", str(folder / "etc"), "start-fg"]
        self.trees.append(Tree(command, folder / "postfix.log"))
        wait_for_port(port)
        return Target(smtp_port=port, tls=self.tls)

    def _start_opendkim(self, folder: Path) -> str:
        port = free_port()
        key = folder / "dkim.pem"
        subprocess.run(
            ["openssl", "genrsa", "-traditional", "-out", str(key), "2048"], check=True, capture_output=True
        )
        (folder / "opendkim.conf").write_text(_OPENDKIM.format(folder=folder, port=port, selector=_SELECTOR))
        command = ["opendkim", "-f", "-x", str(folder / "opendkim.conf")]
        self.trees.append(Tree(command, folder / "opendkim.log"))
        wait_for_port(port)
        return _MILTER.format(port=port)

    def stop(self) -> None:
        """The relay first."""
        for tree in reversed(self.trees):
            tree.stop()
        self.trees = []
