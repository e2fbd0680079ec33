"""What the keys of a configuration say to each other: contradictions, and names that lead nowhere.

`check` runs on settings whose every key is right by itself, and leaves out what needs a section that could
not be read. It also settles what needs several keys or the folder to settle: the store's URL. A new
contradiction is a function here and a line in `_CHECKS`.
"""

import difflib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from config.fault import Fault
from config.kinds import Secret, is_loopback
from config.schema import Settings
from config.sections.messages import MailRoute, SmsRoute
from config.sections.upstreams import CHANNEL_OF, Channel, RelayUpstream, SmppUpstream

_SILENT_LEAST_S = 3


def check(settings: Settings, folder: Path, sound: Collection[str]) -> tuple[Settings, list[Fault]]:
    """The settings with the store's URL settled, and every contradiction within the `sound` sections."""
    faults = [fault for find, needed in _CHECKS if needed.issubset(sound) for fault in find(settings)]
    settings, store_faults = _settle_store(settings, folder)
    return settings, [*faults, *store_faults]


def _fault(key_path: str, message: str, suggestion: str = "") -> Fault:
    """A fault, shorter to write."""
    return Fault(key_path=key_path, message=message, suggestion=suggestion)


def _workers(settings: Settings) -> Iterator[Fault]:
    """A worker tells every second that it lives; a shorter silence is none."""
    if 0 < settings.server.worker_silent_s < _SILENT_LEAST_S:
        yield _fault(
            "server.worker_silent_s", f"must be 0 (never) or at least {_SILENT_LEAST_S}", "leave it at 10"
        )


def _settle_store(settings: Settings, folder: Path) -> tuple[Settings, list[Fault]]:
    """A sqlite path made absolute; a postgresql password moved out of the URL."""
    store = settings.store
    if store.sqlite_path is not None:
        path = str(store.sqlite_path)
        if path in (".", ":memory:") or store.url.endswith("/") or "?" in path:
            suggestion = 'write "sqlite:var/gateway.db"'
            return settings, [_fault("store.url", "names no database file", suggestion)]
        url = f"sqlite:{folder / Path(path).expanduser()}"
        return replace(settings, store=replace(store, url=url)), []
    try:
        parts = urlsplit(store.url)
        secret = parts.password
        for host in parts.netloc.rpartition("@")[2].split(","):  # libpq takes several
            _ = urlsplit(f"//{host}").port
    except ValueError as error:
        return settings, [_fault("store.url", f"is not a URL ({error})")]
    if secret is None:
        return settings, []
    if store.password is not None:
        return settings, [
            _fault("store.password", "contradicts the password in store.url", "keep one of them")
        ]
    user, _, host = parts.netloc.rpartition("@")
    url = urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}"))
    store = replace(store, url=url, password=Secret(unquote(secret)))
    return replace(settings, store=store), []


def _routes(settings: Settings) -> Iterator[Fault]:
    """Every route leads to an upstream of its own channel, and several upstreams have routes."""
    sections: list[tuple[Channel, Iterable[MailRoute | SmsRoute]]] = [
        ("mail", settings.mail.route),
        ("sms", settings.sms.route),
    ]
    for channel, routes in sections:
        fitting = list(settings.upstreams_of(channel))
        seen: set[str] = set()
        if not routes and len(fitting) > 1:
            message = f"missing, with several {channel} upstreams ({', '.join(fitting)})"
            yield _fault(f"{channel}.route", message, f"write [[{channel}.route]] with match and upstream")
        for index, route in enumerate(routes):
            path = f"{channel}.route[{index}]"
            if route.match in seen:
                yield _fault(f"{path}.match", f'"{route.match}" is already routed', "keep one of them")
            seen.add(route.match)
            if route.upstream not in settings.upstream:
                near = difflib.get_close_matches(route.upstream, fitting, n=1)
                suggestion = f"did you mean {near[0]}?" if near else f"there are {', '.join(fitting)}"
                yield _fault(f"{path}.upstream", f'no upstream is named "{route.upstream}"', suggestion)
            elif route.upstream not in fitting:
                kind = settings.upstream[route.upstream].type
                message = f'"{route.upstream}" is of type "{kind}", which does not take {channel}'
                yield _fault(f"{path}.upstream", message, f"there are {', '.join(fitting)}")


