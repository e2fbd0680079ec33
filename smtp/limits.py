"""What of a mail may be how large, before anything costlier looks at it (A6, A7).

A mail beyond a limit is refused for good: 552 5.3.4 where something is too large, 554 5.6.0 where it is too
deep or has too many parts. Readers take time linear in what these limits let through.
"""

from __future__ import annotations

from msgspec import Struct


class MailLimits(Struct, frozen=True, kw_only=True):
    """The limits of one mail; the defaults are those of the configuration (`limits.…`)."""

    header_octets: int = 262_144  # from the first field to the empty line
    header_fields: int = 1000
    author_octets: int = 8192  # each of From, Sender, Reply-To and their Resent- forms
    author_addresses: int = 20  # in each of them
    recipients_octets: int = 131_072  # each of To and Cc and their Resent- forms
    subject_octets: int = 8192
    comment_depth: int = 20  # of parentheses in an address field (RFC 5322 section 3.2.2)
    mime_parts: int = 1000  # body parts of all multiparts together
    mime_depth: int = 50  # multiparts inside one another

    @property
    def smallest_octets(self) -> int:
        """What is no larger than this holds no field that is too large."""
        return min(self.author_octets, self.recipients_octets, self.subject_octets, self.header_octets)


DEFAULT = MailLimits()
