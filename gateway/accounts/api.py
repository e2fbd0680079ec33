"""/v1/account: who the key speaks for, and what it may do."""

from datetime import datetime

import msgspec

from gateway.accounts import examples
from gateway.accounts.service import Accounts
from gateway.http.gate.operation import ANY_KEY, Operation
from gateway.http.gate.times import moment
from gateway.http.wire.call import Call, Reply, json_reply


class KeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The key that asks; `prefix` is its public part."""

    id: str
    prefix: str
    scopes: list[str]


class AccountAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The account. `rate_per_s`: requests a second, 0 for no limit."""  # R29

    id: str
    name: str
    status: str
    email: str | None
    rate_per_s: float
    created_at: datetime
    key: KeyAnswer


async def get_account(call: Call) -> Reply:
    """The account of the key."""
    principal = call.principal
    account = await call.service(Accounts).get(call.account_id)
    return json_reply(
        AccountAnswer(
            id=account.id,
            name=account.name,
            status=account.status.value,
            email=account.email,
            rate_per_s=float(account.rate_per_s or call.settings.http.rate_per_s),
            created_at=moment(account.created_ms),
            key=KeyAnswer(
                id=principal.credential_id if principal else "",
                prefix=principal.username if principal else "",
                scopes=sorted(principal.scopes) if principal else [],
            ),
        )
    )


OPERATIONS = (
    Operation(
        id="getAccount",
        method="GET",
        path="/v1/account",
        handler=get_account,
        tag="Account",
        summary="The account and the key that asks",
        scope=ANY_KEY,
        answer=AccountAnswer,
        answer_example=examples.ACCOUNT,
    ),
)
