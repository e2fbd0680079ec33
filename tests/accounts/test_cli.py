"""`gateway account`, `key`, `credential` and `sendername`: what they do, and what they say to bad input."""

import json
from pathlib import Path

import pytest

from gateway.accounts.auth import Authenticator, AuthRefused
from gateway.accounts.secrets import CredentialKind
from gateway.ground import Ground
from gateway.notices import queue
from gateway.sendernames.service import Document, DocumentKind, SenderNames
from gateway.store.tx import Tx
from gateway.webhooks.service import Webhooks
from tests.support.cli import Cli

PDF = b"%PDF-1.7 proof"


# --- accounts ----------------------------------------------------------------------------------------------


def test_a_new_account_has_its_free_credits(cli: Cli) -> None:
    made = cli("account", "create", "Shop", "--email", "owner@example.org", "--json").json
    assert (made["status"], made["email"]) == ("active", "owner@example.org")
    shown = cli("account", "show", "Shop", "--json").json
    assert shown["id"] == made["id"]
    assert shown["balances"] == {"mail": 500, "sms": 0, "validation": 0, "query": 0}  # R11


def test_an_account_has_an_address_and_a_language_for_its_notices(cli: Cli) -> None:
    made = cli("account", "create", "Shop", "--language", "pt", "--json").json
    assert (made["email"], made["language"]) == (None, "pt")
    cli.ok("account", "set", "Shop", "--email", "owner@example.org")
    shown = cli("account", "show", "Shop", "--json").json
    assert (shown["email"], shown["language"]) == ("owner@example.org", "pt"), "what is not given stays"
    changed = cli("account", "set", "Shop", "--email", "", "--language", "", "--json").json
    assert (changed["email"], changed["language"]) == (None, None)
    assert "give --email or --language" in cli("account", "set", "Shop").refusal()
    said = cli("account", "set", "Shop", "--language", "de").refusal()
    assert "language: must be one of en, es, fr, it, pt" in said
    assert "email: " in cli("account", "set", "Shop", "--email", "nobody").refusal()
    cli.ok("account", "close", "Shop", "--yes")
    assert "closed" in cli("account", "set", "Shop", "--language", "pt").refusal()


def test_an_account_goes_by_its_id_or_its_name(cli: Cli) -> None:
    identity = cli.account("Shop")
    assert cli("account", "show", identity, "--json").json == cli("account", "show", "Shop", "--json").json


def test_an_ambiguous_name_asks_for_the_id(cli: Cli) -> None:
    first, second = cli.account("Shop"), cli.account("Shop")
    assert "give the id instead" in cli("account", "show", "Shop").refusal()
    assert cli("account", "show", first, "--json").json["id"] == first
    cli.ok("account", "close", second, "--yes")
    assert cli("account", "show", "Shop", "--json").json["id"] == first


@pytest.mark.parametrize("account", ["Nobody", "0" * 26, "", "x" * 5000, "Shop'; DROP TABLE account; --"])
@pytest.mark.parametrize(
    "command",
    [["account", "show"], ["account", "suspend"], ["key", "create"], ["domain", "list"], ["credit", "show"]],
    ids=" ".join,
)
def test_an_unknown_account_is_told_so(cli: Cli, account: str, command: list[str]) -> None:
    assert "There is no account" in cli(*command, account).refusal()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["", "--email", "a@example.org"], "name: must not be empty"),
        (["x" * 201], "name: must have at most 200 characters"),
        (["two\nlines"], "name: must be one line"),
        (["Shop", "--email", "nobody"], "email: "),
        (["Shop", "--language", "klingon"], "language: must be one of en, es, fr, it, pt"),
        (["Shop", "--email", "a@b.example\r\nBcc: c@d.example"], "email: "),
    ],
)
def test_an_account_is_made_of_good_input_only(cli: Cli, arguments: list[str], said: str) -> None:
    assert said in cli("account", "create", *arguments).refusal()
    assert "There is no account yet" in cli.ok("account", "list")


def test_suspend_activate_and_close(cli: Cli) -> None:  # R36
    cli.account("Shop")
    assert "is suspended now" in cli.ok("account", "suspend", "Shop", "--note", "unpaid")
    assert cli("account", "show", "Shop", "--json").json["note"] == "unpaid"
    assert "is active now" in cli.ok("account", "activate", "Shop")
    assert "--yes" in cli("account", "close", "Shop").refusal()
    assert cli("account", "show", "Shop", "--json").json["status"] == "active"
    assert "is closed now" in cli.ok("account", "close", "Shop", "--yes")
    assert "closed" in cli("account", "activate", "Shop").refusal()
    assert cli("account", "list", "--json").json == []
    assert [one["name"] for one in cli("account", "list", "--closed", "--json").json] == ["Shop"]


