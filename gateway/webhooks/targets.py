"""Where a webhook may point: judged once as a URL, and at each try by the addresses its host has then.

Pure. A client's URL makes us connect, so it must not reach our own network: only https to a public address
unless the operator allows private targets. Refused are credentials in the URL, numbers that some resolvers
take for IPv4 addresses (decimal, octal, hexadecimal, short forms), and every address that is not public,
also when it is wrapped in an IPv6 one (mapped, compatible, 6to4, Teredo, NAT64). Raises `TargetError`,
whose text is public.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import idna

URL_MAX = 2000
_LABELS = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")  # the last label of what inet_aton takes for an address
_LOCAL_NAMES = ("localhost", "local", "internal", "home.arpa", "lan", "intranet")

# Public to the registries, but not to us: clouds' own services and relays into IPv4.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's platform
        "192.0.0.0/24",  # IETF protocols, RFC 6890; Oracle's platform
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "::/96",  # IPv4-compatible, RFC 4291 section 2.5.5.1
        "64:ff9b::/96",  # NAT64, RFC 6052
        "64:ff9b:1::/48",  # NAT64, RFC 8215
        "2001::/23",  # IETF protocols, RFC 2928; Teredo, RFC 4380
        "2002::/16",  # 6to4, RFC 3056
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment routing, RFC 9602
        "fec0::/10",  # site-local, RFC 3879
    )
)


class TargetError(Exception):
    """We do not connect there; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A judged URL. `host` is an A-label name in lower case or an IP address without brackets."""

    scheme: str
    host: str
    port: int
    path: str  # with its query

    @property
    def is_address(self) -> bool:
        """Whether the host needs no resolving."""
        return _address(self.host) is not None

    @property
    def host_header(self) -> str:
        """The value of Host (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    def pinned(self, address: str) -> str:
        """The URL with the host replaced by an address that was judged."""
        host = f"[{address}]" if ":" in address else address
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def check_url(url: str, *, allow_private: bool) -> Target:
    """The target of `url`, or TargetError. Judges the address too where the host is one."""
    if not url or len(url) > URL_MAX:
        raise TargetError(f"must be an https:// address of at most {URL_MAX} characters")
    if any(sign.isspace() or not sign.isprintable() or sign == "\\" for sign in url):
        raise TargetError("must not hold blanks, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise TargetError("is not a valid address") from error
    if parts.scheme not in ({"https", "http"} if allow_private else {"https"}):
        raise TargetError("must begin with https://")
    if "@" in parts.netloc:
        raise TargetError("must not hold a username or password; check the signature instead")
    if parts.fragment or "#" in url:
        raise TargetError("must not hold a fragment (#)")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise TargetError("must have its path percent-encoded")
    if port == 0:
        raise TargetError("port 0 cannot be reached")
    target = Target(
        scheme=parts.scheme,
        host=_checked_host(host, allow_private=allow_private),
        port=port or (443 if parts.scheme == "https" else 80),
        path=path,
    )
    if target.is_address:
        check_addresses([target.host], allow_private=allow_private)
    return target


def check_addresses(addresses: Sequence[str], *, allow_private: bool) -> None:
    """Raises TargetError unless there is an address and every one of them is public."""
    if not addresses:
        raise TargetError("the host has no address")
    if allow_private:
        return
    for text in addresses:
        address = _address(text)
        if address is None or not is_public(address):
            raise TargetError("the host is not on the public internet")


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether anybody on the internet could reach it, and nobody reaches something of ours through it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.scope_id is not None:
            return False
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return not any(address in network for network in _NOT_PUBLIC if network.version == address.version)


def _checked_host(host: str, *, allow_private: bool) -> str:
    if not host:
        raise TargetError("has no host")
    if _address(host) is not None:
        return host
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise TargetError("the host is not a valid internationalised name") from error
    host = host.lower()
    name = host.removesuffix(".")
    if len(name) > 253 or _LABELS.fullmatch(host) is None:
        raise TargetError("the host is not a valid name")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise TargetError("an IP address must be written as four decimal numbers, such as 192.0.2.1")
    local = any(name == label or name.endswith(f".{label}") for label in _LOCAL_NAMES)
    if not allow_private and (local or "." not in name):
        raise TargetError("the host is not on the public internet")
    return host


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
