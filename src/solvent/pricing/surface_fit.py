"""A surface from a chain: gate, weigh, fit all expiries at once, say what came of it.

Each strike counts once, by its out-of-the-money side where that can be used. A point's weight is
its place on the smile (`svi_fit.band_weight`), halved where half its bid-ask spread is `_TIGHT` of
volatility, least where that is `_WIDE` or unknown, and up to twice for open interest. An expiry
with fewer than five strikes takes the shape of its book's SSVI surface at the level of what it
has; where the book has none, or where no smile comes near the quotes, the expiry is UNKNOWN with
the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from solvent.market.surface import Rows, SliceKind, Smiles, Surface
from solvent.pricing.option_quotes import Gated, LeftOut, OptionQuotes, QuoteFault, gate
from solvent.pricing.ssvi import fit_ssvi, ssvi_smiles, theta_of
from solvent.pricing.surface_quality import FitPoints, SliceReport, report_slices
from solvent.pricing.svi import Ssvi
from solvent.pricing.svi_fit import STRIKES_MIN, Points, band_weight, fit_smiles
from solvent.units import YEAR_MS, Float64

_TIGHT, _WIDE = 0.02, 0.05
_OUTLIER_MEDIANS, _OUTLIER_MIN, _OUTLIER_WEIGHT = 6.0, 0.15, 0.05
"""An outlier is off by this many median errors and this part of its volatility, and weighs so."""
_FALL_MAX = 1.5
"""At-the-money variance that is this many times a later expiry's is wrong, or that one's is."""
_MISFIT_MAX = 0.25
"""A smile whose typical error is more than this part of its volatilities is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceFit:
    """A surface and how it came about.

    `ssvi` has a surface for each book that has a fitted expiry. `left_out` and `quote_faults` are
    by row of the quotes; a row with a faulty quote may still count by its mark.
    """

    surface: Surface
    reports: tuple[SliceReport, ...]
    ssvi: Mapping[tuple[str, str], Ssvi]
    points: FitPoints
    left_out: Mapping[int, LeftOut]
    quote_faults: Mapping[int, QuoteFault]


@dataclass(slots=True)
class _Chosen:
    """Points of the fit by slice, expiries by book and time."""

    quotes: OptionQuotes
    gated: Gated
    row: Rows
    slice: Rows
    book: NDArray[np.int32]
    expiry_ms: NDArray[np.int64]
    left_out: dict[int, LeftOut]

    @property
    def count(self) -> int:
        return len(self.expiry_ms)

    def padded(self, slices: Rows, *, few: bool = False) -> tuple[Points, Rows]:
        """Points of slices in rows of one length, and [slice, place] → point, −1 for padding."""
        mine = [np.flatnonzero(self.slice == one) for one in slices]
        width = max(len(points) for points in mine)
        at = np.full((len(slices), width), -1, dtype=np.intp)
        for place, points in enumerate(mine):
            at[place, : len(points)] = points
        told = at >= 0
        row = self.row[at]
        years = self.quotes.years[row]
        k = np.where(told, self.gated.k[row], 0.0)
        w = np.where(told, self.gated.vol[row] ** 2 * years, 1.0)
        band = band_weight(k, w)
        weight = np.where(told, band * self._liquidity(row, told), 0.0)
        weight /= weight.max(axis=1, keepdims=True)
        book = self.book[slices].astype(np.int64)
        return Points(k=k, w=w, weight=weight, book=book, strikes_min=1 if few else STRIKES_MIN), at

    def _liquidity(self, row: Rows, told: NDArray[np.bool_]) -> Float64:
        half = np.minimum(self.gated.half_spread[row], _WIDE)
        tight = _TIGHT**2 / (_TIGHT**2 + half**2)
        interest = self.quotes.open_interest[row]
        interest = np.where(told & (interest > 0.0) & np.isfinite(interest), interest, 0.0)
        most = np.log1p(interest.max(axis=1, keepdims=True))
        part = np.divide(np.log1p(interest), most, out=np.ones_like(interest), where=most > 0.0)
        return np.asarray(tight * (1.0 + part))


