"""A compiled market as it would be at other prices, volatilities, forwards and times.

The arrays that a rulebook is compiled against say enough of their market to price it again: index,
forwards, marks, volatilities, rates. What comes out is a *guess* from which bands are drawn; what
holds is checked against the arrays that a venue publishes, so that nothing rests on the guess.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from solvent.instruments import frozen
from solvent.margining.compile import AnyPlan, plan_of
from solvent.margining.levels.book import LevelsPlan
from solvent.margining.levels.market import shocking
from solvent.market import Flag, Snapshot
from solvent.market.snapshot import Curves
from solvent.risk import RiskArrays
from solvent.risk.arrays import publish, revalue
from solvent.scenarios import Tables
from solvent.scenarios.expand import expand
from solvent.units import Float64, TimeMs


def shifted(
    plan: AnyPlan, *, price: float = 0.0, vol: float = 0.0, basis: float = 0.0, time_ms: int = 0,
    offset: Float64 | None = None,
) -> AnyPlan:  # fmt: skip
    """The plan with all prices, volatilities and forwards moved by shares of themselves, later.

    Options keep what their marks differ from the model by: `offset`, as `offset_of` the plan tells
    it once for many calls. Raises RulebookError where the rulebook
    has no numbers at those prices.
    """
    arrays, rulebook = plan.arrays, plan.rulebook
    snapshot = _snapshot(arrays, price=price, vol=vol, basis=basis, time_ms=time_ms)
    if not (price or vol or basis or time_ms):
        offset = np.zeros(len(arrays.universe))
    elif offset is None:
        offset = offset_of(plan)
    option = arrays.universe.is_option
    mark = np.where(option, _model(snapshot) + offset, snapshot.mark)
    marked = replace(snapshot, mark=frozen(np.maximum(mark, 0.0)))
    if isinstance(plan, LevelsPlan):
        need = shocking(plan.rulebook)
        made = publish(marked, sets=need.sets, rules=need.rules, tables=need.tables)
    else:
        own = plan.rulebook
        made = publish(marked, sets=own.sets, rules=own.rules, tables=own.tables)
    return plan_of(rulebook, made)


def offset_of(plan: AnyPlan) -> Float64:
    """[instrument] what marks differ from the model by."""
    return np.asarray(plan.arrays.fields["mark"] - _model(_snapshot(plan.arrays)))


def _snapshot(
    arrays: RiskArrays, *, price: float = 0.0, vol: float = 0.0, basis: float = 0.0,
    time_ms: int = 0,
) -> Snapshot:  # fmt: skip
    """A market from what its arrays tell of it; a curve of its own for every dated contract."""
    universe, facts = arrays.universe, arrays.fields
    count, factor = len(universe), 1.0 + price
    forward = facts["forward"] * factor * (1.0 + basis)
    dated = np.flatnonzero(universe.expiry_ms > 0)
    curve = np.full(count, -1, dtype=np.int32)
    curve[dated] = np.arange(len(dated))
    zero = np.zeros(count)
    return Snapshot(
        as_of_ms=TimeMs(arrays.as_of_ms + time_ms),
        universe=universe,
        index=frozen(arrays.index * factor),
        curves=Curves(
            underlying=frozen(universe.underlying[dated]),
            settlement=frozen(universe.settlement[dated]),
            expiry_ms=frozen(universe.expiry_ms[dated]),
            forward=frozen(forward[dated]),
            rate=frozen(facts["rate"][dated]),
            by_parity=frozen(np.zeros(len(dated), dtype=bool)),
        ),
        curve=frozen(curve),
        forward=frozen(forward),
        mark_forward=frozen(forward),
        mark=frozen(facts["mark"] * np.where(universe.is_option, 1.0, factor * (1.0 + basis))),
        vol=frozen(facts["iv"] * (1.0 + vol)),
        bid=frozen(zero),
        ask=frozen(zero),
        age_ms=frozen(np.zeros(count, dtype=np.int64)),
        flags=frozen(
            np.where(arrays.usable, Flag.FINE, Flag.OUT_OF_RANGE).astype(np.uint16)
        ),
    )  # fmt: skip


def _model(snapshot: Snapshot) -> Float64:
    """What the model says that each instrument is worth, per unit of size."""
    shocks = expand((), rules={}, tables=Tables((), {}), snapshot=snapshot)
    worth = revalue(snapshot, shocks, snapshot.usable)[:, -1]
    return np.where(snapshot.usable, worth, snapshot.mark)
