"""SIGHUP: certificate and configuration are read again; what would need a restart is said."""

import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from config import ConfigError, differences, load
from config.schema import Settings
from gateway import tls
from gateway.logs import log as logs

log = structlog.get_logger(__name__)

_TAKEN = ("log.",)  # besides the certificate


class Reload:
    """What one process reads again."""

    def __init__(self, settings: Settings, path: Path | None) -> None:
        """`path`: of gateway.toml, None where there is none."""
        self._settings = settings
        self._path = path
        self.context: ssl.SSLContext | None = None
        """The doors', once there is one."""

    def __call__(self) -> None:
        """Reads all of it again; faults are logged, and leave what was there."""
        self._certificate()
        self._configuration()

    def _certificate(self) -> None:
        if self.context is None:
            return
        settings = self._settings.tls
        try:
            tls.load(self.context, settings, now=datetime.now(UTC))
        except tls.CertificateError as error:
            log.warning("certificate_not_reloaded", reason=str(error))
        else:
            log.info("certificate_reloaded", certificate=str(settings.certificate))

    def _configuration(self) -> None:
        if self._path is None:
            return
        try:
            new = load(self._path)
        except ConfigError as error:
            log.warning("configuration_not_reloaded", faults=str(error))
            return
        changed = differences(self._settings, new)
        taken = [key for key in changed if key.startswith(_TAKEN)]
        left = [key for key in changed if not key.startswith(_TAKEN)]
        if taken:
            logs.configure(new.log)
            self._settings = replace(self._settings, log=new.log)
        log.info("configuration_reloaded", taken=taken)
        if left:
            log.warning("configuration_needs_restart", keys=left)
