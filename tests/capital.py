"""Books and rulebooks whose least margin is known, for tests of what saves capital."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from solvent import api
from solvent.feeds.synthetic_market import generate_market
from solvent.margining.plan import Plan
from solvent.margining.rulebook import read_rulebook
from solvent.margining.schema import RulebookText
from solvent.market import Snapshot
from solvent.market.moved import restricted

_GRID = """
schema = 1
name = "grid"
title = "Sixty-four scenarios, the worst of them"
venue = "tests"
summary = "A worst-case reduction and nothing else."
sources = ["tests"]

[vols.down]
shocked = "iv * 0.7"

[vols.up]
shocked = "iv * 1.3"

[vols.far]
shocked = "iv * 1.6"

[scenarios.grid]
moves = [-0.30, -0.24, -0.20, -0.16, -0.12, -0.08, -0.05, -0.02,
         0.02, 0.05, 0.08, 0.12, 0.16, 0.20, 0.24, 0.30]
vols = ["down", "same", "up", "far"]

[nodes.group]
by = ["underlying", "settlement"]
numeraire = "settlement"

[nodes.book]
by = ["underlying"]
numeraire = "dollar"

[scans.loss]
scenarios = ["grid"]
node = "group"
into = "book"
reduce = "worst"

[requirement]
node = "book"
initial = "loss"
maintenance = "0.8 * loss"

[[collateral]]
asset = "USDC"
haircut = 0.0
price = "par"
source = "tests"
"""


def rulebook(*, tail: float | None = None) -> RulebookText:
    """The worst of 64 scenarios, or the mean of the worst 1 − `tail` of them."""
    text = _GRID
    if tail is not None:
        text = text.replace('reduce = "worst"', f"reduce = {{ expected_shortfall = {tail} }}")
    read = read_rulebook(text, source="tests")
    assert isinstance(read, RulebookText)
    return read


@cache
def market(seed: int = 3) -> Snapshot:
    """Two hundred options and more on bitcoin, in dollars, and their futures."""
    whole = generate_market(seed=seed, coins=("BTC",), expiries=8, strikes=24)
    universe = whole.universe
    return restricted(whole, np.flatnonzero(~universe.inverse).tolist())


@cache
def plan(seed: int = 3, tail: float | None = None) -> Plan:
    return api.prepare(market(seed), rulebook(tail=tail))


def options(seed: int = 3) -> list[int]:
    universe = market(seed).universe
    return np.flatnonzero(universe.is_option).tolist()


def positions(
    rng: np.random.Generator, count: int, *, seed: int = 3, lots: int = 200
) -> list[dict[str, Any]]:
    """A book of options, more sold than bought."""
    universe = market(seed).universe
    held = rng.choice(options(seed), size=count, replace=False)
    size = rng.integers(-lots, lots // 2, count)
    size[size == 0] = -1
    return [
        {"account": "book", "instrument": universe.symbols[row],
         "size": float(n) * float(universe.lot_size[row])}
        for row, n in zip(held.tolist(), size.tolist(), strict=True)
    ]  # fmt: skip


def required(rows: list[dict[str, Any]], of: Plan) -> int:
    """Initial margin in millionths, by the plain call."""
    return int(api.margin(rows, of).initial_micro[0])


def with_trades(rows: list[dict[str, Any]], found: Any) -> list[dict[str, Any]]:
    """The book after a hedge's trades."""
    more = [
        {"account": rows[0]["account"], "instrument": one.symbol, "size": one.size}
        for one in found.trades
    ]
    return [*rows, *more]