def test_a_closed_account_gets_nothing_new(cli: Cli) -> None:
    cli.account("Shop")
    cli.ok("account", "close", "Shop", "--yes")
    for command in (
        ["key", "create", "Shop"],
        ["credential", "create", "Shop", "smtp"],
        ["credit", "grant", "Shop", "mail", "5"],
        ["domain", "add", "Shop", "example.org"],
        ["sendername", "add", "Shop", "Acme"],
    ):
        assert "is closed; open a new one instead" in cli(*command).refusal()


def test_an_account_may_have_a_rate_of_its_own(cli: Cli) -> None:
    cli.account("Shop")
    assert "has 7 requests per second now" in cli.ok("account", "rate", "Shop", "7")
    assert "has the configured limit now" in cli.ok("account", "rate", "Shop")
    assert "rate_per_s: must be 1 or more" in cli("account", "rate", "Shop", "0").refusal()
    assert cli("account", "rate", "Shop", "99999999999999999999").code == 2


def test_every_account_is_listed_across_pages(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.account._PAGE", 2)
    made = [cli.account(f"Shop {number}") for number in range(5)]
    assert [one["id"] for one in cli("account", "list", "--json").json] == made


def test_the_operator_sees_what_an_account_was_told_and_what_not(cli: Cli) -> None:
    identity = cli.account("Shop")
    assert "There is no notice." in cli.ok("notice", "list", "Shop")

    def tell(tx: Tx) -> None:
        for number in range(3):
            queue.queue(tx, identity, "credits.low", None, {}, f"k{number}", 1_790_000_000_000 + number)
        first, second, _ = queue.waiting(tx, 3)
        assert queue.sent(tx, first, "m" * 26, 1_790_000_060_000)
        assert queue.not_sent(tx, second, "no address")

    cli.ground(lambda ground: ground.store.write(tell))
    listed = cli("notice", "list", "Shop", "--json").json
    assert [(one["status"], one["message"], one["note"]) for one in listed] == [
        ("waiting", None, None),
        ("not sent", None, "no address"),
        ("sent", "m" * 26, None),
    ]
    assert (listed[2]["queued"], listed[2]["sent"]) == ("2026-09-21T14:13:20Z", "2026-09-21T14:14:20Z")
    assert len(cli("notice", "list", "Shop", "--limit", "1", "--json").json) == 1
    assert "no address" in cli.ok("notice", "list", "Shop")


# --- keys and logins ---------------------------------------------------------------------------------------


async def _accepted(ground: Ground, kind: CredentialKind, username: str, secret: str) -> bool:
    try:
        await ground[Authenticator].password(kind, username, secret, "192.0.2.1")
    except AuthRefused:
        return False
    return True


def _works(cli: Cli, kind: CredentialKind, username: str, secret: str) -> bool:
    return cli.ground(lambda ground: _accepted(ground, kind, username, secret))


def test_a_key_is_shown_once_works_and_can_be_revoked(cli: Cli) -> None:
    cli.account("Shop")
    made = cli("key", "create", "Shop", "--label", "web", "--scope", "mail:send", "--json").json
    prefix = made["prefix"].removeprefix("gw_")
    assert _works(cli, CredentialKind.API, prefix, made["key"])
    listed = cli("key", "list", "Shop", "--json")
    assert made["key"] not in listed.out
    assert [(one["prefix"], one["label"], one["scopes"]) for one in listed.json] == [
        (made["prefix"], "web", ["mail:send"])
    ]
    assert "is revoked" in cli.ok("key", "revoke", "Shop", made["prefix"])
    assert not _works(cli, CredentialKind.API, prefix, made["key"])
    assert cli("key", "list", "Shop", "--json").json == []
    assert cli("key", "list", "Shop", "--all", "--json").json[0]["revoked"] is not None


@pytest.mark.parametrize("kind", ["smtp", "smpp"])
def test_a_login_works_is_renewed_and_revoked(cli: Cli, kind: str) -> None:
    cli.account("Shop")
    made = cli("credential", "create", "Shop", kind, "--username", "shop", "--json").json
    assert _works(cli, CredentialKind(kind), "shop", made["password"])
    renewed = cli("credential", "renew", "Shop", "shop", "--json").json
    assert not _works(cli, CredentialKind(kind), "shop", made["password"])
    assert _works(cli, CredentialKind(kind), "shop", renewed["password"])
    listed = cli("credential", "list", "Shop")
    assert renewed["password"] not in listed.out
    cli.ok("credential", "revoke", "Shop", made["id"])
    assert not _works(cli, CredentialKind(kind), "shop", renewed["password"])


def test_advice_about_secrets_does_not_get_into_pipes(cli: Cli) -> None:
    cli.account("Shop")
    done = cli("key", "create", "Shop")
    assert "cannot be shown again" in done.err
    assert "cannot be shown again" not in done.out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["key", "create", "Shop", "--scope", "mail:sned"], "scopes: mail:sned is unknown"),
        (["key", "create", "Shop", "--label", "x" * 101], "label: must have at most 100"),
        (["key", "revoke", "Shop", "gw_nothing"], "has no key 'gw_nothing'"),
        (["credential", "revoke", "Shop", "nobody"], "has no credential 'nobody'"),
        (["credential", "create", "Shop", "smpp", "--username", "x" * 16], "username: must be 1 to 15"),
        (["credential", "create", "Shop", "smtp", "--username", "a b"], "username: must be 1 to 64"),
        (["credential", "create", "Shop", "smtp", "--username", "taken"], "taken is taken"),
    ],
)
def test_bad_credentials_are_refused(cli: Cli, command: list[str], said: str) -> None:
    cli.account("Shop")
    cli.ok("credential", "create", "Shop", "smtp", "--username", "taken")
    assert said in cli(*command).refusal()


