"""A rulebook of formulas over numbers between lines: `levels.columns`, for a whole width at once.

Rows and what joins them are those of the book way, and so is every number that no market moves.
What the market moves comes from `Tubes`. Rows of one underlying move along one segment together, so
that what is long here and short there nets. Where rows of several underlyings are added up, each
may be anywhere on its own: their lines are laid flat first, unless an account has just one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from solvent.errors import check
from solvent.expressions import Node
from solvent.margining.levels.columns import MARKET, Columns, coefficient_of
from solvent.margining.levels.form import FACTS, Form, scenario_key
from solvent.margining.levels.table import Tiers
from solvent.solvency.between import REDUCED, Between, Unbounded, apply, holds
from solvent.solvency.sums import Weights, added, members
from solvent.solvency.tubes import Tubes
from solvent.units import Float64

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

STEADY: Final = frozenset({"strike", "is_option", "is_call", "is_future", "is_perpetual", "inverse",
                           "contract_size", "lot_size", "tick_size"})  # fmt: skip
"""Facts of instruments that no market moves."""


class Moving:
    """Which formulas depend on the market; `entries`: also what positions were entered at, where a
    book does not say and the mark stands in."""

    def __init__(self, form: Form, numbers: Mapping[str, frozenset[str]], *, entries: bool) -> None:
        self.form, self._numbers = form, numbers
        self._told = {"underlying.index", "asset.price"}
        if entries:
            self._told |= {"position.entry_worth", "position.entry_price"}
        self._known: dict[str, bool] = {}

    def column(self, path: str) -> bool:
        """Whether a `level.column` does."""
        if path not in self._known:
            level, name = path.split(".")
            formula = self.form.columns.get(level, {}).get(name)
            if formula is not None:
                self._known[path] = self.node(formula.root)
            elif level == "instrument":
                self._known[path] = name in FACTS[level] and name not in STEADY
            else:
                self._known[path] = path in self._told
        return self._known[path]

    def node(self, node: Node) -> bool:
        """Whether a resolved formula does."""
        if node.operation == "column":
            return self.column(node.text)
        if node.operation == "scenario":
            one, name = node.text.split(".")
            return name not in self._numbers.get(one, frozenset())
        return any(self.node(part) for part in node.arguments)


@dataclass(slots=True)
class Groups:
    """How rows of a level are added up into rows of another: by underlying first where these mix
    several (`then` takes these sums on, and those of `apart` may move apart)."""

    of: Int64
    count: int
    shares: sparse.csc_matrix
    then: sparse.csc_matrix | None = None
    apart: Bool | None = None
    sizes: dict[int, Weights] = field(default_factory=dict)
    """Rows of a source → the lots of positions as weights of these."""


@dataclass(slots=True)
class FormulaLines:
    """Columns of a block of accounts at a width.

    `alone` [account] has one underlying, or none: all its numbers move along together. `unknown`
    [position] is the share of its lots whose entry price is not known.
    """

    columns: Columns
    tubes: Tubes
    width: int
    moving: Moving
    alone: Bool
    unknown: Float64
    _found: dict[tuple[str, str], Between] = field(default_factory=dict)
    _groups: dict[tuple[str, str], Groups] = field(default_factory=dict)

    def column(self, level: str, name: str) -> Between:
        """A column of a level that is not the market's. Raises Unbounded, saying where."""
        if (level, name) not in self._found:
            self._found[level, name] = self._column(level, name)
        return self._found[level, name]

    def _column(self, level: str, name: str) -> Between:
        if not self.moving.column(f"{level}.{name}"):
            return Between.exactly(self.columns.column(level, name))
        if (level, name) == ("asset", "price"):
            lines = self._source("asset.price", "asset", lambda view: view.asset_price)
            return lines.rows(self.columns.rows("asset").codes["asset"])
        if level == "position" and name in ("entry_worth", "entry_price"):
            return self._entry(name)
        formula = self.columns.form.columns[level][name]
        try:
            value = self.evaluate(formula.root, level)
        except Unbounded as fault:
            where = str(fault) if str(fault).startswith("at.") else f"at.{level}.{name}: {fault}"
            raise Unbounded(where) from fault
        return _wide(value, self.columns.rows(level).count)

    def evaluate(self, node: Node, level: str) -> Between:
        """A resolved formula at a level."""
        if not self.moving.node(node):
            return Between.exactly(self.columns.evaluate(node, level))
        match node.operation:
            case "column":
                return self._lower(node.text, level)
            case "scenario":
                key = scenario_key(node.text.split(".")[1])
                lines = self._source(node, key, lambda view: view.scenario(node.text))
                return lines.rows(self.columns.rows(level).codes[key])
            case "lookup" | "marginal":
                return self._tier(node, level)
            case "aggregate":
                return self._aggregate(node, level)
            case "spread":
                raise Unbounded(f"spreads {node.text} of amounts that move with prices")
        parts = [self.evaluate(part, level) for part in node.arguments]
        if node.operation in REDUCED:
            return REDUCED[node.operation](_by_scenario(parts[0]), *parts[1:])
        if node.operation in ("worst_place", "at_worst", "average_where"):
            raise Unbounded(f"{node.operation} of what moves with prices")
        return apply(node.operation, parts)

    def _entry(self, name: str) -> Between:
        """What a position was entered at, as far as the mark stands in for it."""
        rows = self.columns.rows("position")
        index = rows.codes["instrument"]
        if name == "entry_price":
            entry = self.column("position", "entry_worth")
            market = self.columns.market
            coin = rows_of(market, "inverse", index)
            inverse = coin * (1.0 - rows_of(market, "is_option", index))
            turned = apply("/", [Between.exactly(-1.0), entry])
            told = Between.exactly(rows.told["entry_price"])
            rate = rows.told["entry_worth"] / rows.told["entry_price"]
            plain = apply("/", [entry, Between.exactly(rate)])
            moved = apply("where", [Between.exactly(inverse), turned, plain])
            return apply("where", [Between.exactly(self.unknown), moved, told])
        worth = self._source(
            "instrument.worth", "instrument", lambda view: view.market.column("instrument", "worth")
        ).rows(index)
        base = rows_of(self.columns.market, "worth", index)
        share = Between.exactly(self.unknown)
        moved = apply("*", [share, apply("-", [worth, Between.exactly(base)])])
        told = Between.exactly(rows.told["entry_worth"])
        return apply("where", [share, apply("+", [told, moved]), told])

    def _source(self, name: object, key: str, read: Callable[[Any], Float64]) -> Between:
        return self.tubes.between(name, self.width, key, read)

    def _lower(self, path: str, level: str) -> Between:
        above, name = path.split(".")
        if above in MARKET:
            lines = self._source(path, above, lambda view: view.market.column(above, name))
            return lines.rows(self.columns.rows(level).codes[above])
        column = self.column(above, name)
        return column if level == above else column.rows(self.columns.join(level, above))

    # ── tiers ────────────────────────────────────────────────────────────────────────────────

    def _tier(self, node: Node, level: str) -> Between:
        table, entry = node.text.split(".")
        by = self.columns.form.text.tables[table].by
        tiers = Tiers.of(self.columns.tables[table], entry, self.columns.names[by])
        rows = self.columns.rows(level)
        x = _wide(self.evaluate(node.arguments[0], level), rows.count)
        key = rows.codes[by]
        if node.operation == "lookup":
            return looked_up(tiers, key, x)
        return added_up(tiers, key, x)

    # ── sums over the rows below ─────────────────────────────────────────────────────────────

    def _aggregate(self, node: Node, level: str) -> Between:
        below, kind = node.text.split(".")
        if kind not in ("sum", "max", "min", "any"):
            raise Unbounded(f"{below}.{kind} of what moves with prices")
        if kind == "sum":
            per_lot = coefficient_of(node.arguments[0], self.columns.form)
            if below == "position" and per_lot is not None and self.moving.node(per_lot):
                return self._exact_sum(per_lot, level)
            value = _wide(self.evaluate(node.arguments[0], below), self.columns.rows(below).count)
            by = self._grouped(below, level)
            return self._onward(by, added(by.shares, value))
        groups, count = self.columns.join(below, level), self.columns.rows(level).count
        value = _wide(self.evaluate(node.arguments[0], below), self.columns.rows(below).count)
        if kind == "any":
            return extreme(holds(value), groups, count)
        if self._parts(below, level):
            value = value.flat(~self._alone(below))
        if kind == "min":
            return apply("negative", [extreme(apply("negative", [value]), groups, count)])
        return extreme(value, groups, count)

    def _exact_sum(self, node: Node, level: str) -> Between:
        """Σ size · a number of the instrument."""
        lines = self._source(("per unit", node), "instrument", lambda view: view.per_unit(node))
        groups, count = self._grouped("position", level), lines.low.shape[2]
        if count not in groups.sizes:
            rows = self.columns.rows("position")
            groups.sizes[count] = Weights.of(
                rows.told["size"], index=rows.codes["instrument"], owner=groups.of,
                count=groups.count, rows=count,
            )  # fmt: skip
        return self._onward(groups, groups.sizes[count].sum(lines))

    def _grouped(self, below: str, level: str) -> Groups:
        """Rows below by the level's rows: by underlying first where the level mixes several."""
        if (below, level) not in self._groups:
            self._groups[below, level] = self._groups_of(below, level)
        return self._groups[below, level]

    def _groups_of(self, below: str, level: str) -> Groups:
        rows = self.columns.rows(below)
        groups, count = self.columns.join(below, level), self.columns.rows(level).count
        if not self._parts(below, level):
            return Groups(groups, count, members(groups, count))
        under = rows.codes["underlying"]
        many = int(under.max(initial=0)) + 1
        pairs, place = np.unique(groups * many + under, return_inverse=True)
        place, of = place.ravel(), pairs // many
        apart = ~self._alone(level)[of]
        return Groups(place, len(pairs), members(place, len(pairs)), members(of, count), apart)

    def _onward(self, groups: Groups, sums: Between) -> Between:
        """Sums by underlying added up once more, where there are several."""
        return sums if groups.then is None else added(groups.then, sums.flat(groups.apart))

    def _parts(self, below: str, level: str) -> bool:
        """Whether rows of several underlyings may lie in one row of the level."""
        return (
            "underlying" in self.columns.rows(below).codes
            and "underlying" not in self.columns.form.keys[level]
        )

    def _alone(self, level: str) -> Bool:
        return np.asarray(self.alone[self.columns.rows(level).codes["account"]])


