"""An implied-volatility surface as frozen numbers: a smile for each expiry of each book.

A *book* is an underlying with its settlement asset: Deribit's inverse and linear BTC options are
two. A slice is one expiry of it, and its smile raw SVI in k = log(K/F):

    svi(k) = a + b·(ρ·(k − m) + √((k − m)² + s²))

The surface's total variance σ²T at an expiry is the greatest of its own smile and of those of all
nearer expiries of its book. So it never falls in time at any k: calendar arbitrage cannot be
written down. A normalised call price rises with total variance, so the greatest of two smiles is
the greater of two convex, falling price curves, which is one too: where no smile has butterfly
arbitrage the surface has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvent.errors import check
from solvent.market.snapshot import Bool, Int32, Int64
from solvent.units import Float64, TimeMs

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Smiles:
    """Raw SVI of many slices; axes [slice]. Pure numbers."""

    a: Float64
    b: Float64
    rho: Float64
    m: Float64
    sigma: Float64

    def __len__(self) -> int:
        return len(self.a)

    def w(self, k: Float64) -> Float64:
        """Total variance at k, [slice, place].

        >>> vogt = Smiles(*(np.array([x]) for x in (-0.041, 0.1331, 0.306, 0.3586, 0.4153)))
        >>> round(float(vogt.w(np.array([[0.0]]))[0, 0]), 12)
        0.017426252555
        """
        a, b, rho, m, s = self._columns()
        x = k - m
        return np.asarray(a + b * (rho * x + np.sqrt(x * x + s * s)))

    def w_by_row(self, rows: Rows, k: Float64) -> Float64:
        """Total variance of slice rows[i] at k[i]."""
        x, s = k - self.m[rows], self.sigma[rows]
        root = np.sqrt(x * x + s * s)
        return np.asarray(self.a[rows] + self.b[rows] * (self.rho[rows] * x + root))

    def slope(self, k: Float64) -> Float64:
        """dw/dk, [slice, place]."""
        _, b, rho, m, s = self._columns()
        x = k - m
        return np.asarray(b * (rho + x / np.sqrt(x * x + s * s)))

    def g(self, k: Float64) -> Float64:
        """Durrleman's function (1 − k·w′/2w)² − (w′²/4)(1/w + ¼) + w″/2, [slice, place].

        The sign of the density: negative means butterfly arbitrage.

        >>> vogt = Smiles(*(np.array([x]) for x in (-0.041, 0.1331, 0.306, 0.3586, 0.4153)))
        >>> round(float(vogt.g(np.array([[0.9]]))[0, 0]), 10)
        -0.0326851307
        """
        a, b, rho, m, s = self._columns()
        x = k - m
        root = np.sqrt(x * x + s * s)
        w = a + b * (rho * x + root)
        slope = b * (rho + x / root)
        curvature = b * s * s / root**3
        return np.asarray(
            (1.0 - 0.5 * k * slope / w) ** 2
            - 0.25 * slope * slope * (1.0 / w + 0.25)
            + 0.5 * curvature
        )

    def around(self, t: Float64, reach: float) -> Float64:
        """Places from −reach to reach at parts t of −1 … 1 of the way, dense where w bends."""
        _, _, _, m, s = self._columns()
        low, high = np.arcsinh((-reach - m) / s), np.arcsinh((reach - m) / s)
        return np.asarray(m + s * np.sinh(low + (high - low) * 0.5 * (t + 1.0)))

    def at(self, rows: Rows) -> Smiles:
        """Some of them."""
        return Smiles(*(column[rows] for column in self.columns))

    def replaced(self, rows: Rows, others: Smiles) -> Smiles:
        """These with others in the place of rows."""
        made = [column.copy() for column in self.columns]
        for column, other in zip(made, others.columns, strict=True):
            column[rows] = other
        return Smiles(*made)

    def toward(self, others: Smiles, part: float) -> Smiles:
        """A part of the way to others, number by number."""
        pairs = zip(self.columns, others.columns, strict=True)
        return Smiles(*((1.0 - part) * mine + part * theirs for mine, theirs in pairs))

    @property
    def columns(self) -> tuple[Float64, ...]:
        """a, b, ρ, m, s."""
        return self.a, self.b, self.rho, self.m, self.sigma

    def _columns(self) -> tuple[Float64, ...]:
        return tuple(column[:, None] for column in self.columns)


class SliceKind(IntEnum):
    """Where a slice's smile comes from."""

    UNKNOWN = 0
    """Its quotes tell none; `Surface.reasons` says why, and no number is given."""
    SVI = 1
    """Fitted to its own strikes."""
    SSVI = 2
    """The shape of its book's SSVI surface at the level of its own few quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """Smiles of all expiries of all books at one moment; slices by book, then expiry.

    Attributes:
        as_of_ms: the moment, UTC.
        books: (underlying, settlement) names. book: row into `books`; [slice].
        expiry_ms, years: [slice]; years are of 365 days.
        forward: quote currency per coin. rate: continuous, discounts the settlement asset.
        smiles: raw SVI; of an UNKNOWN slice a flat 1, which is never read.
        kind: `SliceKind`. error: 95 % of the fitted volatilities are this near to those told,
            |delta| from 5 to 95 %; 0.01 is a vol point.
        reasons: why a slice is UNKNOWN, or what is to be known about it; else empty.
    """

    as_of_ms: TimeMs
    books: tuple[tuple[str, str], ...]
    book: Int32
    expiry_ms: Int64
    years: Float64
    forward: Float64
    rate: Float64
    smiles: Smiles
    kind: NDArray[np.int8]
    error: Float64
    reasons: tuple[str, ...]

    def __post_init__(self) -> None:
        """Hold order and signs; what comes in is frozen."""
        count = len(self.smiles)
        for column in (self.book, self.expiry_ms, self.years, self.forward, self.rate, self.kind):
            check(column.shape == (count,), "a number a slice", column.shape)
        check(len(self.reasons) == count, "a reason a slice", len(self.reasons))
        order = np.lexsort((self.expiry_ms, self.book))
        check(bool((order == np.arange(count)).all()), "slices by book, then expiry")
        check(bool((self.years > 0.0).all()), "every expiry lies ahead")
        for name in ("book", "expiry_ms", "years", "forward", "rate", "kind", "error"):
            _freeze(getattr(self, name))
        for column in self.smiles.columns:
            _freeze(column)

    def __len__(self) -> int:
        return len(self.smiles)

    @property
    def known(self) -> Bool:
        """Slices that have a smile."""
        return np.asarray(self.kind != SliceKind.UNKNOWN)

    def row(self, book: tuple[str, str], expiry_ms: int) -> int | None:
        """The slice of a book's expiry; None where the surface has none."""
        if book not in self.books:
            return None
        found = np.flatnonzero(
            (self.book == self.books.index(book)) & (self.expiry_ms == expiry_ms)
        )
        return int(found[0]) if found.size else None

    def of(self, book: tuple[str, str]) -> Rows:
        """Known slices of a book, nearest first."""
        mine = self.book == (self.books.index(book) if book in self.books else -1)
        return np.flatnonzero(mine & self.known)

    def total_variance(self, rows: ArrayLike, k: ArrayLike) -> Float64:
        """σ²T of slice rows[i] at k[i] = log(K/F); NaN where the slice is UNKNOWN.

        >>> two = Smiles(*(np.array(x) for x in
        ...     ([0.04, 0.03], [0.1, 0.1], [0.0, 0.0], [0.0, 0.0], [0.1, 0.3])))
        >>> surface = flat_surface(years=[0.1, 0.2], smiles=two)
        >>> surface.total_variance([0, 1], 0.0).round(6).tolist()
        [0.05, 0.06]
        >>> surface.total_variance([0, 1], 2.0).round(6).tolist()   # the nearer one is higher
        [0.24025, 0.24025]
        """
        row, place = np.broadcast_arrays(
            np.asarray(rows, dtype=np.intp), np.asarray(k, dtype=np.float64)
        )
        shape = row.shape
        row, place = row.ravel(), place.ravel()
        w = np.where(self.known[row], self.smiles.w_by_row(row, place), np.nan)
        first = np.searchsorted(self.book, self.book)  # of each slice's book
        for back in range(1, int((row - first[row]).max(initial=0)) + 1):
            nearer = row - back
            mine = (nearer >= first[row]) & self.known[np.maximum(nearer, 0)]
            w[mine] = np.maximum(w[mine], self.smiles.w_by_row(nearer[mine], place[mine]))
        return w.reshape(shape)

    def vol(self, rows: ArrayLike, k: ArrayLike) -> Float64:
        """σ per √year of slice rows[i] at k[i]; NaN where the slice is UNKNOWN."""
        return np.asarray(
            np.sqrt(self.total_variance(rows, k) / self.years[np.asarray(rows, dtype=np.intp)])
        )


def flat_surface(
    *,
    years: Sequence[float],
    smiles: Smiles,
    forward: float = 1.0,
    book: tuple[str, str] = ("BTC", "BTC"),
    as_of_ms: int = 0,
) -> Surface:
    """A surface of given smiles with one forward for all expiries: for examples and tests."""
    count = len(smiles)
    return Surface(
        as_of_ms=TimeMs(as_of_ms),
        books=(book,),
        book=np.zeros(count, dtype=np.int32),
        expiry_ms=as_of_ms + np.round(np.asarray(years) * 365 * 86_400_000).astype(np.int64),
        years=np.asarray(years, dtype=np.float64),
        forward=np.full(count, forward),
        rate=np.zeros(count),
        smiles=smiles,
        kind=np.full(count, SliceKind.SVI, dtype=np.int8),
        error=np.zeros(count),
        reasons=("",) * count,
    )


def _freeze(column: NDArray[Any]) -> None:
    column.flags.writeable = False
