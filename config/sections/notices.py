"""The mails in which the gateway tells an account what it should know."""

from typing import Literal

Language = Literal["en", "es", "fr", "it", "pt"]
"""The languages of notices, as BCP 47 tags."""
