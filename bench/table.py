"""Formats the results as a Markdown table and as an SVG plot."""

from __future__ import annotations

from html import escape
from typing import Any

_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
_BAR, _GAP, _LEFT, _WIDTH = 16, 14, 170, 460


def show(found: dict[str, Any]) -> str:
    """Each measurement as a Markdown table, with the gateway's ratio to the others."""
    lines = [f"{found['when']}, {found['machine']}, medians of {found['rounds']} rounds"]
    for what, servers in found["found"].items():
        names = list(next(iter(servers.values())))
        own = servers.get("gateway", {}).get(names[0])
        lines += ["", f"### {what}", "", f"| | {' | '.join(names)} | gateway / it |"]
        lines.append("|---" * (len(names) + 2) + "|")
        for name, numbers in servers.items():
            ratio = f"{own / numbers[names[0]]:.3f}" if own and numbers[names[0]] else ""
            lines.append(f"| {name} | {' | '.join(_number(value) for value in numbers.values())} | {ratio} |")
    lines += ["", *(f"Not run: {what}" for what in found["not_run"])]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def plot(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """The first number of every server, as bars, in SVG."""
    parts, top = [], 10
    for what, servers in found.items():
        parts.append(f'<text x="10" y="{top + 14}" font-weight="bold">{escape(what)}</text>')
        top += 24
        first = {name: next(iter(numbers.items())) for name, numbers in servers.items()}
        most = max((value for _, value in first.values()), default=0) or 1
        for number, (name, (unit, value)) in enumerate(first.items()):
            width = max(1, _WIDTH * value / most)
            colour = _COLOURS[number % len(_COLOURS)]
            parts.append(f'<text x="{_LEFT - 6}" y="{top + 12}" text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect x="{_LEFT}" y="{top}" width="{width:.0f}" height="{_BAR}" fill="{colour}"/>')
            parts.append(f'<text x="{_LEFT + width + 5:.0f}" y="{top + 12}">{_number(value)} {unit}</text>')
            top += _BAR + 4
        top += _GAP
    size = f'width="{_LEFT + _WIDTH + 130}" height="{top}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
