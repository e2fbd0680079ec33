"""`[sender_name]`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from config.kinds import Between, OptionalNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderName:
    """`[sender_name]`: names shown as the sender of an SMS."""

    max_length: Annotated[int, Between(1, 11)] = 10  # R22; 11 is what GSM allows (3GPP TS 23.040, 9.1.2.5)
    countries_file: Path | None = None  # R25; None: the table that is shipped
    fallback_number: OptionalNumber = ""  # R25
    numbers_need_approval: bool = True  # R23
