"""`[notices]`: the mails in which the gateway tells an account what it should know."""

from dataclasses import dataclass
from typing import Literal

from config.kinds import OptionalAuthor

Language = Literal["en", "es", "fr", "it", "pt"]
"""The languages of notices, as BCP 47 tags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """`[notices]`: from whom notices come, and in which language where an account has none of its own."""

    from_: OptionalAuthor = ""  # without it nothing is sent, and `gateway check` says so
    language: Language = "en"
