"""Numba kernels of pricing: the algorithm of `grid.value_cells`, one fused pass, vectorised.

No fused multiply-add, no reassociation, no mathematics library: LLVM turns each line into the same
IEEE operation that numpy does, so both ways agree to the bit and this one is merely faster. The
loops over scenarios have no branch and no call left after inlining, which is what lets LLVM
vectorise them. Importing this module imports numba: the callers do it when the work is large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from solvent.coefficients import (
    EXP,
    INV_SQRT_2PI,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    MILLS_P,
    MILLS_Q,
    ROUND_TO_INTEGER,
    SIGMA_MAX,
)
from solvent.pricing.grid import Grid
from solvent.units import Float64

_LANES = 8

_E0, _E1, _E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9 = EXP
_P0, _P1, _P2, _P3, _P4, _P5, _P6, _P7, _P8, _P9 = MILLS_P
_Q0, _Q1, _Q2, _Q3, _Q4, _Q5, _Q6, _Q7, _Q8, _Q9, _Q10 = MILLS_Q


def value_cells(cells: Grid) -> Float64:
    """Values by [term, scenario]; the same bits as `grid.value_cells`.

    The last scenario is repeated to fill a vector: LLVM takes what is left over cell by cell.
    """
    terms, scenarios = cells.shape
    whole = np.minimum(np.arange(-(-scenarios // _LANES) * _LANES), scenarios - 1)
    values = np.empty((terms, scenarios))
    _value_cells(
        cells.log_moneyness, cells.forward, cells.asset, cells.cash, cells.cash_per_strike,
        cells.side, cells.scale, cells.inverse, cells.curve, cells.total_vol,
        cells.growth[:, whole], cells.log_growth[:, whole], cells.vol_state[whole], values,
    )  # fmt: skip
    return values


@intrinsic  # type: ignore[untyped-decorator]
def _bits(_context: Any, _number: Any) -> Any:
    """A float64's 64 bits as an integer."""

    def generate(_c: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _float(_context: Any, _bits: Any) -> Any:
    """The float64 that has these 64 bits."""

    def generate(_c: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _prefer_wide_vectors(_context: Any) -> Any:
    """Let LLVM use 512-bit vectors in this function where the processor has them.

    LLVM's default on Intel is 256 bits, from the days when wide vectors lowered the clock. The
    attribute changes speed only.
    """

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


@njit(inline="always")  # type: ignore[untyped-decorator]
def _exp(x: float) -> float:
    shifted = x * LOG2_E + ROUND_TO_INTEGER
    k = shifted - ROUND_TO_INTEGER
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = ((((((((_E9 * r + _E8) * r + _E7) * r + _E6) * r + _E5) * r + _E4) * r + _E3) * r + _E2) * r
         + _E1) * r + _E0  # fmt: skip
    mantissa = ((p * r) * r + r) + 1.0
    return _float(_bits(mantissa) + (_bits(shifted) << 52))  # type: ignore[no-any-return]


@njit(inline="always")  # type: ignore[untyped-decorator]
def _mills_p(z: float) -> float:
    return ((((((((_P9 * z + _P8) * z + _P7) * z + _P6) * z + _P5) * z + _P4) * z + _P3) * z
             + _P2) * z + _P1) * z + _P0  # fmt: skip


@njit(inline="always")  # type: ignore[untyped-decorator]
def _mills_q(z: float) -> float:
    return (((((((((_Q10 * z + _Q9) * z + _Q8) * z + _Q7) * z + _Q6) * z + _Q5) * z + _Q4) * z
              + _Q3) * z + _Q2) * z + _Q1) * z + _Q0  # fmt: skip


@njit(error_model="numpy", nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _value_cells(
    log_moneyness: Float64, forward: Float64, asset: Float64, cash: Float64,
    cash_per_strike: Float64, side: Float64, scale: Float64, inverse: NDArray[np.bool_],
    curve: NDArray[np.int32], total_vol: Float64, growth: Float64, log_growth: Float64,
    vol_state: NDArray[np.int32], values: Float64,
) -> None:  # fmt: skip
    _prefer_wide_vectors()
    terms, scenarios = values.shape
    width = len(vol_state)
    inverse_vol, half_vol, row = np.empty(width), np.empty(width), np.empty(width)
    for i in range(terms):
        for s in range(width):
            vol = total_vol[i, vol_state[s]]
            inverse_vol[s] = 1.0 / vol
            half_vol[s] = 0.5 * vol
        grow, log_grow, out = growth[curve[i]], log_growth[curve[i]], values[i]
        log_fk, f0, a, c, c_k, phi = (
            log_moneyness[i], forward[i], asset[i], cash[i], cash_per_strike[i], side[i],
        )  # fmt: skip
        for s in range(width):
            f = f0 * grow[s]
            middle = (log_fk + log_grow[s]) * inverse_vol[s]
            d1 = min(max(middle + half_vol[s], -SIGMA_MAX), SIGMA_MAX)
            d2 = min(max(middle - half_vol[s], -SIGMA_MAX), SIGMA_MAX)
            density = f * (_exp(-0.5 * d1 * d1) * INV_SQRT_2PI)
            z1, z2 = abs(d1), abs(d2)
            q1, q2 = _mills_q(z1), _mills_q(z2)
            shared = density / (q1 * q2)
            tail1 = (shared * _mills_p(z1)) * q2
            tail2 = (shared * _mills_p(z2)) * q1
            asset_leg = a * (f - tail1 if phi * d1 > 0.0 else tail1)
            cash_tail = c_k * tail2
            cash_leg = c - cash_tail if phi * d2 > 0.0 else cash_tail
            row[s] = asset_leg - cash_leg
        unit = scale[i]
        if inverse[i]:
            for s in range(scenarios):
                out[s] = row[s] * (unit / (f0 * grow[s]))
        else:
            for s in range(scenarios):
                out[s] = row[s] * unit
