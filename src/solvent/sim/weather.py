"""The weather of a crash: how a market falls and recovers, and what it looks like on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from solvent.market import Quotes, Snapshot, assemble
from solvent.pricing.black import black76
from solvent.units import Float64, TimeMs

STEPS: Final = 60
"""Publications after the opening one, where nobody says otherwise."""
_CALM, _FALLING, _RECOVERING = 8 / 60, 40 / 60, 12 / 60
"""Each part's share of them."""
_FALL: Final = math.log(0.55)
_REBOUND: Final = math.log(0.66)


def weather(rng: np.random.Generator, steps: int) -> Iterator[tuple[float, float]]:
    """Factors on the opening prices and volatilities, step by step."""
    for step in range(1, steps + 1):
        done = step / steps
        fallen = min(max((done - _CALM) / _FALLING, 0.0), 1.0)
        back = max((done - _CALM - _FALLING) / _RECOVERING, 0.0)
        # It begins slowly, is fastest in the middle, and slows down.
        depth = fallen * fallen * (3.0 - 2.0 * fallen)
        level = depth * (_FALL + back * (_REBOUND - _FALL))
        noise = float(rng.normal(0.0, 0.001 + 0.006 * depth * (1.0 - back)))
        yield math.exp(level + noise), 1.0 + 1.3 * depth * (1.0 - 0.4 * back)


def shaken(opening: Snapshot, *, spot: float | Float64, vol: float, time_ms: int) -> Snapshot:
    """The opening market later: prices and volatilities times a factor, options at their model's
    marks. `spot` may be a factor by instrument, the same for all of one underlying."""
    universe = opening.universe
    option = universe.is_option
    later = TimeMs(time_ms)
    forward = opening.forward * spot
    vols = np.where(option, opening.vol * vol, np.nan)
    contracts = [one.contract for one in universe.instruments]
    price = black76(
        forward=forward,
        strike=np.array([float(one.strike or 0) for one in contracts]),
        years=universe.years(later),
        vol=np.nan_to_num(vols),
        side=np.where(universe.is_call, 1.0, -1.0),
    )
    worth = np.where(universe.inverse, price / forward, price)
    mark = np.where(option, worth, opening.mark * spot)
    nothing = np.full(len(universe), np.nan)
    return assemble(
        Quotes(
            instruments=universe.instruments, index=opening.index_by_instrument * spot,
            forward=forward, mark=mark, vol=vols, bid=nothing, ask=nothing,
            rate=opening.rate, time_ms=later - opening.age_ms,
        ),
        as_of_ms=later,
    )  # fmt: skip
