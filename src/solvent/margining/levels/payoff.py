"""The least that groups of options can pay at expiry, over settlements at 0 and at held strikes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvent.units import Float64


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
    first = np.searchsorted(groups, np.arange(count + 1))
    least = np.zeros(count)
    for group in np.flatnonzero(np.diff(first)):
        part = slice(first[group], first[group + 1])
        q, k, c = size[part], strike[part], call[part]
        at = np.append(0.0, k)[:, None]
        payoff = np.where(c, np.maximum(at - k, 0.0), np.maximum(k - at, 0.0))
        least[group] = (payoff * q).sum(axis=1).min()
    return least
