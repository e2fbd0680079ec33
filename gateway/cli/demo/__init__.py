"""The demo: everything that a first try needs, made under `server.data_dir` at the first start.

Every step can be repeated: a start that was broken off anywhere is completed by the next one. Secrets are
stored as hashes only, so `demo.env` is where the demo remembers them; without it, new ones take their place.
"""

import asyncio
import sys
from pathlib import Path

from config import Settings
from gateway import process
from gateway.cli.db import upgrade_store
from gateway.cli.demo import certificate, envfile, hints
from gateway.cli.demo.account import Furnished, furnish
from gateway.cli.opening import opened
from gateway.listeners import Ports
from gateway.store.errors import StoreError
from gateway.terminal.output import complain, say

ENV_FILE = "demo.env"


def run(settings: Settings, *, config_path: Path | None = None) -> int:
    """Prepares what is missing, then runs the daemon until SIGTERM; its exit code.

    Raises StartError, StoreError and CertificateError, each with what to do.
    """
    env_path = settings.server.data_dir / ENV_FILE
    # On the loop that the reactor will run: a loop of its own would leave none behind.
    furnished = asyncio.get_event_loop().run_until_complete(prepare(settings))

    def ready(ports: Ports) -> None:
        values = envfile.values(settings, ports, furnished)
        envfile.write(env_path, values)
        say(hints.text(settings, ports, furnished, env_path))
        sys.stdout.flush()  # whoever reads a pipe waits for this

    return process.run(settings, config_path=config_path, on_ready=ready)


async def prepare(settings: Settings) -> Furnished:
    """Folder, certificate, database and account as the demo wants them; with the secrets."""
    for name, upstream in settings.upstream.items():
        if not upstream.type.startswith("sandbox-"):
            complain(f"warning: upstream.{name} is no sandbox: what the demo sends may leave this machine.")
    folder = settings.server.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(
            f"server.data_dir: {folder} cannot be made ({error.strerror}). Set it to a folder you own."
        ) from error
    certificate.ensure(settings)
    upgrade_store(settings.store)
    known = envfile.read(folder / ENV_FILE)
    async with opened(settings) as services:
        return await furnish(services, known)
