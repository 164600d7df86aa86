"""Price the market once: PnL per lot of every instrument under every scenario, quantised.

What leaves here is what an engine journals and a user may download: whole quanta of the settlement
asset per lot (1e-6 of a dollar, 1e-9 of a coin), rounded half-even once. No account is in sight.

Beside the scenario PnL stand additive columns per lot, whole quanta of their own scale:

| column | per lot | scale |
|---|---|---|
| `value` | what an option adds to equity at its mark; 0 for a future | settlement quanta |
| `worth` | the mark; of an inverse future −1/mark coin per dollar | settlement quanta |
| `delta` | coin that hedges it; of an inverse option Δ − V/F | 1e-10 coin |
| `gamma` | change of delta when the price rises 1 % | 1e-10 coin |
| `vega` | settlement asset per vol point | settlement quanta |
| `theta` | settlement asset per day | settlement quanta |
| `notional` | dollars at the index | cents |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.elementary import exp
from solvent.expressions import Expression
from solvent.instruments import Kind, Universe, frozen
from solvent.limits import EXACT_MAX
from solvent.market import BLOCKING, Flag, Snapshot
from solvent.pricing.black import value_cells
from solvent.pricing.greeks import DAYS_PER_YEAR, VOL_POINT, greeks
from solvent.pricing.grid import Grid, grid
from solvent.risk.product import quantised
from solvent.scenarios import ScenarioSet, Shocks, Tables, VolRule, expand
from solvent.scenarios.expand import evaluate
from solvent.units import Float64, TimeMs, quanta_per_unit, quantise

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

DELTA_PER_COIN: Final = 1e10
CENTS_PER_DOLLAR: Final = 100.0
FACTS: Final = ("forward", "mark", "iv", "rate")
"""Fields that come from the market, not from the universe or the moment."""
UNITS: Final = ("value", "worth", "notional", "delta", "gamma", "vega", "theta")
"""Columns per lot, in the table's order or another: names alone matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The pairs (underlying, settlement asset) of a universe: the finest nodes of every tree."""

    of_instrument: Int32
    underlying: Int32
    settlement: Int32
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskArrays:
    """Everything that margining needs to know of a market.

    Attributes:
        pnl: [instrument, scenario] whole quanta of the settlement asset per lot, `padded`.
        pnl_units: the same before rounding, in settlement units; what the exact way reads.
        model_units: [instrument] worth per lot without a shock, in settlement units.
        weight: [group, scenario] the factor that is in `pnl`; NaN where it is unset.
        columns: name → [instrument] whole quanta per lot. units: the same before rounding.
        scale: name → [instrument] quanta per unit of a column; `pnl` has one too.
        fields: name → [instrument] facts that a rulebook's expressions may use.
        usable: [instrument] can be margined, as far as the market goes.
        blocked: instrument that is not usable → what is wrong with its numbers.
        index: [underlying] dollars per coin.
    """

    as_of_ms: TimeMs
    universe: Universe
    shocks: Shocks
    groups: Groups
    index: Float64
    usable: Bool
    blocked: Mapping[int, str]
    pnl: Float64
    pnl_units: Float64
    model_units: Float64
    weight: Float64
    columns: Mapping[str, Float64]
    units: Mapping[str, Float64]
    scale: Mapping[str, Float64]
    fields: Mapping[str, Float64]

    @property
    def scenarios(self) -> int:
        """How many scenarios; `pnl` is wider by its padding."""
        return len(self.shocks)

    def price_of(self, asset: str) -> float:
        """Dollars per unit of an asset: its index, or 1 for what is no underlying (a dollar)."""
        names = self.universe.underlyings
        return float(self.index[names.index(asset)]) if asset in names else 1.0


