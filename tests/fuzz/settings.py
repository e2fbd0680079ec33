"""Targets of what is not a wire: gateway.toml, webhook URLs, phone numbers, idempotency keys."""

# ruff: noqa: PT017 - a refusal that was caught is looked at, too

import ipaddress
import re
import socket
import tempfile
from functools import cache
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from config import ConfigError, Settings, load
from gateway.accounts.secrets import CredentialKind, hash_secret, key_prefix, make_secret, matches
from gateway.http.gate import cursors
from gateway.http.gate.idempotency import given_key
from gateway.http.wire.call import Call, Client
from gateway.http.wire.problem import Problem
from gateway.http.wire.site import Site
from gateway.webhooks import targets
from policy import phone
from policy.verdict import Refuse
from tests.fuzz.octets import Octets

# --- gateway.toml -----------------------------------------------------------------------------------------

TOML = (
    b"[smtp]\n", b"[http]\n", b"[store]\n", b"[upstream.a]\n", b'type = "smpp"\n', b'type = "relay"\n',
    b'type = "mx"\n', b"[tls]\n", b"[[mail.route]]\n", b"[[sms.route]]\n", b'match = "*"\n',
    b'upstream = "a"\n', b"port = ", b"host = ", b"enabled = ", b"= ", b"password = ", b"password_file = ",
    b"password_env = ", b"ca_file = ", b"system_id = ", b"window = ", b"url = ", b"\n", b"1", b"-1",
    b"0x10", b"1e400", b"nan", b"inf", b"9" * 25, b"9" * 5000, b"0x" + b"f" * 400, b"true", b'"', b"'",
    b'"x"\n', b'"0.0.0.0"\n', b'"::1"\n', b'"\\u0000"\n', b'"~nobody-here/x"\n', b'"/etc/passwd"\n',
    b'"sqlite:x"\n', b'"postgresql://a:b@c/d"\n', b"[]\n", b"[1, 'a']\n", b"{}\n", b"{a = 1}\n",
    b"2026-01-01", b"\xff", b"\xef\xbb\xbf", b"# c\n", b"'''", b".", b"[", b"]", b"[mail]\n", b"[sms]\n",
    b"refund_on = ", b"[acceptable_use]\n", b"[server]\n", b"data_dir = ", b"name = ", b"countries_file = ",
    b"default_country = ", b"[sender_name]\n", b"[webhooks]\n",
)  # fmt: skip


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-config-"))


def toml(data: bytes) -> None:
    """Any file is settings, or a `ConfigError` of which every fault names its place and is one plain line."""
    text = Octets(data).words(TOML)
    path = _folder() / "gateway.toml"
    path.write_bytes(text)
    try:
        settings = load(path, env={"HOME": "/nonexistent", "x": "secret"})
    except ConfigError as error:
        assert error.faults
        for fault in error.faults:
            assert fault.key_path
            assert fault.message
            assert str(fault).isprintable(), "a fault is one line"
        return
    assert isinstance(settings, Settings)
    assert "secret" not in repr(settings).replace("secret_", ""), "a secret shows in repr"


# --- webhook URLs -----------------------------------------------------------------------------------------

URL = (
    b"https://", b"http://", b"HTTPS://", b"example.org", b"127.0.0.1", b"0x7f.1", b"2130706433",
    b"017700000001", b"127.1", b"[::1]", b"[::ffff:10.0.0.1]", b"[::ffff:a00:1]", b"[64:ff9b::7f00:1]",
    b"[2002:7f00:1::]", b"[fe80::1%25eth0]", b"[fe80::1%eth0]", b"169.254.169.254", b"10.0.0.1",
    b"192.168.0.1", b"172.16.0.1", b"100.64.0.1", b"0.0.0.0", b"255.255.255.255", b"localhost", b".local",
    b".internal", b"@", b":", b":443", b":0", b":99999", b"/", b"?", b"#", b"%", b"%31", b"%2e", b"\\",
    b" ", b"\t", b"\r\n", b"[", b"]", b".", "。".encode(), "①".encode(), "１２７．０．０．１".encode(),
    "ⓛocalhost".encode(), b"1.1.1.1", b"8.8.8.8", b"\xe2\x80\x8b", b"user:pw@", b"a" * 64, b"-", b"_", b"0",
    b"1", b"[::]", b"[2606:4700::1111]", b"224.0.0.1", b"xn--", b"\0", b"[v1.a]",
)  # fmt: skip
_INET_ATON = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]*|[0-9]+)){0,3}\.?")