def fit_surface(quotes: OptionQuotes, *, model: str = "svi") -> SurfaceFit:
    """Fit all expiries of all books. `model` is svi, or ssvi for one SSVI surface a book.

    Nothing raises but a wrong `model`: what cannot be used is left out and reported, and an expiry
    without a smile is UNKNOWN.
    """
    if model not in ("svi", "ssvi"):
        raise ValueError(f"model: expected svi or ssvi, found {model!r}")
    gated = gate(quotes)
    chosen = _choose(quotes, gated)
    smiles = _blank(chosen.count)
    kind = np.full(chosen.count, SliceKind.UNKNOWN, dtype=np.int8)
    reasons = _without_quotes(chosen)
    full = _full(chosen)
    if full.size:
        found, full = _fit_full(chosen, full)
        smiles = smiles.replaced(full, found)
        _judge(chosen, full, smiles, kind, reasons)
        if _drop_contradictions(chosen, smiles, kind, reasons):
            # What is left is searched for again, no longer bent by what was wrong.
            left = np.flatnonzero(kind == SliceKind.SVI)
            smiles = smiles.replaced(left, fit_smiles(chosen.padded(left)[0]))
    ssvi = _ssvi_by_book(chosen, smiles, kind)
    smiles = _few(chosen, smiles, ssvi, kind, reasons)
    _drop_contradictions(chosen, smiles, kind, reasons)
    if model == "ssvi":
        smiles = _all_ssvi(chosen, smiles, ssvi, kind)
    surface = _surface(chosen, smiles, kind, reasons)
    return _told(chosen, surface, ssvi)


def _told(chosen: _Chosen, surface: Surface, ssvi: Mapping[tuple[str, str], Ssvi]) -> SurfaceFit:
    quotes, gated, row = chosen.quotes, chosen.gated, chosen.row
    fitted = surface.vol(chosen.slice, gated.k[row])
    few = ~surface.known[chosen.slice]
    left_out = chosen.left_out | dict.fromkeys(row[few].tolist(), LeftOut.FEW)
    kept = np.flatnonzero(~few)
    points = FitPoints(
        row=row[kept], slice=chosen.slice[kept], k=gated.k[row[kept]],
        told=gated.vol[row[kept]], fitted=fitted[kept],
    )  # fmt: skip
    reports = report_slices(quotes, surface, points, left_out)
    error = np.array([0.0 if np.isnan(one.residual_p95) else one.residual_p95 for one in reports])
    return SurfaceFit(
        surface=replace(surface, error=error),
        reports=reports,
        ssvi=ssvi,
        points=points,
        left_out=left_out,
        quote_faults=gated.faults,
    )


def _choose(quotes: OptionQuotes, gated: Gated) -> _Chosen:
    """One row a strike, the out-of-the-money one first; every expiry that lies ahead."""
    ahead = np.flatnonzero(quotes.years > 0.0)
    keys = np.stack([quotes.book[ahead], quotes.expiry_ms[ahead]], axis=1)
    distinct, code = np.unique(keys.reshape(-1, 2), axis=0, return_inverse=True)
    of_row = np.full(len(quotes), -1, dtype=np.intp)
    of_row[ahead] = code.ravel()
    rows = np.flatnonzero(gated.usable)
    inside = quotes.is_call[rows] != (gated.k[rows] >= 0.0)
    order = rows[np.lexsort((inside, quotes.strike[rows], of_row[rows]))]
    first = np.ones(order.size, dtype=bool)
    first[1:] = (np.diff(of_row[order]) != 0) | (np.diff(quotes.strike[order]) != 0.0)
    left_out = dict(gated.reasons)
    left_out |= dict.fromkeys(order[~first].tolist(), LeftOut.INSIDE)
    kept = order[first]
    return _Chosen(
        quotes=quotes,
        gated=gated,
        row=kept,
        slice=of_row[kept],
        book=distinct[:, 0].astype(np.int32),
        expiry_ms=distinct[:, 1],
        left_out=left_out,
    )


