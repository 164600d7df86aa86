"""Numbers as people read them: thousands apart, with their unit, signs that are seen."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Final

from solvent.units import MICRO

NOTHING: Final = "–"
_SCALES: Final = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def number(value: float | None, places: int = 2) -> str:
    """A number with its thousands apart; a dash for none.

    >>> number(-1234567.891), number(None)
    ('−1,234,567.89', '–')
    """
    return NOTHING if value is None else f"{value:,.{places}f}".replace("-", "−")


def short(value: float | None, places: int = 2) -> str:
    """Three or four digits and a scale.

    >>> short(64_320_375.76), short(-950.0), short(15_546_447_721.2)
    ('64.32M', '−950.00', '15.55B')
    """
    if value is None:
        return NOTHING
    for scale, name in _SCALES:
        if abs(value) >= scale:
            return f"{number(value / scale, places)}{name}"
    return number(value, places)


def dollars_text(micro: int | None) -> str:
    """Millionths of a dollar as dollars.

    >>> dollars_text(1_234_560_000), dollars_text(-5_000_000)
    ('$1,234.56', '−$5.00')
    """
    if micro is None:
        return NOTHING
    sign = "−" if micro < 0 else ""
    return f"{sign}${abs(micro) / MICRO:,.2f}"


def short_dollars(micro: float | None) -> str:
    """Millionths of a dollar in few digits.

    >>> short_dollars(64_320_375_760_000), short_dollars(-5_000_000)
    ('$64.32M', '−$5.00')
    """
    if micro is None:
        return NOTHING
    sign = "−" if micro < 0 else ""
    return f"{sign}${short(abs(micro) / MICRO)}"


def percent(value: float | None, places: int = 1, *, sign: bool = False) -> str:
    """A share in percent.

    >>> percent(0.125), percent(-0.2, sign=True)
    ('12.5 %', '−20.0 %')
    """
    if value is None:
        return NOTHING
    form = f"{100 * value:+,.{places}f}" if sign else f"{100 * value:,.{places}f}"
    return form.replace("-", "−") + " %"


def clock(time_ms: int | None) -> str:
    """The time of day, UTC.

    >>> clock(1_782_813_600_000)
    '10:00:00'
    """
    return NOTHING if time_ms is None else f"{_moment(time_ms):%H:%M:%S}"


def day_clock(time_ms: int) -> str:
    """Day and time, UTC.

    >>> day_clock(1_782_813_600_000)
    '2026-06-30 10:00:00'
    """
    return f"{_moment(time_ms):%Y-%m-%d %H:%M:%S}"


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1e3, UTC)


def size(value: float) -> str:
    """A size without noughts that say nothing.

    >>> size(-0.5), size(12000.0), size(0.0001)
    ('−0.5', '12,000', '0.0001')
    """
    return f"{value:,.8f}".rstrip("0").rstrip(".").replace("-", "−")


def safe(text: object) -> str:
    """Text that may stand in a page: a name that somebody chose is never markup.

    >>> safe("<b>")
    '&lt;b&gt;'
    """
    return escape(str(text))
