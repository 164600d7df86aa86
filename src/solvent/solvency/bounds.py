"""The least and the most that a lot can be worth between two prices, as straight lines in quanta.

A row's slack under scenario s is Σ lots·p_s with the piece p_s = (1 − r)·V + r·V_s: mark and
scenario PnL times the ratio r of the guarded requirement. V and V_s are convex in the price at a
given vol. On the segment from S₀ to S₀·(1 + x) a convex function lies above its tangent at S₀ and
below its chord, so each piece has a straight line below and one above (where 1 − r is negative the
two change places). A long lot is bounded by the line below, a short one by the line above; the sum
of straight lines is least at an end, so two numbers per scenario bound a whole segment.

What else may move while a bound is in force is in the lines, as `Allowance`: vol (a vanilla's worth
rises with σ√T), time (σ√T falls), the ratio F/S, and money per lot such as funding. Everything is
rounded outward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.solvency.rows import Market, Scenes, Terms, cells_of, per_value, years_of
from solvent.units import YEAR_MS, Float64

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

FLOAT_EXACT: Final = 2.0**43
"""Below this many quanta a worth's float64 error (a few parts in 2^52) is below one quantum."""
_FLOAT_ERROR = 1.0
_HALF_QUANTA = 1.0
"""Half a quantum each for the mark and for what margin adds per lot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How far a market may drift from where a bound was made, besides its price.

    Attributes:
        vol: relative change of any volatility, either way. time_ms: time that may pass.
        basis: relative change of any forward over the price, either way.
        per_lot: share of a future's notional that may be paid on it meanwhile, such as funding.
    """

    vol: float = 0.0
    time_ms: int = 0
    basis: float = 0.0
    per_lot: float = 0.0

    def __post_init__(self) -> None:
        check(0.0 <= self.vol < 1.0, "vol may move by less than itself", self.vol)
        check(0.0 <= self.basis < 1.0, "a forward may move by less than itself", self.basis)
        check(self.time_ms >= 0 and self.per_lot >= 0.0, "an allowance is not negative")

    def covers(self, terms: Terms, base: Market, now: Market, which: Int64) -> bool:
        """Whether a market is as near to the one of the bounds as was allowed."""
        if not 0 <= now.as_of_ms - base.as_of_ms <= self.time_ms:
            return False
        if not np.array_equal(now.usable[which], base.usable[which]):
            return False
        ready = which[base.usable[which]]
        option = ready[terms.strike[ready] > 0.0]
        # A hair inside: the comparison itself rounds.
        vol = np.abs(now.vol[option] - base.vol[option]) <= self.vol * 0.999999 * base.vol[option]
        ratio = base.ratio[ready]
        basis = np.abs(now.ratio[ready] - ratio) <= self.basis * 0.999999 * ratio
        return bool(vol.all() and basis.all())


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Bounds of pieces; the last axes are [2·instrument + is short, column].

    base: at S₀. ends: [width, down or up, …] at S₀·(1 ∓ width). Columns are the pieces, then the
    mark alone, then copies of it.
    largest: [instrument] no line, and no number of an exact row on the widest segment, is larger;
    infinite where there is no bound. paid: [instrument] quanta per lot that may be paid meanwhile.
    """

    base: Float64
    ends: Float64
    largest: Float64
    paid: Float64


def lines_of(
    terms: Terms, market: Market, scenes: Scenes, which: Int64, *, ppm: int, allowance: Allowance,
    widths: Float64, used: int,
) -> Lines:  # fmt: skip
    """Bounds of some instruments round a market's prices, for a requirement of `ppm` millionths of
    the worst of the first `used` scenarios."""
    made = _Maker(terms, market, scenes, which, ppm / 1e6, allowance, used)
    ends = np.array([[made.end(-float(x)), made.end(float(x))] for x in widths])
    shape = (2 * len(which), scenes.columns)
    base = made.end(0.0)
    largest = np.where(made.bounded, made.reach, np.inf)
    return Lines(
        base=base, ends=ends.reshape(len(widths), 2, *shape), largest=largest,
        paid=np.floor(made.paid[:, 0]),
    )  # fmt: skip


class _Maker:
    """Values and slopes at S₀ at the least and the most σ√T, from which every end follows."""

    def __init__(
        self, terms: Terms, market: Market, scenes: Scenes, which: Int64, ratio: float,
        allowance: Allowance, used: int,
    ) -> None:  # fmt: skip
        self.terms, self.market, self.scenes, self.which = terms, market, scenes, which
        self.used = used
        self.ratio, self.allowance = ratio, allowance
        years = years_of(terms, market.as_of_ms, which)
        vol = np.where(market.usable[which], market.vol[which], 0.0)
        later = np.maximum(years - allowance.time_ms / YEAR_MS, 0.0)
        self.least = (later, vol * (1.0 - allowance.vol))
        self.most = (years, vol * (1.0 + allowance.vol))
        unit = per_value(terms, market, scenes, which)
        self.unit = np.broadcast_to(unit, (len(which), len(scenes) + 1))
        self.low = self._worth(0.0, self.least)
        self.high = self._worth(0.0, self.most)
        self.slope = self._worth(0.0, self.least, asset_only=True)
        scale = np.abs(self.unit) * np.abs(terms.asset[which, None])
        forward = np.where(market.usable[which], _forward(terms, market, which), 1.0)[:, None]
        self.lever = scale * forward * scenes.growth
        legs = np.abs(terms.asset[which, None]) * forward + np.abs(terms.cash[which, None])
        future = (terms.strike[which] == 0.0) & ~terms.steady[which]
        lot = np.abs(self.unit[:, -1:]) * legs
        self.paid = np.where(future[:, None], allowance.per_lot * lot, 0.0)
        self.reach = np.zeros(len(which))
        self._reach(self.high, 0.0)
        # Prices at most double on a segment.
        small = self.reach * 2.0 < FLOAT_EXACT
        self.bounded = np.asarray(terms.bounded[which] & market.usable[which] & small)

    def _reach(self, high: Float64, shift: float) -> None:
        """A piece is no more than (1 + 2r) worths, a scenario's PnL no more than two."""
        worth = np.maximum(np.abs(high), self.lever * (1.0 + shift)).max(axis=1, initial=0.0)
        paid = self.paid.max(axis=1, initial=0.0)
        self.reach = np.maximum(self.reach, (2.0 + 2.0 * self.ratio) * (2.0 * worth + paid) + 8.0)

    def end(self, shift: float) -> Float64:
        """[2·instrument + is short, column] at S₀·(1 + shift)."""
        high = self.high if shift == 0.0 else self._worth(shift, self.most)
        self._reach(high, shift)
        drift = self._drift(high, shift)
        below = self.low + shift * self.slope - drift
        above = high + drift
        low, most = self._pieces(below, above), self._pieces(above, below)
        spare = np.ceil(self.ratio * 0.5 + _HALF_QUANTA + _FLOAT_ERROR)
        lines = np.empty((len(self.which), 2, self.scenes.columns))
        lines[:, 0] = np.floor(low) - spare
        lines[:, 1] = np.ceil(most) + spare
        # What cannot be bounded is no part of a row that is; zeros keep its numbers finite.
        lines[~self.bounded] = 0.0
        return lines.reshape(2 * len(self.which), -1)

    def _pieces(self, mine: Float64, other: Float64) -> Float64:
        """Pieces from bounds on V and V_s of one side; the other side's where a factor is < 0."""
        mark = mine[:, -1:]
        rest, count = 1.0 - self.ratio, self.used
        steady = self.terms.steady[self.which, None]
        of_mark = rest * (mark if rest >= 0.0 else other[:, -1:])
        pieces = np.where(steady, mark, of_mark + self.ratio * mine[:, :count])
        wide = np.repeat(mark, self.scenes.columns, axis=1)
        wide[:, :count] = pieces
        return wide

    def _drift(self, high: Float64, shift: float) -> Float64:
        """What basis and payments per lot can change: |dV| ≤ |asset|·F·|b|, over 1/ratio too."""
        b = self.allowance.basis
        moved = b * self.lever * (1.0 + shift)
        inverse = self.terms.inverse[self.which, None]
        return np.where(inverse, (moved + b * np.abs(high)) / (1.0 - b), moved) + self.paid * (
            1.0 + max(shift, 0.0)
        )

    def _worth(
        self, shift: float, at: tuple[Float64, Float64], *, asset_only: bool = False
    ) -> Float64:
        from solvent.pricing import compiled

        terms = self.terms
        if asset_only:
            terms = _asset_legs(terms)
        cells = cells_of(
            terms, self.market, self.scenes, self.which, shift=shift, years=at[0], vol=at[1]
        )
        return np.asarray(compiled.value_cells(cells) * self.unit)


def _forward(terms: Terms, market: Market, which: Int64) -> Float64:
    return np.asarray(market.price[terms.node[which]] * market.ratio[which])


def _asset_legs(terms: Terms) -> Terms:
    """asset·F·N(side·d₁) alone: S·dV/dS of a vanilla, and of a future."""
    return Terms(
        node=terms.node, strike=terms.strike, asset=terms.asset, cash=np.zeros(len(terms)),
        side=terms.side, inverse=terms.inverse, steady=terms.steady, size=terms.size,
        expiry_ms=terms.expiry_ms,
    )  # fmt: skip
