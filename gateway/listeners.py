"""Every listener that clients come to, in one table.

Ports, workers, supervisor, `gateway check` and the probes go by it. A new one is a line here, its section of
the configuration, and the door that opens it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from config.schema import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One listener: its name, and where gateway.toml tells of it."""

    name: str
    section: str
    port: str = "port"
    """The key of its port; any but `port` turns it off with 0."""
    tls: str = ""
    """The key that has it speak TLS from the start, "" for none."""

    @property
    def key_path(self) -> str:
        """`smtp.tls_port`."""
        return f"{self.section}.{self.port}"

    @property
    def tls_key_path(self) -> str:
        """The key that asks for a certificate."""
        return f"{self.section}.{self.tls}"

    def address(self, settings: Settings) -> tuple[str, int] | None:
        """Where it is to listen, port 0 for any that is free; None where it is turned off."""
        section: Any = getattr(settings, self.section)
        port = int(getattr(section, self.port))
        if not section.enabled or (self.port != "port" and not port):
            return None
        return section.host, port

    def speaks_tls(self, settings: Settings) -> bool:
        """Whether it needs a certificate to be there at all."""
        section: Any = getattr(settings, self.section)
        return bool(self.tls and self.address(settings) and getattr(section, self.tls))


LISTENERS = (
    Listener(name="smtp", section="smtp"),
    Listener(name="smtps", section="smtp", port="tls_port", tls="tls_port"),
    Listener(name="http", section="http", tls="tls"),
    Listener(name="smpp", section="smpp"),
    Listener(name="smpps", section="smpp", port="tls_port", tls="tls_port"),
)


class Ports(dict[str, int]):
    """Where the listeners really are, by name; 0 for one that is closed."""

    def __missing__(self, name: str) -> int:
        return 0


def that_need_tls(settings: Settings) -> Iterator[Listener]:
    """The listeners for which there must be a certificate."""
    return (one for one in LISTENERS if one.speaks_tls(settings))


def placed(settings: Settings, ports: Mapping[str, int]) -> Settings:
    """The settings with each listener at its place of `ports`; one that is not there is closed."""
    for one in LISTENERS:
        section: Any = getattr(settings, one.section)
        changed = replace(section, **{one.port: ports.get(one.name, 0)})
        settings = replace(settings, **{one.section: changed})
    return settings