def publish(
    snapshot: Snapshot,
    *,
    sets: Sequence[ScenarioSet],
    rules: Mapping[str, VolRule],
    tables: Tables,
) -> RiskArrays:
    """Revalue every instrument under every scenario and quantise the result once.

    An instrument whose numbers leave the exact range is not usable, as one that has none.
    """
    universe = snapshot.universe
    shocks = expand(sets, rules=rules, tables=tables, snapshot=snapshot)
    groups = groups_of(universe)
    usable = snapshot.usable & shocks.known[universe.underlying]
    worth = revalue(snapshot, shocks, usable)
    per_lot = universe.lot_size * universe.quanto_rate
    weight = _weight(universe, sets, shocks, groups, tables, snapshot.index)
    applied = np.nan_to_num(weight, nan=1.0)[groups.of_instrument]
    pnl_units = (worth[:, :-1] - worth[:, -1:]) * per_lot[:, None] * applied
    units = _columns(snapshot, worth[:, -1], usable)
    scale = scales_of(universe)
    usable &= exact(pnl_units, scale["pnl"])
    for name, column in units.items():
        usable &= exact(column, scale[name])
    pnl_units[~usable] = 0.0
    units = {name: frozen(np.where(usable, column, 0.0)) for name, column in units.items()}
    return RiskArrays(
        as_of_ms=snapshot.as_of_ms,
        universe=universe,
        shocks=shocks,
        groups=groups,
        index=snapshot.index,
        usable=frozen(usable),
        blocked=_blocked(snapshot, shocks, usable),
        pnl=quantised(pnl_units, quanta_per_unit=scale["pnl"][:, None]),
        pnl_units=frozen(pnl_units),
        model_units=frozen(np.where(usable, worth[:, -1] * per_lot, 0.0)),
        weight=frozen(weight),
        columns=columns_of(units, scale),
        units=units,
        scale=scale,
        fields=fields_of(
            universe,
            snapshot.as_of_ms,
            index=snapshot.index,
            facts={
                "forward": snapshot.forward,
                "mark": _marks(snapshot, worth[:, -1]),
                "iv": snapshot.vol,
                "rate": snapshot.rate,
            },
            units=units,
        ),
    )


def scales_of(universe: Universe) -> dict[str, Float64]:
    """Quanta per unit of the PnL and of every column, by instrument."""
    quanta = np.array([quanta_per_unit(name) for name in universe.settlements])
    settled = dict.fromkeys(("pnl", "value", "worth", "vega", "theta"), quanta[universe.settlement])
    coins = dict.fromkeys(("delta", "gamma"), np.full(len(universe), DELTA_PER_COIN))
    return settled | coins | {"notional": np.full(len(universe), CENTS_PER_DOLLAR)}


def columns_of(units: Mapping[str, Float64], scale: Mapping[str, Float64]) -> dict[str, Float64]:
    """Columns per lot in whole quanta."""
    return {
        name: frozen(quantise(column, quanta_per_unit=scale[name]))
        for name, column in units.items()
    }


def _blocked(snapshot: Snapshot, shocks: Shocks, usable: Bool) -> dict[int, str]:
    """Instruments that are not usable, and the flags that say why."""
    reasons: dict[int, str] = {}
    known = shocks.known[snapshot.universe.underlying]
    for row in np.flatnonzero(~usable).tolist():
        flags = Flag(int(snapshot.flags[row])) & BLOCKING
        if flags:
            reasons[row] = ", ".join(flag.name for flag in flags if flag.name)
        elif known[row]:
            reasons[row] = "beyond the exact range"
        else:
            reasons[row] = _not_known(snapshot.universe, shocks, row)
    return reasons


def _not_known(universe: Universe, shocks: Shocks, row: int) -> str:
    code = int(universe.underlying[row])
    if code in shocks.missing:
        name = universe.underlyings[code]
        return f"scenarios.{shocks.missing[code]} has no row for {name}"
    return "its shocks are not known"


def exact(amounts: Float64, scale: Float64) -> Bool:
    """[instrument] whether every amount is finite and, in quanta, inside the exact range."""
    rows = amounts.reshape(len(scale), -1)
    largest = np.maximum(rows.max(axis=1, initial=0.0), -rows.min(axis=1, initial=0.0))
    with np.errstate(over="ignore"):
        return np.asarray(largest * scale < EXACT_MAX)


