"""A rulebook compiled against one market: everything that no account can change, computed once.

What is left for an account is: sums of lots times columns, a piecewise-linear map, a minimum, and
a few `+ − × ÷` per node. All lengths are those of the market; nothing here has an account axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import RulebookError
from solvent.expressions import Expression, ExpressionError, inline, split
from solvent.instruments import Universe, frozen
from solvent.instruments.contract import day_of_expiry
from solvent.limits import EXACT_MAX
from solvent.margining.factors import factors_of
from solvent.margining.refusals import Refusals
from solvent.margining.rulebook import Rulebook
from solvent.margining.schema import RoundText, ScanText
from solvent.risk.arrays import RiskArrays, group_columns
from solvent.risk.product import NodeMap, padded
from solvent.risk.tails import Tail, Tiles, tail_of
from solvent.scenarios.expand import evaluate
from solvent.scenarios.scenario import PROBABILITY
from solvent.units import YEAR_MS, Float64, quanta_per_unit, quantise

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

SUM_QUANTA: Final = {"coin": 1e10, "dollar": 1e6}
"""Quanta per unit of a sum: ten times finer than a coin's, so that PnL dominates the rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One level of the tree on this market.

    Attributes:
        code: [instrument] → node. names: [node]. columns: name → [node] for formulas.
        assets: [node] its numeraire, price: dollars per unit of it. quanta: [node] quanta per unit.
    """

    name: str
    code: Int32
    names: tuple[str, ...]
    assets: tuple[str, ...]
    columns: Mapping[str, Float64]
    price: Float64
    quanta: Float64

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """A formula cut into what each account evaluates and node columns that are known already.

    `whole` is the formula before the cut, its `let` names replaced.
    """

    whole: Expression
    outer: Expression
    inner: Mapping[str, Float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPlan:
    """A scan: its scenario columns, its map in quanta, and the same map in units.

    `tail` is how totals are reduced; None is the worst of them. `tiles` are the matrix for that.
    """

    name: str
    node: str
    scenarios: Int64
    matrix: Float64
    node_map: NodeMap
    unit_map: NodeMap
    to_set: Float64
    """[node] set's numeraire per unit of the node's."""
    round: RoundText | None
    tail: Tail | None = None
    tiles: Tiles | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SumPlan:
    """A sum: amounts per lot in quanta, and the same in units."""

    name: str
    node: str
    quanta: float
    long_side: Float64
    short_side: Float64
    long_units: Float64
    short_units: Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargePlan:
    """A charge: its amount at each node, in the requirement node's numeraire."""

    name: str
    node: str
    sums: tuple[str, ...]
    amount: Formula


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A compiled rulebook.

    Attributes:
        levels: node names, finest first. top: the requirement's node.
        bound_per_lot: [instrument] what rounding can hide per lot, in the set's numeraire.
        refusal: [instrument] why it cannot be margined, "" where it can.
        notes: what was repaired or assumed where scenarios were made of a history.
    """

    rulebook: Rulebook
    arrays: RiskArrays
    levels: tuple[str, ...]
    nodes: Mapping[str, Node]
    top: Node
    scans: tuple[ScanPlan, ...]
    sums: tuple[SumPlan, ...]
    charges: tuple[ChargePlan, ...]
    initial: Formula
    maintenance: Formula
    bound_per_lot: Float64
    refusal: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def marginable(self) -> Bool:
        """[instrument] whether it can be margined."""
        return frozen(np.array([not reason for reason in self.refusal], dtype=bool))

    @cached_property
    def largest(self) -> Float64:
        """[instrument] the largest number of quanta per lot that any sum takes."""
        sides = (side for one in self.sums for side in (one.long_side, one.short_side))
        largest = np.abs(self.arrays.pnl).max(axis=1, initial=0.0)
        for column in (*self.arrays.columns.values(), *sides):
            largest = np.maximum(largest, np.abs(column))
        return frozen(largest)


def compile_plan(rulebook: Rulebook, arrays: RiskArrays) -> Plan:
    """Compile; raises RulebookError where a charge or a requirement has no finite value for a node
    that can be margined.

    An instrument for which a sum, a map or a weight has none is refused, as one without parameters.
    """
    refusal = Refusals(rulebook, arrays)
    nodes = {name: _node(name, rulebook, arrays) for name in rulebook.levels}
    text = rulebook.text
    top = nodes[text.requirement.node]
    scans = tuple(
        _scan(name, scan, rulebook, arrays, nodes, refusal) for name, scan in text.scans.items()
    )
    sums = tuple(_sum(name, rulebook, arrays, refusal) for name in text.sums)
    charges = tuple(_charge(name, rulebook, nodes, refusal) for name in text.charges)
    components = {*text.scans, *text.charges, *text.inputs}
    components |= {one.name for one in sums if one.node == top.name}
    initial, maintenance = (
        _formula("requirement", part, rulebook, top, components)
        for part in ("initial", "maintenance")
    )
    for formula in (initial, maintenance):
        _check_finite(formula.inner.values(), top, refusal, f"{rulebook.name}: requirement")
    parts = nodes, top, (initial, maintenance)
    bound = _bound_per_lot(rulebook, arrays, parts, scans, sums, refusal)
    return Plan(
        rulebook=rulebook,
        arrays=arrays,
        levels=rulebook.levels,
        nodes=nodes,
        top=top,
        scans=scans,
        sums=sums,
        charges=charges,
        initial=initial,
        maintenance=maintenance,
        bound_per_lot=frozen(bound),
        refusal=tuple(refusal.reasons),
    )


def _check_finite(
    columns: Iterable[Float64], node: Node, refusal: Refusals, what: str, *, least: float = -np.inf
) -> None:
    """Refuse a rulebook whose formula is no finite number at a node that can be margined."""
    known = refusal.known_nodes(node)
    for column in columns:
        bad = known & ~(np.isfinite(column) & (column >= least))
        if bool(bad.any()):
            raise RulebookError(
                f"{what}: no finite amount at {node.names[int(np.flatnonzero(bad)[0])]}"
            )


def _node(name: str, rulebook: Rulebook, arrays: RiskArrays) -> Node:
    text, universe = rulebook.text.nodes[name], arrays.universe
    by: dict[str, NDArray[np.int64]] = {
        "underlying": universe.underlying.astype(np.int64),
        "settlement": universe.settlement.astype(np.int64),
        "expiry": universe.expiry_ms,
        "instrument": np.arange(len(universe), dtype=np.int64),
    }
    order = [key for key in by if key in text.by]
    together = np.zeros(len(universe), dtype=np.int64)
    keys = np.column_stack([by[key] for key in order] or [together])
    distinct, first, code = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    underlying, settlement = universe.underlying[first], universe.settlement[first]
    index = arrays.index[underlying]
    if text.numeraire == "settlement" and "settlement" in text.by:
        assets = [universe.settlements[s] for s in settlement]
    elif text.numeraire == "coin":
        assets = [universe.underlyings[u] for u in underlying]
    else:
        assets = ["USD"] * len(distinct)
    price = np.array([arrays.price_of(asset) for asset in assets])
    columns = {"index": index if text.by else np.full(len(distinct), np.nan), "numeraire": price}
    for constant, number in rulebook.tables.constants.items():
        columns[constant] = np.full(len(distinct), number)
    if "settlement" in text.by:
        columns["coin"] = (universe.inverse[first]).astype(np.float64)
        columns |= {k: v[settlement] for k, v in rulebook.tables.by_settlement(universe).items()}
    if "underlying" in text.by:
        columns |= {k: v[underlying] for k, v in rulebook.tables.by_underlying(universe).items()}
    if "expiry" in text.by:
        left = np.maximum(universe.expiry_ms[first] - arrays.as_of_ms, 0) / YEAR_MS
        years = np.where(universe.expiry_ms[first] > 0, left, 0.0)
        columns |= {"years": years, "days": years * 365.0}
    return Node(
        name=name,
        code=frozen(code.ravel().astype(np.int32)),
        names=tuple(_node_name(universe, int(row), order) for row in first),
        assets=tuple(assets),
        columns=columns,
        price=frozen(price),
        quanta=frozen(np.array([quanta_per_unit(asset) for asset in assets])),
    )


def _node_name(universe: Universe, row: int, by: Sequence[str]) -> str:
    if "instrument" in by:
        return universe.symbols[row]
    expiry_ms = int(universe.expiry_ms[row])
    parts = {
        "underlying": universe.underlyings[universe.underlying[row]],
        "settlement": universe.settlements[universe.settlement[row]],
        "expiry": day_of_expiry(expiry_ms) if expiry_ms else "PERPETUAL",
    }
    return "/".join(parts[key] for key in by) or "everything"


def _scan(
    name: str,
    text: ScanText,
    rulebook: Rulebook,
    arrays: RiskArrays,
    nodes: Mapping[str, Node],
    refusal: Refusals,
) -> ScanPlan:
    sets = np.array(arrays.shocks.set_names)
    scenarios = np.flatnonzero(np.isin(sets, text.scenarios)).astype(np.int64)
    weighted = np.asarray(np.isfinite(arrays.weight[:, scenarios]).all(axis=1))
    what = f"{rulebook.name}: the weight of scenarios {', '.join(text.scenarios)}"
    refusal.without_number(weighted[arrays.groups.of_instrument], what)
    everything = len(scenarios) == arrays.scenarios
    matrix = arrays.pnl if everything else padded(arrays.pnl[:, scenarios])
    node, into = nodes[text.node], nodes[text.into]
    refusal.in_another_currency(node, f"{rulebook.name}: nodes.{text.node} of scans.{name}")
    representative = _first_instrument(node)
    into_code = into.code[representative]
    with np.errstate(divide="ignore", invalid="ignore"):  # a coin without an index is refused
        to_set = node.price / into.price[into_code]
    unit_map = _unit_map(name, rulebook, arrays, node, scenarios, refusal)
    factor = to_set * into.quanta[into_code] / node.quanta
    return ScanPlan(
        name=name,
        node=text.node,
        scenarios=scenarios,
        matrix=matrix,
        node_map=_quanta_map(unit_map, node.quanta, factor, matrix.shape[1]),
        unit_map=unit_map,
        to_set=to_set,
        round=text.round,
        tail=_tail(text, arrays),
        tiles=None if text.reduce == "worst" else Tiles(matrix, len(scenarios)),
    )


def _tail(text: ScanText, arrays: RiskArrays) -> Tail | None:
    """The tail of a scan's set, with the probabilities that its scenarios carry."""
    if isinstance(text.reduce, str):
        return None
    (name,) = text.scenarios
    count = arrays.shocks.set_names.count(name)
    weight = arrays.shocks.numbers.get(name, {}).get(PROBABILITY, np.ones(count))
    return tail_of(text.reduce.kind, text.reduce.level, weight)


