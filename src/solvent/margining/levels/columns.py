"""The book way: every column of a level as one array, over a block of accounts at a time.

What depends on the market alone (levels `instrument` and `underlying`) is computed once and shared
by all blocks. A sum over positions of size times a number of the instrument is an exact product of
whole lots and whole quanta (`risk.product`), so no order of positions changes a bit of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from solvent.errors import check
from solvent.expressions import Node
from solvent.limits import EXACT_MAX
from solvent.margining.levels.arithmetic import ELEMENTWISE, REDUCTIONS, aligned
from solvent.margining.levels.form import SOURCES, Form, scenario_key
from solvent.margining.levels.matching import match_groups
from solvent.margining.levels.payoff import least_payoffs
from solvent.margining.levels.queue import ahead, beyond
from solvent.margining.levels.table import Tiers, by_key
from solvent.margining.levels.text import SpreadText
from solvent.risk import product
from solvent.units import Float64, quantise

Int64 = NDArray[np.int64]
MARKET: Final = ("instrument", "underlying")
TOLD: Final = ("position", "order", "asset")
_ORDER: Final = ("account", "pool", "asset", "underlying", "settlement", "expiry", "kind", "strike",
                 "right", "instrument", "side", "order")  # fmt: skip
"""Keys from the most to the least significant: positions in canonical order are in this order."""
_COARSE_BITS: Final = 20
_FINE_BITS: Final = 60
"""A number per lot is the sum of whole quanta of 2^-20 and of what they leave in quanta of 2^-60.