def groups_of(universe: Universe) -> Groups:
    """Number the (underlying, settlement) pairs in canonical order."""
    pairs = np.column_stack([universe.underlying, universe.settlement])
    distinct, codes = np.unique(pairs, axis=0, return_inverse=True)
    names = tuple(f"{universe.underlyings[u]}/{universe.settlements[s]}" for u, s in distinct)
    return Groups(
        of_instrument=frozen(codes.ravel().astype(np.int32)),
        underlying=frozen(distinct[:, 0].astype(np.int32)),
        settlement=frozen(distinct[:, 1].astype(np.int32)),
        names=names,
    )


def revalue(snapshot: Snapshot, shocks: Shocks, usable: Bool) -> Float64:
    """Worth per unit of size by [instrument, scenario]; the last column is unshocked.

    In the quote currency, in coin for an inverse instrument. Rows that are not usable hold
    numbers of no meaning.
    """
    cells = market_grid(snapshot, shocks, usable)
    values = value_cells(cells)
    first = snapshot.universe.terms.first
    if len(values) == len(snapshot.universe):
        return values
    return np.add.reduceat(values, first[:-1], axis=0)


def market_grid(snapshot: Snapshot, shocks: Shocks, usable: Bool) -> Grid:
    """Every term of a universe under every scenario, and unshocked in one column more."""
    universe, terms = snapshot.universe, snapshot.universe.terms
    of, last_state = terms.instrument, shocks.vol.shape[1]
    vol = np.column_stack([shocks.vol, snapshot.vol])
    years = np.column_stack([shocks.years, snapshot.years])
    total_vol = np.where(usable[:, None], vol * np.sqrt(years), 0.0)
    discount = exp(-snapshot.rate * snapshot.years)
    return grid(
        forward=np.where(usable, snapshot.forward, 1.0)[of],
        strike=terms.strike,
        asset=terms.asset,
        cash=terms.cash,
        side=terms.side,
        scale=discount[of],
        inverse=universe.inverse[of],
        total_vol=total_vol[of],
        curve=shocks.growth_row[of],
        growth=np.column_stack([shocks.growth, np.ones(len(shocks.growth))]),
        vol_state=np.append(shocks.vol_state, last_state).astype(np.int32),
    )


def _weight(
    universe: Universe,
    sets: Sequence[ScenarioSet],
    shocks: Shocks,
    groups: Groups,
    tables: Tables,
    index: Float64,
) -> Float64:
    """Factor on the PnL by [group, scenario]; 1 where a set states none, NaN where it is unset."""
    weight = np.ones((len(groups), len(shocks)))
    parts: dict[tuple[str, Expression], list[int]] = {}
    start = 0
    for one in sets:
        # Joint shocks are told whole: their weights are probabilities, and change no PnL.
        for scenario, point in enumerate(() if one.told is not None else one, start=start):
            if point.weight is not None:
                parts.setdefault((one.name, point.weight), []).append(scenario)
        start += len(one)
    for (name, expression), scenarios in parts.items():
        mine = np.array(scenarios)
        columns = group_columns(universe, groups, shocks, tables, index, scenarios=mine)
        what = f"the weight of scenarios {name!r}"
        weight[:, mine] = evaluate(expression, columns, what=what)
    return weight


def group_columns(
    universe: Universe,
    groups: Groups,
    shocks: Shocks,
    tables: Tables,
    index: Float64,
    *,
    scenarios: NDArray[np.int64],
) -> dict[str, Float64]:
    """What an expression at a group may use; axes [group, scenario] or [group, 1].

    `move` is the scenario's, `index` dollars per coin, `coin` is 1 where the group settles in its
    own coin, `numeraire` is dollars per unit of the settlement asset.
    """
    by_underlying = tables.by_underlying(universe).items()
    by_settlement = tables.by_settlement(universe).items()
    coin = np.array([float(len(set(name.split("/"))) == 1) for name in groups.names])
    by_group = index[groups.underlying]
    return {
        **{name: column[groups.underlying, None] for name, column in by_underlying},
        **{name: column[groups.settlement, None] for name, column in by_settlement},
        "move": shocks.move[groups.underlying][:, scenarios],
        "index": by_group[:, None],
        "coin": coin[:, None],
        "numeraire": np.where(coin > 0, by_group, 1.0)[:, None],
    }


