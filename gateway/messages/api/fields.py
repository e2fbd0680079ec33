"""Fields that requests to send share, with the limits that the description shows."""

from datetime import timedelta
from typing import Annotated, Any

import msgspec

from gateway.http.gate.times import Moment, epoch_ms
from gateway.http.wire.problem import invalid

RECIPIENTS_MAX = 1000
TAGS_MAX = 20
METADATA_MAX_OCTETS = 8192
METADATA_MAX_DEPTH = 20  # what is nested deeper cannot be read by every receiver of a webhook
SEND_AT_MAX = timedelta(days=30)

Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Tags = Annotated[list[Tag], msgspec.Meta(max_length=TAGS_MAX, description="Words to find messages by.")]
Metadata = Annotated[
    dict[str, Any],
    msgspec.Meta(
        max_length=50,
        description=f"Yours; at most {METADATA_MAX_OCTETS} octets as JSON, nested at most "
        f"{METADATA_MAX_DEPTH} deep. Webhooks carry it.",
    ),
]
SendAt = Annotated[
    Moment,
    msgspec.Meta(
        description="When to send, at most 30 days ahead (RFC 3339). A time that has passed means now."
    ),
]


def checked_metadata(metadata: dict[str, Any]) -> dict[str, Any] | None:
    """The metadata, None for none. Raises Problem 422 when there is too much of it, or it is too deep."""
    if metadata and _is_deeper(metadata, METADATA_MAX_DEPTH):
        raise invalid("metadata", f"must be nested at most {METADATA_MAX_DEPTH} deep")
    if metadata and len(msgspec.json.encode(metadata)) > METADATA_MAX_OCTETS:
        raise invalid("metadata", f"must have at most {METADATA_MAX_OCTETS} octets as JSON")
    return metadata or None


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and mappings stand more than `levels` deep in one another."""
    if isinstance(value, dict):
        value = list(value.values())
    elif not isinstance(value, list):
        return False
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in value)


def checked_send_at_ms(send_at: Moment | None, now_ms: int) -> int | None:
    """When to send; None for now, which is also what a time in the past means.

    A client whose clock is a little ahead of ours, or whose request was kept waiting, gets its message sent.
    """
    at_ms = epoch_ms(send_at)
    if at_ms is None or at_ms <= now_ms:
        return None
    if at_ms - now_ms > SEND_AT_MAX // timedelta(milliseconds=1):
        raise invalid("send_at", f"must be at most {SEND_AT_MAX.days} days ahead")
    return at_ms
