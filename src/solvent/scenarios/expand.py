"""Scenario sets on a snapshot: the arrays that pricing and the margin tree read.

Scenarios are numbered set by set, and within a set by move, then volatility, then basis. A market
coordinate that several scenarios share (a volatility after a shock, a growth of the forward) is
computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.errors import RulebookError, check
from solvent.expressions import Expression, parse
from solvent.limits import SCENARIOS_MAX
from solvent.market import Snapshot
from solvent.scenarios.scenario import SAME_VOL, Point, ScenarioSet, VolRule
from solvent.scenarios.tables import Tables
from solvent.units import DAY_MS, MINUTE_MS, YEAR_MS, Float64

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shocks:
    """Expanded scenarios.

    Attributes:
        set_names: [scenario] → name of its set.
        vol_names: [scenario] → name of its volatility rule.
        move: [underlying, scenario] relative move; 0 where a parameter is unset.
        growth: [growth row, scenario] F′/F; a row a curve, then a row an underlying.
        growth_row: [instrument] → row of `growth`.
        vol_state: [scenario] → column of `vol` and `years`.
        vol, years: [instrument, vol state].
        known: [underlying] whether every parameter that the moves need is set.
        vol_known: [instrument, vol state] whether every parameter that the rule needs is set.
        numbers: set → name → [scenario of the set] what its scenarios carry besides.
    """

    set_names: tuple[str, ...]
    vol_names: tuple[str, ...]
    move: Float64
    growth: Float64
    growth_row: Int32
    vol_state: Int32
    vol: Float64
    years: Float64
    known: Bool
    vol_known: Bool
    numbers: Mapping[str, Mapping[str, Float64]]

    def __len__(self) -> int:
        return len(self.set_names)

    def label(self, scenario: int, underlying: int) -> str:
        """A scenario in words, such as `spot -16.00 %, vol up`."""
        move = 100.0 * self.move[underlying, scenario]
        return f"spot {move:+.2f} %, vol {self.vol_names[scenario]}"


def expand(
    sets: Sequence[ScenarioSet],
    *,
    rules: Mapping[str, VolRule],
    tables: Tables,
    snapshot: Snapshot,
) -> Shocks:
    """Expand sets on a snapshot. Raises RulebookError where an expression has no finite value."""
    check(sum(map(len, sets)) <= SCENARIOS_MAX, "scenarios within their limit")
    sets = sets or (ScenarioSet(name="unmoved", moves=(parse("0"),)),)
    cells = [(one, point) for one in sets for point in one]
    move, known = _moves(cells, tables, snapshot)
    states = sorted({(point.vol, one.roll_days) for one, point in cells})
    growth, growth_row = _growth(cells, move, snapshot)
    vol, years, vol_known = _vol_states(states, rules, tables, snapshot, known)
    at = {state: column for column, state in enumerate(states)}
    return Shocks(
        set_names=tuple(one.name for one, _ in cells),
        vol_names=tuple(point.vol for _, point in cells),
        move=move,
        growth=growth,
        growth_row=growth_row,
        vol_state=np.array([at[point.vol, one.roll_days] for one, point in cells], dtype=np.int32),
        vol=vol,
        years=years,
        known=known,
        vol_known=vol_known,
        numbers={one.name: _numbers(one) for one in sets},
    )


_Cell = tuple[ScenarioSet, Point]


def _numbers(one: ScenarioSet) -> dict[str, Float64]:
    return {
        name: np.array([point.numbers.get(name, otherwise) for point in one])
        for name, otherwise in one.numbers.items()
    }


def _moves(cells: Sequence[_Cell], tables: Tables, snapshot: Snapshot) -> tuple[Float64, Bool]:
    columns = {"index": snapshot.index, **tables.by_underlying(snapshot.universe)}
    shape = (len(snapshot.index), len(cells))
    move = np.empty(shape)
    for scenario, (one, point) in enumerate(cells):
        move[:, scenario] = evaluate(point.move, columns, what=f"a move of {one.name!r}")
    known = np.asarray(np.isfinite(move).all(axis=1))
    move[~known] = 0.0
    if bool((move <= -1.0).any()):
        name = cells[int((move <= -1.0).any(axis=0).argmax())][0].name
        raise RulebookError(f"a move of {name!r} must be above -100 %, found {move.min():.2%}")
    return move, known


def _growth(cells: Sequence[_Cell], move: Float64, snapshot: Snapshot) -> tuple[Float64, Int32]:
    """F′/F: (1 + move), and on a dated curve e^(basis·T) besides.

    Of a price that is an average, only the part moves that is still to be averaged.
    """
    curves, universe = snapshot.curves, snapshot.universe
    basis = np.array([point.basis for _, point in cells])
    left_ms = np.maximum(curves.expiry_ms - snapshot.as_of_ms, 0)
    span_ms = np.array([one.averaging_minutes for one, _ in cells]) * MINUTE_MS
    moving = np.where(span_ms > 0.0, left_ms[:, None] / np.maximum(span_ms, 1.0), 1.0)
    moved = 1.0 + move[curves.underlying] * np.minimum(moving, 1.0)
    dated = moved * np.exp(np.outer(left_ms / YEAR_MS, basis))
    growth = np.concatenate([dated, 1.0 + move])
    row = np.where(snapshot.curve >= 0, snapshot.curve, len(curves) + universe.underlying)
    return growth, row.astype(np.int32)


def _vol_states(
    states: Sequence[tuple[str, float]],
    rules: Mapping[str, VolRule],
    tables: Tables,
    snapshot: Snapshot,
    known: Bool,
) -> tuple[Float64, Float64, Bool]:
    universe, years = snapshot.universe, snapshot.years
    columns = {
        "iv": snapshot.vol,
        "years": years,
        "days": np.maximum(years * 365.0, 1.0 / 86_400.0),
        "strike": universe.strike,
        "forward": snapshot.forward,
        **tables.by_instrument(universe),
    }
    live = universe.is_option & snapshot.usable & known[universe.underlying]
    vol = np.repeat(snapshot.vol[:, None], len(states), axis=1)
    left = np.repeat(years[:, None], len(states), axis=1)
    vol_known = np.ones(vol.shape, dtype=bool)
    for column, (name, roll_days) in enumerate(states):
        left[:, column] = np.maximum(years - roll_days * DAY_MS / YEAR_MS, 0.0)
        if name == SAME_VOL:
            continue
        if name not in rules:
            raise RulebookError(f"no volatility rule {name!r}; there are {sorted(rules)}")
        rule = rules[name].shocked
        shocked = evaluate(rule, columns, what=f"volatility rule {name!r}")
        # A coin without the rule's numbers keeps its vol here; its positions are refused later.
        told = live & ~np.any([np.isnan(columns[one]) for one in rule.names], axis=0)
        broken = told & ~((shocked >= 0.0) & (shocked < np.inf))
        if bool(broken.any()):
            first = universe.symbols[int(np.flatnonzero(broken)[0])]
            raise RulebookError(f"volatility rule {name!r} gives no vol for {first}")
        vol[:, column] = np.where(told, shocked, snapshot.vol)
        vol_known[:, column] = told | ~live
    return vol, left, vol_known


def evaluate(expression: Expression, columns: Mapping[str, Float64], *, what: str) -> Float64:
    """An expression over columns; NaN where a parameter is unset. Names must exist."""
    unknown = expression.names - set(columns)
    if unknown:
        raise RulebookError(f"{what} uses {sorted(unknown)}, which this rulebook does not set")
    with np.errstate(all="ignore"):
        return np.asarray(expression(columns), dtype=np.float64)
