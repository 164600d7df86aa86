"""How well a surface fits what was told, and what could be arbitraged in that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.elementary import normal_cdf
from solvent.market.surface import Rows, SliceKind, Surface
from solvent.pricing.arbitrage import butterflies, calendars
from solvent.pricing.black import black76
from solvent.pricing.option_quotes import LeftOut, OptionQuotes
from solvent.units import Float64

DELTA_MIN = 0.05
"""Residuals are told for |delta| from here to 1 less this."""
_ROUNDING = 1e-4
"""Venues tell volatilities in hundredths of a point: what is forgiven in marks."""
_SKEW_STEP = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class FitPoints:
    """What a surface was fitted to; axis: point, by slice and strike.

    `row` is the quotes', `slice` the surface's; k = log(K/F); volatilities told and fitted.
    """

    row: Rows
    slice: Rows
    k: Float64
    told: Float64
    fitted: Float64

    def within_delta(self, years: Float64) -> NDArray[np.bool_]:
        """Points with |delta| from `DELTA_MIN` to 1 less that; years by slice."""
        v = self.told * np.sqrt(years[self.slice])
        delta = normal_cdf(-self.k / v + 0.5 * v)
        return np.asarray((delta >= DELTA_MIN) & (delta <= 1.0 - DELTA_MIN))


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceReport:
    """How one expiry was fitted. Volatilities are fractions; residuals in |delta| 5 … 95 %.

    Attributes:
        skew: dσ/dk at the money.
        left_out: reason → rows, those in the money included.
        compared: points that the residuals are of.
        outside_quotes: points whose fitted price lies below the bid or above the ask.
        butterflies, calendars: arbitrage between the volatilities told; the surface has none.
    """

    kind: SliceKind
    reason: str
    atm_vol: float
    skew: float
    used: int
    left_out: Mapping[str, int]
    residual_median: float
    residual_p95: float
    residual_max: float
    compared: int
    outside_quotes: int
    butterflies: int
    calendars: int


def report_slices(
    quotes: OptionQuotes, surface: Surface, points: FitPoints, left_out: Mapping[int, LeftOut]
) -> tuple[SliceReport, ...]:
    """A report a slice. Residuals of a slice without compared points are NaN."""
    why = _reasons(quotes, surface, left_out)
    outside = _outside(quotes, surface, points)
    error = np.abs(points.fitted - points.told)
    within = points.within_delta(surface.years)
    every = np.arange(len(surface))
    atm = surface.vol(every, 0.0)
    ahead, behind = (surface.vol(every, step) for step in (_SKEW_STEP, -_SKEW_STEP))
    skew = (ahead - behind) / (2.0 * _SKEW_STEP)
    told = [_smile(surface, points, one) for one in range(len(surface))]
    reports = []
    for one in range(len(surface)):
        mine = points.slice == one
        errors = error[mine & within]
        near = one > 0 and surface.book[one - 1] == surface.book[one]
        k, w, years = told[one]
        reports.append(
            SliceReport(
                kind=SliceKind(int(surface.kind[one])),
                reason=surface.reasons[one],
                atm_vol=float(atm[one]),
                skew=float(skew[one]),
                used=int(mine.sum()),
                left_out=why[one],
                residual_median=float(np.median(errors)) if errors.size else np.nan,
                residual_p95=float(np.quantile(errors, 0.95)) if errors.size else np.nan,
                residual_max=float(errors.max()) if errors.size else np.nan,
                compared=errors.size,
                outside_quotes=int(outside[mine].sum()),
                butterflies=butterflies(k, w, _ROUNDING, years),
                calendars=calendars(told[one - 1], told[one], _ROUNDING) if near else 0,
            )
        )
    return tuple(reports)


def _smile(surface: Surface, points: FitPoints, one: int) -> tuple[Float64, Float64, float]:
    """(k, w, years) of what was told of a slice, k rising strictly."""
    mine = np.flatnonzero(points.slice == one)
    years = float(surface.years[one])
    k, first = np.unique(points.k[mine], return_index=True)
    return k, points.told[mine][first] ** 2 * years, years


def _reasons(
    quotes: OptionQuotes, surface: Surface, left_out: Mapping[int, LeftOut]
) -> list[Counter[str]]:
    """Reason → rows, by slice."""
    slices = {
        (int(book), int(expiry)): one
        for one, (book, expiry) in enumerate(zip(surface.book, surface.expiry_ms, strict=True))
    }
    found: list[Counter[str]] = [Counter() for _ in range(len(surface))]
    for row, reason in left_out.items():
        one = slices.get((int(quotes.book[row]), int(quotes.expiry_ms[row])))
        if one is not None:
            found[one][reason.value] += 1
    return found


def _outside(quotes: OptionQuotes, surface: Surface, points: FitPoints) -> NDArray[np.bool_]:
    """Points whose fitted price is not between their bid and ask, where those are told."""
    row = points.row
    forward, inverse = quotes.forward[row], quotes.inverse[row]
    years = surface.years[points.slice]
    price = black76(
        forward=forward,
        strike=quotes.strike[row],
        years=years,
        vol=points.fitted,
        side=np.where(quotes.is_call[row], 1.0, -1.0),
        discount=np.exp(-surface.rate[points.slice] * years),
    )
    price = np.where(inverse, price / forward, price)
    with np.errstate(invalid="ignore"):
        low = (quotes.bid[row] > 0.0) & (price < quotes.bid[row])
        high = (quotes.ask[row] > 0.0) & (price > quotes.ask[row])
        sound = ~((quotes.bid[row] > quotes.ask[row]) & (quotes.ask[row] > 0.0))
    return np.asarray((low | high) & sound)
