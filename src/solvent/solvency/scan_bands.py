"""Which accounts of a rulebook of scans and charges have one verdict at every price of a width.

Scenario PnL, maps, sums, charges and collateral are evaluated as `margining.evaluate` does it, over
numbers between lines. Each netting set, what it carries and what is owned of its coin move along
one segment; what is left of equity above each requirement is told there, laid flat, and added up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from solvent.expressions import Node
from solvent.limits import MONEY_MAX
from solvent.margining.evaluate import arrange, beyond_range
from solvent.margining.plan import Formula, Plan, ScanPlan
from solvent.margining.schema import RoundText
from solvent.risk import Layout
from solvent.risk.product import NodeMap
from solvent.risk.tails import Tail
from solvent.solvency.between import Between, Unbounded, apply, shortfall, worst
from solvent.solvency.books import Books
from solvent.solvency.steady import SHARES, Guard, surely
from solvent.solvency.sums import added, members, weighed
from solvent.solvency.tubes import Drift, Tubes
from solvent.units import MICRO, Float64

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

BLOCK: Final = 2_048
DOLLARS_MAX: Final = MONEY_MAX / MICRO / 16
_CAP_MAX: Final = 1e300
"""Stands for no cap: differences of infinities are no numbers."""
_RANGE: Final = 16.0
"""How many times its size an account must fit the exact range, as amounts grow inside a width."""


class ScanBands:
    """Proofs for accounts of one rulebook, from one base.

    Attributes:
        tubes: the lines that proofs start from. unbounded: what has no bounds, or nothing.
    """

    def __init__(
        self, plan: Plan, *, assets: tuple[str, ...], inputs: Mapping[str, Any], drift: Drift
    ) -> None:
        self.plan, self.assets, self.inputs = plan, tuple(sorted(set(assets))), inputs
        names = plan.arrays.universe.underlyings
        self._priced = [_pricing(plan, one) for one in self.assets]
        place = [names.index(one) if one in names else len(names) for one in self._priced]
        self._place = np.array(place, dtype=np.int64)
        self.unbounded = self._without_bounds()
        nodes = {} if self.unbounded else {name: self._node(name) for name in plan.levels}
        self.tubes = Tubes(
            plan, lambda of: of, assets=self._place, underlyings=len(names), drift=drift,
            nodes=nodes,
        )  # fmt: skip

    def _without_bounds(self) -> str:
        plan = self.plan
        for name, told in plan.rulebook.text.scenarios.items():
            if told.is_joint:
                # Anchors are priced anew, and the shocks stayed with whoever published.
                return f"{plan.rulebook.name}: scenarios.{name}: joint shocks"
        for scan in plan.scans:
            if scan.tail is not None and not _is_bounded(scan.tail):
                return f"{plan.rulebook.name}: scans.{scan.name}.reduce: {scan.tail.kind}"
        for name, node in plan.rulebook.text.nodes.items():
            if "underlying" not in node.by:
                return f"{plan.rulebook.name}: nodes.{name}: one node of several underlyings"
        formulas = {"requirement.initial": plan.initial,
                    "requirement.maintenance": plan.maintenance}  # fmt: skip
        formulas |= {f"charges.{one.name}": one.amount for one in plan.charges}
        for where, formula in formulas.items():
            names = formula.outer.names
            one = Between(np.array([[[1.0]]]), np.array([[[1.0]]]))
            try:
                _evaluated(formula.outer.root, dict.fromkeys(names, one))
            except Unbounded as fault:
                return f"{plan.rulebook.name}: {where}: {fault}"
        return ""

    def _node(self, name: str) -> tuple[Int64, Int64]:
        node, universe = self.plan.nodes[name], self.plan.arrays.universe
        under = np.zeros(len(node), dtype=np.int64)
        under[node.code] = universe.underlying
        return under, node.code.astype(np.int64)

    def proved(self, books: Books, width: int, guard: Guard) -> Bool:
        """[account] whether its verdict is one and the same on every market inside a width."""
        found = np.zeros(len(books), dtype=bool)
        if self.unbounded or not set(books.balances.asset) <= set(self.assets):
            return found
        for start in range(0, len(books), BLOCK):
            who = np.arange(start, min(start + BLOCK, len(books)))
            some = books.of(who)
            found[who] = _Block(self, some, width).one_verdict(guard)
        return found

    def price(self, asset: str, plan: Plan) -> float:
        """Dollars per unit of an asset that counts, NaN of one that does not."""
        terms, by = plan.rulebook.collateral.get(asset), _pricing(plan, asset)
        if terms is None:
            return np.nan
        if terms.price == "par":
            return 1.0
        names, index = plan.arrays.universe.underlyings, plan.arrays.index
        found = float(index[names.index(by)]) if by in names else 0.0
        return found if found > 0.0 else np.nan


def _pricing(plan: Plan, asset: str) -> str:
    """The underlying by which an asset is priced; nothing where it is not."""
    terms = plan.rulebook.collateral.get(asset)
    names = plan.arrays.universe.underlyings
    if terms is None or terms.price == "par":
        return ""
    return next((one for one in (asset, terms.of or asset) if one in names), "")


@dataclass(slots=True)
class _Parts:
    """Equity and requirements by pairs of account and underlying, in dollars."""

    equity: Between
    initial: Between
    maintenance: Between


class _Block:
    """Accounts that are looked at together."""

    def __init__(self, bands: ScanBands, books: Books, width: int) -> None:
        self.bands, self.plan, self.books, self.width = bands, bands.plan, books, width
        self.arranged = arrange(self.plan, books.book)
        self.top = self.plan.levels.index(self.plan.top.name)
        universe = self.plan.arrays.universe
        self.settled = universe.settlement
        names = universe.settlements
        self.price = np.array([self.plan.arrays.price_of(one) for one in names])
        place = {name: n for n, name in enumerate(bands.assets)}
        self.asset = np.array([place[one] for one in books.balances.asset], dtype=np.int64)
        self._pair()

    def _pair(self) -> None:
        """Pairs of account and underlying: of sets, of positions, of balances."""
        arrays, arranged = self.plan.arrays, self.arranged
        many = len(arrays.universe.underlyings) + 1
        level = arranged.levels[self.top]
        under, _ = self.bands._node(self.plan.top.name)
        keys = [
            arranged.account_of(self.top).astype(np.int64) * many + under[level.node],
            self.books.book.account.astype(np.int64) * many
            + arrays.universe.underlying[self.books.book.instrument],
            self.books.balances.account * many + self.bands._place[self.asset],
        ]
        pairs, of = np.unique(np.concatenate(keys), return_inverse=True)
        ends = np.cumsum([len(key) for key in keys])[:-1]
        self.of_set, self.of_position, self.of_balance = np.split(of.ravel(), ends)
        self.account_of_pair = pairs // many

    def one_verdict(self, guard: Guard) -> Bool:
        """[account] whether nothing that it may be changes its verdict."""
        parts, room = self._parts(), self._room()
        proved = self._fit(room) & self._signs(parts, 1.0, 1.0, room)
        for amount in (parts.equity, parts.initial, parts.maintenance):
            least, most = self._total(amount)
            proved &= (least > -DOLLARS_MAX) & (most < DOLLARS_MAX)
        if guard.calls:
            spare = apply("-", [parts.equity, parts.initial])
            proved &= surely(*self._total(spare), room)
        if guard.warnings:
            for mine, theirs in SHARES:
                proved &= self._signs(parts, mine, theirs, 20.0 * room)
        return proved

    def _signs(self, parts: _Parts, mine: float, theirs: float, room: Float64) -> Bool:
        amounts = (mine, parts.equity), (theirs, parts.maintenance)
        scaled = [apply("*", [Between.exactly(share), one]) for share, one in amounts]
        return surely(*self._total(apply("-", scaled)), room)

    def _total(self, amount: Between) -> tuple[Float64, Float64]:
        pairs, accounts = len(self.account_of_pair), len(self.books)
        ends = (np.broadcast_to(end, (pairs,)) for end in (amount.least(), amount.most()))
        low, high = (
            np.bincount(self.account_of_pair, weights=end, minlength=accounts).astype(np.float64)
            for end in ends
        )
        return low, high

    # ── equity ───────────────────────────────────────────────────────────────────────────────

    def _source(
        self, name: object, key: str, read: Callable[[Plan], Float64], *, grain: float = 0.0
    ) -> Between:
        return self.bands.tubes.between(name, self.width, key, read, grain=grain)

    def _parts(self) -> _Parts:
        components = self._components()
        needed = [self._requirement(one, components) for one in ("initial", "maintenance")]
        worth, haircut = self._collateral()
        equity = apply("+", [self._carried(), worth])
        if self.plan.rulebook.text.haircut_on == "equity":
            equity = apply("-", [equity, haircut])
        else:
            needed[0] = apply("+", [needed[0], haircut])
        return _Parts(equity, needed[0], needed[1])

    def _carried(self) -> Between:
        """Option values and gains of futures, in dollars by pair."""
        book, pairs = self.books.book, len(self.account_of_pair)

        def dollars(plan: Plan) -> Float64:
            arrays = plan.arrays
            price = np.array([arrays.price_of(one) for one in arrays.universe.settlements])
            return price[arrays.universe.settlement]

        def gain(plan: Plan) -> Float64:
            worth = np.where(plan.arrays.universe.is_option, 0.0, plan.arrays.units["worth"])
            return worth * dollars(plan)

        value = self._source(
            "value", "instrument", lambda plan: plan.arrays.units["value"] * dollars(plan)
        )
        per_lot = self._source("gain", "instrument", gain)
        paid = self._source("dollars", "instrument", dollars)
        known = (self.plan.arrays.units["worth"] != 0.0) & ~self.plan.arrays.universe.is_option
        entry = np.where(known[book.instrument], book.entry_value, 0.0)
        entry = entry / self.plan.arrays.scale["value"][book.instrument]
        parts = [(value, book.lots), (per_lot, book.entry_lots), (paid, -entry)]
        sums = [
            weighed(amount, lines, index=book.instrument, owner=self.of_position, count=pairs)
            for lines, amount in parts
        ]
        return apply("+", [apply("+", sums[:2]), sums[2]])

    def _collateral(self) -> tuple[Between, Between]:
        """Worth and haircut of balances, in dollars by pair."""
        bands, told = self.bands, self.books.balances
        price = self._source(
            "asset", "asset",
            lambda plan: np.nan_to_num(np.array([bands.price(one, plan) for one in bands.assets])),
        )  # fmt: skip
        cuts = np.array([self._haircut(one) for one in bands.assets])[self.asset]
        pairs = len(self.account_of_pair)
        worth = weighed(told.amount, price, index=self.asset, owner=self.of_balance, count=pairs)
        cut = np.maximum(told.amount, 0.0) * cuts
        return worth, weighed(cut, price, index=self.asset, owner=self.of_balance, count=pairs)

    def _haircut(self, asset: str) -> float:
        terms = self.plan.rulebook.collateral.get(asset)
        return 0.0 if terms is None else terms.haircut

    # ── requirements ─────────────────────────────────────────────────────────────────────────

    def _requirement(self, which: str, components: Mapping[str, Between]) -> Between:
        """Of each set in dollars, added up by pair."""
        plan = self.plan
        level = self.arranged.levels[self.top]
        formula: Formula = getattr(plan, which)
        told = getattr(plan.rulebook.text.requirement, f"round_{which}")
        value = self._value(formula, components, plan.top.name, level.node, which)
        amount = apply("+", [_rounded(value, told), self._bound()])
        price = self._source("top price", plan.top.name, lambda of: of.top.price)
        dollars = apply("*", [apply("max", [amount, Between.exactly(0.0)]), price.rows(level.node)])
        return added(members(self.of_set, len(self.account_of_pair)), dollars)

    def _components(self) -> dict[str, Between]:
        found = self._inputs()
        for scan in self.plan.scans:
            found[scan.name] = self._scan(scan)
        for charge in self.plan.charges:
            low = self.plan.levels.index(charge.node)
            sums = {name: self._sum(name, low) for name in charge.sums}
            rows = self.arranged.levels[low]
            amount = self._value(charge.amount, sums, charge.node, rows.node, charge.name)
            found[charge.name] = added(self._upward(low), amount)
        top = self.plan.top.name
        found |= {one.name: self._sum(one.name, self.top) for one in self.plan.sums
                  if one.node == top}  # fmt: skip
        return found

    def _inputs(self) -> dict[str, Between]:
        accounts = self.books.book.accounts
        level, owner = self.arranged.levels[self.top], self.arranged.account_of(self.top)
        found, told = {}, self.books.inputs or {}
        for name, text in self.plan.rulebook.text.inputs.items():
            value = told.get(name, text.default)
            if isinstance(value, Mapping):
                held = zip(owner.tolist(), level.node.tolist(), strict=True)
                keys = [(accounts[one], self.plan.top.names[node]) for one, node in held]
                column = [float(value.get(key, text.default)) for key in keys]
            else:
                column = [float(value)] * len(level)
            found[name] = Between.exactly(np.array(column))
        return found

    def _scan(self, scan: ScanPlan) -> Between:
        """Worst loss of each set in its numeraire, as `evaluate` has it."""
        plan, low = self.plan, self.plan.levels.index(scan.node)
        rows = self.arranged.levels[low]
        lines = self._source(
            ("matrix", scan.name), "instrument", lambda of: _of(of, scan.name).matrix[
                :, : len(scan.scenarios)
            ], grain=1.0,
        )  # fmt: skip
        owner = np.repeat(np.arange(len(rows)), np.diff(rows.first))
        sums = weighed(
            self.arranged.lots, lines, index=self.arranged.instrument, owner=owner, count=len(rows)
        )
        totals = added(self._upward(low), self._mapped(scan, sums, rows.node))
        if scan.tail is None:
            least = worst(totals)
        else:
            level = np.full(len(self.arranged.levels[self.top]), scan.tail.level)
            least = shortfall(totals, Between.exactly(level))
        loss = apply("max", [apply("negative", [least]), Between.exactly(0.0)])
        quanta = plan.top.quanta[self.arranged.levels[self.top].node]
        loss = apply("*", [loss, Between.exactly(1.0 / quanta)])
        return _rounded(loss, scan.round)

    def _mapped(self, scan: ScanPlan, sums: Between, node: Any) -> Between:
        """Toward zero, then losses and gains times their factors, gains up to their cap."""

        def table(part: str) -> Between:
            def read(of: Plan) -> Float64:
                node_map: NodeMap = _of(of, scan.name).node_map
                told = getattr(node_map, part)[:, : len(scan.scenarios)]
                return np.asarray(np.minimum(told, _CAP_MAX))

            return self._source((part, scan.name), scan.node, read).rows(node)

        # Which nodes map to themselves is looked at on newer markets, like all that moves.
        self._source(("plain", scan.name), scan.node, partial(_plain, name=scan.name))
        plain = Between.exactly(scan.node_map.plain[node][:, None] * 1.0)
        if bool(scan.node_map.plain[node].all()):
            return sums
        dead, zero = table("dead"), Between.exactly(np.zeros((1, 1)))
        gains = apply("max", [apply("-", [sums, dead]), zero])
        losses = apply("min", [apply("+", [sums, dead]), zero])
        up = apply("min", [apply("*", [table("gain"), gains]), table("cap")])
        mapped = apply("+", [up, apply("*", [table("loss"), losses])])
        return apply("where", [plain, sums, mapped])

    def _sum(self, name: str, low: int) -> Between:
        """Σ over longs and shorts of what each counts per lot."""
        rows, arranged = self.arranged.levels[low], self.arranged
        owner = np.repeat(np.arange(len(rows)), np.diff(rows.first))

        def read(side: str) -> Callable[[Plan], Float64]:
            def told(of: Plan) -> Float64:
                one = next(part for part in of.sums if part.name == name)
                return np.asarray(getattr(one, side) / one.quanta)

            return told

        grain = 1.0 / next(one.quanta for one in self.plan.sums if one.name == name)
        parts = []
        for side, mine in (("long_side", arranged.lots > 0.0), ("short_side", arranged.lots <= 0)):
            lines = self._source((side, name), "instrument", read(side), grain=grain)
            lots = np.where(mine, arranged.lots, 0.0)
            parts.append(
                weighed(lots, lines, index=arranged.instrument, owner=owner, count=len(rows))
            )
        return apply("+", parts)

    def _bound(self) -> Between:
        level, arranged = self.arranged.levels[self.top], self.arranged
        owner = np.repeat(np.arange(len(level)), np.diff(level.first))
        lines = self._source("bound", "instrument", lambda of: of.bound_per_lot)
        return weighed(
            np.abs(arranged.lots), lines, index=arranged.instrument, owner=owner, count=len(level)
        )

    def _value(
        self, formula: Formula, components: Mapping[str, Between], node: str, code: Any, name: str
    ) -> Between:
        """A formula of what accounts have, on columns of nodes."""
        told = dict(components)
        for part in formula.inner:
            if part in formula.outer.names:
                lines = self._source((name, part), node, partial(_inner, name=name, part=part))
                told[part] = lines.rows(code)
        return _evaluated(formula.outer.root, told)

    def _upward(self, low: int) -> sparse.csc_matrix:
        """[set, row of a lower level]."""
        sets = len(self.arranged.levels[self.top])
        first = self.arranged.parents(low, self.top)
        return members(np.repeat(np.arange(sets), np.diff(first)), sets)

    # ── who fits ─────────────────────────────────────────────────────────────────────────────

    def _fit(self, room: Float64) -> Bool:
        """Accounts whose positions and balances all have numbers, and whose sums stay exact."""
        book, told = self.books.book, self.books.balances
        count = len(self.books)
        bad = ~self.plan.marginable[book.instrument]
        speaks = np.bincount(book.account, weights=bad, minlength=count).astype(np.float64)
        price = np.array([self.bands.price(one, self.plan) for one in self.bands.assets])
        owing = np.isnan(price[self.asset]) & (told.amount < 0.0) | ~np.isfinite(told.amount)
        speaks += np.bincount(told.account, weights=owing, minlength=count)
        if len(book.lots):
            wide: Layout = replace(self.arranged, lots=self.arranged.lots * _RANGE)
            speaks[beyond_range(self.plan, wide)] += 1
        return np.asarray((speaks == 0) & (room < 1e-9 * DOLLARS_MAX))

    def _room(self) -> Float64:
        """[account] dollars that rounding can be: of positions, of balances, of sums."""
        arrays, book, told = self.plan.arrays, self.books.book, self.books.balances
        count, quantum = len(self.books), 1.0 / arrays.scale["value"]
        price = self.price[self.settled]
        per_lot = (np.abs(arrays.units["worth"]) + np.abs(arrays.units["value"])) * price
        per_lot = per_lot + np.abs(arrays.units["notional"])
        at = book.instrument
        gross = np.abs(book.lots) * per_lot[at] + np.abs(book.entry_value) * (quantum * price)[at]
        room = np.bincount(book.account, weights=gross, minlength=count).astype(np.float64)
        asset = np.nan_to_num([self.bands.price(one, self.plan) for one in self.bands.assets])
        owned = np.abs(np.nan_to_num(told.amount) * asset[self.asset])
        room = 1e-9 * (room + np.bincount(told.account, weights=owned, minlength=count))
        room += 2.0 * np.bincount(book.account, weights=(quantum * price)[at], minlength=count)
        room += 1e-5 * np.bincount(told.account, minlength=count)
        return np.asarray(room + 1e-3)


def _evaluated(node: Node, values: Mapping[str, Between]) -> Between:
    if node.operation == "number":
        return Between.exactly(float(node.text))
    if node.operation == "name":
        return values[node.text]
    return apply(node.operation, [_evaluated(part, values) for part in node.arguments])


def _rounded(amount: Between, text: RoundText | None) -> Between:
    """Not negative, and by a unit of its last decimal either way."""
    if text is None:
        return amount
    return apply("max", [amount, Between.exactly(0.0)]).wider(1.01 * 10.0**-text.decimals)


def _is_bounded(tail: Tail) -> bool:
    """Whether a tail is concave in its scenarios, all alike: then lines bound it."""
    return tail.kind == "expected_shortfall" and tail.alike


def _of(plan: Plan, name: str) -> ScanPlan:
    return next(one for one in plan.scans if one.name == name)


def _plain(plan: Plan, name: str) -> Float64:
    return _of(plan, name).node_map.plain.astype(np.float64)


def _inner(plan: Plan, name: str, part: str) -> Float64:
    return _formula(plan, name).inner[part]


def _formula(plan: Plan, name: str) -> Formula:
    if name in ("initial", "maintenance"):
        return plan.initial if name == "initial" else plan.maintenance
    return next(one.amount for one in plan.charges if one.name == name)
