"""`gateway check`: everything that is wrong with a configuration, and with what it points at, at once.

The file itself is judged by `config`; here comes what it names on this machine: the certificate, the table of
countries, certificates to trust, folders to write, the database. A note is no fault: it tells what will come.
"""

import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer
from sqlalchemy import Engine

from config import ConfigError, Fault, Settings, load
from config.sections.upstreams import RelayUpstream, SmppUpstream
from gateway import tls
from gateway.cli.db import database
from gateway.domains.signers import owner_of
from gateway.listeners import that_need_tls
from gateway.store import schema
from gateway.store.errors import StoreError
from gateway.store.tx import Tx
from gateway.terminal.output import complain, say
from gateway.terminal.session import DEFAULT_CONFIG, ConfigOption
from policy.countries import CountryTableError
from policy.countries import parse as parse_countries
from smtp.address import parse_mailbox

_SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know that keeps nothing from starting."""

    text: str


def check(config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Report every fault of the configuration at once, with what to do."""
    settings = load(config)
    findings = list(examine(settings, now=datetime.now(UTC)))
    faults = [one for one in findings if isinstance(one, Fault)]
    for note in findings:
        if isinstance(note, Note):
            complain(f"note: {note.text}")
    if faults:
        raise ConfigError(faults, source=str(config))
    say(f"{config}: no faults")
    return 0


def add_to(app: typer.Typer) -> None:
    """The command, on the program itself."""
    app.command()(check)


def examine(settings: Settings, *, now: datetime) -> Iterator[Fault | Note]:
    """What the settings name and what is wrong with it."""
    yield from _certificate(settings, now)
    yield from _proxies(settings)
    yield from _countries(settings)
    yield from _trusted(settings)
    yield from _sender_of_notices(settings)
    yield from _folder("server.data_dir", settings.server.data_dir)
    yield from _database(settings)


def _certificate(settings: Settings, now: datetime) -> Iterator[Fault | Note]:
    tls_settings = settings.tls
    needed = [one.tls_key_path for one in that_need_tls(settings)]
    if not tls_settings.certificate.exists():
        if tls_settings.certificate.is_relative_to(settings.server.data_dir):
            yield Note(
                f"tls.certificate: {tls_settings.certificate} is not there yet; gateway demo makes its own"
            )
        elif needed:
            suggestion = f"give a certificate, or turn off {', '.join(needed)}"
            yield _fault("tls.certificate", f"{tls_settings.certificate} does not exist", suggestion)
        return
    try:
        expires = tls.check(tls_settings, now=now)
        tls.server_context(tls_settings, now=now)
    except tls.CertificateError as error:
        key, _, message = str(error).partition(": ")
        yield _fault(key, message)
        return
    if expires - now < _SOON:
        yield Note(
            f"tls.certificate: {tls_settings.certificate} expires on {expires:%Y-%m-%d}; renew it in time"
        )


def _proxies(settings: Settings) -> Iterator[Note]:
    """A proxy whose word is not believed makes one client of all that come through it."""
    http = settings.http
    if http.enabled and http.behind_proxy and not http.trusted_proxies:
        yield Note(
            "http.trusted_proxies: empty, with behind_proxy = true: all clients count as the proxy, for "
            'limits and for guessing; name its networks, such as ["10.0.0.5/32"]'
        )


def _countries(settings: Settings) -> Iterator[Fault]:
    path = settings.sender_name.countries_file
    if path is None:
        return
    try:
        parse_countries(path.read_text(encoding="utf-8"))
    except (CountryTableError, UnicodeDecodeError, OSError) as error:
        message = f"{path} cannot be used ({' '.join(str(error).split())})"
        yield _fault("sender_name.countries_file", message, "compare it with policy/data/countries.toml")


def _trusted(settings: Settings) -> Iterator[Fault]:
    for name, upstream in settings.upstream.items():
        if not isinstance(upstream, RelayUpstream | SmppUpstream) or upstream.ca_file is None:
            continue
        try:
            ssl.create_default_context(cafile=str(upstream.ca_file))
        except (OSError, ssl.SSLError) as error:
            message = f"{upstream.ca_file} holds no certificates in PEM form ({error})"
            yield _fault(f"upstream.{name}.ca_file", message)


def _sender_of_notices(settings: Settings) -> Iterator[Fault]:
    """Without it the gateway runs, and tells no account anything."""
    if not settings.notices.from_:
        suggestion = 'write an address of yours, such as "Gateway <notices@example.org>"'
        yield _fault("notices.from", "missing: accounts are not told that their balance is low", suggestion)


def _folder(key: str, folder: Path) -> Iterator[Fault]:
    """Whether the folder can be written, or made."""
    for place in (folder, *folder.parents):
        if place.exists():
            if not place.is_dir():
                yield _fault(
                    key, f"{place} is a file, not a folder", "take another path, or move the file away"
                )
            elif not os.access(place, os.W_OK | os.X_OK):
                yield _fault(
                    key, f"{place} is not writable for this user", "change its owner, or take another path"
                )
            return


def _database(settings: Settings) -> Iterator[Fault | Note]:
    path = settings.store.sqlite_path
    if path is not None and not path.exists():
        yield from _folder("store.url", path.parent)
        yield Note(f"store.url: {path} is not there yet; gateway db upgrade makes it")
        return
    try:
        with database(settings.store) as engine:
            schema.check(engine)
            yield from _signature_of_notices(settings, engine)
    except StoreError as error:
        yield _fault("store.url", str(error))


def _signature_of_notices(settings: Settings, engine: Engine) -> Iterator[Note]:
    """Notices are signed with the keys of their domain, once some account has verified it."""
    if not settings.notices.from_:
        return
    domain = parse_mailbox(settings.notices.from_).mailbox.domain
    with engine.connect() as connection:
        if owner_of(Tx(connection), domain) is None:
            yield Note(f"notices.from: no account has verified {domain}, so notices go out unsigned")


def _fault(key_path: str, message: str, suggestion: str = "") -> Fault:
    return Fault(key_path=key_path, message=message, suggestion=suggestion)
