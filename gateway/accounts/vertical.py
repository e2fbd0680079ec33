"""Accounts and their credentials."""

from collections.abc import Sequence

from config.schema import Settings
from gateway.accounts import api, api_keys, known, tables
from gateway.accounts.auth import Authenticator
from gateway.accounts.cli import credential, key
from gateway.accounts.credentials import Credentials, Scopes
from gateway.accounts.known import LoginKey
from gateway.accounts.service import Accounts
from gateway.ground import Ground
from gateway.jobs.retention import Purge, older_than, sweeping
from gateway.vertical import Vertical
from policy.retention import DAY_MS


def _make(ground: Ground) -> None:
    ground.add(Accounts(ground.caches, ground.clock, ground.ids))
    ground.add(Credentials(ground.caches, ground.clock, ground.ids, ground[Scopes]))
    login_key = ground.find(LoginKey)
    ground.add(Authenticator(ground.caches, ground.clock, ground.settings.limits, login_key=login_key))


def _purges(settings: Settings) -> Sequence[Purge]:
    return (sweeping(known.purge, older_than(settings.limits.auth_trusted_days * DAY_MS)),)


ACCOUNTS = Vertical(
    name="accounts",
    tables=(tables.account, tables.credential, tables.known_login),
    make=_make,
    operations=api.OPERATIONS,
    commands=(key.app, credential.app),
    scopes=("keys:read", "keys:write"),
    kinds=api_keys.EVERY,
    purges=_purges,
)