def _first_instrument(node: Node) -> Int64:
    """[node] → some instrument of it."""
    return np.unique(node.code, return_index=True)[1].astype(np.int64)


def _unit_map(
    name: str,
    rulebook: Rulebook,
    arrays: RiskArrays,
    node: Node,
    scenarios: Int64,
    refusal: Refusals,
) -> NodeMap:
    """The map at each node and scenario, in units of the node's numeraire."""
    groups = arrays.groups
    columns = group_columns(
        arrays.universe, groups, arrays.shocks, rulebook.tables, arrays.index, scenarios=scenarios
    )
    of_node = groups.of_instrument[_first_instrument(node)]

    def table(part: str, otherwise: float) -> Float64:
        formula = rulebook.formulas.get(f"scans.{name}.map.{part}")
        shape = (len(node), len(scenarios))
        if formula is None:
            return np.full(shape, otherwise)
        by_group = evaluate(formula, columns, what=f"scans.{name}.map.{part}")
        by_node = np.broadcast_to(by_group, (len(groups), len(scenarios)))[of_node]
        # No cap is a cap at infinity.
        defined = ~np.isnan(by_node) if part == "gains_cap" else np.isfinite(by_node)
        what = f"{rulebook.name}: scans.{name}.map.{part}"
        refusal.without_number(np.asarray(defined.all(axis=1))[node.code], what)
        return np.where(defined, by_node, otherwise)

    dead, loss, gain = table("toward_zero", 0.0), table("losses", 1.0), table("gains", 1.0)
    cap = table("gains_cap", np.inf)
    if bool((dead < 0).any()) or bool((loss < 0).any()) or bool((gain < 0).any()):
        raise RulebookError(f"{rulebook.name}: scans.{name}.map: a factor is negative")
    plain = ((dead == 0) & (loss == 1) & (gain == 1) & (cap == np.inf)).all(axis=1)
    return NodeMap(plain=plain, dead=dead, loss=loss, gain=gain, cap=cap)


