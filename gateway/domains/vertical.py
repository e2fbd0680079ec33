"""Sender domains: proved, checked, and signed for."""

from gateway.domains import api, cli, tables
from gateway.domains.service import VERIFIED, Domains
from gateway.domains.signers import Signers
from gateway.domains.spf import judge_spf
from gateway.ground import Ground
from gateway.vertical import Vertical


def _make(ground: Ground) -> None:
    ground.add(Domains(ground.caches, ground.clock, ground.settings.mail, dns=ground.dns, spf=judge_spf))
    ground.add(Signers(ground.caches))


DOMAINS = Vertical(
    name="domains",
    tables=(tables.domain, tables.dkim_key),
    make=_make,
    operations=api.OPERATIONS,
    commands=(cli.app,),
    scopes=("domains:read", "domains:write"),
    event_kinds={VERIFIED: "domains:read"},
)
