"""Cases of clearing houses: SPAN's arrays, scenarios and a whole walk through it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

from solvent.conform.case import Case, Row
from solvent.conform.levels import number, rulebook
from solvent.expressions import parse
from solvent.feeds.spn import SpanCommodity, SpanContract, SpanFile
from solvent.margining.levels.rows import Sheet
from solvent.margining.levels.text import LegText, SpreadText
from solvent.rationals import RATIONALS

_EXACT = 1e-9
"""Told numbers are decimals of a few digits: what is left is the JSON's own binary rounding."""
_HOLDING = re.compile(r"(?:(long|short)\s+(\d+)|([+-]\s*\d+))\s+([A-Za-z]\w*(?:\s+[A-Za-z]+)*)")


# ── published risk arrays ────────────────────────────────────────────────────────────────────────


def arrays(path: Path) -> Iterator[Case]:
    """Portfolios of contracts whose risk arrays are published as profit of one position."""
    told = json.loads(path.read_text("utf-8"))
    units = {_kind(name): (_sign(name), array) for name, array in told["arrays"].items()}
    contracts = {
        kind: SpanContract(
            commodity="one", kind=kind, expiry="1", right="", strike=0.0, price=0.0,
            value_factor=1.0, losses=tuple(-sign * profit for profit in array), delta=0.0,
        )
        for kind, (sign, array) in units.items()
    }  # fmt: skip
    file = SpanFile(
        source=str(path),
        contracts=contracts,
        commodities={"one": SpanCommodity(code="one")},
    )
    for row in told["vectors"]:
        case = Case(row["portfolio"])
        asked = file.sheet(_holdings(row["portfolio"]))
        found = {
            "scan_risk": number(asked.value("commodity", "scanning_risk")),
            "active_scenario": number(asked.value("commodity", "active_scenario")),
        }
        for what in found.keys() & row.keys():
            case.expect(what, float(found[what]), row[what], _EXACT)
        pnl = asked.value("commodity", "pnl")
        assert isinstance(pnl, tuple)
        for n, (mine, theirs) in enumerate(zip(pnl, row["scenario_pnl"], strict=True), 1):
            case.expect(f"profit in scenario {n}", float(mine), theirs, _EXACT)
        yield case


def _holdings(portfolio: str) -> dict[str, float]:
    """Signed contracts by kind from words such as `short 1 Dec410 call` or `+1 fut -2 calls`."""
    sizes: dict[str, float] = {}
    for side, count, signed, what in _HOLDING.findall(portfolio):
        size = float(signed.replace(" ", "")) if signed else float(count)
        size = -size if side == "short" else size
        sizes[_kind(what)] = sizes.get(_kind(what), 0.0) + size
    return sizes


def _kind(words: str) -> str:
    for kind in ("call", "put"):
        if kind in words.lower():
            return kind
    return "future"


def _sign(name: str) -> int:
    return -1 if name.startswith("short") else 1


# ── the scenarios ────────────────────────────────────────────────────────────────────────────────


def scenarios(path: Path) -> Iterator[Case]:
    """The rulebook's own scenarios against a clearing house's table, or its extreme move alone."""
    for house, told in json.loads(path.read_text("utf-8")).items():
        case = Case(house)
        if "rows" in told:
            for row, cell in zip(told["rows"], _cells({}), strict=True):
                price, vol, weight = map(float, cell)
                case.expect(f"scenario {row['n']}: price", price, row["price"], _EXACT)
                case.expect(f"scenario {row['n']}: vol", vol, row["vol"], _EXACT)
                case.expect(f"scenario {row['n']}: weight", weight, row["weight"], _EXACT)
        else:
            extreme = told["extreme"]
            names = {"extreme_multiple": extreme["multiple"], "extreme_weight": extreme["weight"]}
            for sign, cell in zip((1, -1), _cells(names)[-2:], strict=True):
                price, vol, weight = map(float, cell)
                case.expect("price", price, sign * extreme["multiple"], _EXACT)
                case.expect("vol", vol, 0.0, _EXACT)
                case.expect("weight", weight, extreme["weight"], _EXACT)
        yield case


