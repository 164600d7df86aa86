"""The volatility surface of a market as the page shows it: smiles, quotes, what is left over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from solvent.instruments.contract import moment_of
from solvent.market import Snapshot
from solvent.pricing.option_quotes import quotes_of
from solvent.pricing.surface_fit import SurfaceFit, fit_surface
from solvent.units import Float64

_REACH: Final = 3.0
"""Standard deviations at the money that are drawn either way."""
_PLACES: Final = 49
_PERCENT: Final = 100.0
Places = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One expiry: strikes in percent of the forward against volatility in percent; `residual` is
    told less fitted, in points. `reason` says why there is no smile."""

    name: str
    days: float
    atm: float | None
    skew: float | None
    median: float | None
    fitted: Places
    quoted: Places
    residual: Places
    used: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceView:
    """Curves by book, `BTC/USDC`, as of a market."""

    as_of_ms: int
    books: Mapping[str, tuple[Curve, ...]]


def surface_view(market: Snapshot) -> SurfaceView:
    """Fit a surface to a market's options, without arbitrage: some tenths of a second."""
    fit = fit_surface(quotes_of(market))
    surface = fit.surface
    books = {
        "/".join(book): tuple(_curve(fit, int(one)) for one in surface.of(book))
        for book in surface.books
    }
    return SurfaceView(
        as_of_ms=int(market.as_of_ms), books={name: one for name, one in books.items() if one}
    )


def _curve(fit: SurfaceFit, one: int) -> Curve:
    surface, report, points = fit.surface, fit.reports[one], fit.points
    fitted: Places = ()
    mine = points.slice == one
    if bool(surface.known[one]):
        deviation = float(np.sqrt(surface.total_variance(one, 0.0)))
        k = np.linspace(-_REACH, _REACH, _PLACES) * deviation
        fitted = _places(k, surface.vol(one, k))
        mine &= np.abs(points.k) <= _REACH * deviation
    k, told = points.k[mine], points.told[mine]
    residual = _places(k, told - points.fitted[mine]) if fitted else ()
    return Curve(
        name=f"{moment_of(int(surface.expiry_ms[one])):%d %b %y}",
        days=float(surface.years[one]) * 365.0, atm=_known(report.atm_vol),
        skew=_known(report.skew), median=_known(report.residual_median), fitted=fitted,
        quoted=_places(k, told), residual=residual, used=report.used, reason=report.reason,
    )  # fmt: skip


def _places(k: Float64, vol: Float64) -> Places:
    """Percent of the forward against percent."""
    pairs = zip(np.exp(k).tolist(), np.asarray(vol).tolist(), strict=True)
    return tuple((round(_PERCENT * x, 3), round(_PERCENT * y, 4)) for x, y in pairs if y == y)


def _known(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
