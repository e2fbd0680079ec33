"""The ways out: `[upstream.NAME]`, one class per `type`.

Pure data. The class is chosen by `type`. A new kind of upstream is a class here, with its `channel`, and its
name in `Upstream`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args, get_type_hints

from config.kinds import (
    Count,
    Host,
    IpAddress,
    Milliseconds,
    Port,
    Positive,
    Rate,
    RemotePort,
    Seconds,
    Secret,
    SmppServiceType,
    SmppSystemId,
    SmppSystemType,
)

Channel = Literal["mail", "sms"]
RelayTls = Literal["none", "opportunistic", "required", "implicit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxMailUpstream:
    """Capture mail in the store; nothing leaves the machine."""

    channel: ClassVar[Channel] = "mail"
    type: Literal["sandbox-mail"] = "sandbox-mail"
    delay_ms: Milliseconds = 0
    kept: Positive = 10_000  # captured mails of each account; the oldest go first


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayUpstream:
    """Hand every mail to one smarthost."""

    channel: ClassVar[Channel] = "mail"
    type: Literal["relay"] = "relay"
    host: Host
    port: RemotePort = 587
    tls: RelayTls = "required"
    ca_file: Path | None = None  # None: the system's certificates
    username: str = ""
    password: Secret | None = None
    max_connections: Positive = 10
    messages_per_connection: Positive = 1000
    rate_per_s: Rate = 0.0
    connect_timeout_s: Seconds = 30.0
    command_timeout_s: Seconds = 300.0  # RFC 5321 section 4.5.3.2.1 to .3: 5 minutes
    data_timeout_s: Seconds = 600.0  # RFC 5321 section 4.5.3.2.6: 10 minutes after the final dot
    idle_s: Seconds = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MxUpstream:
    """Deliver to the recipients' own mail exchangers (RFC 5321 section 5.1)."""

    channel: ClassVar[Channel] = "mail"
    type: Literal["mx"] = "mx"
    nameservers: tuple[IpAddress, ...] = ()  # empty: the system's
    nameserver_port: RemotePort = 53
    allow_private_targets: bool = False  # exchangers on private addresses, for mail inside a company
    dns_timeout_s: Seconds = 10.0
    helo: str = ""  # empty: server.name
    port: RemotePort = 25
    tls: Literal["none", "opportunistic"] = "opportunistic"
    connections_per_destination: Positive = 5
    max_connections: Positive = 500
    messages_per_connection: Positive = 100
    rate_per_destination_per_s: Rate = 0.0
    connect_timeout_s: Seconds = 30.0
    command_timeout_s: Seconds = 300.0  # RFC 5321 section 4.5.3.2.1 to .3: 5 minutes
    data_timeout_s: Seconds = 600.0  # RFC 5321 section 4.5.3.2.6: 10 minutes after the final dot
    idle_s: Seconds = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSmsUpstream:
    """Submit to the built-in SMSC simulator, over a real SMPP bind on loopback."""

    channel: ClassVar[Channel] = "sms"
    type: Literal["sandbox-sms"] = "sandbox-sms"
    receipt_delay_ms: Milliseconds = 200
    port: Port = 0  # of the simulator; 0: a free one
    window: Positive = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SmppUpstream:
    """Submit to an operator's SMSC; here we are the ESME."""

    channel: ClassVar[Channel] = "sms"
    type: Literal["smpp"] = "smpp"
    host: Host
    port: RemotePort = 2775
    tls: bool = False
    ca_file: Path | None = None  # None: the system's certificates
    system_id: SmppSystemId
    password: Secret
    system_type: SmppSystemType = ""
    service_type: SmppServiceType = ""
    bind: Literal["trx", "tx+rx", "tx"] = "trx"
    binds: Positive = 1
    window: Positive = 10
    rate_per_s: Rate = 0.0
    enquire_link_s: Seconds = 30.0
    connect_timeout_s: Seconds = 10.0
    response_timeout_s: Seconds = 30.0  # afterwards the outcome is unknown
    reconnect_min_s: Seconds = 1.0
    reconnect_max_s: Seconds = 60.0
    data_coding_default: Literal["gsm", "latin1"] = "gsm"  # what data_coding 0 means at this SMSC
    long_text: Literal["udh", "sar", "payload"] = "udh"
    reference_octets: Literal[1, 2] = 1  # of the concatenation element, 3GPP TS 23.040 section 9.2.3.24
    alphanumeric_source: bool = True
    message_id_format: Literal["as-is", "hex", "decimal"] = "as-is"
    receipts: bool = True
    max_unanswered_receipts: Count = 10_000  # receipts ahead of their submit_sm_resp, parked


Upstream = SandboxMailUpstream | RelayUpstream | MxUpstream | SandboxSmsUpstream | SmppUpstream

CHANNEL_OF: dict[str, Channel] = {
    get_args(get_type_hints(one)["type"])[0]: one.channel for one in get_args(Upstream)
}
"""Which channel a type serves."""