def test_keys_and_logins_of_another_account_are_not_found(cli: Cli) -> None:
    cli.account("Shop")
    cli.account("Other")
    key = cli("key", "create", "Other", "--json").json
    login = cli("credential", "create", "Other", "smtp", "--json").json
    assert "has no key" in cli("key", "revoke", "Shop", key["id"]).refusal()
    assert "has no credential" in cli("credential", "revoke", "Shop", login["id"]).refusal()
    assert "has no credential" in cli("credential", "revoke", "Other", key["id"]).refusal()


# --- SenderNames -------------------------------------------------------------------------------------------


def _request(cli: Cli, account_id: str, name: str) -> None:
    documents = [
        Document(kind=kind, filename="proof.pdf", content_type="application/pdf", data=PDF)
        for kind in DocumentKind
    ]
    cli.ground(lambda ground: ground[SenderNames].request(account_id, name, documents))


def test_a_request_is_listed_looked_at_and_decided(cli: Cli, tmp_path: Path) -> None:
    identity = cli.account("Shop")
    _request(cli, identity, "Acme")
    waiting = cli("sendername", "list", "--json").json
    assert [(one["name"], one["account"], one["status"]) for one in waiting] == [
        ("Acme", identity, "pending")
    ]
    proof = tmp_path / "proof.pdf"
    cli.ok("sendername", "document", "Shop", "Acme", "identity", "--output", str(proof))
    assert proof.read_bytes() == PDF
    assert proof.stat().st_mode & 0o777 == 0o600
    again = cli("sendername", "document", "Shop", "Acme", "identity", "--output", str(proof))
    assert "is there already" in again.refusal()
    assert "is rejected" in cli.ok("sendername", "reject", "Shop", "Acme", "--note", "unreadable")
    assert cli("sendername", "list", "Shop", "--json").json[0]["note"] == "unreadable"
    assert "is approved" in cli.ok("sendername", "approve", "Shop", "Acme")
    assert "Nothing waits" in cli.ok("sendername", "list")
    cli.ok("sendername", "remove", "Shop", "Acme")
    assert cli("sendername", "list", "Shop", "--json").json == []


def test_what_a_command_decides_is_told_to_the_accounts_webhooks(cli: Cli) -> None:
    identity = cli.account("Shop")
    _request(cli, identity, "Acme")
    issued = cli.ground(lambda ground: ground[Webhooks].create(identity, "https://hook.example/told"))
    cli.ok("sendername", "approve", "Shop", "Acme")
    queued = cli.ground(lambda ground: ground[Webhooks].deliveries(identity, issued.webhook.id))
    assert [json.loads(one.body)["type"] for one in queued] == ["sendername.decided"]


def test_the_operator_adds_a_name_that_was_never_requested(cli: Cli) -> None:
    cli.account("Shop")
    assert "no such SenderName" in cli("sendername", "approve", "Shop", "Acme").refusal()
    assert "Acme is approved" in cli.ok("sendername", "add", "Shop", "Acme")
    assert cli("sendername", "list", "Shop", "--json").json[0]["status"] == "approved"


@pytest.mark.parametrize("name", ["My Shop", "ElevenChars", 'Sho"p', "Shöp", "", "Shop\0", "+12"])
def test_a_sender_name_that_cannot_be_is_refused(cli: Cli, name: str) -> None:  # R22
    cli.account("Shop")
    assert "name: " in cli("sendername", "add", "Shop", name).refusal()
    assert cli("sendername", "list", "Shop", "--json").json == []


@pytest.mark.parametrize(
    "command",
    [
        ["reject", "Shop", "Acme", "--note", "no"],
        ["remove", "Shop", "Acme"],
        ["document", "Shop", "Acme", "identity", "--output", "proof.pdf"],
    ],
    ids=lambda words: words[0],
)
def test_a_sender_name_that_is_not_there_is_told_so(cli: Cli, command: list[str]) -> None:
    cli.account("Shop")
    assert "There is no such" in cli("sendername", *command).refusal()
    assert not Path("proof.pdf").exists()
