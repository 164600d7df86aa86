"""Scenario sets on a snapshot: the arrays that pricing and the margin tree read.

Scenarios are numbered set by set, and within a set by move, then volatility, then basis; joint
shocks as they are told. A market coordinate that several scenarios share (a volatility after a
shock, a growth of the forward) is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from solvent.errors import RulebookError, check
from solvent.expressions import Expression, parse
from solvent.instruments.contract import moment_of
from solvent.limits import SCENARIOS_MAX
from solvent.market import Snapshot
from solvent.scenarios.joint import JointShocks
from solvent.scenarios.scenario import (
    JOINT_VOL,
    PROBABILITY,
    SAME_VOL,
    TIME_MS,
    ScenarioSet,
    VolRule,
)
from solvent.scenarios.surfaces import moves_surface, shocked_vol
from solvent.scenarios.tables import Tables
from solvent.units import DAY_MS, MINUTE_MS, YEAR_MS, Float64, TimeMs

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shocks:
    """Expanded scenarios.

    Attributes:
        set_names: [scenario] → name of its set.
        vol_names: [scenario] → name of its volatility rule, `joint` for joint shocks.
        move: [underlying, scenario] relative move; 0 where a parameter is unset.
        growth: [growth row, scenario] F′/F; a row a curve, then a row an underlying.
        growth_row: [instrument] → row of `growth`.
        vol_state: [scenario] → column of `vol` and `years`.
        vol, years: [instrument, vol state].
        known: [underlying] whether every parameter that the moves need is set.
        vol_known: [instrument, vol state] whether every parameter that the rule needs is set.
        numbers: set → name → [scenario of the set] what its scenarios carry besides; joint shocks
            carry `probability` and `time_ms`.
        missing: underlying → the joint set that has no row for it.
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
    missing: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.set_names)

    def label(self, scenario: int, underlying: int) -> str:
        """A scenario in words: `spot -16.00 %, vol up`; a joint one by its day or its place."""
        move = 100.0 * self.move[underlying, scenario]
        if not self.is_joint(scenario):
            return f"spot {move:+.2f} %, vol {self.vol_names[scenario]}"
        return f"{self.moment(scenario)}, spot {move:+.2f} %"

    def is_joint(self, scenario: int) -> bool:
        """Whether a scenario is one of a set of joint shocks."""
        return self.vol_names[scenario] == JOINT_VOL

    def moment(self, scenario: int) -> str:
        """The end of the window that a joint scenario is from, or its place in its set."""
        name = self.set_names[scenario]
        place = scenario - self.set_names.index(name)
        times = self.numbers.get(name, {}).get(TIME_MS)
        if times is None or times[place] <= 0.0:
            return f"{name} {place + 1}"
        return f"{moment_of(TimeMs(int(times[place]))):%Y-%m-%d %H:%M}"


def expand(
    sets: Sequence[ScenarioSet],
    *,
    rules: Mapping[str, VolRule],
    tables: Tables,
    snapshot: Snapshot,
) -> Shocks:
    """Expand sets on a snapshot.

    Raises RulebookError where an expression has no finite value, and for a joint set whose shocks
    nobody brought.
    """
    for one in sets:
        if one.is_joint and one.told is None:
            raise RulebookError(f"scenarios.{one.name}: expected joint shocks, found none")
    check(sum(map(len, sets)) <= SCENARIOS_MAX, "scenarios within their limit")
    sets = sets or (ScenarioSet(name="unmoved", moves=(parse("0"),)),)
    spans = _spans(sets)
    move, known, missing = _moves(spans, tables, snapshot)
    growth, growth_row = _growth(spans, move, snapshot)
    states = _States(spans)
    vol, years, vol_known = _vol_states(states, rules, tables, snapshot, known)
    return Shocks(
        set_names=tuple(one.name for one in sets for _ in range(len(one))),
        vol_names=tuple(name for one in sets for name in _vols_of(one)),
        move=move,
        growth=growth,
        growth_row=growth_row,
        vol_state=states.column,
        vol=vol,
        years=years,
        known=known,
        vol_known=vol_known,
        numbers={one.name: _numbers(one) for one in sets},
        missing=missing,
    )


