"""`[webhooks]`."""

from dataclasses import dataclass

from config.kinds import Positive, Seconds, WholeSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhooks:
    """`[webhooks]`: telling the client's servers what happened."""

    retry_for_s: WholeSeconds = 86_400
    retry_first_s: Seconds = 5.0
    retry_max_s: Seconds = 14_400.0
    max_attempts: Positive = 20
    timeout_s: Seconds = 10.0
    allow_private_targets: bool = False
    max_per_account: Positive = 10
