"""Prepaid credits: the ledger, orders and auto-recharge."""

from collections.abc import Sequence

from gateway.credits import api, cli, notices, problems, tables
from gateway.credits.events import CREDITS_LOW, CREDITS_RECHARGE
from gateway.credits.providers import Invoice
from gateway.credits.service import Credits
from gateway.credits.terms import Terms
from gateway.ground import Ground
from gateway.jobs.chores import Chore
from gateway.vertical import Vertical

_RECONCILE_S = 60.0


def _make(ground: Ground) -> None:
    settings = ground.settings.credits
    providers = {"invoice": Invoice(settings.invoice_confirm)}
    ground.add(Credits(ground.store, ground.clock, Terms(settings=settings), providers))


def _jobs(ground: Ground) -> Sequence[Chore]:
    credits = ground[Credits]
    return (
        Chore(name="credits_expiry", work=credits.void_expired),
        Chore(name="orders_reconcile", work=credits.reconcile, every_s=_RECONCILE_S),
    )


CREDITS = Vertical(
    name="credits",
    tables=(tables.lot, tables.posting, tables.credit_order, tables.credit_setting),
    make=_make,
    operations=api.OPERATIONS,
    commands=(cli.app,),
    scopes=("credits:read", "credits:write"),
    event_kinds=dict.fromkeys((CREDITS_LOW, CREDITS_RECHARGE), "credits:read"),
    notices=(notices.LOW,),
    jobs=_jobs,
    problems=problems.TRANSLATIONS,
)