Both sums are exact while they stay below 2^53 quanta: 2^33 dollars and 2^14 lots of one row. Beyond
that they are float64 sums in canonical order. The quanta are the same for every
market, so that an instrument's number does not depend on what else is listed.
"""


@dataclass(frozen=True, slots=True)
class Rows:
    """A level's rows: key → code of each row, and columns that are told."""

    count: int
    codes: Mapping[str, Int64]
    told: Mapping[str, Float64]


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A number of each instrument per lot, in coarse and in fine whole quanta.

    The matrices are `padded` where there is one number a scenario.
    """

    coarse: Float64
    fine: Float64
    scenarios: int
    missing: NDArray[np.bool_]


class Columns:
    """Columns of all levels, computed when they are asked for."""

    def __init__(
        self,
        form: Form,
        rows: Mapping[str, Rows],
        *,
        names: Mapping[str, Sequence[str]],
        tables: Mapping[str, Mapping[str, Mapping[str, Any]]],
        parameters: Mapping[str, float],
        scenarios: Mapping[str, Mapping[str, Float64]],
        spreads: Mapping[str, Sequence[SpreadText]] | None = None,
        market: Columns | None = None,
    ) -> None:
        self.form = form
        self.names, self.tables = names, tables
        self.parameters, self.scenarios = parameters, scenarios
        self.spreads = spreads or {}
        self.market = market
        self._rows = dict(rows)
        self._columns: dict[tuple[str, str], Float64] = {}
        self._joins: dict[tuple[str, str], Int64] = {}
        self._ids: dict[str, Int64] = {}
        self._spreads: dict[tuple[str, str], Float64] = {}
        self._coefficients: dict[Node, Coefficient] = {}
        self._entries: dict[str, Float64] = {}
        self._tables: dict[str, Tiers] = {}

    def rows(self, level: str) -> Rows:
        """A level's rows; those of a level of the rulebook's own are the groups of rows below."""
        if level in MARKET and self.market is not None:
            return self.market.rows(level)
        if level not in self._rows:
            self._rows[level] = self._grouped(level)
        return self._rows[level]

    def column(self, level: str, name: str) -> Float64:
        """A column, [row] or [row, scenario]; NaN where something that it needs is not known."""
        if level in MARKET and self.market is not None:
            return self.market.column(level, name)
        found = self._columns.get((level, name))
        if found is None:
            found = self._columns[level, name] = self._compute(level, name)
        return found

    def evaluate(self, node: Node, level: str) -> Float64:
        """A resolved formula at a level: 0-d, [row] or [row, scenario]."""
        match node.operation:
            case "number":
                return np.float64(node.text)  # type: ignore[return-value]
            case "parameter":
                return np.float64(self.parameters[node.text])  # type: ignore[return-value]
            case "column":
                above, name = node.text.split(".")
                return self._lower(self.column(above, name), level, above)
            case "entry":
                return self._entry(node.text, level)
            case "scenario":
                return self._scenario(node.text, level)
            case "lookup" | "marginal":
                return self._tier(node, level)
            case "aggregate":
                return self._aggregate(node, level)
            case "spread":
                return self._spread(node)
        parts = [self.evaluate(part, level) for part in node.arguments]
        if node.operation in REDUCTIONS:
            many = parts[0] if parts[0].ndim == 2 else parts[0][..., None]
            return np.asarray(REDUCTIONS[node.operation](many, *parts[1:]))
        return np.asarray(ELEMENTWISE[node.operation](*aligned(*parts)))

    def _compute(self, level: str, name: str) -> Float64:
        rows = self.rows(level)
        told = rows.told.get(name)
        if told is not None:
            return told
        formula = self.form.columns.get(level, {}).get(name)
        if formula is None:
            given = self.form.text.inputs.get(level, {}).get(name)
            default = given.default if given is not None else None
            return np.full(rows.count, np.nan if default is None else default)
        value = self.evaluate(formula.root, level)
        return value if value.ndim == 2 else np.broadcast_to(value, (rows.count,))

    def _lower(self, column: Float64, level: str, above: str) -> Float64:
        return column if level == above else column[self.join(level, above)]

    def _entry(self, name: str, level: str) -> Float64:
        by = self.form.text.tables[name.split(".")[0]].by
        return self._table(name, by)[self.rows(level).codes[by]]

    def _table(self, name: str, by: str) -> Float64:
        """An entry by code of its key; the same for every block where accounts are not the key."""
        if self.market is not None and by not in ("account", "order"):
            return self.market._table(name, by)
        if name not in self._entries:
            table, entry = name.split(".")
            self._entries[name] = by_key(self.tables[table], entry, self.names[by])
        return self._entries[name]

    def _tier(self, node: Node, level: str) -> Float64:
        by = self.form.text.tables[node.text.split(".")[0]].by
        tiers, rows = self._tiers(node.text, by), self.rows(level)
        x = np.broadcast_to(self.evaluate(node.arguments[0], level), (rows.count,))
        find = tiers.lookup if node.operation == "lookup" else tiers.marginal
        return find(rows.codes[by], x)

    def _tiers(self, name: str, by: str) -> Tiers:
        if self.market is not None and by not in ("account", "order"):
            return self.market._tiers(name, by)
        if name not in self._tables:
            table, entry = name.split(".")
            self._tables[name] = Tiers.of(self.tables[table], entry, self.names[by])
        return self._tables[name]

    def _scenario(self, name: str, level: str) -> Float64:
        one, field = name.split(".")
        by = scenario_key(field)
        return self.scenarios[one][field][self.rows(level).codes[by]]

    def _spread(self, node: Node) -> Float64:
        """A field of an ordered table of spreads; all groups are matched together."""
        name, field = node.text.split(".")
        table = self.form.text.spreads[name]
        if (name, field) not in self._spreads:
            rows, groups = self.rows(table.rows), self.join(table.rows, table.within)
            listed = self.spreads.get(name)
            amounts = np.broadcast_to(self.evaluate(node.arguments[0], table.rows), (rows.count,))
            made = match_groups(
                listed or [],
                groups=groups,
                count=self.rows(table.within).count,
                amounts=amounts if listed is not None else np.full(rows.count, np.nan),
                codes=rows.codes,
                names=self.names,
            )
            self._spreads |= {(name, one): column for one, column in made.items()}
        return self._spreads[name, field]

    # ── sums over the rows below ─────────────────────────────────────────────────────────────

    def _aggregate(self, node: Node, level: str) -> Float64:
        below, kind = node.text.split(".")
        if kind == "count":
            groups, count = self.join(below, level), self.rows(level).count
            return np.bincount(groups, minlength=count).astype(np.float64)
        if kind == "ahead":
            groups = self.join(level, below)
            rank, size = (
                np.broadcast_to(self.evaluate(part, level), groups.shape) for part in node.arguments
            )
            return ahead(groups, rank, size)
        if kind == "sum" and below == "position":
            coefficient = coefficient_of(node.arguments[0], self.form)
            if coefficient is not None:
                return self._exact_sum(coefficient, level)
        parts = [self.evaluate(part, below) for part in node.arguments]
        groups, count = self.join(below, level), self.rows(level).count
        if kind == "least_payoff":
            flat = [np.broadcast_to(part, groups.shape) for part in parts]
            return least_payoffs(groups, count, *flat)
        if kind == "beyond":
            flat = [np.broadcast_to(part, groups.shape) for part in parts]
            return beyond(groups, count, *flat)
        amounts = parts[0] if parts[0].ndim else np.broadcast_to(parts[0], groups.shape)
        return _AGGREGATES[kind](amounts, groups, count)

    def _exact_sum(self, node: Node, level: str) -> Float64:
        """Σ size · a number of the instrument: whole lots times whole quanta."""
        market = self.market
        check(market is not None, "positions are of a block, which has a market")
        assert market is not None
        per_lot = market.coefficient(node)
        rows = self.rows("position")
        groups, count = self.join("position", level), self.rows(level).count
        index, lots = rows.codes["instrument"].astype(np.int32), rows.told["lots"]
        if len(groups) and (groups[1:] < groups[:-1]).any():
            order = np.argsort(groups, kind="stable")
            groups, index, lots = groups[order], index[order], lots[order]
        first = np.zeros(count + 1, dtype=np.int64)
        np.cumsum(np.bincount(groups, minlength=count), out=first[1:])
        coarse, fine = (
            _product(matrix, per_lot.scenarios, first=first, index=index, lots=lots)
            for matrix in (per_lot.coarse, per_lot.fine)
        )
        sums = coarse * 2.0**-_COARSE_BITS + fine * 2.0**-_FINE_BITS
        if per_lot.missing.any():
            sums[groups[per_lot.missing[index]]] = np.nan
        return sums

    def coefficient(self, node: Node) -> Coefficient:
        """A number of each instrument in whole quanta per lot; of the market's columns only."""
        if node not in self._coefficients:
            value = np.asarray(self.evaluate(node, "instrument"))
            lot = self.rows("instrument").told["lot_size"]
            wide = value if value.ndim == 2 else np.broadcast_to(value, lot.shape)[:, None]
            per_lot = wide * lot[:, None]
            limit = EXACT_MAX / 2.0**_COARSE_BITS
            missing = np.asarray(~(np.abs(per_lot) < limit).all(axis=1))
            per_lot = np.where(missing[:, None], 0.0, per_lot)
            coarse = quantise(per_lot, quanta_per_unit=2.0**_COARSE_BITS)
            rest = per_lot - np.ldexp(coarse, -_COARSE_BITS)
            fine = quantise(rest, quanta_per_unit=2.0**_FINE_BITS)
            scenarios = per_lot.shape[1] if value.ndim == 2 else 0
            parts = [product.padded(p) if scenarios else p[:, 0] for p in (coarse, fine)]
            self._coefficients[node] = Coefficient(parts[0], parts[1], scenarios, missing)
        return self._coefficients[node]

    # ── rows and what joins them ─────────────────────────────────────────────────────────────

    def join(self, level: str, above: str) -> Int64:
        """[row of level] → row of the level above that it lies in."""
        if above in MARKET or level == above:
            codes = self.rows(level).codes
            return codes[above] if above in MARKET else np.arange(self.rows(level).count)
        if (level, above) not in self._joins:
            self.rows(above)
            self._joins[level, above] = _place(self._ids[above], self._combined(level, above))
        return self._joins[level, above]

    def _grouped(self, level: str) -> Rows:
        """The distinct groups of told rows, in canonical order."""
        keys = [key for key in _ORDER if key in self.form.keys[level]]
        sources = [one for one in TOLD if one in self._rows and self.form.above(one, level)]
        combined = [self._combined(one, level) for one in sources]
        ids, place = _distinct(np.concatenate([np.zeros(0, np.int64), *combined]))
        self._ids[level] = ids
        codes = {
            str(key): np.concatenate(
                [np.zeros(0, np.int64), *(self.rows(one).codes[key] for one in sources)]
            )[place]
            for key in keys
        }
        return Rows(len(ids), codes, {})

    def _combined(self, level: str, above: str) -> Int64:
        """One number that tells the keys of `above` apart, in canonical order."""
        codes = self.rows(level).codes
        ids = np.zeros(self.rows(level).count, dtype=np.int64)
        capacity = 1
        for key in _ORDER:
            if key in self.form.keys[above]:
                size = max(1, len(self.names[key]))
                capacity *= size
                ids = ids * size + codes[key]
        check(capacity < 2**63, "the keys of a level fit one number", above, capacity)
        return ids

    def tell(self, level: str, rows: Rows) -> None:
        """Give a level rows of its own, such as every account; they are in canonical order."""
        self._rows[level] = rows
        self._ids[level] = self._combined(level, level)


