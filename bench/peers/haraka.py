"""Haraka as a relay: its outbound queue on disk, then one host. One process, its defaults."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from bench.install import HARAKA
from bench.ports import free_port, wait_for_port
from bench.servers import QUIET, Target
from bench.tree import Tree

_FILES = {
    "plugins": "relay\n",
    "relay.ini": "[relay]\nacl=true\nforce_routing=true\n",
    "relay_acl_allow": "127.0.0.0/8\n",
    "outbound.ini": "local_mx_ok=true\nenable_tls=false\n",
}


@dataclass(slots=True)
class Haraka:
    """Every mail is queued to disk before it is acknowledged, and relayed from there."""

    name: str = "Haraka"
    trees: list[Tree] = field(default_factory=list)

    def start(self, folder: Path, sink_port: int) -> Target:
        """A folder of its own, as its own installer makes it."""
        port, home = free_port(), folder / "haraka"
        subprocess.run([str(HARAKA), "-i", str(home)], check=True, capture_output=True)
        route = f'any={{"action":"continue","nexthop":"127.0.0.1:{sink_port}"}}\n'
        files = _FILES | {
            "smtp.ini": f"listen=127.0.0.1:{port}\n",
            "relay_dest_domains.ini": f"[domains]\n{route}",
            "log.ini": f"[main]\nlevel={'warn' if QUIET else 'info'}\n",
        }
        for name, text in files.items():
            (home / "config" / name).write_text(text)
        self.trees = [Tree([str(HARAKA), "-c", str(home)], folder / "haraka.log")]
        wait_for_port(port)
        return Target(smtp_port=port)

    def stop(self) -> None:
        """SIGTERM."""
        for tree in self.trees:
            tree.stop()
