"""Small pictures for pages of text: lines or bars as SVG, the same bytes for the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from solvent.errors import check
from solvent.lab.page import COLOURS, Series

_WIDTH, _HEIGHT = 760, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 16, 46, 46
_TICKS: Final = 5


def lines_svg(
    series: Sequence[Series], *, title: str, x_title: str = "", unit: str = ""
) -> str:  # fmt: skip
    """Lines over numbers, from the least to the largest of both."""
    xs = [float(value) for one in series for value in one.x]
    ys = [float(value) for one in series for value in one.y]
    check(bool(xs) and all(map(math.isfinite, (*xs, *ys))), "something finite to draw")
    left, right = min(xs), max(xs)
    ticks = nice(min(ys), max(ys))
    body = [_frame(title, series, x_title), _levels(ticks, unit)]
    for one, colour in zip(series, COLOURS, strict=False):
        points = " ".join(
            f"{_across((float(x) - left) / ((right - left) or 1.0)):.1f},{_up(float(y), ticks):.1f}"
            for x, y in zip(one.x, one.y, strict=True)
        )
        body.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" '
                    f'points="{points}"/>')  # fmt: skip
    body += [
        _text(_across(share), _HEIGHT - _BOTTOM + 18, f"{left + share * (right - left):,.4g}",
              anchor="middle")
        for share in (0.0, 0.5, 1.0)
    ]  # fmt: skip
    return _svg("".join(body), title)


def bars_svg(series: Sequence[Series], *, title: str, unit: str = "") -> str:
    """Bars by name, those of one name side by side. All series have the same names. A thin line
    goes from the least to the most of a bar, where that is told."""
    names = [str(one) for one in series[0].x]
    check(all([str(x) for x in one.x] == names for one in series), "series have the same names")
    ys = [float(value) for one in series for value in (*one.y, *one.least, *one.most)]
    check(bool(ys) and all(map(math.isfinite, ys)), "something finite to draw")
    ticks = nice(min(0.0, *ys), max(0.0, *ys))
    body = [_frame(title, series, ""), _levels(ticks, unit)]
    room = (_WIDTH - _LEFT - _RIGHT) / len(names)
    wide = 0.8 * room / len(series)
    for place, (one, colour) in enumerate(zip(series, COLOURS, strict=False)):
        for number, value in enumerate(one.y):
            x = _LEFT + room * number + 0.1 * room + wide * place
            top, foot = _up(max(0.0, float(value)), ticks), _up(min(0.0, float(value)), ticks)
            body.append(f'<rect x="{x:.1f}" y="{top:.1f}" width="{wide * 0.94:.1f}" '
                        f'height="{foot - top:.1f}" fill="{colour}"/>')  # fmt: skip
        for number, (least, most) in enumerate(zip(one.least, one.most, strict=True)):
            middle = _LEFT + room * number + 0.1 * room + wide * (place + 0.47)
            body.append(f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{_up(least, ticks):.1f}" '
                        f'y2="{_up(most, ticks):.1f}" stroke="#1d2a33"/>')  # fmt: skip
    for number, name in enumerate(names):
        body.append(_text(_LEFT + room * (number + 0.5), _HEIGHT - _BOTTOM + 18, name,
                          anchor="middle"))  # fmt: skip
    return _svg("".join(body), title)


def nice(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`, two at least.

    >>> nice(0.0, 93.0), nice(0.0, 0.0)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [0.0, 0.2])
    """
    span = (high - low) or abs(high) or 1.0
    raw = span / _TICKS
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * one for one in (1, 2, 5, 10) if size * one >= raw * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return [round(step * one, 12) for one in range(first, last + 1)]


def _across(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _up(value: float, ticks: Sequence[float]) -> float:
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _levels(ticks: Sequence[float], unit: str) -> str:
    found = []
    for one in ticks:
        y = _up(one, ticks)
        found.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                     'stroke="#e4e9ec"/>')  # fmt: skip
        found.append(_text(_LEFT - 8, y + 4, f"{one:,.4g}{unit}", anchor="end"))
    return "".join(found)


def _frame(title: str, series: Sequence[Series], x_title: str) -> str:
    found = [_text(_LEFT, 18, title, size=15)]
    x = float(_LEFT)
    for one, colour in zip(series, COLOURS, strict=False):
        found.append(f'<rect x="{x:.0f}" y="28" width="10" height="10" fill="{colour}"/>')
        found.append(_text(x + 14, 37, one.name))
        x += 34 + 7 * len(one.name)
    if x_title:
        found.append(_text(_WIDTH - _RIGHT, _HEIGHT - 8, x_title, anchor="end"))
    return "".join(found)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="#1d2a33">{escape(text)}</text>')  # fmt: skip


def _svg(body: str, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="system-ui,sans-serif"><title>{escape(title)}</title>'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>{body}</svg>\n'
    )
