"""The terms on which credits are sold and kept: the configured numbers that the ledger needs."""

from dataclasses import dataclass

from config.sections.credits import Credit

DAY_MS = 86_400_000
PRODUCTS = ("mail", "sms", "validation", "query")
"""Each has its own credits, spent on nothing else (R2, R7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """`[credits]` in the ledger's units."""

    settings: Credit

    def expires_ms(self, product: str, released_ms: int) -> int | None:
        """When a lot released now expires, None for never (R1)."""
        days = {
            "mail": self.settings.mail_life_days,
            "sms": self.settings.sms_life_days,
            "validation": self.settings.validation_life_days,
            "query": self.settings.query_life_days,
        }[product]
        return released_ms + days * DAY_MS if days else None
