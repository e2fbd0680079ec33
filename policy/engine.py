"""Running policies in order, until the first that refuses."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

from policy.verdict import ACCEPT, Judgement, Refuse

Channel = Literal["mail", "sms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What policies see of a submission. `texts` is what a person will read: subject, body, SMS text."""

    channel: Channel
    sender: str
    recipients: tuple[str, ...]
    texts: tuple[str, ...]


View = TypeVar("View")
Policy = Callable[[View], Judgement]


def judge(policies: Iterable[Policy[View]], view: View) -> Judgement:
    """The first refusal, or `Accept` when no policy refuses; later policies are not asked."""
    for policy in policies:
        verdict = policy(view)
        if isinstance(verdict, Refuse):
            return verdict
    return ACCEPT
