"""What accounts are told of their credits by mail (R8)."""

from pathlib import Path
from typing import Final

from gateway.credits.events import CREDITS_LOW
from gateway.notices.kind import NoticeKind

_FALLEN = (
    "The balance of credits for {product} of the account {account} has fallen to {balance}, "
    "below the limit of {below}."
)
LOW: Final = NoticeKind(
    name=CREDITS_LOW,
    subject="Low balance of credits for {product}: {balance}",
    body=(
        _FALLEN,
        "A message that costs more than the balance is refused. Buy credits, or turn on auto-recharge.",
        "This message was sent automatically.",
    ),
    words={"product": {"mail": "mail", "sms": "SMS", "validation": "validations", "query": "queries"}},
    catalogues=Path(__file__).with_name("locale"),
)