def _without_quotes(chosen: _Chosen) -> list[str]:
    """Why each expiry would be UNKNOWN if it had no usable row: the commonest reason."""
    quotes, words = chosen.quotes, []
    for book, expiry in zip(chosen.book, chosen.expiry_ms, strict=True):
        mine = np.flatnonzero((quotes.book == book) & (quotes.expiry_ms == expiry)).tolist()
        why = Counter(chosen.left_out[row].value for row in mine if row in chosen.left_out)
        words.append(f"no usable quote: {why.most_common(1)[0][0]}" if why else "no usable quote")
    return words


def _blank(count: int) -> Smiles:
    one, none = np.ones(count), np.zeros(count)
    return Smiles(one, none, none.copy(), none.copy(), one.copy())


def _full(chosen: _Chosen) -> Rows:
    counts = np.bincount(chosen.slice, minlength=chosen.count)
    return np.flatnonzero(counts >= STRIKES_MIN)


def _fit_full(chosen: _Chosen, full: Rows) -> tuple[Smiles, Rows]:
    """Smiles of slices with five strikes or more; once more without points far from the rest."""
    points, at = chosen.padded(full)
    smiles = fit_smiles(points)
    error = _errors(points, smiles)
    wrong = at[(error > _OUTLIER_MIN) & (error > _OUTLIER_MEDIANS * _typical(points, error))]
    if not wrong.size:
        return smiles, full
    chosen.left_out |= dict.fromkeys(chosen.row[wrong].tolist(), LeftOut.OUTLIER)
    stays = np.ones(chosen.row.size, dtype=bool)
    stays[wrong] = False
    chosen.row, chosen.slice = chosen.row[stays], chosen.slice[stays]
    full = _full(chosen)
    return (fit_smiles(chosen.padded(full)[0]) if full.size else _blank(0)), full


def _errors(points: Points, smiles: Smiles) -> Float64:
    """|σ fitted / σ told − 1| of points that count, 0 of others."""
    error = np.abs(np.sqrt(smiles.w(points.k) / points.w) - 1.0)
    return np.where(points.weight > _OUTLIER_WEIGHT, error, 0.0)


def _typical(points: Points, error: Float64) -> Float64:
    """Median error of the points that count, [slice, 1]."""
    counting = np.where(points.weight > _OUTLIER_WEIGHT, error, np.nan)
    return np.asarray(np.nanmedian(counting, axis=1)[:, None])


def _judge(
    chosen: _Chosen, full: Rows, smiles: Smiles, kind: NDArray[np.int8], reasons: list[str]
) -> None:
    """A fitted slice is known where its smile comes near what it was fitted to."""
    points, _ = chosen.padded(full)
    error = np.sqrt(smiles.at(full).w(points.k) / points.w) - 1.0
    typical = np.sqrt(np.average(error * error, axis=1, weights=points.weight))
    for one, misfit in zip(full.tolist(), typical.tolist(), strict=True):
        if misfit <= _MISFIT_MAX:
            kind[one], reasons[one] = SliceKind.SVI, ""
        else:
            reasons[one] = f"no smile comes near its quotes: typical error {misfit:.0%}"


def _drop_contradictions(
    chosen: _Chosen, smiles: Smiles, kind: NDArray[np.int8], reasons: list[str]
) -> bool:
    """Make slices UNKNOWN whose at-the-money variance cannot stand beside the others of their book.

    Variance does not fall in time; of expiries that contradict each other grossly those with the
    most strikes stay. One wrong expiry would otherwise lift all farther ones.
    """
    dropped = False
    counts = np.bincount(chosen.slice, minlength=chosen.count)
    for code in range(len(chosen.quotes.books)):
        mine = np.flatnonzero((chosen.book == code) & (kind != SliceKind.UNKNOWN))
        theta = smiles.at(mine).w(np.zeros((1, 1)))[:, 0]
        for place in sorted(set(range(mine.size)) - _heaviest(theta, counts[mine])):
            kind[mine[place]] = SliceKind.UNKNOWN
            reasons[mine[place]] = "its level contradicts other expiries of its book"
            dropped = True
    return dropped


