"""A kind of notice: what it says, in English, and where its translations are.

Its vertical declares it (`Vertical.notices`), with a folder of gettext catalogues, one `<language>.po` for
each language but English. `gateway.notices.rendering` makes the text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeKind:
    """See the module. Texts hold `{placeholders}`: the notice's data, and `{account}`, the account's name."""

    name: str
    """`noun.verb`, as of the event that it goes with."""
    subject: str
    body: Sequence[str]
    """Its paragraphs."""
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By placeholder, where the data has a word of ours: the text for each of them, translated as well."""
    catalogues: Path
    """The folder."""

    def texts(self) -> Sequence[str]:
        """All that is translated."""
        return (self.subject, *self.body, *(text for words in self.words.values() for text in words.values()))


class NoticeKinds(dict[str, NoticeKind]):
    """Every kind that may be queued, by its name."""
