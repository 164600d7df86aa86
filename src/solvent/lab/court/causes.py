"""What a loss was made of: time, spot, the level of volatility, the rest of the surface, the basis.

Between the two ends of a margin period five things move. They are moved one after another, in the
order below and in the reverse order, and each gets the mean of its two effects: the five add up to
the loss, and of two causes that work together each gets half of what they do together.

What is held, and how:

- *time*: the clock. A contract comes nearer to its expiry, along a surface and a basis that stand
  still at constant maturities; what expires settles.
- *spot*: the index. The surface goes with it, still at its moneyness.
- *level*: the whole surface times one number, the change of the 30-day volatility at the money.
- *shape*: what the surface does besides (term structure, skew, curvature).
- *basis*: forwards over the index, by the annualised logarithm at constant maturities.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from solvent.lab.court.markets import Contracts, Path, worth, worth_at_end
from solvent.lab.court.strip import Strip, atm_at, forward_at
from solvent.units import Float64

CAUSES: Final = ("time", "spot", "level", "shape", "basis")
LEVEL_DAYS: Final = 30.0
_ALL: Final = frozenset(CAUSES)


def gain_by_cause(
    start: Strip, end: Strip, path: Path, wanted: Contracts, *, inverse: bool, apart_ms: int
) -> Float64:
    """[cause, contract] gain per unit of size between two strips; columns add up to the gain.

    Units are those of `worth`: dollars, or coins where `inverse`. NaN where a worth is not known.

    >>> from dataclasses import replace
    >>> from solvent.units import DAY_MS
    >>> flat = Strip(coin="BTC", as_of_ms=0, index=100.0, expiry_ms=np.array([30 * DAY_MS]),
    ...              forward=np.array([100.0]), smile=np.full((1, 5), 0.5))
    >>> later = replace(flat, as_of_ms=DAY_MS, index=110.0, forward=np.array([110.0]))
    >>> path = Path(time_ms=np.array([0, DAY_MS]), price=np.array([100.0, 110.0]))
    >>> none = np.zeros(1)
    >>> perpetual = Contracts(expiry_ms=none.astype(int), strike=none, is_call=none > 0)
    >>> found = gain_by_cause(flat, later, path, perpetual, inverse=False, apart_ms=DAY_MS)
    >>> dict(zip(CAUSES, found[:, 0].round(9).tolist()))
    {'time': 0.0, 'spot': 10.0, 'level': 0.0, 'shape': 0.0, 'basis': 0.0}
    """
    found = np.zeros((len(CAUSES), len(wanted)))
    for order in (CAUSES, CAUSES[::-1]):
        moved: frozenset[str] = frozenset()
        before = _worth(start, end, path, wanted, moved, inverse=inverse, apart_ms=apart_ms)
        for cause in order:
            moved |= {cause}
            after = _worth(start, end, path, wanted, moved, inverse=inverse, apart_ms=apart_ms)
            found[CAUSES.index(cause)] += 0.5 * (after - before)
            before = after
    return found


def _worth(
    start: Strip, end: Strip, path: Path, wanted: Contracts, moved: frozenset[str], *,
    inverse: bool, apart_ms: int,
) -> Float64:  # fmt: skip
    """Worth with some causes moved; with none and with all it is the strips' own."""
    if not moved:
        return worth(start, wanted, inverse=inverse)
    if moved == _ALL:
        return worth_at_end(end, path, wanted, inverse=inverse, apart_ms=apart_ms)
    between = _between(start, end, moved)
    if "time" not in moved:
        return worth(between, wanted, inverse=inverse)
    settles = path if "spot" in moved else _still(start, end, wanted)
    return worth_at_end(between, settles, wanted, inverse=inverse, apart_ms=apart_ms)


def _between(start: Strip, end: Strip, moved: frozenset[str]) -> Strip:
    """A market that is the end's in what moved and the start's in what did not."""
    clock = end.as_of_ms if "time" in moved else start.as_of_ms
    index = end.index if "spot" in moved else start.index
    surface = end if "shape" in moved else start
    step = math.log(_level(end) / _level(start))
    scale = step * (("level" in moved) - ("shape" in moved))
    basis = end if "basis" in moved else start
    ahead = surface.expiry_ms - surface.as_of_ms
    forward = forward_at(basis, basis.as_of_ms + ahead) / basis.index * index
    return Strip(
        coin=start.coin, as_of_ms=clock, index=index, expiry_ms=clock + ahead, forward=forward,
        smile=surface.smile * math.exp(scale),
    )  # fmt: skip


def _level(strip: Strip) -> float:
    """Volatility at the money, 30 days; 1 of a strip without a surface."""
    return atm_at(strip, LEVEL_DAYS) if len(strip.expiry_ms) else 1.0


def _still(start: Strip, end: Strip, wanted: Contracts) -> Path:
    """Prices that stay at the start's index up to the end."""
    time = np.unique([start.as_of_ms, *wanted.expiry_ms.tolist(), end.as_of_ms])
    return Path(time_ms=time.astype(np.int64), price=np.full(len(time), start.index))