def _quanta_map(unit: NodeMap, quanta: Float64, factor: Float64, width: int) -> NodeMap:
    """The map from quanta of the node's numeraire to quanta of the set's, padded."""
    by_node, into = quanta[:, None], factor[:, None]

    def wide(column: Float64) -> Float64:
        first = np.repeat(column[:, :1], width - column.shape[1], axis=1)
        return np.ascontiguousarray(np.concatenate([column, first], axis=1))

    return NodeMap(
        plain=unit.plain & (factor == 1.0),
        dead=wide(unit.dead * by_node),
        loss=wide(unit.loss * into),
        gain=wide(unit.gain * into),
        cap=wide(unit.cap * by_node * into),
    )


def _sum(name: str, rulebook: Rulebook, arrays: RiskArrays, refusal: Refusals) -> SumPlan:
    text, universe = rulebook.text.sums[name], arrays.universe
    columns = {**arrays.fields, **rulebook.tables.by_instrument(universe)}

    def side(part: str) -> Float64:
        formula = _whole(rulebook, f"sums.{name}", part)
        amount = evaluate(formula, columns, what=f"sums.{name}.{part}")
        amounts = np.broadcast_to(amount, len(universe))
        refusal.without_number(np.isfinite(amounts), f"{rulebook.name}: sums.{name}.{part}")
        known = np.where(refusal.known, amounts, 0.0)
        if not bool((np.abs(known) * quanta < EXACT_MAX).all()):
            raise RulebookError(
                f"{rulebook.name}: sums.{name}.{part}: an amount beyond 2^53 quanta"
            )
        return known

    quanta = SUM_QUANTA[text.unit]
    long_units, short_units = side("long"), side("short")
    return SumPlan(
        name=name,
        node=text.node,
        quanta=quanta,
        long_side=frozen(quantise(long_units, quanta_per_unit=quanta)),
        short_side=frozen(quantise(short_units, quanta_per_unit=quanta)),
        long_units=frozen(long_units),
        short_units=frozen(short_units),
    )


