"""What a market brings to a rulebook of formulas: scenario sets to publish, facts, fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvent.expressions import parse
from solvent.instruments import Kind
from solvent.margining.levels.form import scenario_key
from solvent.margining.levels.rows import Row
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.margining.sets import scenario_set
from solvent.risk import RiskArrays
from solvent.scenarios import ScenarioSet, Table, Tables, VolRule
from solvent.units import Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Shocking:
    """What `risk.publish` needs of a rulebook."""

    sets: tuple[ScenarioSet, ...]
    rules: Mapping[str, VolRule]
    tables: Tables


def shocking(rulebook: LevelsRulebook) -> Shocking:
    """Scenario sets and volatility rules, and the tables that their formulas may use."""
    text = rulebook.text
    tables = []
    for name, table in text.tables.items():
        if table.by in ("underlying", "settlement"):
            rows = {
                key: {entry: x for entry, x in values.items() if isinstance(x, int | float)}
                for key, values in rulebook.tables[name].items()
            }
            # No key is empty: this only makes what is wanted a column without numbers.
            rows[""] = dict.fromkeys(table.wanted, np.nan)
            tables.append(Table(name=name, by=table.by, rows=rows))
    return Shocking(
        sets=tuple(
            scenario_set(name, one, parse(one.weight) if one.weight else None)
            for name, one in text.scenarios.items()
        ),
        rules={
            name: VolRule(name=name, shocked=vol.expression()) for name, vol in text.vols.items()
        },
        tables=Tables(tuple(tables), text.parameters),
    )


def facts(arrays: RiskArrays) -> dict[str, Float64]:
    """`form.FACTS` of every instrument; axis: instrument."""
    universe = arrays.universe
    lot = universe.lot_size
    dollars = np.array([arrays.price_of(name) for name in universe.settlements])
    perpetual = universe.kind == Kind.PERPETUAL
    shared = ("index", "forward", "mark", "strike", "iv", "years", "days", "rate", "is_option",
              "is_call", "is_future")  # fmt: skip
    return {
        **{name: arrays.fields[name] for name in shared},
        "is_perpetual": perpetual.astype(np.float64),
        "inverse": universe.inverse.astype(np.float64),
        "contract_size": np.ones(len(universe)),
        "lot_size": lot,
        "tick_size": universe.tick_size,
        "settlement_price": dollars[universe.settlement],
        "model": arrays.model_units / lot,
        **{
            name: arrays.units[name] / lot
            for name in ("worth", "value", "delta", "gamma", "vega", "theta")
        },
    }


def scenario_fields(arrays: RiskArrays) -> dict[str, dict[str, Float64]]:
    """set → `pnl value weight` by [instrument, scenario]; `move` and the set's own numbers by
    [underlying, scenario].

    NaN where an instrument is not usable, or where a number of a volatility rule or of a weight is
    not set for it.
    """
    lot = arrays.universe.lot_size[:, None]
    shocks = arrays.shocks
    names = np.array(shocks.set_names)
    fields = {}
    for name in dict.fromkeys(shocks.set_names):
        mine = np.flatnonzero(names == name)
        weight = arrays.weight[arrays.groups.of_instrument][:, mine]
        known = arrays.usable[:, None] & shocks.vol_known[:, shocks.vol_state[mine]]
        pnl = np.where(known & ~np.isnan(weight), arrays.pnl_units[:, mine], np.nan)
        unweighted = np.divide(pnl, weight, where=weight != 0.0, out=np.zeros_like(pnl))
        fields[name] = {
            "pnl": pnl / lot,
            "value": (unweighted + arrays.model_units[:, None]) / lot,
            "weight": weight,
            "move": np.where(shocks.known[:, None], shocks.move[:, mine], np.nan),
            **{
                number: np.tile(column, (len(shocks.known), 1))
                for number, column in shocks.numbers.get(name, {}).items()
            },
        }
    return fields


def instrument_rows(arrays: RiskArrays) -> list[Row]:
    """Every instrument as a told row of the exact way: its keys and facts."""
    universe = arrays.universe
    columns = facts(arrays)
    return [
        {
            "instrument": universe.symbols[i],
            "underlying": universe.underlyings[universe.underlying[i]],
            "settlement": universe.settlements[universe.settlement[i]],
            "expiry": int(universe.expiry_ms[i]),
            "kind": Kind(int(universe.kind[i])).name.lower(),
            "right": "call" if universe.is_call[i] else "put" if universe.is_option[i] else "",
            **{name: float(column[i]) for name, column in columns.items()},
        }
        for i in range(len(universe))
    ]


def scenario_rows(arrays: RiskArrays) -> dict[str, dict[str, dict[Any, tuple[float, ...]]]]:
    """`scenario_fields` by name, as the exact way takes them."""
    universe = arrays.universe
    names = {"instrument": universe.symbols, "underlying": universe.underlyings}
    return {
        one: {
            field: {
                key: tuple(map(float, row))
                for key, row in zip(names[scenario_key(field)], rows, strict=True)
            }
            for field, rows in by_field.items()
        }
        for one, by_field in scenario_fields(arrays).items()
    }
