"""The least that groups of options can pay at expiry, over settlements at 0 and at held strikes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvent.units import Float64

_CELLS_MAX = 1 << 20


def least_payoffs(
    groups: NDArray[np.int64], count: int, size: Float64, strike: Float64, is_call: Float64
) -> Float64:
    """[group] least Σ size × payoff; a group without options pays 0.

    The total is piecewise linear in the settlement price, so that between 0 and the highest strike
    it is least at one of them; what happens beyond is the rulebook's to say.

    >>> least_payoffs(np.array([0, 0]), 2, np.array([-1.0, 1.0]), np.array([250.0, 200.0]),
    ...               np.zeros(2)).tolist()
    [-50.0, 0.0]
    """
    order = np.lexsort((strike, groups))
    groups, size, strike = groups[order], size[order], strike[order]
    call = is_call[order] != 0.0
    held = np.bincount(groups, minlength=count)
    first = np.cumsum(held) - held
    least = np.zeros(count)
    # Groups of one size go together; none sees another, so that a group has the same bits alone.
    for width in np.unique(held[held > 0]):
        alike = np.flatnonzero(held == width)
        for part in np.array_split(alike, -(-len(alike) * width * width // _CELLS_MAX)):
            rows = first[part][:, None] + np.arange(width)
            least[part] = _least(size[rows], strike[rows], call[rows])
    return least


def _least(size: Float64, strike: Float64, call: NDArray[np.bool_]) -> Float64:
    """[group] least payoff; arguments are [group, option]."""
    at = np.concatenate([np.zeros((len(strike), 1)), strike], axis=1)[:, :, None]
    above = at - strike[:, None, :]
    payoff = np.maximum(np.where(call[:, None, :], above, -above), 0.0)
    return np.asarray((payoff * size[:, None, :]).sum(axis=2).min(axis=1))