_Spans = Sequence[tuple[ScenarioSet, slice]]


def _spans(sets: Sequence[ScenarioSet]) -> _Spans:
    """Each set and which scenarios are its own."""
    ends = np.cumsum([len(one) for one in sets]).tolist()
    return [(one, slice(end - len(one), end)) for one, end in zip(sets, ends, strict=True)]


def _vols_of(one: ScenarioSet) -> list[str]:
    return [JOINT_VOL] * len(one) if one.told is not None else [point.vol for point in one]


def _numbers(one: ScenarioSet) -> dict[str, Float64]:
    if one.told is not None:
        return {PROBABILITY: one.told.weight, TIME_MS: one.told.time_ms.astype(np.float64)}
    return {
        name: np.array([point.numbers.get(name, otherwise) for point in one])
        for name, otherwise in one.numbers.items()
    }


def _moves(
    spans: _Spans, tables: Tables, snapshot: Snapshot
) -> tuple[Float64, Bool, dict[int, str]]:
    columns = {"index": snapshot.index, **tables.by_underlying(snapshot.universe)}
    move = np.empty((len(snapshot.index), spans[-1][1].stop))
    missing: dict[int, str] = {}
    for one, span in spans:
        if one.told is not None:
            move[:, span] = of_underlyings(one.told, "move", snapshot, otherwise=np.nan)
            for row in np.flatnonzero(np.isnan(move[:, span.start])).tolist():
                missing.setdefault(row, one.name)
            continue
        for scenario, point in enumerate(one, start=span.start):
            move[:, scenario] = evaluate(point.move, columns, what=f"a move of {one.name!r}")
    known = np.asarray(np.isfinite(move).all(axis=1))
    move[~known] = 0.0
    if bool((move <= -1.0).any()):
        scenario = int((move <= -1.0).any(axis=0).argmax())
        name = next(one.name for one, span in spans if scenario < span.stop)
        raise RulebookError(f"a move of {name!r} must be above -100 %, found {move.min():.2%}")
    return move, known, missing


def of_underlyings(
    told: JointShocks, part: str, snapshot: Snapshot, *, otherwise: float
) -> Float64:
    """[underlying, scenario] of a snapshot; `otherwise` for one that has no row."""
    rows = {name: row for row, name in enumerate(told.underlyings)}
    numbers: Float64 = getattr(told, part)
    found = np.full((len(snapshot.index), len(told)), otherwise)
    for place, name in enumerate(snapshot.universe.underlyings):
        if name in rows:
            found[place] = numbers[rows[name]]
    return found


def _growth(spans: _Spans, move: Float64, snapshot: Snapshot) -> tuple[Float64, Int32]:
    """F′/F: (1 + move), and on a dated curve e^(basis·T) besides.

    Of a price that is an average, only the part moves that is still to be averaged.
    """
    curves, universe = snapshot.curves, snapshot.universe
    basis = np.empty(move.shape)
    span_ms = np.empty(move.shape[1])
    for one, span in spans:
        span_ms[span] = one.averaging_minutes * MINUTE_MS
        if one.told is not None:
            basis[:, span] = of_underlyings(one.told, "basis", snapshot, otherwise=0.0)
        else:
            basis[:, span] = np.array([point.basis for point in one])
    left_ms = np.maximum(curves.expiry_ms - snapshot.as_of_ms, 0)
    moving = np.where(span_ms > 0.0, left_ms[:, None] / np.maximum(span_ms, 1.0), 1.0)
    moved = 1.0 + move[curves.underlying] * np.minimum(moving, 1.0)
    dated = moved * np.exp((left_ms / YEAR_MS)[:, None] * basis[curves.underlying])
    growth = np.concatenate([dated, 1.0 + move])
    row = np.where(snapshot.curve >= 0, snapshot.curve, len(curves) + universe.underlying)
    return growth, row.astype(np.int32)


