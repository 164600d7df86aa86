"""A history as it is read: prices of coins over time, and what their surfaces and bases were."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject, check
from solvent.scenarios.history.note import Mark, Times, mark_of
from solvent.units import Float64

_PARTS: Final = ("level", "skew", "term", "curve", "basis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Prices (and surfaces, bases) of several coins at common times; NaN where one is not told.

    As read: times may be unsorted, repeated or far apart; what is laid on a grid is clean. A price
    is known at its time: of a bar, at its end.

    Of a surface, ln σ(x, T) = level + skew·x + curve·x² + term·ln(T/30 d), x = ln(K/F)/(σ√T).

    Attributes:
        names: of the coins; each once.
        time_ms: [time].
        price: [time, name] above 0, NaN where not told.
        level, skew, term, curve: [time, name] of the surface, NaN where not told; None without.
        basis: [time, name] annualised log basis, NaN where not told; None without.
        source: where it is from, for messages.
        repairs: what was repaired so far.
    """

    names: tuple[str, ...]
    time_ms: Times
    price: Float64
    level: Float64 | None = None
    skew: Float64 | None = None
    term: Float64 | None = None
    curve: Float64 | None = None
    basis: Float64 | None = None
    source: str = "history"
    repairs: tuple[Mark, ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.time_ms), len(self.names))
        check(self.price.shape == shape, "a row a time, a column a name", self.price.shape)
        check(len(set(self.names)) == len(self.names), "each coin once", self.names)
        surface = (self.level, self.skew, self.term, self.curve)
        whole = all(one is None for one in surface) or all(one is not None for one in surface)
        check(whole, "a surface is told with all its four numbers or not at all")
        for name in _PARTS:
            part = getattr(self, name)
            check(part is None or part.shape == shape, f"{name} is laid out as prices are")
            self._refuse(name, np.isinf(part) if part is not None else np.zeros(shape, dtype=bool))
        self._refuse("price", (self.price <= 0.0) | np.isinf(self.price))

    def _refuse(self, field: str, wrong: NDArray[np.bool_]) -> None:
        if not wrong.any():
            return
        row, column = (int(one[0]) for one in np.nonzero(wrong))
        raise BadInput(
            Problem(
                code=Reject.PRICE_NOT_POSITIVE if field == "price" else Reject.FIELD_NOT_FINITE,
                source=self.source,
                row=row + 1,
                field=f"{field} of {self.names[column]}",
                expected="a number above 0" if field == "price" else "a finite number",
                found=repr(float(getattr(self, field)[row, column])),
            )
        )

    def __len__(self) -> int:
        return len(self.time_ms)

    @property
    def has_surfaces(self) -> bool:
        """Whether surfaces are told."""
        return self.level is not None

    def until(self, time_ms: int) -> Series:
        """What had been told at a time: rows up to it, in their order."""
        return self.rows(np.flatnonzero(self.time_ms <= time_ms))

    def rows(self, order: NDArray[np.intp]) -> Series:
        """Some rows, in an order."""
        cut: dict[str, Any] = {"time_ms": self.time_ms[order]}
        for name in ("price", *_PARTS):
            part = getattr(self, name)
            cut[name] = None if part is None else part[order]
        return replace(self, **cut)


def ordered(series: Series) -> Series:
    """Rows by time, each time once; of values told twice for a time, the last told stands.

    What was turned round or merged is told in `repairs`.

    >>> twice = Series(names=("BTC",), time_ms=np.array([2, 1, 2]), price=np.array([[5.0]] * 3))
    >>> [(one.code, one.time_ms.tolist()) for one in ordered(twice).repairs]
    [('sorted', [2]), ('repeated', [2])]
    """
    if bool((np.diff(series.time_ms) > 0).all()):
        return series
    order = np.argsort(series.time_ms, kind="stable")
    series, late = series.rows(order), np.diff(order) < 0
    again = np.concatenate([[False], np.diff(series.time_ms) == 0])
    # A row is marked by its own time: which rows are turned round up to a time needs no later one.
    words = "rows stood after a row of a later time"
    marks = [mark_of("sorted", "", words, series.time_ms[1:][late])]
    if again.any():
        series, differs = _merged(series, again)
        words = "rows repeat a time: the last told stands"
        marks.append(mark_of("repeated", "", words, differs[0]))
        words = "rows tell another number than a later row for the same time"
        marks.append(mark_of("repeated-differing", "", words, differs[1]))
    marks = [mark for mark in marks if len(mark.time_ms)]
    return replace(series, repairs=(*series.repairs, *marks))


def _merged(series: Series, again: NDArray[np.bool_]) -> tuple[Series, tuple[Times, Times]]:
    """Each time once; the times of rows that repeat one, and of those that differ from it."""
    starts, group = np.flatnonzero(~again), np.cumsum(~again) - 1
    differs = np.zeros(len(series), dtype=bool)
    cut: dict[str, Any] = {"time_ms": series.time_ms[starts]}
    for name in ("price", *_PARTS):
        part = getattr(series, name)
        if part is None:
            continue
        told = np.where(np.isnan(part), -1, np.arange(len(part))[:, None])
        last = np.maximum.reduceat(told, starts, axis=0)
        stands = np.take_along_axis(part, np.maximum(last, 0), axis=0)
        cut[name] = np.where(last >= 0, stands, np.nan)
        differs |= ((told >= 0) & (part != cut[name][group])).any(axis=1)
    return replace(series, **cut), (series.time_ms[again], series.time_ms[differs])


def join(*parts: Series) -> Series:
    """One history of several: every time of each; NaN where none tells a coin then.

    Where two tell the same of a coin at the same time, the later part stands.

    >>> one = Series(names=("BTC",), time_ms=np.array([0, 2]), price=np.array([[1.0], [2.0]]))
    >>> two = Series(names=("ETH",), time_ms=np.array([2]), price=np.array([[9.0]]))
    >>> join(one, two).price.tolist()
    [[1.0, nan], [2.0, 9.0]]
    """
    check(len(parts) > 0, "histories to join")
    parts = tuple(map(ordered, parts))
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    times = np.unique(np.concatenate([part.time_ms for part in parts]))
    whole: dict[str, Any] = {
        name: np.full((len(times), len(names)), np.nan)
        for name in ("price", *_PARTS)
        if any(getattr(part, name) is not None for part in parts)
    }
    for part in parts:
        columns = np.array([names.index(name) for name in part.names], dtype=np.intp)
        places = np.ix_(np.searchsorted(times, part.time_ms), columns)
        for name, into in whole.items():
            told = getattr(part, name)
            if told is not None:
                into[places] = np.where(np.isnan(told), into[places], told)
    return Series(
        names=names,
        time_ms=times,
        source=", ".join(dict.fromkeys(part.source for part in parts)),
        repairs=tuple(mark for part in parts for mark in part.repairs),
        **whole,
    )
