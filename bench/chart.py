"""The chart: CPU time per message of peer and gateway, one group of bars for each case, as plain SVG."""

from collections.abc import Sequence
from html import escape

from bench.report import Row

_WIDTH, _LEFT, _RIGHT = 820, 290, 220
_BAR, _GAP, _TOP = 16, 18, 56
_HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"
 role="img" aria-label="CPU time per message of the gateway and its peers">
<style>
text {{font-family: sans-serif; fill: #24292f}} .title {{font-size: 15px; font-weight: bold}}
.label {{font-size: 13px}} .value {{font-size: 12px; fill: #57606a}}
</style>"""
_PEER, _OWN = "#9aa5b1", "#1f6feb"


def draw(rows: Sequence[Row], commit: str) -> str:
    """An SVG document of the cases that have something to compare with, else of all.

    Each group has a scale of its own, because the cases differ tenfold.
    """
    groups = [_group(rows, key) for key in dict.fromkeys(row.case.key for row in rows)]
    compared = [group for group in groups if len(group) > 1]
    parts: list[str] = []
    y = _TOP
    for group in compared or groups:
        longest = max(row.figures["cpu_s_per_1000"].median for row in group) or 1.0
        key = group[-1].case.key
        parts.append(_text(12, y + _BAR * len(group) / 2 + 5, group[-1].case.title, "label"))
        for row in group:
            value = row.figures["cpu_s_per_1000"].median
            width = value / longest * (_WIDTH - _LEFT - _RIGHT)
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{max(width, 1):.1f}" height="{_BAR - 2}"'
                f' fill="{_OWN if row.own else _PEER}"/>'
            )
            note = f"{row.server} {value:.3g}" + ("" if row.case.key == key else f", {row.case.key}")
            parts.append(_text(_LEFT + width + 6, y + _BAR - 5, note, "value"))
            y += _BAR
        y += _GAP
    head = [
        _text(12, 22, "CPU-seconds per 1,000 messages: shorter is better", "title"),
        _text(12, 40, f"median of the runs, each case on its own scale; state {commit}", "value"),
    ]
    document = [_HEAD.format(width=_WIDTH, height=y), f'<rect width="{_WIDTH}" height="{y}" fill="#ffffff"/>']
    return "\n".join([*document, *head, *parts, "</svg>", ""])


def _group(rows: Sequence[Row], key: str) -> list[Row]:
    """The rows of a case, after those of other cases that its promises compare it with."""
    own = [row for row in rows if row.case.key == key]
    others = {(promise.case, promise.peer) for promise in own[0].case.promises if promise.case}
    return [row for row in rows if (row.case.key, row.server) in others] + own


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}">{escape(text)}</text>'
