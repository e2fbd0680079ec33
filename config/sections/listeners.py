"""The doors: SMTP submission, HTTP, metrics, SMPP for clients, and the certificate they share.

Pure data. In every section `port = 0` lets the system pick a free port, `tls_port = 0` opens none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from config.kinds import Count, Host, IpNetwork, Octets, Port, Positive, Rate, Seconds, Url

LineEnds = Literal["refuse", "normalise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpTrusted:
    """`[[smtp.trusted]]`: who may submit for an account without AUTH, by address (RFC 6409 section 3.3)."""

    network: IpNetwork
    account: str  # id or name


@dataclass(frozen=True, slots=True, kw_only=True)
class Smtp:
    """`[smtp]`: submission by applications (RFC 6409)."""

    enabled: bool = True
    host: Host = "127.0.0.1"
    port: Port = 2525  # STARTTLS (RFC 3207)
    tls_port: Port = 4465  # implicit TLS (RFC 8314 section 3.3)
    size_limit_octets: Octets = 26_214_400  # announced as SIZE (RFC 1870)
    max_recipients: Positive = 1000  # at least 100 by RFC 5321 section 4.5.3.1.8
    plain_auth_on_loopback: bool = False
    line_ends: LineEnds = "normalise"  # bare CR or LF (RFC 5321 section 2.3.8)
    max_connections: Positive = 1000
    max_connections_per_peer: Positive = 100
    idle_timeout_s: Seconds = 300.0  # RFC 5321 section 4.5.3.2.7: at least 5 minutes
    data_timeout_s: Seconds = 180.0  # a whole message; 1 s more per KiB (RFC 5321 section 4.5.3.2.5)
    in_flight_octets: Octets = 268_435_456
    auth_failures_max: Positive = 3
    proxy_protocol: bool = False  # version 2, from http.trusted_proxies
    trusted: tuple[SmtpTrusted, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """`[http]`: the API, its documentation and the health checks."""

    enabled: bool = True
    host: Host = "127.0.0.1"
    port: Port = 8025
    tls: bool = False
    behind_proxy: bool = False
    trusted_proxies: tuple[IpNetwork, ...] = ()  # whose X-Forwarded-For and PROXY headers are believed
    public_url: Url = ""  # empty: made from host and port
    max_body_octets: Octets = 41_943_040  # a 25 MiB mail in base64, and some room
    max_connections: Positive = 1000
    max_connections_per_peer: Positive = 200
    rate_per_s: Rate = 1000.0
    request_timeout_s: Seconds = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Smpp:
    """`[smpp]`: clients' binds; here we are the SMSC."""

    enabled: bool = True
    host: Host = "127.0.0.1"
    port: Port = 2775
    tls_port: Port = 0
    window: Positive = 100
    max_connections: Positive = 200
    max_connections_per_peer: Positive = 20
    proxy_protocol: bool = False  # version 2, from http.trusted_proxies
    bind_timeout_s: Seconds = 10.0  # session_init_timer, SMPP v3.4 section 7.2
    enquire_link_s: Seconds = 30.0  # enquire_link_timer, SMPP v3.4 section 7.2
    inactivity_s: Rate = 0.0  # inactivity_timer, SMPP v3.4 section 7.2; a quiet receiver is no dead one
    receipts_kept: Count = 10_000  # per account, until the client binds again


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """`[tls]`: the certificate chain and key of every listener, in PEM."""

    certificate: Path = Path("var/tls/localhost.pem")
    key: Path = Path("var/tls/localhost.key")
