"""From the correlation that a history had to the one of today."""

from __future__ import annotations

import numpy as np

from solvent.units import Float64

EIGENVALUE_MIN = 1e-6
"""A correlation whose least eigenvalue is below is singular: factors repeat each other."""
_SHRINKAGE = 1e-3


def second_moments(rows: Float64, weight: Float64) -> tuple[Float64, Float64]:
    """Root mean squares [factor] and correlation about 0 [factor, factor] of weighted rows.

    A factor that never moves is correlated with nothing.
    """
    rows = np.ascontiguousarray(rows)
    moments = (rows * (weight / weight.sum())[:, None]).T @ rows
    size = np.sqrt(np.diagonal(moments).copy())
    scale = np.where(size > 0.0, size, 1.0)
    correlation = moments / np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    return size, correlation


def regular(correlation: Float64) -> tuple[Float64, bool]:
    """A correlation with an inverse, and whether it had to be shrunk towards none.

    >>> regular(np.ones((2, 2)))[1], regular(np.eye(2))[1]
    (True, False)
    """
    if float(np.linalg.eigvalsh(correlation)[0]) >= EIGENVALUE_MIN:
        return correlation, False
    return (1.0 - _SHRINKAGE) * correlation + _SHRINKAGE * np.eye(len(correlation)), True


def transport(source: Float64, target: Float64) -> Float64:
    """The symmetric A with A·source·A = target: of all maps that re-correlate, the one that moves
    each scenario least (optimal transport between normal laws).

    A = S^(−½)·(S^½·T·S^½)^½·S^(−½), S the source, T the target, both regular. Equal correlations
    give the identity; the order of the factors does not matter.

    >>> transport(np.eye(2), np.array([[1.0, 0.6], [0.6, 1.0]])).round(4)
    array([[0.9487, 0.3162],
           [0.3162, 0.9487]])
    """
    root, inverse = _powers(source)
    middle, _ = _powers(root @ target @ root)
    return np.asarray(inverse @ middle @ inverse)


def _powers(matrix: Float64) -> tuple[Float64, Float64]:
    """Square root and its inverse of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    root = np.sqrt(np.maximum(values, 0.0))
    least = np.maximum(root, 1e-12)
    return (vectors * root) @ vectors.T, (vectors / least) @ vectors.T