def rows_of(market: Columns | None, name: str, index: Int64) -> Float64:
    """A fact of the instruments of rows."""
    check(market is not None, "positions are of a block, which has a market")
    assert market is not None
    return np.asarray(market.column("instrument", name)[index])


def _wide(value: Between, count: int) -> Between:
    """One number a row at least."""
    if value.dimensions:
        return value
    if value.fixed:
        return Between.exactly(np.broadcast_to(value.low[0, 0], (count,)))
    shape = (*value.low.shape, count)
    return Between(
        np.broadcast_to(value.low[..., None], shape), np.broadcast_to(value.high[..., None], shape)
    )


def _by_scenario(value: Between) -> Between:
    """One number a row is one scenario."""
    if value.dimensions > 1:
        return value
    return Between(value.low[..., None], value.high[..., None])


def extreme(value: Between, groups: Int64, count: int) -> Between:
    """The greatest of each group; 0 of an empty one. Below it is any of its lines, above it what is
    above all ends."""
    low = np.zeros((*value.low.shape[:2], count, *value.low.shape[3:]))
    high = np.zeros((*value.high.shape[:2], count, *value.high.shape[3:]))
    if len(groups) == 0:
        return Between(low, high)
    order = np.argsort(groups, kind="stable")
    there, starts = np.unique(groups[order], return_index=True)
    high[:, :, there] = np.maximum.reduceat(value.high[:, :, order], starts, axis=2)
    flat = value.low.shape[1] == 1 or bool((value.low[:, :1] == value.low[:, -1:]).all())
    if flat:
        low[:, :, there] = np.maximum.reduceat(value.low[:, :, order], starts, axis=2)
    else:
        least = np.minimum.reduceat(value.low[:, :, order], starts, axis=2)
        first = value.low[:, :, order[starts]]
        low[:, :, there] = np.where(np.isnan(least), np.nan, first)
    return Between(low, high)


