"""`gateway check`: every fault of a configuration and of what it names, at once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config import Fault, load
from gateway.cli.check import Note, examine
from gateway.cli.demo import certificate
from tests.support.cli import ROOT, Cli

NOW = datetime.now(UTC)


def _pair(folder: Path, made_at: datetime) -> str:
    """A certificate made at that time, with its key; the section that names them."""
    key, chain = certificate.make(made_at)
    (folder / "host.key").write_bytes(key)
    (folder / "host.pem").write_bytes(chain)
    return '\n[tls]\ncertificate = "host.pem"\nkey = "host.key"\n'


def _faults(cli: Cli, text: str) -> list[str]:
    """The faults that the command reports for `text` after the usual configuration."""
    cli.config.write_text(cli.config.read_text() + text)
    done = cli("check")
    assert (done.code, done.out) == (1, "")
    first, *faults = [line for line in done.err.splitlines() if not line.startswith("note: ")]
    assert first.startswith("gateway: gateway.toml: ")
    assert f"{len(faults)} fault" in first
    return [fault.strip() for fault in faults]


def _verify_the_domain_of_notices(cli: Cli) -> None:
    cli.account("Operator")
    cli.ok("domain", "add", "Operator", "gateway.example")
    cli.ok("domain", "approve", "Operator", "gateway.example")


@pytest.mark.usefixtures("cheap_rsa")
def test_a_sound_configuration_is_told_so(cli: Cli) -> None:
    _verify_the_domain_of_notices(cli)
    cli.config.write_text(cli.config.read_text() + _pair(cli.folder, NOW))
    done = cli("check")
    assert (done.code, done.out, done.err) == (0, "gateway.toml: no faults\n", "")


def test_the_shipped_configuration_has_no_faults_before_the_first_start(cli: Cli) -> None:
    cli.config.write_text((ROOT / "gateway.toml").read_text())
    done = cli("check")
    assert (done.code, done.out) == (0, "gateway.toml: no faults\n")
    assert "gateway demo makes its own" in done.err
    assert "gateway db upgrade makes it" in done.err
    assert not (cli.folder / "var").exists()


def test_every_fault_of_the_file_comes_at_once_with_its_path_and_a_suggestion(cli: Cli) -> None:
    faults = _faults(
        cli,
        '[smtp]\nprot = 2525\nport = "high"\n[htp]\n[metrics]\nport = 70000\n[limits]\nauth_remembered = 0\n',
    )
    assert [fault.partition(":")[0] for fault in sorted(faults)] == [
        "htp", "limits.auth_remembered", "metrics.port", "smtp.port", "smtp.prot"
    ]  # fmt: skip
    assert "smtp.prot: unknown key, did you mean port?" in faults


def test_broken_toml_names_line_and_column(cli: Cli) -> None:
    cli.config.write_text("[smtp\nport = 1\n")
    line = cli("check").refusal()
    assert "gateway.toml:1:6: " in line


def test_a_port_used_twice_is_a_fault(cli: Cli) -> None:
    assert _faults(cli, "[http]\nport = 2525\n") == [
        "http.port: 2525 is also smtp.port, give each listener a port of its own"
    ]


def test_a_proxy_that_is_not_trusted_is_a_note(cli: Cli) -> None:
    cli.config.write_text(cli.config.read_text() + "[http]\nbehind_proxy = true\n")
    done = cli("check")
    assert done.code == 0
    assert "note: http.trusted_proxies: empty" in done.err
    cli.config.write_text(cli.config.read_text() + 'trusted_proxies = ["10.0.0.5/32"]\n')
    assert "trusted_proxies" not in cli("check").err


def test_notices_without_a_sender_are_a_fault_that_keeps_nothing_from_running(cli: Cli) -> None:  # R8
    cli.config.write_text(cli.config.read_text().partition("[notices]")[0] + _pair(cli.folder, NOW))
    (fault,) = _faults(cli, "")
    assert fault.startswith("notices.from: missing: accounts are not told that their balance is low, write")
    assert "There is no account yet" in cli.ok("account", "list")


@pytest.mark.usefixtures("cheap_rsa")
def test_notices_that_nobodys_keys_would_sign_are_a_note(cli: Cli) -> None:
    cli.config.write_text(cli.config.read_text() + _pair(cli.folder, NOW))
    done = cli("check")
    assert (done.code, done.err) == (
        0, "note: notices.from: no account has verified gateway.example, so notices go out unsigned\n"
    )  # fmt: skip
    _verify_the_domain_of_notices(cli)
    assert cli("check").err == ""


def test_an_expired_certificate_is_a_fault(cli: Cli) -> None:
    (fault,) = _faults(cli, _pair(cli.folder, NOW - timedelta(days=400)))
    assert fault.startswith("tls.certificate: ")
    assert "expired on" in fault


def test_a_certificate_that_will_expire_soon_is_a_note(cli: Cli) -> None:
    cli.config.write_text(cli.config.read_text() + _pair(cli.folder, NOW - timedelta(days=350)))
    done = cli("check")
    assert done.code == 0
    assert "renew it in time" in done.err


def test_a_missing_certificate_is_a_fault_where_a_door_needs_it(cli: Cli) -> None:
    section = '\n[tls]\ncertificate = "host.pem"\nkey = "host.key"\n'
    (fault,) = _faults(cli, section)
    assert fault.startswith("tls.certificate: ")
    assert "turn off smtp.tls_port" in fault
    cli.config.write_text(cli.config.read_text() + "[smtp]\ntls_port = 0\n")
    assert cli("check").code == 0


def test_a_key_that_does_not_fit_is_a_fault(cli: Cli) -> None:
    section = _pair(cli.folder, NOW)
    (cli.folder / "host.key").write_bytes(certificate.make(NOW)[0])
    (fault,) = _faults(cli, section)
    assert fault.startswith("tls.key: ")
    assert "does not fit" in fault


def test_what_the_configuration_names_is_judged_all_at_once(cli: Cli) -> None:
    for name in ("countries.toml", "ca.pem", "host.pem", "data"):
        (cli.folder / name).write_text("nonsense")
    (cli.folder / "gateway.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    faults = _faults(
        cli,
        """
