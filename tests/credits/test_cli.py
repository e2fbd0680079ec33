"""`gateway credit`: grants, orders, auto-recharge and the proof that the books balance."""

import sqlite3
from datetime import datetime, timedelta

import pytest

from gateway.credits.service import Credits
from tests.support.cli import Cli


def _balance(cli: Cli, product: str = "mail") -> int:
    return int(cli("credit", "show", "Shop", "--json").json["balances"][product])


def _order(cli: Cli, account_id: str, credits: int = 1000) -> str:
    return cli.ground(lambda ground: ground[Credits].purchase(account_id, "mail", credits)).id


def test_a_grant_is_a_lot_of_its_own(cli: Cli) -> None:
    cli.account()
    assert "77 more sms credits: 77 in all" in cli.ok(
        "credit", "grant", "Shop", "sms", "77", "--note", "gift"
    )
    lots = cli("credit", "show", "Shop", "--json").json["lots"]
    assert [(lot["product"], lot["source"], lot["remaining"]) for lot in lots] == [
        ("mail", "free", 500),
        ("sms", "grant", 77),
    ]
    assert "2 lots" in cli.ok("credit", "verify")


def test_credits_that_expire_show_when(cli: Cli) -> None:
    cli.account()
    for product in ("mail", "sms", "validation", "query"):
        cli.ok("credit", "grant", "Shop", product, "10")
    lots = [lot for lot in cli("credit", "show", "Shop", "--json").json["lots"] if lot["expires"]]
    lives = {
        lot["product"]: datetime.fromisoformat(lot["expires"]) - datetime.fromisoformat(lot["released"])
        for lot in lots
    }
    assert lives == {"validation": timedelta(days=60), "query": timedelta(days=30)}  # R1


@pytest.mark.parametrize(
    ("product", "credits", "said"),
    [
        ("mail", "-5", "credits: -5 is not a positive number"),
        ("mail", "0", "credits: 0 is not a positive number"),
        ("fax", "5", "product: 'fax' is none of mail"),
        ("mail", "1000000000001", "grant less"),
        ("mail", "9" * 40, "grant less"),
    ],
)
def test_a_grant_that_cannot_be_changes_nothing(cli: Cli, product: str, credits: str, said: str) -> None:
    cli.account()
    assert said in cli("credit", "grant", "Shop", product, credits).refusal()
    assert _balance(cli) == 500


def test_an_order_is_confirmed_once(cli: Cli) -> None:  # R5
    order = _order(cli, cli.account())
    assert [one["status"] for one in cli("credit", "orders", "--open", "--json").json] == ["pending"]
    assert "1000 mail credits are released" in cli.ok("credit", "confirm", order)
    assert _balance(cli) == 1500
    assert "cannot become confirmed" in cli("credit", "confirm", order).refusal()
    assert "cannot become declined" in cli("credit", "decline", order).refusal()
    assert _balance(cli) == 1500
    assert cli("credit", "orders", "--open", "--json").json == []
    assert [one["status"] for one in cli("credit", "orders", "Shop", "--json").json] == ["confirmed"]


def test_a_declined_order_releases_nothing(cli: Cli) -> None:  # R5
    order = _order(cli, cli.account())
    assert "nothing is released" in cli.ok("credit", "decline", order)
    assert _balance(cli) == 500


def test_an_order_of_a_closed_account_can_only_be_declined(cli: Cli) -> None:
    order = _order(cli, cli.account())
    cli.ok("account", "close", "Shop", "--yes")
    assert "decline the order instead" in cli("credit", "confirm", order).refusal()
    cli.ok("credit", "decline", order)


@pytest.mark.parametrize("command", ["confirm", "decline"])
def test_an_unknown_order_is_told_so(cli: Cli, command: str) -> None:
    assert "There is no order 'nothing'" in cli("credit", command, "nothing").refusal()


def test_recharge_changes_only_what_is_given(cli: Cli) -> None:
    cli.account()
    defaults = cli("credit", "recharge", "Shop", "mail", "--json").json
    assert (defaults["enabled"], defaults["threshold"], defaults["amount"]) == (False, 100, 2000)  # R13
    on = cli("credit", "recharge", "Shop", "mail", "--on", "--amount", "300", "--json").json
    assert on == defaults | {"enabled": True, "amount": 300}
    low = cli("credit", "recharge", "Shop", "mail", "--low-balance", "50", "--json").json
    assert low == on | {"low_balance": 50}
    assert cli("credit", "recharge", "Shop", "mail", "--off", "--json").json == low | {"enabled": False}
    # What was never given follows the configuration.
    cli.config.write_text(cli.config.read_text() + "\n[credits]\nrecharge_threshold = 42\n")
    assert cli("credit", "recharge", "Shop", "mail", "--json").json["threshold"] == 42


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fax"], "product: 'fax' is none of"),
        (["fax", "--on"], "product: 'fax' is none of"),
        (["mail", "--threshold", "-1"], "threshold: -1 is less than 0"),
        (["mail", "--amount", "0"], "amount: 0 is less than 1"),
        (["mail", "--daily-cap", "0"], "daily_cap: 0 is less than 1"),
    ],
)
def test_recharge_refuses_what_cannot_be(cli: Cli, arguments: list[str], said: str) -> None:
    cli.account()
    before = cli("credit", "recharge", "Shop", "mail", "--json").json
    assert said in cli("credit", "recharge", "Shop", *arguments).refusal()
    assert cli("credit", "recharge", "Shop", "mail", "--json").json == before


def test_a_number_beyond_the_database_is_a_usage_error(cli: Cli) -> None:
    cli.account()
    assert cli("credit", "recharge", "Shop", "mail", "--amount", "9" * 30).refusal(2)


def test_verify_finds_a_lot_that_is_not_the_sum_of_its_postings(cli: Cli) -> None:
    cli.account()
    with sqlite3.connect(cli.folder / "gateway.db") as database:
        database.execute("UPDATE lot SET remaining = 499")
    database.close()
    done = cli("credit", "verify")
    assert (done.code, done.out) == (1, "")
    assert "499 remain, postings sum to 500" in done.err