def _reserved_names(settings: Settings) -> Iterator[Fault]:
    """The names of the implicit sandboxes are not another channel's."""
    for name, channel in (("sandbox_mail", "mail"), ("sandbox_sms", "sms")):
        if name in settings.upstream and CHANNEL_OF[settings.upstream[name].type] != channel:
            yield _fault(f"upstream.{name}", f"the name is kept for {channel}", "take another name")


def _listeners(settings: Settings) -> Iterator[Fault]:
    """No two listeners on one port, and no HTTP in clear beyond this machine."""
    smtp, http, metrics, smpp = settings.smtp, settings.http, settings.metrics, settings.smpp
    doors = [
        ("smtp.port", smtp.enabled, smtp.host, smtp.port),
        ("smtp.tls_port", smtp.enabled, smtp.host, smtp.tls_port),
        ("http.port", http.enabled, http.host, http.port),
        ("metrics.port", metrics.enabled, metrics.host, metrics.port),
        ("smpp.port", smpp.enabled, smpp.host, smpp.port),
        ("smpp.tls_port", smpp.enabled, smpp.host, smpp.tls_port),
    ]
    taken: dict[tuple[str, int], str] = {}
    for path, enabled, host, port in doors:
        if not enabled or port == 0:
            continue
        other = taken.setdefault((host, port), path)
        if other != path:
            yield _fault(path, f"{port} is also {other}", "give each listener a port of its own")
    if http.enabled and not is_loopback(http.host) and not http.tls and not http.behind_proxy:  # R28
        message = f'plain HTTP on "{http.host}" is reachable from other machines'
        yield _fault("http.tls", message, "set tls = true, or behind_proxy = true when a proxy ends TLS")


def _proxies(settings: Settings) -> Iterator[Fault]:
    """Somebody may send the PROXY headers that are waited for."""
    for name, door in (("smtp", settings.smtp), ("smpp", settings.smpp)):
        if door.proxy_protocol and not settings.http.trusted_proxies:
            suggestion = 'name the networks of the proxy, such as ["10.0.0.5/32"]'
            yield _fault("http.trusted_proxies", f"empty, with {name}.proxy_protocol = true", suggestion)


def _memory(settings: Settings) -> Iterator[Fault]:
    """What is taken in at the door fits into what is kept in memory."""
    smtp, limits = settings.smtp, settings.limits
    if smtp.in_flight_octets < smtp.size_limit_octets:
        message = "less than smtp.size_limit_octets: the largest mail would never be taken"
        yield _fault("smtp.in_flight_octets", message, f"at least {smtp.size_limit_octets}")
    if limits.queue_memory_octets < smtp.size_limit_octets:
        message = "less than smtp.size_limit_octets: the largest mail would never be sent"
        yield _fault("limits.queue_memory_octets", message, f"at least {smtp.size_limit_octets}")
    if smtp.max_connections_per_peer > smtp.max_connections:
        yield _fault("smtp.max_connections_per_peer", "more than smtp.max_connections")
    if limits.auth_delay_first_s > limits.auth_delay_max_s:
        yield _fault("limits.auth_delay_first_s", "more than limits.auth_delay_max_s")


def _times(settings: Settings) -> Iterator[Fault]:
    """Waits that grow towards their cap, and nothing dropped while it is still needed."""
    sms, kept, webhooks = settings.sms, settings.retention, settings.webhooks
    for name, retry in (("mail", settings.mail.retry), ("sms", sms.retry)):
        if retry.first_s > retry.max_s:
            yield _fault(f"{name}.retry.first_s", f"more than {name}.retry.max_s ({retry.max_s:g})")
    if webhooks.retry_first_s > webhooks.retry_max_s:
        yield _fault("webhooks.retry_first_s", f"more than webhooks.retry_max_s ({webhooks.retry_max_s:g})")
    if sms.receipt_timeout_s < sms.lifetime_s:
        message = f"less than sms.lifetime_s ({sms.lifetime_s}): receipts would come too late to count"
        yield _fault("sms.receipt_timeout_s", message, f"at least {sms.lifetime_s}")
    longest_s = max(settings.mail.lifetime_s, sms.receipt_timeout_s)
    for name, days in (("message_days", kept.message_days), ("event_days", kept.event_days)):
        if days * 86_400 < longest_s:
            message = f"{days} days end before a message does (mail.lifetime_s, sms.receipt_timeout_s)"
            yield _fault(f"retention.{name}", message, f"at least {-(-longest_s // 86_400)}")
    if kept.content_hours > kept.message_days * 24:
        yield _fault("retention.content_hours", "more than retention.message_days", "a body goes first")