[server]
data_dir = "data/inside"
[sender_name]
countries_file = "countries.toml"
[tls]
certificate = "host.pem"
[upstream.smarthost]
type = "relay"
host = "smtp.example.org"
ca_file = "ca.pem"
""",
    )
    assert [fault.partition(":")[0] for fault in sorted(faults)] == [
        "sender_name.countries_file",
        "server.data_dir",
        "store.url",
        "tls.certificate",
        "upstream.smarthost.ca_file",
    ]


def test_a_folder_that_cannot_be_written_is_a_fault(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere, so the system's answer is given by hand.
    monkeypatch.setattr("gateway.cli.check.os.access", lambda *_: False)
    settings = load(cli.config)
    found = [one for one in examine(settings, now=NOW) if isinstance(one, Fault)]
    assert [one.key_path for one in found] == ["server.data_dir", "store.url"]
    assert "not writable" in found[0].message


def test_a_database_that_is_not_there_yet_is_a_note(cli: Cli) -> None:
    (cli.folder / "gateway.db").unlink()
    notes = [one.text for one in examine(load(cli.config), now=NOW) if isinstance(one, Note)]
    assert any("gateway db upgrade makes it" in note for note in notes)
    assert not (cli.folder / "gateway.db").exists()


def test_postgresql_that_cannot_be_reached_is_told(cli: Cli) -> None:
    cli.config.write_text('[store]\nurl = "postgresql://gateway@127.0.0.1:1,127.0.0.1:2/gateway"\n')
    assert "store.url: PostgreSQL cannot be used" in cli("check").err
