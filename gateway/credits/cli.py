"""`gateway credit`: balances, grants, orders, auto-recharge, and the proof that books balance (R2-R13)."""

from typing import Annotated, Any

import typer

from gateway.accounts.lookup import AccountArgument, find_account
from gateway.accounts.service import Accounts, AccountStatus
from gateway.credits.orders import Order
from gateway.credits.service import Credits
from gateway.ground import Ground
from gateway.terminal.faults import CliError
from gateway.terminal.output import complain, say, show_json, show_record, show_rows, when
from gateway.terminal.session import DEFAULT_CONFIG, ConfigOption, JsonOption, run_on_ground

app = typer.Typer(
    name="credit", help="Credits: balances, grants, orders, auto-recharge.", add_completion=False
)

CREDITS_MAX = 1_000_000_000_000  # in one grant: a slip of the hand, and sums stay far below 2**63
_NEGATIVE = {"ignore_unknown_options": True}  # "-5" is a number to be refused, not an option
_LOT_COLUMNS = ("product", "id", "source", "granted", "remaining", "released", "expires")
_ORDER_COLUMNS = ("id", "account", "product", "credits", "reason", "status", "created", "settled")
_ACCOUNT_OF_ORDER = "SELECT account_id FROM credit_order WHERE id = ?"
_SETTING = """
SELECT recharge_enabled, recharge_threshold, recharge_amount, recharge_daily_cap, low_balance
FROM credit_setting WHERE account_id = ? AND product = ?
"""
_LOTS = "SELECT count(*) FROM lot"
_UNSET = (0, None, None, None, None)

ProductArgument = Annotated[str, typer.Argument(help="mail, sms, validation or query.")]
OrderArgument = Annotated[
    str, typer.Argument(metavar="ORDER", help="The order's id; see gateway credit orders.")
]


@app.command()
def show(
    account: AccountArgument, config: ConfigOption = DEFAULT_CONFIG, *, json: JsonOption = False
) -> None:
    """Show an account's balances, lots and auto-recharge."""

    async def work(ground: Ground) -> dict[str, Any]:
        found = await find_account(ground, account)
        return {
            "account": found.id,
            "balances": await ground[Credits].balances(found.id),
            "lots": [_lot_row(lot) for lot in await ground[Credits].lots(found.id)],
            "recharge": await ground[Credits].recharge_settings(found.id),
        }

    shown = run_on_ground(config, work)
    if json:
        show_json(shown)
        return
    show_record(shown["balances"], as_json=False)
    if shown["lots"]:
        say()
        show_rows(shown["lots"], _LOT_COLUMNS, as_json=False, empty="")


