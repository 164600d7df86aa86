"""The inputs of one market revaluation, and the readable way to compute it.

A *cell* is one term under one scenario: `scale·(asset·F′·N(side·d₁) − cash·N(side·d₂))`, divided
by F′ for an inverse instrument, with F′ the scenario's forward. Since F′·n(d₁) = K·n(d₂), both
normal tails come from one exponential and one Mills ratio each:

    t₁ = F′·n(d₁)·P(|d₁|)/Q(|d₁|)      t₂ = F′·n(d₁)·P(|d₂|)/Q(|d₂|)      (t₂ is K·N(−|d₂|))

`log(F/K)`, `σ√T` and `log(F′/F)` are known before, so a cell is one division and one exponential.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.coefficients import (
    INV_SQRT_2PI,
    LOG_MONEYNESS_MAX,
    MILLS_P,
    MILLS_Q,
    SIGMA_MAX,
    TOTAL_VOL_MIN,
)
from solvent.elementary import exp, horner, log
from solvent.errors import check
from solvent.units import Float64

_CELLS_PER_BLOCK = 1 << 15
"""Cells that are worked on at a time: their dozen temporaries stay in the second-level cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Terms × scenarios, ready to be valued. Build it with `grid`."""

    # [term]
    log_moneyness: Float64
    forward: Float64
    asset: Float64
    cash: Float64
    cash_per_strike: Float64
    side: Float64
    scale: Float64
    inverse: NDArray[np.bool_]
    curve: NDArray[np.int32]
    total_vol: Float64
    """σ√T by [term, vol state], at least `TOTAL_VOL_MIN`."""
    growth: Float64
    """F′/F by [curve, scenario]."""
    log_growth: Float64
    vol_state: NDArray[np.int32]
    """[scenario] → column of `total_vol`."""

    @property
    def shape(self) -> tuple[int, int]:
        """(terms, scenarios)."""
        return self.forward.shape[0], self.vol_state.shape[0]


def grid(
    *,
    forward: Float64,
    strike: Float64,
    asset: Float64,
    cash: Float64,
    side: Float64,
    scale: Float64,
    inverse: NDArray[np.bool_],
    total_vol: Float64,
    curve: NDArray[np.int32],
    growth: Float64,
    vol_state: NDArray[np.int32],
) -> Grid:
    """Check the inputs and precompute what does not vary inside a row. All numbers are finite.

    Args:
        forward, strike, asset, cash, side, scale, inverse, curve: [term]; forward > 0,
            strike ≥ 0, `asset`, `cash`, `side` as `Term.coefficients`, `scale` settlement units.
        total_vol: [term, vol state], σ√T ≥ 0.
        growth: [curve, scenario], F′/F > 0.
        vol_state: [scenario], a column of `total_vol`.
    """
    for numbers in (forward, strike, asset, cash, side, scale, total_vol, growth):
        check(bool(np.isfinite(numbers).all()), "what is priced is finite")
    check(bool((forward > 0).all()), "forwards are positive")
    check(bool((strike >= 0).all()), "strikes are not negative")
    check(bool((growth > 0).all()), "a scenario's price is positive")
    check(bool((total_vol >= 0).all()), "total vols are not negative")
    by_term = (strike, asset, cash, side, scale, inverse, curve, total_vol[:, 0])
    shapes = {forward.shape, *(column.shape for column in by_term)}
    check(len(shapes) == 1, "one number a term", shapes)
    check(growth.shape[1:] == vol_state.shape, "one growth a scenario", growth.shape)
    _check_columns(curve, growth.shape[0], "a term's curve is there")
    _check_columns(vol_state, total_vol.shape[1], "a scenario's vol state is there")
    moneyness = log_moneyness(forward, strike)
    check(bool(np.isfinite(moneyness).all()), "F/K is finite and above 0")
    return Grid(
        log_moneyness=moneyness,
        forward=forward,
        asset=asset,
        cash=cash,
        cash_per_strike=np.where(strike > 0, cash / np.where(strike > 0, strike, 1.0), 0.0),
        side=side,
        scale=scale,
        inverse=inverse,
        curve=curve,
        total_vol=np.ascontiguousarray(np.maximum(total_vol, TOTAL_VOL_MIN)),
        growth=np.ascontiguousarray(growth),
        log_growth=np.ascontiguousarray(log(growth)),
        vol_state=vol_state,
    )


def log_moneyness(forward: Float64, strike: Float64) -> Float64:
    """log(F/K), `LOG_MONEYNESS_MAX` at K = 0. One quotient and one log: two logs lose digits.

    >>> log_moneyness(np.array([100.0, 100.0]), np.array([100.0, 0.0])).tolist()
    [0.0, 1e+100]
    """
    struck = strike > 0
    return np.where(struck, log(forward / np.where(struck, strike, 1.0)), LOG_MONEYNESS_MAX)


def _check_columns(index: NDArray[np.int32], count: int, invariant: str) -> None:
    if index.size:
        least, largest = int(index.min()), int(index.max())
        check(least >= 0 and largest < count, invariant, least, largest, count)


def value_cells(cells: Grid) -> Float64:
    """Values by [term, scenario], block by block with numpy; the same bits as `compiled`.

    At σ = 0 or T = 0 a cell is its intrinsic value, at K = 0 a forward (call) or cash (above).
    """
    terms, scenarios = cells.shape
    values = np.empty((terms, scenarios))
    rows = max(1, _CELLS_PER_BLOCK // max(1, scenarios))
    for start in range(0, terms, rows):
        block = slice(start, min(start + rows, terms))
        values[block] = _value_block(cells, block)
    return values


def _value_block(cells: Grid, block: slice) -> Float64:
    curve = cells.curve[block]
    growth = cells.growth[curve]
    forward = cells.forward[block, None] * growth
    total_vol = cells.total_vol[block][:, cells.vol_state]
    middle = (cells.log_moneyness[block, None] + cells.log_growth[curve]) * (1.0 / total_vol)
    half = 0.5 * total_vol
    d1 = np.minimum(np.maximum(middle + half, -SIGMA_MAX), SIGMA_MAX)
    d2 = np.minimum(np.maximum(middle - half, -SIGMA_MAX), SIGMA_MAX)
    tail1, tail2 = _tails(d1, d2, forward)

    asset, cash = cells.asset[block, None], cells.cash[block, None]
    side, cash_per_strike = cells.side[block, None], cells.cash_per_strike[block, None]
    asset_leg = asset * np.where(side * d1 > 0.0, forward - tail1, tail1)
    cash_tail = cash_per_strike * tail2
    cash_leg = np.where(side * d2 > 0.0, cash - cash_tail, cash_tail)
    scale = cells.scale[block, None]
    unit = np.where(cells.inverse[block, None], scale / forward, scale)
    return (asset_leg - cash_leg) * unit


def _tails(d1: Float64, d2: Float64, forward: Float64) -> tuple[Float64, Float64]:
    """F′·N(−|d₁|) and K·N(−|d₂|); one division serves both Mills ratios."""
    density = forward * (exp(-0.5 * d1 * d1) * INV_SQRT_2PI)
    z1, z2 = np.abs(d1), np.abs(d2)
    q1, q2 = horner(MILLS_Q, z1), horner(MILLS_Q, z2)
    shared = density / (q1 * q2)
    tail1 = (shared * horner(MILLS_P, z1)) * q2
    tail2 = (shared * horner(MILLS_P, z2)) * q1
    return tail1, tail2
