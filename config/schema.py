"""The schema of `gateway.toml`: one frozen class per section, one root `Settings`.

Attribute names are the key names. Pure data: reading, secrets and paths are `config.load`'s and
`config.decode`'s. The sections of the road are in `schema_listeners`, `schema_upstreams`, `schema_messages`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from config.kinds import Between, Count, Days, Host, Octets, Positive, Seconds, Secret, Text, WholeSeconds
from config.schema_listeners import Http, Metrics, Smpp, Smtp, Tls
from config.schema_messages import AcceptableUse, Credit, Mail, MailRoute, SenderName, Sms, SmsRoute
from config.schema_upstreams import CHANNEL_OF, Channel, SandboxMailUpstream, SandboxSmsUpstream, Upstream

_STORE_URL = Text(
    lambda text: text.startswith(("sqlite:", "postgresql://")),
    '"sqlite:PATH" or "postgresql://USER@HOST/DATABASE"',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """`[server]`: the daemon as a whole."""

    name: Host = "localhost"
    data_dir: Path = Path("var")
    drain_s: Seconds = 30.0
    workers: Annotated[int, Between(1, 256)] = 1
    worker_silent_s: Annotated[float, Between(0)] = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """`[store]`: where everything is kept.

    After `load` the path in a sqlite URL is absolute, and a password written into a postgresql URL has moved
    to `password`, so that `url` may be logged.
    """

    url: Annotated[str, _STORE_URL] = "sqlite:var/gateway.db"
    password: Secret | None = None
    batch_max: Positive = 500
    queue_max: Positive = 10_000
    lease_s: Seconds = 15.0
    busy_timeout_s: Seconds = 10.0

    @property
    def sqlite_path(self) -> Path | None:
        """The database file, or None when the store is PostgreSQL."""
        return Path(self.url.removeprefix("sqlite:")) if self.url.startswith("sqlite:") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """`[retention]`: how long things are kept."""

    message_days: Days = 90
    event_days: Days = 90
    content_hours: Count = 0
    idempotency_h: Positive = 24
    statistics_years: Positive = 5  # R43


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhooks:
    """`[webhooks]`: telling the client's servers what happened."""

    retry_for_s: WholeSeconds = 86_400
    retry_first_s: Seconds = 5.0
    retry_max_s: Seconds = 14_400.0
    max_attempts: Positive = 20
    timeout_s: Seconds = 10.0
    allow_private_targets: bool = False
    max_per_account: Positive = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`[limits]`: what pushes back (invariant A6), how guessing is slowed, and what a mail may hold (A7)."""

    queue_memory_messages: Positive = 20_000
    queue_memory_octets: Octets = 67_108_864
    auth_free_failures: Count = 5
    auth_delay_first_s: Seconds = 1.0
    auth_delay_max_s: Seconds = 60.0
    auth_forget_s: Seconds = 900.0
    auth_remembered: Positive = 10_000
    auth_trusted_days: Days = 30
    header_octets: Annotated[int, Between(1024)] = 262_144
    header_fields: Annotated[int, Between(20)] = 1000
    author_octets: Annotated[int, Between(512)] = 8192
    author_addresses: Positive = 20
    recipients_octets: Annotated[int, Between(512)] = 131_072
    subject_octets: Annotated[int, Between(80)] = 8192
    comment_depth: Count = 20
    mime_parts: Positive = 1000
    mime_depth: Annotated[int, Between(1, 1000)] = 50
    tls_handshakes: Positive = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """`[probe]`: the gateway's own eye on itself."""

    enabled: bool = True
    interval_s: Seconds = 60.0  # R56
    timeout_s: Seconds = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """`[log]`: structured logs on standard error."""

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole of `gateway.toml`.

    However it is built, `upstream` holds at least one upstream per channel (a sandbox where none is
    configured), and a channel with a single upstream and no route has the route "*" to it.
    """

    server: Server = field(default_factory=Server)
    store: Store = field(default_factory=Store)
    smtp: Smtp = field(default_factory=Smtp)
    http: Http = field(default_factory=Http)
    metrics: Metrics = field(default_factory=Metrics)
    smpp: Smpp = field(default_factory=Smpp)
    tls: Tls = field(default_factory=Tls)
    mail: Mail = field(default_factory=Mail)
    sms: Sms = field(default_factory=Sms)
    upstream: Mapping[str, Upstream] = field(default_factory=dict)
    credits: Credit = field(default_factory=Credit)
    sender_name: SenderName = field(default_factory=SenderName)
    acceptable_use: AcceptableUse = field(default_factory=AcceptableUse)
    retention: Retention = field(default_factory=Retention)
    webhooks: Webhooks = field(default_factory=Webhooks)
    limits: Limits = field(default_factory=Limits)
    probe: Probe = field(default_factory=Probe)
    log: Log = field(default_factory=Log)

    def __post_init__(self) -> None:
        """Complete upstreams and routes; a frozen class can only be completed through its base."""
        upstreams = dict(self.upstream)
        if not _of_channel(upstreams, "mail"):
            upstreams.setdefault("sandbox_mail", SandboxMailUpstream())
        if not _of_channel(upstreams, "sms"):
            upstreams.setdefault("sandbox_sms", SandboxSmsUpstream())
        object.__setattr__(self, "upstream", upstreams)
        mail, sms = _of_channel(upstreams, "mail"), _of_channel(upstreams, "sms")
        if not self.mail.route and len(mail) == 1:
            object.__setattr__(self, "mail", replace(self.mail, route=(MailRoute(upstream=mail[0]),)))
        if not self.sms.route and len(sms) == 1:
            route = SmsRoute(upstream=sms[0], price_credits=self.sms.price_credits)
            object.__setattr__(self, "sms", replace(self.sms, route=(route,)))

    @property
    def sandbox(self) -> bool:
        """Whether nothing can leave this machine: every upstream is a sandbox."""
        return all(upstream.type.startswith("sandbox-") for upstream in self.upstream.values())

    def upstreams_of(self, channel: Channel) -> dict[str, Upstream]:
        """The upstreams that serve a channel, by name, in the file's order."""
        return {name: self.upstream[name] for name in _of_channel(self.upstream, channel)}


def _of_channel(upstreams: Mapping[str, Upstream], channel: Channel) -> list[str]:
    """The names of the upstreams that serve a channel."""
    return [name for name, upstream in upstreams.items() if CHANNEL_OF[upstream.type] == channel]