def _heaviest(theta: Float64, weight: NDArray[np.intp]) -> set[int]:
    """Places of the heaviest run of θ that does not fall by more than `_FALL_MAX`."""
    best = weight.astype(np.int64)
    before = np.full(theta.size, -1)
    for one in range(theta.size):
        for other in range(one):
            stands = theta[other] <= _FALL_MAX * theta[one]
            if stands and best[other] + weight[one] > best[one]:
                best[one], before[one] = best[other] + weight[one], other
    kept: set[int] = set()
    place = int(np.argmax(best)) if theta.size else -1
    while place >= 0:
        kept.add(place)
        place = int(before[place])
    return kept


def _ssvi_by_book(
    chosen: _Chosen, smiles: Smiles, kind: NDArray[np.int8]
) -> dict[tuple[str, str], Ssvi]:
    """The SSVI surface of each book that has a fitted slice."""
    found = {}
    for code, book in enumerate(chosen.quotes.books):
        mine = np.flatnonzero((chosen.book == code) & (kind == SliceKind.SVI))
        if mine.size:
            points, _ = chosen.padded(mine)
            found[book] = fit_ssvi(
                k=points.k, w=points.w, weight=points.weight, theta=_theta(smiles.at(mine))
            )
    return found


def _theta(smiles: Smiles) -> Float64:
    """At-the-money variance, never falling."""
    return np.maximum.accumulate(smiles.w(np.zeros((1, 1)))[:, 0])


def _few(
    chosen: _Chosen,
    smiles: Smiles,
    ssvi: Mapping[tuple[str, str], Ssvi],
    kind: NDArray[np.int8],
    reasons: list[str],
) -> Smiles:
    """Slices with one to four strikes by the shape of their book."""
    for one in range(chosen.count):
        mine = np.flatnonzero(chosen.slice == one)
        if not 0 < mine.size < STRIKES_MIN:
            continue
        shape = ssvi.get(chosen.quotes.books[chosen.book[one]])
        strikes = f"{mine.size} strike{'s' if mine.size > 1 else ''}"
        if shape is None:
            reasons[one] = f"{strikes}, and no expiry of its book has {STRIKES_MIN}"
            continue
        points, _ = chosen.padded(np.array([one]), few=True)
        theta = theta_of(shape, k=points.k[0], w=points.w[0], weight=points.weight[0])
        smile = ssvi_smiles(shape, np.array([theta]))
        kind[one] = SliceKind.SSVI
        reasons[one] = f"{strikes}: the level is theirs, the shape is its book's"
        smiles = smiles.replaced(np.array([one]), smile)
    return smiles


def _all_ssvi(
    chosen: _Chosen, smiles: Smiles, ssvi: Mapping[tuple[str, str], Ssvi], kind: NDArray[np.int8]
) -> Smiles:
    """Every known slice by its book's SSVI surface."""
    for code, book in enumerate(chosen.quotes.books):
        mine = np.flatnonzero((chosen.book == code) & (kind != SliceKind.UNKNOWN))
        if mine.size:
            smiles = smiles.replaced(mine, ssvi_smiles(ssvi[book], _theta(smiles.at(mine))))
            kind[mine] = SliceKind.SSVI
    return smiles


def _surface(
    chosen: _Chosen, smiles: Smiles, kind: NDArray[np.int8], reasons: list[str]
) -> Surface:
    """The surface, its errors still 0."""
    quotes, count = chosen.quotes, chosen.count
    rows = [
        np.flatnonzero((quotes.book == book) & (quotes.expiry_ms == expiry))
        for book, expiry in zip(chosen.book, chosen.expiry_ms, strict=True)
    ]
    return Surface(
        as_of_ms=quotes.as_of_ms,
        books=quotes.books,
        book=chosen.book,
        expiry_ms=chosen.expiry_ms,
        years=(chosen.expiry_ms - quotes.as_of_ms) / YEAR_MS,
        forward=np.array([_median(quotes.forward[one], positive=True) for one in rows]),
        rate=np.array([_median(quotes.rate[one]) for one in rows]),
        smiles=smiles,
        kind=kind,
        error=np.zeros(count),
        reasons=tuple(reasons),
    )


def _median(values: Float64, *, positive: bool = False) -> float:
    kept = values[np.isfinite(values) & ((values > 0.0) | (not positive))]
    return float(np.median(kept)) if kept.size else 0.0
