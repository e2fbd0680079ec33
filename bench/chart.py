"""The chart: CPU time per message of peer and gateway, one pair of bars for each case, as plain SVG."""

from collections.abc import Sequence
from html import escape

from bench.report import Row

_WIDTH, _LEFT, _RIGHT = 760, 250, 150
_BAR, _GAP, _TOP = 16, 18, 56
_HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"
 role="img" aria-label="CPU time per message of the gateway and its peers">
<style>
text {{font-family: sans-serif; fill: #24292f}} .title {{font-size: 15px; font-weight: bold}}
.label {{font-size: 13px}} .value {{font-size: 12px; fill: #57606a}}
</style>"""
_COLOURS = {"peer": "#9aa5b1", "gateway": "#1f6feb"}


def draw(rows: Sequence[Row], commit: str) -> str:
    """An SVG document. Each pair is drawn to its own peer's length, because the cases differ tenfold."""
    parts: list[str] = []
    y = _TOP
    keys = list(dict.fromkeys(row.case.key for row in rows))
    for key in keys:
        pair = _bars(rows, key)
        longest = max(row.figures["cpu_s_per_1000"].median for row, _ in pair) or 1.0
        parts.append(_text(12, y + _BAR * len(pair) / 2 + 5, pair[-1][0].case.title, "label"))
        for row, borrowed in pair:
            value = row.figures["cpu_s_per_1000"].median
            width = value / longest * (_WIDTH - _LEFT - _RIGHT)
            kind = "gateway" if row.server == "gateway" else "peer"
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{max(width, 1):.1f}" height="{_BAR - 2}"'
                f' fill="{_COLOURS[kind]}"/>'
            )
            note = f"{row.server} {value:.3g}" + (", HTTP" if borrowed else "")
            parts.append(_text(_LEFT + width + 6, y + _BAR - 5, note, "value"))
            y += _BAR
        y += _GAP
    head = [
        _text(12, 22, "CPU-seconds per 1,000 messages: shorter is better", "title"),
        _text(12, 40, f"median of the runs, each pair on its own scale; state {commit}", "value"),
    ]
    return "\n".join(
        [
            _HEAD.format(width=_WIDTH, height=y),
            f'<rect width="{_WIDTH}" height="{y}" fill="#ffffff"/>',
            *head,
            *parts,
            "</svg>",
            "",
        ]
    )


def _bars(rows: Sequence[Row], key: str) -> list[tuple[Row, bool]]:
    """The rows of a case; the peer's of another case, where it is compared with that one."""
    own = [(row, False) for row in rows if row.case.key == key]
    compare = own[0][0].case.compare
    peer = [(row, True) for row in rows if row.case.key == compare and row.server != "gateway"]
    return peer + own


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}">{escape(text)}</text>'
