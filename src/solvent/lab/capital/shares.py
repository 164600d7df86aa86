"""Shares that add up: a requirement split over positions by Euler's rule, along a ray, by subsets.

`f` is any function of positions whose value at nothing is taken off first. All three rules share
f(x) − f(0) out without rest:

| rule | share of position i | when |
|---|---|---|
| Euler | xᵢ ∂f/∂xᵢ | f(tx) − f(0) = t·(f(x) − f(0)) near x: its own identity is the test |
| Aumann-Shapley | xᵢ ∫₀¹ ∂f/∂xᵢ(tx) dt | always: the ray is walked in slices |
| Shapley | mean increment over all orders | always, up to `SHAPLEY_MAX` positions |

Within a slice one position comes after the other, in both orders: differences telescope, so that
they add up whatever f is.

Sources: Tasche, *Capital allocation to business units and sub-portfolios: the Euler principle*
(2008); Aumann and Shapley, *Values of Non-Atomic Games* (1974); Shapley (1953).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import comb
from typing import Final

import numpy as np

from solvent.errors import check
from solvent.liquidation.shares import largest_remainder
from solvent.units import Float64

Function = Callable[[Float64], Float64]
"""Positions [question, position] → values [question, column]."""
SHAPLEY_MAX: Final = 12
STEP: Final = 2.0**-8
"""Half the width of a central difference, as a part of the position."""
SLICES_MAX: Final = 32
_WORK: Final = 400_000
"""Positions that a walk along a ray may margin; longer books are walked in fewer slices."""
EULER_TOLERANCE: Final = 1e-5
"""How much of the gross shares Euler's identity may miss: venues round, and so does a float."""


def euler(f: Function, x: Float64) -> Float64:
    """[position, column] xᵢ ∂f/∂xᵢ by central differences of a 128th of each position.

    >>> worst = lambda lots: np.abs(lots.sum(axis=1, keepdims=True)) * 3.0
    >>> euler(worst, np.array([5.0, -2.0])).ravel().tolist()
    [15.0, -6.0]
    """
    return from_bumps(f(bumps(x)))


def bumps(x: Float64) -> Float64:
    """[2 · position, position] the book with each position a little larger, then a little smaller.

    >>> bumps(np.array([256.0, -512.0])).tolist()
    [[257.0, -512.0], [256.0, -514.0], [255.0, -512.0], [256.0, -510.0]]
    """
    shift = np.diag(x * STEP)
    return np.concatenate([x + shift, x - shift])


def from_bumps(values: Float64) -> Float64:
    """[position, column] Euler's shares of values [2 · position, column] at `bumps`."""
    count = len(values) // 2
    return np.asarray((values[:count] - values[count:]) / (2.0 * STEP))


def holds(shares: Float64, whole: float) -> bool:
    """Whether Euler's identity holds: shares [position] add up to the whole, nearly.

    >>> holds(np.array([15.0, -6.0]), 9.0), holds(np.array([15.0, -6.0]), 10.0)
    (True, False)
    """
    return abs(float(shares.sum()) - whole) <= EULER_TOLERANCE * float(np.abs(shares).sum()) + 1e-9


def slices_of(positions: int) -> int:
    """In how many slices a ray is walked."""
    return int(np.clip(_WORK // max(1, 2 * positions * positions), 4, SLICES_MAX))


def along_ray(f: Function, x: Float64, slices: int) -> Float64:
    """[position, column] increments of f along the ray from nothing to x; they sum to f(x) − f(0).

    >>> square = lambda lots: lots.sum(axis=1, keepdims=True) ** 2
    >>> along_ray(square, np.array([1.0, 3.0]), 8).ravel().tolist()
    [4.0, 12.0]
    """
    check(slices >= 1, "a ray has a slice", slices)
    count = len(x)
    if count == 0:
        return f(np.zeros((1, 0)))[:0]
    reached = np.tri(count + 1, count, -1)
    orders = np.stack([reached, reached[:, ::-1]])  # [order, step, position]
    at = np.arange(slices)[:, None, None, None]
    asked = (at + orders[None]) / slices * x
    values = f(asked.reshape(-1, count))
    values = values.reshape(slices, 2, count + 1, -1)
    gained = np.diff(values, axis=2)
    both = gained[:, 0] + gained[:, 1, ::-1]
    return np.asarray(both.sum(axis=0) / 2.0)


def shapley(f: Function, x: Float64) -> Float64:
    """[position, column] mean increment over all orders in which positions may be added.

    >>> larger = lambda lots: np.maximum(lots[:, :1], lots[:, 1:])
    >>> shapley(larger, np.array([2.0, 6.0])).ravel().tolist()
    [1.0, 5.0]
    """
    count = len(x)
    check(count <= SHAPLEY_MAX, "few enough positions for every subset", count)
    subsets = np.arange(1 << count)
    inside = (subsets[:, None] >> np.arange(count)) & 1
    values = f(inside * x)
    size = inside.sum(axis=1)
    share = np.zeros((count, values.shape[1]))
    for i in range(count):
        without = np.flatnonzero(inside[:, i] == 0)
        weight = np.array([1.0 / (count * comb(count - 1, int(n))) for n in size[without]])
        share[i] = weight @ (values[without | (1 << i)] - values[without])
    return share


def apportion(raw: Sequence[float], whole: int) -> tuple[int, ...]:
    """Whole units that follow `raw` and add up to `whole`.

    What the raw shares miss is spread by their size, then units left over go to the largest
    remainders. Shares keep their signs but for a unit.

    >>> apportion([15.25, -6.25], 9), apportion([1.0, 1.0, 1.0], 10), apportion([0.0, 0.0], 3)
    ((15, -6), (4, 3, 3), (2, 1))
    """
    exact = [Fraction(one) for one in raw]
    gap, gross = whole - sum(exact), sum(map(abs, exact))
    if not exact:
        check(whole == 0, "somebody takes the whole", whole)
        return ()
    parts = [abs(one) / gross if gross else Fraction(1, len(exact)) for one in exact]
    return largest_remainder([one + gap * part for one, part in zip(exact, parts, strict=True)])