def _product(
    matrix: Float64, scenarios: int, *, first: Int64, index: NDArray[np.int32], lots: Float64
) -> Float64:
    if scenarios:
        return product.row_sums(
            matrix=matrix, columns=scenarios, first=first, index=index, lots=lots
        )
    return product.signed_sums(
        first=first, index=index, lots=lots, long_side=matrix, short_side=matrix
    )


def coefficient_of(node: Node, form: Form) -> Node | None:
    """What stands beside `position.size` in a product, if it is of the instrument alone."""
    if node == Node("column", "position.size"):
        return Node("number", "1.0")
    if node.operation == "negative":
        inner = coefficient_of(node.arguments[0], form)
        return inner and Node("negative", "", (inner,))
    if node.operation == "*":
        for one, other in (node.arguments, node.arguments[::-1]):
            inner = coefficient_of(one, form)
            if inner is not None and _of_market(other, form):
                return other if inner.operation == "number" else Node("*", "", (inner, other))
    if node.operation == "/":
        inner = coefficient_of(node.arguments[0], form)
        if inner is not None and _of_market(node.arguments[1], form):
            return Node("/", "", (inner, node.arguments[1]))
    return None


def _of_market(node: Node, form: Form) -> bool:
    for part in node:
        if part.operation == "column" and part.text.split(".")[0] not in MARKET:
            return False
        if part.operation in ("entry", "lookup", "marginal"):
            by = form.text.tables[part.text.split(".")[0]].by
            if by not in SOURCES["instrument"]:
                return False
        if part.operation in ("aggregate", "spread"):
            return False
    return True