def looked_up(tiers: Tiers, key: Int64, x: Between) -> Between:
    """The least and the greatest entry of the tiers that x may lie in."""
    least, most = _reach(x)
    first, last = (np.maximum(_reached(tiers, key, end) - 1, 0) for end in (least, most))
    place = np.arange(tiers.entry.shape[1])
    out = (place < first[:, None]) | (place > last[:, None])
    entry = tiers.entry[key]
    low, high = np.where(out, np.inf, entry).min(axis=1), np.where(out, -np.inf, entry).max(axis=1)
    unknown = np.isnan(least + most)
    return Between(np.where(unknown, np.nan, low)[None, None],
                   np.where(unknown, np.nan, high)[None, None])  # fmt: skip


def added_up(tiers: Tiers, key: Int64, x: Between) -> Between:
    """Σ of entry times part: a straight line inside a tier, rising where no entry is below 0."""
    least, most = _reach(x)
    first, last = (_reached(tiers, key, end) for end in (least, most))
    entry, begin = tiers.entry[key], tiers.begin[key]
    rising = ~(np.where(np.isfinite(begin), entry, 0.0) < 0.0).any(axis=1)
    ends = [tiers.marginal(key, end) for end in (least, most)]
    hull = Between(np.where(rising, ends[0], np.nan)[None, None],
                   np.where(rising, ends[1], np.nan)[None, None])  # fmt: skip
    rate = np.where(first > 0, entry[np.arange(len(key)), np.maximum(first - 1, 0)], 0.0)
    straight = apply("+", [
        apply("*", [Between.exactly(rate), x]), Between.exactly(ends[0] - rate * least),
    ])  # fmt: skip
    one = np.asarray(first == last)
    return Between(np.where(one, straight.low, hull.low), np.where(one, straight.high, hull.high))


def _reach(x: Between) -> tuple[Float64, Float64]:
    """The least and the most, with a hair on either side."""
    least, most = x.least(), x.most()
    return least - 1e-12 * np.abs(least), most + 1e-12 * np.abs(most)


def _reached(tiers: Tiers, key: Int64, x: Float64) -> Int64:
    """How many tiers have begun at x."""
    begin = tiers.begin[key]
    reached = np.where(tiers.closed[key][:, None], begin <= x[:, None], begin < x[:, None])
    return np.asarray(reached.sum(axis=1))