def _cells(parameters: Mapping[str, float]) -> list[tuple[Fraction, int, Fraction]]:
    """Move in ranges, volatility in ranges and weight of each scenario of the rulebook."""
    text = rulebook("span").text
    names = {
        "product.price_range": Fraction(1),
        **{
            name: Fraction(repr(value)) for name, value in {**text.parameters, **parameters}.items()
        },
    }
    vols = {"up": 1, "down": -1, "same": 0}
    cells = []
    for point in text.scenarios["scan"].points or []:
        weight = "1" if point.weight is None else str(point.weight)
        move = parse(str(point.move))(names, RATIONALS)
        cells.append((move, vols[point.vol], parse(weight)(names, RATIONALS)))
    return cells


# ── a whole portfolio ────────────────────────────────────────────────────────────────────────────

_OF_COMMODITY = {
    "scan": "scanning_risk", "intra": "calendar_charge", "wpr": "weighted_price_risk",
    "credit": "product_credit", "span": "span_risk", "som": "short_option_minimum",
    "nov": "net_option_value", "delta": "net_delta", "scenario": "active_scenario",
    "im": "requirement",
}  # fmt: skip
_OF_POOL = {"total": "maintenance", "spreads": "product_spreads"}


def walk(path: Path) -> Iterator[Case]:
    """Futures of several commodities: each gives its range, its months held, its spread charge."""
    told = json.loads(path.read_text("utf-8"))
    case = Case(path.stem)
    names = [name for name, one in told["input"].items() if "psr" in one]
    asked = _walked(names, told["input"], str(path))
    place = {row["underlying"]: n for n, row in enumerate(asked.rows("commodity"))}
    for what, expected in told["expected"].items():
        if what in _OF_POOL:
            found = asked.value("pool", _OF_POOL[what])
        else:
            word, name = what.rsplit("_", 1)
            found = asked.value("commodity", _OF_COMMODITY[word], place[name])
        case.expect(what, float(number(found)), expected, _EXACT)
    yield case


def _walked(names: list[str], told: Mapping[str, Any], source: str) -> Sheet:
    contracts = {
        f"{name} {month}": _future(name, month, told[name]["psr"])
        for name in names
        for month in told[name]["positions"]
    }
    calendars = {
        name: SpanCommodity(code=name, calendar=tuple(_calendar(name, told[name])))
        for name in names
    }
    between = told.get("inter")
    file = SpanFile(
        source=source,
        contracts=contracts,
        commodities=calendars,
        products=(_between(names, between),) if between else (),
    )
    sizes = {
        f"{name} {month}": size for name in names for month, size in told[name]["positions"].items()
    }
    return file.sheet(sizes)


def _future(name: str, month: str, price_range: float) -> SpanContract:
    losses = tuple(float(-move * weight) * price_range for move, _, weight in _cells({}))
    return SpanContract(
        commodity=name, kind="future", expiry=month, right="", strike=0.0, price=0.0,
        value_factor=1.0, losses=losses, delta=1.0,
    )  # fmt: skip


def _calendar(name: str, told: Row) -> Iterator[SpreadText]:
    """One rate for every pair of months, the nearest first."""
    for near, far in combinations(told["positions"] if "intra_rate" in told else (), 2):
        legs = [
            LegText(side="A", keys={"underlying": name, "expiry": near}),
            LegText(side="B", keys={"underlying": name, "expiry": far}),
        ]
        yield SpreadText(rate=told["intra_rate"], legs=legs)


def _between(names: list[str], told: Row) -> SpreadText:
    legs = [
        LegText(side="A" if n == 0 else "B", ratio=told[f"ratio_{name}"], keys={"underlying": name})
        for n, name in enumerate(name for name in names if f"ratio_{name}" in told)
    ]
    return SpreadText(rate=told["credit"], legs=legs)
