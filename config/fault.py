"""What is wrong with a configuration, as data.

A `Fault` is one mistake at one key; a `ConfigError` carries all the mistakes of a file, so that an operator
mends them in one go.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One mistake: where (`upstream.operator_a.windo`), what, and what to do about it."""

    key_path: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        """Render as `upstream.operator_a.windo: unknown key, did you mean window?`."""
        text = f"{self.key_path}: {self.message}"
        text = f"{text}, {self.suggestion}" if self.suggestion else text
        # What a file holds is shown in terminals and logs: always one line, without control sequences.
        return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


class ConfigError(Exception):
    """A configuration that cannot be used; `faults` is never empty."""

    def __init__(self, faults: Iterable[Fault], *, source: str = "configuration") -> None:
        self.faults = tuple(faults)
        self.source = source
        super().__init__(self.faults)

    def __str__(self) -> str:
        """One line that names the file and counts, then one line per fault."""
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        return "\n".join([f"{self.source}: {count}", *(f"  {fault}" for fault in self.faults)])
