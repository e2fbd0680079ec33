"""The schema of `gateway.toml`: one frozen class per section, one root `Settings`.

Attribute names are the key names, with an underscore behind those that are words of Python's (`from_`). Pure
data: reading, secrets and paths are `config.load`'s and `config.decode`'s. The sections stand in `sections/`,
those of a vertical in a file of its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from config.sections.credits import Credit
from config.sections.limits import Limits
from config.sections.listeners import Http, Smpp, Smtp, Tls
from config.sections.messages import AcceptableUse, Mail, MailRoute, Sms, SmsRoute
from config.sections.notices import Notices
from config.sections.observe import Log, Metrics, Probe
from config.sections.retention import Retention
from config.sections.sendernames import SenderName
from config.sections.server import Server
from config.sections.store import Store
from config.sections.upstreams import CHANNEL_OF, Channel, SandboxMailUpstream, SandboxSmsUpstream, Upstream
from config.sections.webhooks import Webhooks


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
    notices: Notices = field(default_factory=Notices)
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