def _columns(snapshot: Snapshot, model: Float64, usable: Bool) -> dict[str, Float64]:
    """The additive columns per lot, in units."""
    universe = snapshot.universe
    lot = universe.lot_size * universe.quanto_rate
    optional = universe.is_option
    mark = _marks(snapshot, model)
    inverse_future = universe.inverse & ~optional
    safe_mark = np.where(snapshot.mark > 0, snapshot.mark, 1.0)
    coin_size = np.where(inverse_future, 1.0, snapshot.index_by_instrument)
    columns = {
        "value": np.where(optional, mark, 0.0) * lot,
        "worth": np.where(inverse_future, -1.0 / safe_mark, mark) * lot,
        "notional": coin_size * lot,
        **_greek_columns(snapshot, lot, usable),
    }
    return {name: np.where(usable, column, 0.0) for name, column in columns.items()}


def _marks(snapshot: Snapshot, model: Float64) -> Float64:
    """Marks; an option that the source gave none has the model's."""
    derived = ((snapshot.flags & Flag.MARK_DERIVED) != 0) & snapshot.universe.is_option
    return np.where(derived, model, snapshot.mark)


def _greek_columns(snapshot: Snapshot, lot: Float64, usable: Bool) -> dict[str, Float64]:
    universe, terms = snapshot.universe, snapshot.universe.terms
    of = terms.instrument
    forward = np.where(usable, snapshot.forward, 1.0)[of]
    g = greeks(
        forward=forward,
        strike=terms.strike,
        years=snapshot.years[of],
        vol=snapshot.vol[of],
        side=terms.side,
        asset=terms.asset,
        cash=terms.cash,
        rate=snapshot.rate[of],
    )
    inverse = universe.inverse[of]
    delta = np.where(inverse, g.delta - g.value / forward, g.delta)
    slope = np.where(inverse, g.gamma - g.delta / forward + g.value / (forward * forward), g.gamma)
    coin = np.where(inverse, forward, 1.0)
    by_term = {
        "delta": delta,
        "gamma": slope * forward * 0.01,
        "vega": g.vega * VOL_POINT / coin,
        "theta": g.theta / DAYS_PER_YEAR / coin,
    }
    first = terms.first[:-1]
    return {name: np.add.reduceat(column, first) * lot for name, column in by_term.items()}


def fields_of(
    universe: Universe,
    as_of_ms: TimeMs,
    *,
    index: Float64,
    facts: Mapping[str, Float64],
    units: Mapping[str, Float64],
) -> dict[str, Float64]:
    """Facts by instrument for a rulebook's expressions; all per lot or pure.

    `facts` are `FACTS`; what follows from the universe, the moment and the units is added here.
    """
    years = universe.years(as_of_ms)
    futures = (universe.kind == Kind.FUTURE) | (universe.kind == Kind.PERPETUAL)
    fields: dict[str, Float64] = {
        **facts,
        "index": index[universe.underlying],
        "strike": universe.strike,
        "years": years,
        "days": years * DAYS_PER_YEAR,
        "is_option": (universe.kind == Kind.OPTION).astype(np.float64),
        "is_call": universe.is_call.astype(np.float64),
        "is_future": futures.astype(np.float64),
        "is_dated": (universe.expiry_ms > 0).astype(np.float64),
        "coin": universe.inverse.astype(np.float64),
        "lot": universe.lot_size,
        **units,
    }
    return {name: frozen(np.array(column)) for name, column in fields.items()}
