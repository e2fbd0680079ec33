"""Entry points of what operators and applications write: gateway.toml, tables, URLs, cursors, keys,
queries."""

import tempfile
from functools import cache
from pathlib import Path

import msgspec

from config import ConfigError, load
from config.kinds import is_host, is_ip_address, is_ip_network
from gateway.accounts import secrets
from gateway.accounts.api_keys import _key
from gateway.doors import proxy_header
from gateway.http.describe.catalogue import about
from gateway.http.gate import cursors
from gateway.http.gate.idempotency import given_key
from gateway.http.gate.paging import Page
from gateway.http.gate.router import Router
from gateway.http.wire import pointers
from gateway.http.wire import problem as problems
from gateway.http.wire.problem import Problem
from gateway.logs import log, mask
from gateway.observe import bounded
from gateway.peers import Networks, forwarded_peer
from gateway.verticals import OPERATIONS
from gateway.webhooks import targets
from policy import countries
from tests.fuzz.cost.entries_mail import refusing, text_of
from tests.fuzz.cost.entry import KIB, Entry
from tests.fuzz.settings import _post

_HEADER_KIB = 64
_TOML = (
    b"a", b"a.", b"[a]\n", b"[[a]]\n", b"[a.b]\n", b"[", b"]", b"{", b"}", b"a = 1\n", b'"a" = 1\n', b'"',
    b"'",
    b'"""', b"\\", b"\\u0041", b"9", b"0x", b"f", b"1_", b"_1", b" ", b"\n", b"# c\n", b",", b"[1],",
    b"{a=1},",
    b"=", b"\t", b"2026-01-01 ", b"1e9", b".1", b"-", b"\xff", b"\r",
)  # fmt: skip
_TOML_NESTED = ((b"[", b"]"), (b"{a=", b"}"), (b"[{a=", b"}]"))


def _host(octets: bytes) -> None:
    text = text_of(octets)
    is_host(text)
    is_ip_address(text)
    is_ip_network(text)


_PROXIES = Networks(["10.0.0.0/8"])


def _proxied(octets: bytes) -> None:
    """The octets as what stands behind the start of a header of TCP over IPv4."""
    start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + min(len(octets), 65_535).to_bytes(2)
    proxy_header.rest_octets(start)
    proxy_header.peer_of(start, octets)


_ROUTER = Router(about(OPERATIONS))


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-cost-"))


def _config(octets: bytes) -> None:
    path = _folder() / "gateway.toml"
    path.write_bytes(octets)
    try:
        load(path, env={})
    except ConfigError as error:
        str(error)
        raise


def _cursor(octets: bytes) -> None:
    cursors.decode("messages", "a", text_of(octets))


def _query(octets: bytes) -> None:
    call = _post({})
    call.target = b"/v1/messages?" + octets
    _ROUTER.find(call.target)
    call.query(Page)


class _Nested(msgspec.Struct, forbid_unknown_fields=True):
    to: list[str] = []
    headers: dict[str, str] = {}


def _pointer(octets: bytes) -> None:
    """What msgspec says of a name that a client chose, as a pointer."""
    name = octets.decode("utf-8", "replace")
    for value in ({name: 1}, {"headers": {name: 1}}, {"to": [name, 1]}):
        try:
            msgspec.convert(value, _Nested)
        except msgspec.ValidationError as error:
            pointers.path_of(pointers.of_validation(error).pointer)
    problems.invalid(f"headers.{name}", "is not allowed")


def _logged(octets: bytes) -> None:
    event = {"event": "x", "error": octets.decode("utf-8", "replace"), "key": octets}
    log.render_json(None, "error", mask.mask_event(None, "error", event))
    bounded.word(text_of(octets))


def _keyed(octets: bytes) -> None:
    key = text_of(octets)
    secrets.key_prefix(key)
    secrets.matches("sha256$00", key)
    _key(octets)
    _key(b"Basic " + octets)


_HOST = (
    b"a", b"a.", b"-", b"1", b"1.", b":", b"[", b"]", b"%", b"@", b"/", b"?", b"#", b"xn--", b"xn--a.", b".",
    "é".encode(), "ß".encode(), "é.".encode(), "。".encode(), "①".encode(), b"0x", b"::", b"ffff:", b"_",
    b"&",     b"=", "ﷺ".encode(), "\u0301".encode(), "א".encode(), b"\\", b" ", "\u200d".encode(),
)  # fmt: skip

