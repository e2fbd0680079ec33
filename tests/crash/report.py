"""The report of a run, as lines."""

from collections import Counter
from dataclasses import dataclass

from tests.crash.books import Books
from tests.crash.judge import Rules, Verdict
from tests.crash.world import World

_SHOWN = 5
RULES = (
    "acknowledged and lost",
    "one submission, two messages",
    "refused but stored or delivered",
    "balance wrong",
    "lots out of balance",
    "refund wrong",
    "status contradicts the far end",
    "not final after the drain",
    "delivery report lost",
    "receipt to an SMPP client lost",
    "event not told to the webhook",
    "duplicate without a cause",
)
"""Those that are shown even where nothing breaks them; any other that is broken follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run found."""

    world: World
    rules: Rules
    blows: Counter[str]
    kills: int
    books: Books
    verdict: Verdict
    drained: dict[str, float]
    """After how many seconds nothing of a kind was open any more."""
    took_s: float

    @property
    def holds(self) -> bool:
        """Whether no rule is broken."""
        return self.verdict.holds

    def text(self) -> str:
        """All of it."""
        setting, tally, verdict = self.world.setting, self.world.tally, self.verdict
        most = max((one.duplicates for one in self.world.incidents.all), default=0)
        lines = [
            _line(
                "engine, daemons, workers", f"{setting.engine}, {setting.daemons}, {setting.harness.workers}"
            ),
            _line("seed", setting.seed),
            _line("kills", self.kills),
            *(_line(f"  {name}", count) for name, count in self.blows.most_common()),
            _line("acknowledged", len(tally.acked)),
            _line("stored", len(self.books.messages)),
            _line("refused (no credits)", len(tally.refused)),
            _line("cancelled", f"{sum(tally.cancelled.values())} of {len(tally.cancelled)} asked for"),
            *(_line(f"  {end}", count) for end, count in sorted(verdict.ends.items())),
            _line("delivery reports owed", verdict.reports),
            _line("receipts over SMPP", len(tally.receipts)),
            _line("events told to webhooks", len(tally.webhooks)),
            _line("drained after", ", ".join(f"{what} {s:.0f} s" for what, s in self.drained.items())),
            _line("all of it took", f"{self.took_s:.0f} s"),
            "",
            "came again, with its cause",
            *(_line(f"  {cause}", count) for cause, count in sorted(verdict.duplicates.items()) if count),
            _line("  most by one incident", f"{most}, allowed {self.rules.per_incident} a process"),
            _line("  cancelled after its sender ended", verdict.cancelled_after_crash),
            "",
            *self._rules(),
        ]
        return "\n".join(lines)

    def _rules(self) -> list[str]:
        broken = self.verdict.broken
        lines = []
        for rule in (*RULES, *(one for one in broken if one not in RULES)):
            found = broken.get(rule, [])
            lines.append(_line(rule, len(found)))
            lines += [f"    {one}" for one in found[:_SHOWN]]
        return lines


def _line(name: str, value: object) -> str:
    return f"{name:<38} {value}"
