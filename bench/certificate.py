"""A certificate of this machine's own for the cases with TLS: ECDSA on P-256, for localhost."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files, in PEM."""

    chain: Path
    key: Path


def certificate(folder: Path) -> Certificate:
    """Made on first use. Raises CalledProcessError when openssl will not."""
    made = Certificate(folder / "localhost.pem", folder / "localhost.key")
    if not made.chain.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command += ["-keyout", str(made.key), "-out", str(made.chain)]
        subprocess.run(command, check=True, capture_output=True)
    return made
