"""The credential of the SMS probe: no account, no row, and no guess is involved (R56)."""

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.accounts.secrets import random_text


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeKey:
    """What the SMS probe binds with, made anew in every process (SMPP v3.4 sections 5.2.1 and 5.2.2)."""

    system_id: str
    password: str = field(repr=False)

    @classmethod
    def make(cls, random_bytes: Callable[[int], bytes] = os.urandom) -> "ProbeKey":
        """A new one; name and password together have 85 random bits."""
        return cls(system_id=f"probe_{random_text(9, random_bytes)}", password=random_text(8, random_bytes))

    def matches(self, system_id: str, password: str) -> bool:
        """Whether a bind is the probe's."""
        given, ours = f"{system_id}\0{password}", f"{self.system_id}\0{self.password}"
        return hmac.compare_digest(given.encode("utf-8", "replace"), ours.encode())