def _recharge(settings: Settings) -> Iterator[Fault]:
    """A recharge that can happen (R13)."""
    bought = settings.credits
    if bought.recharge_daily_cap < bought.recharge_amount:
        message = f"less than credits.recharge_amount ({bought.recharge_amount}): nothing would be bought"
        yield _fault("credits.recharge_daily_cap", message, f"at least {bought.recharge_amount}")
    if bought.recharge_amount > bought.quote_above:  # R9
        yield _fault("credits.recharge_amount", "more than credits.quote_above: it would need a quote")
    if bought.recharge_backoff_first_s > bought.recharge_backoff_max_s:
        yield _fault("credits.recharge_backoff_first_s", "more than credits.recharge_backoff_max_s")


def _upstreams(settings: Settings) -> Iterator[Fault]:
    """Upstreams whose keys agree with each other."""
    for name, upstream in settings.upstream.items():
        path = f"upstream.{name}"
        if isinstance(upstream, RelayUpstream):
            yield from _relay(path, upstream)
        if isinstance(upstream, SmppUpstream):
            yield from _smpp(path, upstream)


def _relay(path: str, relay: RelayUpstream) -> Iterator[Fault]:
    """A user has a password and the reverse, and neither travels in clear."""
    if relay.username and relay.password is None:
        yield _fault(
            f"{path}.password", "missing, with a username", "give password, password_env or password_file"
        )
    if relay.password is not None and not relay.username:
        yield _fault(f"{path}.username", "missing, with a password")
    if relay.password is not None and relay.tls in ("none", "opportunistic") and not is_loopback(relay.host):
        message = f'"{relay.tls}" would send the password in clear'
        yield _fault(f"{path}.tls", message, 'write "required" or "implicit"')


def _smpp(path: str, smpp: SmppUpstream) -> Iterator[Fault]:
    """Receipts come in over a bind that receives; the reconnect wait grows."""
    if smpp.bind == "tx" and smpp.receipts:
        message = '"tx" cannot receive receipts'
        yield _fault(f"{path}.bind", message, 'write "trx" or "tx+rx", or set receipts = false')
    if smpp.reconnect_min_s > smpp.reconnect_max_s:
        yield _fault(f"{path}.reconnect_min_s", f"more than reconnect_max_s ({smpp.reconnect_max_s:g})")
    if smpp.long_text == "payload" and smpp.reference_octets != 1:
        yield _fault(f"{path}.reference_octets", 'has no meaning with long_text = "payload"', "leave it out")


def _files(settings: Settings) -> Iterator[Fault]:
    """Files that are named and only read are there."""
    named = [("sender_name.countries_file", settings.sender_name.countries_file)]
    for name, upstream in settings.upstream.items():
        if isinstance(upstream, (RelayUpstream, SmppUpstream)):
            named.append((f"upstream.{name}.ca_file", upstream.ca_file))
    for path, file in named:
        if file is not None and not (file.is_file() and os.access(file, os.R_OK)):
            yield _fault(path, f"{file} is no file that can be read")


_CHECKS: tuple[tuple[Callable[[Settings], Iterator[Fault]], frozenset[str]], ...] = (
    (_workers, frozenset({"server"})),
    (_routes, frozenset({"mail", "sms", "upstream"})),
    (_reserved_names, frozenset({"upstream"})),
    (_listeners, frozenset({"smtp", "http", "metrics", "smpp"})),
    (_proxies, frozenset({"smtp", "http", "smpp"})),
    (_memory, frozenset({"smtp", "limits"})),
    (_times, frozenset({"mail", "sms", "retention", "webhooks"})),
    (_recharge, frozenset({"credits"})),
    (_upstreams, frozenset({"upstream"})),
    (_files, frozenset({"sender_name", "upstream"})),
)
"""Each check, with the sections it reads."""
