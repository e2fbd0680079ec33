"""Prepaid credits: the ledger, orders and auto-recharge."""

from gateway.credits import api, cli, problems, tables
from gateway.credits.providers import Invoice
from gateway.credits.service import Credits
from gateway.credits.terms import Terms
from gateway.ground import Ground
from gateway.vertical import Vertical


def _make(ground: Ground) -> None:
    settings = ground.settings.credits
    providers = {"invoice": Invoice(settings.invoice_confirm)}
    ground.add(Credits(ground.store, ground.clock, Terms(settings=settings), providers))


CREDITS = Vertical(
    name="credits",
    tables=(tables.lot, tables.posting, tables.credit_order, tables.credit_setting),
    make=_make,
    operations=api.OPERATIONS,
    commands=(cli.app,),
    scopes=("credits:read", "credits:write"),
    problems=problems.TRANSLATIONS,
)