@app.command(context_settings=_NEGATIVE)
def grant(
    account: AccountArgument,
    product: ProductArgument,
    credits: Annotated[int, typer.Argument(help="How many.")],
    note: Annotated[str | None, typer.Option(help="Why; kept with the posting.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Release credits to an account."""
    if credits > CREDITS_MAX:
        raise CliError(f"credits: {credits} is more than one grant may release ({CREDITS_MAX}); grant less.")

    async def work(ground: Ground) -> tuple[str, int]:
        found = await find_account(ground, account, usable=True)
        await ground[Credits].grant(found.id, product, credits, note=note)
        return found.name, (await ground[Credits].balances(found.id))[product]

    name, balance = run_on_ground(config, work)
    say(f"{name} has {credits} more {product} credits: {balance} in all.")


@app.command()
def orders(
    account: Annotated[str | None, typer.Argument(metavar="[ACCOUNT]", help="Of this account only.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    open_: Annotated[bool, typer.Option("--open", help="Only those that wait for their money.")] = False,
    json: JsonOption = False,
) -> None:
    """List orders, the newest first."""

    async def work(ground: Ground) -> list[dict[str, Any]]:
        account_id = None if account is None else (await find_account(ground, account)).id
        return [_order_row(one) for one in await ground[Credits].orders(account_id, open_only=open_)]

    show_rows(run_on_ground(config, work), _ORDER_COLUMNS, as_json=json, empty="There are no such orders.")


@app.command()
def confirm(order: OrderArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """The money for an order is there: release its credits."""  # R5
    settled = run_on_ground(config, lambda ground: _settle(ground, order, confirmed=True))
    say(f"Order {settled.id} is confirmed: {settled.credits} {settled.product} credits are released.")


@app.command()
def decline(order: OrderArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """The money for an order will not come."""
    settled = run_on_ground(config, lambda ground: _settle(ground, order, confirmed=False))
    say(f"Order {settled.id} is declined: nothing is released.")


@app.command(context_settings=_NEGATIVE)
def recharge(
    account: AccountArgument,
    product: ProductArgument,
    threshold: Annotated[
        int | None, typer.Option(max=CREDITS_MAX, help="Buy when the balance is below this.")
    ] = None,
    amount: Annotated[int | None, typer.Option(max=CREDITS_MAX, help="How much to buy.")] = None,
    daily_cap: Annotated[int | None, typer.Option(max=CREDITS_MAX, help="Most to buy in a day.")] = None,
    low_balance: Annotated[int | None, typer.Option(max=CREDITS_MAX, help="Give notice below this.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    enabled: Annotated[bool | None, typer.Option("--on/--off", help="Whether it buys at all.")] = None,
    json: JsonOption = False,
) -> None:
    """Show auto-recharge of a product, or change what is given."""  # R13
    wanted = (None if enabled is None else int(enabled), threshold, amount, daily_cap, low_balance)

    async def work(ground: Ground) -> dict[str, Any]:
        found = await find_account(ground, account, usable=True)
        if any(value is not None for value in wanted):
            row = await ground.store.read(lambda tx: tx.one(_SETTING, (found.id, product))) or _UNSET
            new = [old if value is None else value for value, old in zip(wanted, row, strict=True)]
            await ground[Credits].set_recharge(
                found.id,
                product,
                enabled=bool(new[0]),
                threshold=new[1],
                amount=new[2],
                daily_cap=new[3],
                low_balance=new[4],
            )
        settings = await ground[Credits].recharge_settings(found.id)
        if product not in settings:
            raise CliError(f"product: {product!r} is none of {', '.join(settings)}")
        return settings[product]

    show_record(run_on_ground(config, work), as_json=json)


@app.command()
def verify(config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Prove that every lot is the sum of its postings."""

    async def work(ground: Ground) -> tuple[int, list[tuple[Any, ...]]]:
        wrong = await ground[Credits].unbalanced()
        count = await ground.store.read(lambda tx: tx.one(_LOTS))
        return (0 if count is None else int(count[0])), wrong

    lots, wrong = run_on_ground(config, work)
    for account_id, product, lot_id, remaining, posted in wrong:
        complain(
            f"account {account_id}, {product}, lot {lot_id}: {remaining} remain, postings sum to {posted}. "
            "Keep a copy of the database and report this."
        )
    if not wrong:
        say(f"{lots} lots: each equals the sum of its postings.")
    return 1 if wrong else 0


async def _settle(ground: Ground, order_id: str, *, confirmed: bool) -> Order:
    row = await ground.store.read(lambda tx: tx.one(_ACCOUNT_OF_ORDER, (order_id,)))
    if row is None:
        raise CliError(f"There is no order {order_id[:80]!r}. See: gateway credit orders --open")
    account = await ground[Accounts].get(row[0])
    if confirmed and account.status is AccountStatus.CLOSED:
        raise CliError(f"The account {account.name} ({account.id}) is closed: decline the order instead.")
    return await ground[Credits].settle_order(account.id, order_id, confirmed=confirmed)


def _lot_row(lot: dict[str, Any]) -> dict[str, Any]:
    return {
        "product": lot["product"],
        "id": lot["id"],
        "source": lot["source"],
        "granted": lot["granted"],
        "remaining": lot["remaining"],
        "released": when(lot["released_ms"]),
        "expires": when(lot["expires_ms"]),
    }


def _order_row(order: Order) -> dict[str, Any]:
    return {
        "id": order.id,
        "account": order.account_id,
        "product": order.product,
        "credits": order.credits,
        "provider": order.provider,
        "reason": order.reason,
        "status": order.status,
        "note": order.note,
        "created": when(order.created_ms),
        "settled": when(order.settled_ms),
    }
