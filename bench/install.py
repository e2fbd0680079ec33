"""The peers' packages: installed as root on Debian, no daemon started; elsewhere it says what is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_PROGRAMS = {  # program: package
    "smtp-source": "postfix",
    "smtp-sink": "postfix",
    "postfix": "postfix",
    "opendkim": "opendkim",
    "bearerbox": "kannel",
    "smsbox": "kannel",
    "wrk": "wrk",
}
_POLICY = Path("/usr/sbin/policy-rc.d")


def missing() -> list[str]:
    """Packages whose programs cannot be found."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    return sorted({package for name, package in _PROGRAMS.items() if not shutil.which(name, path=path)})


def install() -> None:
    """Installs what is missing, or says so."""
    os.environ["PATH"] += ":/usr/sbin"
    packages = missing()
    if not packages:
        return
    if os.getuid() != 0 or not shutil.which("apt-get"):
        sys.stderr.write(f"Some cases are left out: not installed: {' '.join(packages)}\n")
        return
    made = not _POLICY.exists()
    if made:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")  # no daemon is started by an installation
        _POLICY.chmod(0o755)
    try:
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        if subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL, check=False).returncode:
            subprocess.run(["apt-get", "update", "-qq"], check=True)
            subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL, check=True)
    finally:
        if made:
            _POLICY.unlink()