def _place(ids: Int64, mine: Int64) -> Int64:
    """Where each number stands among sorted distinct ones that hold them all."""
    if len(mine) == 0 or (mine[1:] < mine[:-1]).any() or len(ids) > len(mine):
        return np.searchsorted(ids, mine)
    step = np.zeros(len(mine), dtype=np.int64)
    step[1:] = mine[1:] != mine[:-1]
    place = np.cumsum(step)
    # What is sorted and distinct as well stands in the same order, unless some number is not mine.
    return place if place[-1] == len(ids) - 1 else np.searchsorted(ids, mine)


def _distinct(ids: Int64) -> tuple[Int64, Int64]:
    """Sorted distinct numbers, and where each stands first."""
    if len(ids) == 0 or (ids[1:] >= ids[:-1]).all():
        new = np.ones(len(ids), dtype=bool)
        new[1:] = ids[1:] != ids[:-1]
        place = np.flatnonzero(new)
        return ids[place], place
    distinct, place = np.unique(ids, return_index=True)
    return distinct, place


def _sum(amounts: Float64, groups: Int64, count: int) -> Float64:
    if amounts.ndim == 1:
        return np.bincount(groups, weights=amounts, minlength=count).astype(np.float64)
    shape = (count, len(groups))
    members = sparse.csr_matrix((np.ones(len(groups)), (groups, np.arange(len(groups)))), shape)
    return np.asarray(members @ amounts)


def _extreme(pick: np.ufunc) -> Callable[[Float64, Int64, int], Float64]:
    def extreme(amounts: Float64, groups: Int64, count: int) -> Float64:
        found = np.zeros((count, *amounts.shape[1:]))
        if len(groups):
            order = np.argsort(groups, kind="stable")
            there, starts = np.unique(groups[order], return_index=True)
            found[there] = pick.reduceat(amounts[order], starts, axis=0)
        return found

    return extreme


def _any(amounts: Float64, groups: Int64, count: int) -> Float64:
    """Whether some row has a number other than 0."""
    unknown = np.bincount(groups, weights=np.isnan(amounts), minlength=count) > 0
    held = np.bincount(groups, weights=np.nan_to_num(amounts != 0.0), minlength=count) > 0
    return np.where(unknown, np.nan, held * 1.0)


_AGGREGATES: Final[Mapping[str, Callable[[Float64, Int64, int], Float64]]] = {
    "sum": _sum,
    "max": _extreme(np.maximum),
    "min": _extreme(np.minimum),
    "any": _any,
}
