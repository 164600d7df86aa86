"""Signals: what is measured from day to day, by key, as pure steps over plain state.

A signal that cannot be told (warming up, or nothing observed for too long) has no value; what
follows it then stays as it is, and a note says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from solvent.errors import BadInput, Problem, Reject
from solvent.margining.dynamic.text import SignalText


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen on a day: quantity → key → number above 0 (`price` → `BTC` → 64_000.0)."""

    day: date
    values: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        for quantity, by_key in self.values.items():
            for key, value in by_key.items():
                if not (math.isfinite(value) and value > 0.0):
                    raise BadInput(
                        Problem(
                            code=Reject.INPUT_INVALID, source=f"observation of {self.day}",
                            field=f"{quantity} of {key}", expected="a number above 0",
                            found=repr(value),
                        )
                    )  # fmt: skip

    def of(self, quantity: str, key: str) -> float | None:
        """What was seen of a key; None where nothing was."""
        return self.values.get(quantity, {}).get(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """State of one signal of one key.

    Attributes:
        seen: day of the last observation. last: what was seen (and of `beside`).
        count: how many went into `value`. value: variance of a day, or level.
        returns: (day, own return, return of `beside`), the newest last, of a correlation.
    """

    seen: date | None = None
    last: tuple[float, ...] = ()
    count: int = 0
    value: float = 0.0
    returns: tuple[tuple[int, float, float], ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "seen": None if self.seen is None else self.seen.isoformat(),
            "last": list(self.last),
            "count": self.count,
            "value": self.value,
            "returns": [list(one) for one in self.returns],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Measured:
        """As it was stored."""
        return cls(
            seen=None if stored["seen"] is None else date.fromisoformat(stored["seen"]),
            last=tuple(stored["last"]),
            count=int(stored["count"]),
            value=float(stored["value"]),
            returns=tuple((int(d), float(a), float(b)) for d, a, b in stored["returns"]),
        )


def measure(signal: SignalText, before: Measured, key: str, seen: Observation) -> Measured:
    """The state after a day's observation; unchanged where the key was not observed.

    Of a volatility a price that stands still is none: a feed that is stuck is no calm market. The
    next return is over the days since the last move, as over any days that nobody observed.
    """
    own = seen.of(signal.of, key)
    other = seen.of(signal.of, signal.beside) if signal.beside is not None else 0.0
    if own is None or other is None:
        return before
    now = (own, other)
    if signal.measure == "level":
        kept = signal.decay ** _days(before, seen) if before.count else 0.0
        value = kept * before.value + (1.0 - kept) * own
        return Measured(seen=seen.day, last=now, count=before.count + 1, value=value)
    if before.seen is None:
        return Measured(seen=seen.day, last=now)
    own_return = math.log(own / before.last[0])
    if signal.measure == "volatility" and own_return == 0.0:
        return before
    if signal.measure == "volatility":
        return _variance(signal, before, seen, now, own_return)
    pair = (seen.day.toordinal(), own_return, math.log(other / before.last[1]))
    reach = pair[0] - max(signal.windows_days)
    kept_returns = tuple(one for one in before.returns if one[0] > reach)
    return Measured(
        seen=seen.day, last=now, count=before.count + 1, returns=(*kept_returns, pair)
    )  # fmt: skip


def _days(before: Measured, seen: Observation) -> int:
    return (seen.day - before.seen).days if before.seen is not None else 1


def _variance(
    signal: SignalText, before: Measured, seen: Observation, now: tuple[float, ...], r: float
) -> Measured:
    """EWMA of squared returns a day; over the first ones their mean."""
    days, count = _days(before, seen), before.count + 1
    kept = (count - 1) / count if count <= signal.warm_up_days else signal.decay**days
    value = kept * before.value + (1.0 - kept) * r * r / days
    return Measured(seen=seen.day, last=now, count=count, value=value)


def told(signal: SignalText, state: Measured, on: date) -> float | None:
    """The signal's value on a day; None while it is not known.

    A correlation is the least over the windows, a shorter past standing for a longer window; −1
    where a series does not move.
    """
    if state.seen is None or (on - state.seen).days > signal.hold_days:
        return None
    if state.count < signal.warm_up_days:
        return None
    if signal.measure == "volatility":
        return math.sqrt(state.value)
    if signal.measure == "level":
        return state.value
    newest = state.returns[-1][0]
    return min(
        correlation([one for one in state.returns if one[0] > newest - window])
        for window in signal.windows_days
    )


def correlation(returns: list[tuple[int, float, float]]) -> float:
    """Correlation of two return series about 0, as returns of a day have next to no mean.

    >>> correlation([(1, 0.01, 0.02), (2, -0.02, -0.04)])
    1.0
    """
    across = math.fsum(a * b for _, a, b in returns)
    size = math.fsum(a * a for _, a, _ in returns) * math.fsum(b * b for _, _, b in returns)
    if size <= 0.0:
        return -1.0
    return max(-1.0, min(1.0, across / math.sqrt(size)))