ENTRIES = (
    Entry(
        name="gateway.toml",
        run=refusing(_config, ConfigError),
        tokens=_TOML,
        nested=_TOML_NESTED,
        before=b"a = ",
        after=b"\n",
        reach_octets=1024 * KIB,
        call_ms=5000,  # the operator's own file, before anything is served
        memory_multiple=200,
    ),
    Entry(
        name="gateway.toml, keys",
        run=refusing(_config, ConfigError),
        tokens=_TOML,
        nested=_TOML_NESTED,
        before=b"[smtp]\n",
        reach_octets=1024 * KIB,
        call_ms=5000,
        memory_multiple=200,
    ),
    Entry(
        name="countries file",
        run=refusing(
            lambda octets: countries.parse(octets.decode("utf-8", "replace")), countries.CountryTableError
        ),
        tokens=(*_TOML, b'[CH]\nnames = "free"\n', b"AA = 1\n"),
        nested=_TOML_NESTED,
        reach_octets=1024 * KIB,
        call_ms=5000,
        memory_multiple=200,
    ),
    Entry(
        name="host names and addresses",
        run=_host,
        tokens=_HOST,
        reach_octets=256 * KIB,
        call_ms=50,
    ),
    Entry(
        name="webhook URL",
        run=refusing(
            lambda octets: targets.check_url(octets.decode("utf-8", "replace"), allow_private=False),
            targets.TargetError,
        ),
        tokens=_HOST,
        nested=((b"[", b"]"),),
        before=b"https://",
        after=b".example/hook",
        reach_octets=1024 * KIB,
    ),
    Entry(
        name="PROXY header",
        run=refusing(_proxied, proxy_header.ProxyHeaderError),
        tokens=(b"\0", b"\1", b"\0\0\0", b"\3\0\4\0\0\0\0", b"\4\0\0", b"\xff", b"\x20\0\1a"),
        before=b"\0" * 12,
        reach_octets=4 * KIB,
    ),
    Entry(
        name="X-Forwarded-For",
        run=lambda octets: forwarded_peer("10.0.0.1", octets.decode("latin-1"), _PROXIES),
        tokens=(b",", b" ", b"10.0.0.1,", b"a", b"1", b".", b":", b"::", b"%", b"[", b"]", b"ffff:"),
        before=b"192.0.2.1, ",
        reach_octets=_HEADER_KIB * KIB,
    ),
    Entry(
        name="cursor",
        run=refusing(_cursor, Problem),
        tokens=(b"A", b"-", b"_", b"=", b"\n", b"%", "é".encode(), b"AAAA"),
        reach_octets=_HEADER_KIB * KIB,
    ),
    Entry(
        name="query",
        run=refusing(_query, Problem),
        tokens=(b"&", b"=", b"a=1&", b"%00", b"%", b"%ff", b"limit=", b"9", b"+", b";", b"cursor=", b"a",
                b"limit=1&", b"\xff", b"#", b"?"),
        reach_octets=_HEADER_KIB * KIB,
    ),
    Entry(
        name="pointers of faults",
        run=_pointer,
        tokens=(b"a", b".", b"[", b"]", b"[]", b"`", b" - at `", b"~", b"/", b"$", b"\n", b"key` in `",
                "é".encode(),
                b"unknown field `", b"...", b"[0]", b"\0"),
        nested=((b"[", b"]"), (b"`", b"`")),
        reach_octets=_HEADER_KIB * KIB,
        call_ms=20,
    ),
    Entry(
        name="Idempotency-Key",
        run=refusing(lambda octets: given_key(_post({b"idempotency-key": octets})), Problem),
        tokens=(b"a", b" ", b"\xff", b"\0", b"\xa0"),
        reach_octets=_HEADER_KIB * KIB,
    ),
    Entry(
        name="API key",
        run=_keyed,
        tokens=(b"a", b"_", b"gw_", b"gw_0123456789ab_", b" ", b"\xff", b"=", b":", b"AAAA"),
        reach_octets=_HEADER_KIB * KIB,
    ),
    Entry(
        name="log line",
        run=_logged,
        tokens=(
            b"a", b"@", b"1", b"+", b"+ ", b"00", b" ", b"'", b'"', b"gw_a", b"gw_", b"_", b"token=",
            b"token",
            b"secret: ", b"bearer ", b"[parameters: ", b"%40", b"1 ", b"1(", b".", b"-", "é".encode(), b"\\",
            b"\n", b"=", b"whsec_", b"<",
        ),
        reach_octets=256 * KIB,
        call_ms=20,
    ),
)  # fmt: skip