class _States:
    """What volatilities and times to expiry there are: of rules, then a column a joint shock.

    Attributes:
        named: (rule, days that pass), in order. joint: sets whose surfaces move, and the first
            column of each. column: [scenario] → column. count: of columns.
    """

    def __init__(self, spans: _Spans) -> None:
        self.joint: list[tuple[ScenarioSet, JointShocks, int]] = []
        self.named = sorted({state for one, _ in spans for state in _named_states(one)})
        at = {state: column for column, state in enumerate(self.named)}
        self.column = np.zeros(spans[-1][1].stop, dtype=np.int32)
        self.count = len(self.named)
        for one, span in spans:
            named = _named_states(one)
            if named:
                self.column[span] = [at[state] for state in named]
            elif one.told is not None:
                self.joint.append((one, one.told, self.count))
                self.column[span] = self.count + np.arange(len(one))
                self.count += len(one)


def _named_states(one: ScenarioSet) -> list[tuple[str, float]]:
    """[scenario] rule and days that pass; nothing for joint shocks that move surfaces."""
    if one.told is None:
        return [(point.vol, one.roll_days) for point in one]
    return [] if moves_surface(one.told) else [(SAME_VOL, one.roll_days)] * len(one)


def _vol_states(
    states: _States,
    rules: Mapping[str, VolRule],
    tables: Tables,
    snapshot: Snapshot,
    known: Bool,
) -> tuple[Float64, Float64, Bool]:
    universe, years = snapshot.universe, snapshot.years
    live = universe.is_option & snapshot.usable & known[universe.underlying]
    vol = np.repeat(snapshot.vol[:, None], states.count, axis=1)
    left = np.repeat(years[:, None], states.count, axis=1)
    vol_known = np.ones(vol.shape, dtype=bool)
    for column, (name, roll_days) in enumerate(states.named):
        left[:, column] = np.maximum(years - roll_days * DAY_MS / YEAR_MS, 0.0)
        if name == SAME_VOL:
            continue
        if name not in rules:
            raise RulebookError(f"no volatility rule {name!r}; there are {sorted(rules)}")
        shocked, told = _by_rule(rules[name], tables, snapshot, live)
        vol[:, column] = np.where(told, shocked, snapshot.vol)
        vol_known[:, column] = told | ~live
    for one, joint, first in states.joint:
        span = slice(first, first + len(joint))
        left[:, span] = np.maximum(years - one.roll_days * DAY_MS / YEAR_MS, 0.0)[:, None]
        parts = {
            part: of_underlyings(joint, part, snapshot, otherwise=0.0)
            for part in ("level", "skew", "term")
        }
        vol[:, span] = shocked_vol(snapshot, live, **parts)
    return vol, left, vol_known


def _by_rule(rule: VolRule, tables: Tables, snapshot: Snapshot, live: Bool) -> tuple[Float64, Bool]:
    """[instrument] volatility after a rule, and whether the rule has all its numbers there."""
    universe, years = snapshot.universe, snapshot.years
    columns = {
        "iv": snapshot.vol,
        "years": years,
        "days": np.maximum(years * 365.0, 1.0 / 86_400.0),
        "strike": universe.strike,
        "forward": snapshot.forward,
        **tables.by_instrument(universe),
    }
    shocked = evaluate(rule.shocked, columns, what=f"volatility rule {rule.name!r}")
    # A coin without the rule's numbers keeps its vol here; its positions are refused later.
    told = live & ~np.any([np.isnan(columns[one]) for one in rule.shocked.names], axis=0)
    broken = told & ~((shocked >= 0.0) & (shocked < np.inf))
    if bool(broken.any()):
        first = universe.symbols[int(np.flatnonzero(broken)[0])]
        raise RulebookError(f"volatility rule {rule.name!r} gives no vol for {first}")
    return shocked, told


def evaluate(expression: Expression, columns: Mapping[str, Float64], *, what: str) -> Float64:
    """An expression over columns; NaN where a parameter is unset. Names must exist."""
    unknown = expression.names - set(columns)
    if unknown:
        raise RulebookError(f"{what} uses {sorted(unknown)}, which this rulebook does not set")
    with np.errstate(all="ignore"):
        return np.asarray(expression(columns), dtype=np.float64)
