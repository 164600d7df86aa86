"""Volatility surfaces over time: what of a surface moves, and what that means for a strike.

A surface is told by four numbers: ln σ(x, T) = level + skew·x + curve·x² + term·ln(T/30 d) with
x = ln(K/F)/(σ√T). In a history they are told at each moment's own forward, so their changes say how
σ moved at a given moneyness. An option keeps its strike: when the forward moves, it stands at
another moneyness of the new surface. `at_fixed_strike` turns one into the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.scenarios.joint import MONEYNESS_MAX, TERM_DAYS
from solvent.units import Float64

_X, _DAYS = (-1.0, 0.0, 1.0), (7.0, 30.0, 120.0)
"""Where shifts are told: nine options between ATM and about 16 delta, a week to four months."""
_ROUNDS: Final = 6
LOG_VOL_MAX: Final = 3.0
"""ln σ beyond ±3 (5 % … 2,000 %) is held there while a moneyness is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A surface at one moment, as its four numbers."""

    level: float
    skew: float
    term: float
    curve: float


def at_fixed_strike(now: State, shift: Float64, log_return: Float64) -> Float64:
    """Shifts (level, skew, term) of the vols of fixed strikes, from those at fixed moneyness.

    For nine options of today, the vol at their new moneyness on the shifted surface over their vol
    today; its logarithm, fitted by level + skew·x + term·ln(T/30), x today's moneyness.

    Args:
        shift: [scenario, 3] of level, skew and term at fixed moneyness.
        log_return: [scenario] ln(F′/F).

    >>> flat = State(level=-0.7, skew=0.0, term=0.0, curve=0.0)
    >>> at_fixed_strike(flat, np.array([[0.1, 0.0, 0.0]]), np.array([-0.2])).round(6) + 0.0
    array([[0.1, 0. , 0. ]])
    """
    x = np.repeat(_X, len(_DAYS))
    term = np.log(np.tile(_DAYS, len(_X)) / TERM_DAYS)
    root = np.sqrt(np.tile(_DAYS, len(_X)) / 365.0)
    before = now.level + now.skew * x + now.curve * x * x + now.term * term
    level = now.level + shift[:, :1] + (now.term + shift[:, 2:]) * term
    skew = now.skew + shift[:, 1:2]
    # K/F after the move, in deviations at the old vol: x − ln(F′/F)/(σ√T).
    distance = x * np.exp(before) - log_return[:, None] / root
    moved = np.broadcast_to(x, distance.shape)
    for _ in range(_ROUNDS):
        log_vol = np.clip(level + (skew + now.curve * moved) * moved, -LOG_VOL_MAX, LOG_VOL_MAX)
        there = np.clip(distance * np.exp(-log_vol), -MONEYNESS_MAX, MONEYNESS_MAX)
        moved = 0.5 * (moved + there)
    after = level + (skew + now.curve * moved) * moved
    design = np.stack([np.ones_like(x), x, term], axis=1)
    return np.asarray((after - before) @ np.linalg.pinv(design).T)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """Volatilities of one coin at constant maturities and moneyness.

    Attributes:
        x, days: [node].
        time_ms: [time].
        log_vol: [time, node] ln σ.
    """

    name: str
    x: Float64
    days: Float64
    time_ms: NDArray[np.int64]
    log_vol: Float64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Components:
    """Principal components of a surface's changes.

    Attributes:
        share: [component] of the variance of all nodes, largest first.
        component: [component, node] unit vectors.
        kept: share of the variance that level, skew and term explain together.
        kept_each: the shares of level alone, of level and skew, of all three.
    """

    share: Float64
    component: Float64
    kept: float
    kept_each: tuple[float, float, float]


def components(nodes: Nodes, *, every: int = 1) -> Components:
    """Components of changes of ln σ over `every` rows, about their mean.

    Three fixed shapes (1, x, ln T/30) never explain more than the three best (the first three
    components); how much less is what keeping the shapes costs.
    """
    changes = nodes.log_vol[every:] - nodes.log_vol[:-every]
    check(len(changes) > 1, "changes to take components of", len(changes))
    changes = changes - changes.mean(axis=0)
    _, values, vectors = np.linalg.svd(changes, full_matrices=False)
    total = float((changes**2).sum())
    check(total > 0.0, "a surface that moves", nodes.name)
    shapes = np.stack([np.ones_like(nodes.x), nodes.x, np.log(nodes.days / TERM_DAYS)], axis=1)
    each = []
    for count in (1, 2, 3):
        basis, _ = np.linalg.qr(shapes[:, :count])
        each.append(float(((changes @ basis) ** 2).sum()) / total)
    return Components(share=values**2 / total, component=vectors, kept=each[2], kept_each=(*each,))  # type: ignore[arg-type]