def _charge(
    name: str, rulebook: Rulebook, nodes: Mapping[str, Node], refusal: Refusals
) -> ChargePlan:
    text = rulebook.text.charges[name]
    node = nodes[text.node]
    sums = tuple(one for one, total in rulebook.text.sums.items() if total.node == text.node)
    amount = _formula(f"charges.{name}", "amount", rulebook, node, sums)
    _check_finite(amount.inner.values(), node, refusal, f"{rulebook.name}: charges.{name}")
    return ChargePlan(name=name, node=text.node, sums=sums, amount=amount)


def _formula(
    section: str, part: str, rulebook: Rulebook, node: Node, varying: set[str] | tuple[str, ...]
) -> Formula:
    whole = _whole(rulebook, section, part)
    try:
        cut = split(whole, frozenset(varying))
    except ExpressionError as fault:
        raise RulebookError(f"{rulebook.name}: {section}.{part}: {fault}") from fault
    inner = {
        name: frozen(
            np.array(np.broadcast_to(evaluate(one, node.columns, what=section), len(node)))
        )
        for name, one in cut.inner.items()
    }
    return Formula(whole=whole, outer=cut.outer, inner=inner)


def _whole(rulebook: Rulebook, section: str, part: str) -> Expression:
    """A formula with its `let` names replaced."""
    prefix = f"{section}.let."
    given = {
        path.removeprefix(prefix): formula
        for path, formula in rulebook.formulas.items()
        if path.startswith(prefix)
    }
    try:
        return inline(rulebook.formulas[f"{section}.{part}"], given)
    except ExpressionError as fault:
        raise RulebookError(f"{rulebook.name}: {section}.{part}: {fault}") from fault


def _bound_per_lot(
    rulebook: Rulebook,
    arrays: RiskArrays,
    parts: tuple[Mapping[str, Node], Node, tuple[Formula, Formula]],
    scans: tuple[ScanPlan, ...],
    sums: tuple[SumPlan, ...],
    refusal: Refusals,
) -> Float64:
    """Half a quantum per lot through every map, charge and requirement, in the set's numeraire."""
    nodes, top, formulas = parts
    factors = [factors_of(one.outer, one.inner, len(top)) or {} for one in formulas]

    def magnified(name: str) -> Float64:
        # [instrument] never less than 1: a requirement may take a part by other ways besides.
        ones = np.ones(len(top))
        largest = np.maximum(ones, np.maximum(*(told.get(name, ones) for told in factors)))
        return np.asarray(np.where(np.isfinite(largest), largest, 1.0)[top.code])

    bound = np.zeros(len(arrays.universe))
    for scan in scans:
        node = nodes[scan.node]
        steepest = scan.unit_map.slope_max() * scan.to_set / node.quanta
        bound += 0.5 * steepest[node.code] * magnified(scan.name)
    for name, charge in rulebook.text.charges.items():
        node = nodes[charge.node]
        slope = evaluate(rulebook.formulas[f"charges.{name}.slope"], node.columns, what=name)
        steepest = np.array(np.broadcast_to(slope, len(node)))
        what = f"{rulebook.name}: charges.{name}.slope"
        _check_finite([steepest], node, refusal, what, least=0.0)
        steepest[~refusal.known_nodes(node)] = 0.0
        finest = min((one.quanta for one in sums if one.node == charge.node), default=np.inf)
        count = sum(one.node == charge.node for one in sums)
        bound += 0.5 * count * steepest[node.code] / finest * magnified(name)
    for one in sums:
        if one.node == rulebook.text.requirement.node:
            bound += 0.5 / one.quanta * magnified(one.name)
    return bound
