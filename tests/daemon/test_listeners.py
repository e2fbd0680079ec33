"""The table of listeners: each has its place in the configuration, and workers find theirs by it."""

from dataclasses import replace

import pytest

from config.schema import Settings
from gateway.listeners import LISTENERS, Ports, placed, that_need_tls
from gateway.worker import Birth

REAL = {"smtp": 1001, "smtps": 1002, "http": 1003, "smpp": 1004, "smpps": 1005}


def ports_of(settings: Settings) -> dict[str, int]:
    """Where the configuration has each listener."""
    smtp, http, smpp = settings.smtp, settings.http, settings.smpp
    return {
        "smtp": smtp.port,
        "smtps": smtp.tls_port,
        "http": http.port,
        "smpp": smpp.port,
        "smpps": smpp.tls_port,
    }


def test_a_worker_listens_where_the_supervisor_holds_the_ports() -> None:
    born = Birth(index=1, workers=2, ports=REAL, probe_system_id="id", probe_password="secret")
    told = Birth.from_environment({"GATEWAY_WORKER": born.to_text()})
    assert told is not None
    assert ports_of(told.settings(Settings())) == REAL


@pytest.mark.parametrize("closed", ["smtps", "smpps"])
def test_what_the_supervisor_holds_no_port_for_stays_closed(closed: str) -> None:
    ports = {name: port for name, port in REAL.items() if name != closed}
    assert ports_of(placed(Settings(), ports)) == REAL | {closed: 0}


def test_every_listener_has_its_address_by_the_configuration() -> None:
    settings = placed(Settings(), REAL)
    assert {one.name: one.address(settings) for one in LISTENERS} == {
        name: ("127.0.0.1", port) for name, port in REAL.items()
    }
    off = replace(settings, smpp=replace(settings.smpp, enabled=False))
    assert {one.name for one in LISTENERS if one.address(off) is None} == {"smpp", "smpps"}
    assert Ports()["smpps"] == 0


def test_a_certificate_is_needed_where_tls_is_spoken() -> None:
    settings = placed(Settings(), REAL)
    settings = replace(settings, http=replace(settings.http, tls=True))
    assert [one.tls_key_path for one in that_need_tls(settings)] == [
        "smtp.tls_port",
        "http.tls",
        "smpp.tls_port",
    ]
    clear = replace(
        placed(Settings(), {"smtp": 1, "http": 3, "smpp": 4}), http=replace(Settings().http, tls=False)
    )
    assert list(that_need_tls(clear)) == []
