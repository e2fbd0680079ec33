"""`gateway domain`: keys, records, and the check against a DNS that the test answers."""

import pytest

from tests.support.cli import Cli
from tests.support.services import FakeDns


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> FakeDns:
    fake = FakeDns()
    monkeypatch.setattr("gateway.ground.SystemDns", lambda: fake)
    return fake


def _publish(dns: FakeDns, shown: dict[str, list[dict[str, str]]]) -> None:
    for record in shown["records"]:
        dns.texts[record["name"]] = [record["value"]]


def _selectors(shown: dict[str, list[dict[str, str]]]) -> list[str]:
    return [key["selector"] for key in shown["keys"]]


def test_a_domain_is_added_with_keys_and_shows_what_to_publish(cli: Cli) -> None:
    cli.account()
    shown = cli("domain", "add", "Shop", "Example.ORG.", "--json").json
    assert (shown["name"], shown["status"]) == ("example.org", "pending")
    assert [key["algorithm"] for key in shown["keys"]] == ["rsa-sha256", "ed25519-sha256"]
    assert [record["purpose"] for record in shown["records"]] == ["dkim", "dkim", "dmarc"]
    text = cli.ok("domain", "show", "Shop", "example.org")
    assert all(record["value"] in text for record in shown["records"])
    assert "PRIVATE" not in text
    assert cli("domain", "list", "Shop", "--json").json[0]["name"] == "example.org"


def test_verify_activates_keys_once_their_records_are_seen(cli: Cli, dns: FakeDns) -> None:
    cli.account()
    shown = cli("domain", "add", "Shop", "example.org", "--json").json
    missing = cli("domain", "verify", "Shop", "example.org")
    assert missing.code == 1
    assert "missing - publish it" in missing.out
    _publish(dns, shown)
    signs = f"example.org is verified; it signs with {', '.join(_selectors(shown))}"
    assert signs in cli.ok("domain", "verify", "Shop", "example.org")


def test_the_operator_vouches_and_rotates(cli: Cli, dns: FakeDns) -> None:
    cli.account()
    first = _selectors(cli("domain", "add", "Shop", "example.org", "--json").json)
    assert f"it signs with {', '.join(first)}" in cli.ok("domain", "approve", "Shop", "example.org")
    rotated = cli("domain", "rotate", "Shop", "example.org", "--json").json
    assert [key["state"] for key in rotated["keys"]] == ["active", "active", "new", "new"]
    assert _selectors(rotated)[:2] == first
    _publish(dns, rotated)
    signs = f"it signs with {', '.join(_selectors(rotated)[2:])}"
    assert signs in cli.ok("domain", "verify", "Shop", "example.org")


def test_check_shows_what_is_there_and_what_to_publish(cli: Cli, dns: FakeDns) -> None:
    cli.account()
    shown = cli("domain", "add", "Shop", "example.org", "--json").json
    states = {row["what"]: row["state"] for row in cli("domain", "check", "example.org", "--json").json}
    keys = [f"DKIM {selector}" for selector in _selectors(shown)]
    assert states == {"SPF": "unknown", **dict.fromkeys([*keys, "DMARC", "MX"], "missing")}
    text = cli.ok("domain", "check", "example.org")
    assert f"publish at {_selectors(shown)[0]}._domainkey.example.org" in text
    assert "v=DMARC1; p=none" in text
    _publish(dns, shown)
    dns.hosts["example.org"] = [(10, "mx.example.org")]
    after = {row["what"]: row["state"] for row in cli("domain", "check", "example.org", "--json").json}
    assert after == {"SPF": "unknown", **dict.fromkeys([*keys, "DMARC", "MX"], "ok")}


def test_check_of_a_domain_nobody_added_asks_for_no_keys(cli: Cli, dns: FakeDns) -> None:
    rows = cli("domain", "check", "example.net", "--json").json
    assert [row["what"] for row in rows] == ["SPF", "DMARC", "MX"]
    assert "example.net" in dns.asked


def test_check_of_a_domain_of_two_accounts_asks_whose(cli: Cli, dns: FakeDns) -> None:
    for name in ("Shop", "Other"):
        cli.account(name)
        shown = cli("domain", "add", name, "example.org", "--json").json
    assert "--account" in cli("domain", "check", "example.org").refusal()
    rows = cli("domain", "check", "example.org", "--account", "Other", "--json").json
    assert {f"DKIM {selector}" for selector in _selectors(shown)} < {row["what"] for row in rows}
    assert dns.asked


def test_a_dns_that_does_not_answer_is_unknown_and_no_error(cli: Cli, dns: FakeDns) -> None:
    dns.silent |= {"example.org", "_dmarc.example.org"}
    rows = cli("domain", "check", "example.org", "--json").json
    assert {row["state"] for row in rows} == {"unknown"}


def test_a_published_record_cannot_play_with_the_terminal(cli: Cli, dns: FakeDns) -> None:
    dns.texts["_dmarc.example.org"] = ["v=DMARC1; p=none; \x1b[2J"]
    assert "\x1b[2J" not in cli.ok("domain", "check", "example.org")


def test_remove_asks_first(cli: Cli) -> None:
    cli.account()
    cli.ok("domain", "add", "Shop", "example.org")
    assert "--yes" in cli("domain", "remove", "Shop", "example.org").refusal()
    assert "is removed" in cli.ok("domain", "remove", "Shop", "example.org", "--yes")
    assert cli("domain", "list", "Shop", "--json").json == []


@pytest.mark.parametrize(
    "name", ["localhost", "two words.example", "[192.0.2.1]", "-a-.example", "", "a" * 300]
)
@pytest.mark.parametrize("command", [["add", "Shop"], ["check"]], ids=" ".join)
def test_what_is_no_domain_is_refused(cli: Cli, dns: FakeDns, name: str, command: list[str]) -> None:
    cli.account()
    done = cli("domain", *command, "--", name)
    assert "name: " in done.refusal()
    assert dns.asked == []


@pytest.mark.parametrize("command", ["show", "approve", "verify", "rotate", "remove"])
def test_a_domain_that_is_not_there_is_told_so(cli: Cli, command: str) -> None:
    cli.account()
    cli.account("Other")
    cli.ok("domain", "add", "Other", "example.org")
    assert "There is no such domain" in cli("domain", command, "Shop", "example.org").refusal()