def webhook_urls(data: bytes) -> None:
    """No URL that is let through leads to an address that is not public, in any reading of its host."""
    text = Octets(data).words(URL, most=24).decode("utf-8", "replace")
    for url in (text, f"https://{text}", f"https://{text}/hook"):
        try:
            target = targets.check_url(url, allow_private=False)
        except targets.TargetError as error:
            assert str(error)
            continue
        assert target.scheme == "https"
        assert 0 < target.port < 65_536
        assert not set(target.pinned("192.0.2.1") + target.host_header) & set("\r\n\0 ")
        pinned = urlsplit(target.pinned("192.0.2.1"))
        assert pinned.hostname == "192.0.2.1"
        assert pinned.username is None
        _check_host(target.host)


def _check_host(host: str) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # A name. It may not be a number to those who read addresses as inet_aton does.
        assert not _INET_ATON.fullmatch(host), host
        try:
            socket.inet_aton(host.rstrip("."))
        except OSError:
            return
        raise AssertionError(f"{host} is an address to inet_aton") from None
    assert address.is_global, address
    assert not address.is_private
    assert not address.is_loopback
    assert not address.is_link_local
    assert not address.is_multicast
    embedded = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    assert embedded is None or embedded.is_global


def webhook_addresses(data: bytes) -> None:
    """An address that is connected to is public by the standard library's tables, whatever wraps it."""
    octets = Octets(data)
    prefix = octets.choice(
        [b"", b"\0" * 10 + b"\xff\xff", bytes.fromhex("0064ff9b") + b"\0" * 8, b"\0" * 12, b"\x20\x02"]
    )
    packed = (prefix + octets.raw(16) + b"\0" * 16)[: octets.choice([4, 16])]
    address = ipaddress.ip_address(packed)
    try:
        targets.check_addresses([str(address)], allow_private=False)
    except targets.TargetError:
        return
    assert address.is_global
    assert not address.is_multicast
    if address.version == 6:
        last = ipaddress.IPv4Address(packed[-4:])
        assert packed[:12] not in {b"\0" * 12, b"\0" * 10 + b"\xff\xff"} or last.is_global


# --- numbers, keys, cursors -------------------------------------------------------------------------------

NUMBER = (
    b"+", b"00", b"41", b"79", b"1234567", b"0", b" ", b"-", b"(", b")", b"/", b".", b"1", b"44",
    b"7700900100", b"800", b"883", "٤١".encode(), "＋".encode(), b"\xc2\xa0", b"x", b";ext=1", b"\n", b"\0",
    b"tel:", b"999",
)  # fmt: skip
_E164 = re.compile(r"\+[1-9][0-9]{2,16}")  # phonenumbers lets German ones have 17 digits


def phone_numbers(data: bytes) -> None:
    """Any text is a number in E.164 that reads back as one, or a refusal that does not repeat it."""
    octets = Octets(data)
    country = octets.choice(["", "CH", "US", "DE"])
    text = octets.words(NUMBER, most=16).decode("utf-8", "replace")
    found = phone.parse(text, country)
    if isinstance(found, Refuse):
        assert len(text) < 4 or text not in found.text
        return
    assert _E164.fullmatch(found.e164), found
    assert isinstance(phone.parse(found.e164), phone.Number)


def _post(headers: dict[bytes, bytes]) -> Call:
    """A request of which nothing but the header is looked at."""
    return Call(cast(Site, None), cast(Client, None), "POST", b"/v1/sms", headers)


def keys(data: bytes) -> None:
    """Any header is an idempotency key or a `Problem`; API keys and cursors are ours or refused."""
    octets = Octets(data)
    header = octets.sized(200)
    try:
        key = given_key(_post({b"idempotency-key": header}))
        assert key is None or (0 < len(key) <= 255 and "\0" not in key)
    except Problem as problem:
        assert 400 <= problem.kind.status < 500
    text = octets.text(80)
    real = make_secret(
        CredentialKind.API, "0123456789ab", lambda count: octets.raw(count).ljust(count, b"\0")
    )
    assert key_prefix(real) == "0123456789ab"
    for candidate in (text, f"gw_{text}", f"gw_0123456789ab_{text}", real + text):
        prefix = key_prefix(candidate)
        assert prefix is None or (prefix.isascii() and prefix.isalnum())
        assert matches(hash_secret(CredentialKind.API, real), candidate) is (candidate == real)
    cursor = cursors.encode("messages", "a", text)
    assert cursors.decode("messages", "a", cursor) == text
    for other in (text, cursor + "A", cursor[1:], cursors.encode("messages", "b", text)):
        try:
            assert cursors.decode("messages", "a", other) is not None
        except Problem as problem:
            assert problem.kind.status == 400
