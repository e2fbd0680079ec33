"""`[limits]`: what pushes back."""

from dataclasses import dataclass
from typing import Annotated

from config.kinds import Between, Count, Days, Octets, Positive, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`[limits]`: what pushes back (invariant A6), how guessing is slowed, and what a mail may hold (A7)."""

    queue_memory_messages: Positive = 20_000
    queue_memory_octets: Octets = 67_108_864
    auth_free_failures: Count = 5
    auth_delay_first_s: Seconds = 1.0
    auth_delay_max_s: Seconds = 60.0
    auth_forget_s: Seconds = 900.0
    auth_remembered: Positive = 10_000
    auth_trusted_days: Days = 30
    header_octets: Annotated[int, Between(1024)] = 262_144
    header_fields: Annotated[int, Between(20)] = 1000
    author_octets: Annotated[int, Between(512)] = 8192
    author_addresses: Positive = 20
    recipients_octets: Annotated[int, Between(512)] = 131_072
    subject_octets: Annotated[int, Between(80)] = 8192
    comment_depth: Count = 20
    mime_parts: Positive = 1000
    mime_depth: Annotated[int, Between(1, 1000)] = 50
    tls_handshakes: Positive = 500
