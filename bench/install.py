"""The peers' packages, installed as root on Debian with no daemon started; elsewhere it says what is missing.

Jasmin (PyPI) and Haraka (npm) go into a folder of their own, away from the project's environment.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gateway-bench"
JASMIN = CACHE / "jasmin-0.11.1"
HARAKA = CACHE / "haraka-3.3.4" / "node_modules" / ".bin" / "haraka"
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's own wrapper changes the user

_LOADS = {"smtp-source": "postfix", "smtp-sink": "postfix", "wrk": "wrk", "openssl": "openssl"}
_PROGRAMS = {  # per peer, program: Debian's package
    "postfix": {"postfix": "postfix", "opendkim": "opendkim"},
    "kannel": {"bearerbox": "kannel", "smsbox": "kannel"},
    "jasmin": {"redis-server": "redis-server", str(RABBITMQ): "rabbitmq-server"},
    "haraka": {"npm": "npm"},
}
_DATABASE = {"initdb": "postgresql"}
PEERS = tuple(_PROGRAMS)
# The override: a mail library's newest releases ask for packages that not every registry has yet.
_HARAKA = '{"private": true, "dependencies": {"Haraka": "3.3.4"}, "overrides": {"libmime": "5.3.7"}}\n'
_POLICY = Path("/usr/sbin/policy-rc.d")


def extend_path() -> None:
    """Debian's places for daemons, which not every user's PATH has; the newest PostgreSQL first."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: float(one.parent.name))
    known = os.environ["PATH"].split(os.pathsep)
    more = [str(one) for one in (Path("/usr/sbin"), *reversed(folders)) if str(one) not in known]
    os.environ["PATH"] = os.pathsep.join([*known, *more])


def install(peers: Iterable[str]) -> list[str]:
    """Installs the loads, PostgreSQL and `peers`; those that are there now. Says which are not."""
    wanted = [peer for peer in PEERS if peer in set(peers)]
    programs = _LOADS | _DATABASE
    for peer in wanted:
        programs |= _PROGRAMS[peer]
    extend_path()
    _apt({package for program, package in programs.items() if not shutil.which(program)})
    extend_path()
    found = []
    for peer in wanted:
        reason = _missing(peer)
        if reason:
            sys.stderr.write(f"left out: {peer}: {reason}\n")
        else:
            found.append(peer)
    return found


def _missing(peer: str) -> str:
    """Why a peer cannot run here; empty when it can."""
    absent = [program for program in _PROGRAMS[peer] if not shutil.which(program)]
    if absent:
        return f"not installed: {', '.join(absent)}"
    if peer == "postfix" and os.getuid() != 0:
        return "it needs root"
    try:
        if peer == "jasmin" and not (JASMIN / "bin" / "jasmind.py").exists():
            _install_jasmin()
        if peer == "haraka" and not HARAKA.exists():
            _install_haraka()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"it could not be installed: {error}"
    return ""


def _install_jasmin() -> None:
    """Into an environment of its own."""
    shutil.rmtree(JASMIN, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(JASMIN)], check=True)
    command = [str(JASMIN / "bin" / "python"), "-m", "pip", "install", "--quiet", "jasmin==0.11.1"]
    subprocess.run(command, check=True)


def _install_haraka() -> None:
    home = HARAKA.parent.parent.parent
    home.mkdir(parents=True, exist_ok=True)
    (home / "package.json").write_text(_HARAKA)
    command = ["npm", "install", "--no-fund", "--no-audit", "--loglevel=error"]
    subprocess.run(command, cwd=home, check=True, stdout=subprocess.DEVNULL)


def _apt(packages: set[str]) -> None:
    """Debian's packages, where we may."""
    if not packages:
        return
    names = sorted(packages)
    if os.getuid() != 0 or not shutil.which("apt-get"):
        sys.stderr.write(f"not installed, so some cases are left out: {' '.join(names)}\n")
        return
    made = not _POLICY.exists()
    if made:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")  # no daemon is started by an installation
        _POLICY.chmod(0o755)
    try:
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names]
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        if subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL, check=False).returncode:
            subprocess.run(["apt-get", "update", "-qq"], check=False)
            subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL, check=False)
    finally:
        if made:
            _POLICY.unlink()
