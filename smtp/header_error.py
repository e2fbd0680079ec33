"""The errors of headers and of structure, and what they are answered with."""

from __future__ import annotations

from smtp.codes import Code, Permanent, Reply, Status


class HeaderError(Permanent):
    """A header that must not be sent on.

    `field` is the field's name, lower case, or "" for the whole header.
    """

    default = Reply(Code.FAILED, Status.CONTENT, "Bad message header")

    def __init__(self, reason: str, field: str = "") -> None:
        self.field = field
        super().__init__(reason, {"field": field})


class HeaderTooLargeError(HeaderError):
    """A field, or the header, of more octets than a mail's may have."""

    default = Reply(Code.TOO_BIG, Status.SYSTEM_TOO_BIG, "Message header too large")


class StructureError(Permanent):
    """A mail of too many parts, or of parts nested too deeply."""

    default = Reply(Code.FAILED, Status.CONTENT, "Too many parts")
