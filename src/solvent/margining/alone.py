"""Where one account stands by a rulebook of scans, in plain numbers: what `assess` says, sooner.

Arrays pay for themselves in a crowd. One account alone has a handful of numbers, and hundreds of
array operations of one element cost more than the arithmetic. Here the same fixed sequence of
IEEE operations is walked position by position; what a lot of an instrument does to each part of the
plan is looked up once for all accounts, when the instrument is first asked for.

Only what is plain is answered: positions that can be margined, amounts that are finite and far
inside every range. Of all else nothing is said, and who asks goes to `assess`, which is this
module's twin: what is answered here is what it answers, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, reduce
from typing import Any, Final, NamedTuple

import numpy as np

from solvent.expressions import Arithmetic, prepared
from solvent.limits import EXACT_MAX, MONEY_MAX
from solvent.margining.plan import ChargePlan, Formula, Plan, ScanPlan
from solvent.margining.schema import RoundText
from solvent.portable import power
from solvent.units import MICRO, Float64, Rounding

POSITIONS_MAX: Final = 32
"""Accounts with more are for arrays."""
_MICRO_MAX: Final = MONEY_MAX / 8
"""Half of what `assess` takes for known: nothing here is near a limit."""
_QUANTA_MAX: Final = EXACT_MAX / 2
_INFINITE: Final = math.inf


class Held(NamedTuple):
    """A position: the instrument's row, whole lots, and what they cost in quanta."""

    row: int
    lots: float
    entry_value: float


class Stands(NamedTuple):
    """Equity rounded down, requirements rounded up, in millionths of a dollar."""

    equity_micro: int
    initial_micro: int
    maintenance_micro: int


class _Lot(NamedTuple):
    """What one lot of an instrument is in each part of a plan. Codes are from the coarsest level to
    the finest; `keys[d]` are the first d of them: positions with equal keys are of one row."""

    codes: tuple[int, ...]
    keys: tuple[tuple[int, ...], ...]
    pnl: tuple[Float64, ...]
    sides: tuple[tuple[float, float], ...]
    bound: float
    largest: float
    dollars_micro: float
    quantum_micro: float
    value: float
    worth: float
    scale: float
    group: int


class _Part:
    """A formula, with its columns by node."""

    def __init__(self, formula: Formula) -> None:
        self._outer = prepared(formula.outer, NUMBERS)
        self._inner = formula.inner
        self._columns: dict[int, dict[str, float]] = {}

    def of(self, node: int, parts: Mapping[str, float]) -> float:
        """Its amount at a node for an account's parts."""
        known = self._columns.get(node)
        if known is None:
            known = {name: float(column[node]) for name, column in self._inner.items()}
            self._columns[node] = known
        return float(self._outer({**known, **parts}))


_Rows = list[tuple[int, list[tuple[_Lot, float]]]]
"""Each row of a level: its node, and the lots in it."""


class Alone:
    """A plan, as one account at a time asks it. Raises nothing: `of` is None for a plan, and
    `stands` for an account, that it does not speak of."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._depth = {name: len(plan.levels) - place for place, name in enumerate(plan.levels)}
        self._inputs = {name: float(one.default) for name, one in plan.rulebook.text.inputs.items()}
        self._on_equity = plan.rulebook.text.haircut_on == "equity"
        self._sums = {one.name: place for place, one in enumerate(plan.sums)}
        self._initial = _Part(plan.initial)
        self._maintenance = _Part(plan.maintenance)
        self._charges = [_Part(one.amount) for one in plan.charges]
        self._lots: dict[int, _Lot | None] = {}
        self._tops: dict[int, tuple[float, float]] = {}
        self._steps: dict[tuple[str, int], float] = {}
        self._terms: dict[str, tuple[float, float, bool]] = {}
        groups, arrays = plan.arrays.groups, plan.arrays
        first = np.unique(groups.of_instrument, return_index=True)[1]
        settlements = [arrays.universe.settlements[code] for code in groups.settlement]
        self._per_quantum = [
            arrays.price_of(asset) * MICRO / float(arrays.scale["value"][row])
            for asset, row in zip(settlements, first.tolist(), strict=True)
        ]  # fmt: skip

    @classmethod
    def of(cls, plan: object) -> Alone | None:
        """None for rulebooks of formulas, and for scans that look at a whole tail."""
        if not isinstance(plan, Plan) or any(one.tail is not None for one in plan.scans):
            return None
        found = cls(plan)
        good = all(0.0 <= one < _INFINITE for one in found._inputs.values())
        return found if good and all(map(math.isfinite, found._per_quantum)) else None

    def stands(
        self, positions: Sequence[Held], balances: Iterable[tuple[str, float]]
    ) -> Stands | None:
        """Where an account with these positions and amounts of assets stands; None where `assess`
        has to say it. Each instrument comes once."""
        if len(positions) > POSITIONS_MAX:
            return None
        try:
            return self._stands(positions, balances)
        except (ZeroDivisionError, OverflowError, ValueError):
            return None  # arrays would have gone on with what is not finite

    def _stands(
        self, positions: Sequence[Held], balances: Iterable[tuple[str, float]]
    ) -> Stands | None:
        owned = self._collateral(balances)
        held: list[tuple[_Lot, Held]] = []
        for one in positions:
            lot = self._lots.get(one.row) or self._lot(one.row)
            if lot is None:
                return None
            held.append((lot, one))
        carried = self._carried(held)
        if owned is None or carried is None or not _in_range(held):
            return None
        held.sort(key=lambda one: (one[0].codes, one[1].row))
        sized = [(lot, one.lots) for lot, one in held]
        initial = maintenance = 0
        for node, mine in _rows(sized, self._depth[self._plan.top.name]):
            found = self._set(node, mine)
            if found is None:
                return None
            initial += found[0]
            maintenance += found[1]
        worth, haircut = owned
        if self._on_equity:
            return Stands(worth - haircut + carried, initial, maintenance)
        return Stands(worth + carried, initial + haircut, maintenance)

    # ── what stands against a requirement ────────────────────────────────────────────────────────

    def _collateral(self, balances: Iterable[tuple[str, float]]) -> tuple[int, int] | None:
        """Worth and haircut of balances; None where one of them is not known."""
        worth = haircut = 0
        gross = 0.0
        for asset, amount in balances:
            terms = self._terms.get(asset)
            if terms is None:
                terms = self._terms[asset] = self._terms_of(asset)
            price, cut, waits = terms
            if price != price:
                if amount < 0.0 or (waits and amount):
                    return None
                continue
            micro = amount * price * MICRO
            gross += abs(micro)
            worth += math.floor(micro)
            haircut += max(0, math.ceil(max(micro, 0.0) * cut))
        return (worth, haircut) if gross < _MICRO_MAX else None

    def _terms_of(self, asset: str) -> tuple[float, float, bool]:
        """Dollars per unit, NaN where it does not count; the haircut; and whether it would count if
        its index were known."""
        terms = self._plan.rulebook.collateral.get(asset)
        if terms is None:
            return math.nan, 0.0, False
        if terms.price == "par":
            return 1.0, terms.haircut, False
        arrays = self._plan.arrays
        there = arrays.universe.underlyings
        for name in (asset, terms.of or asset):
            if name in there and arrays.index[there.index(name)] > 0.0:
                return float(arrays.index[there.index(name)]), terms.haircut, False
        return math.nan, 0.0, True

    def _carried(self, held: Sequence[tuple[_Lot, Held]]) -> int | None:
        """Option value and gains of futures: each position rounded once, each group's sum down."""
        values: dict[int, int] = {}
        gains: dict[int, int] = {}
        for lot, (_, lots, entry_value) in held:
            group = lot.group
            values[group] = values.get(group, 0) + round(lots * lot.value * lot.scale)
            if lot.worth:
                gain = round(lots * lot.worth * lot.scale) - int(entry_value)
                gains[group] = gains.get(group, 0) + gain
        total = 0
        for sums in (values, gains):
            for group, quanta in sums.items():
                if abs(quanta) >= _QUANTA_MAX:
                    return None
                total += math.floor(quanta * self._per_quantum[group])
        return total if abs(total) < _MICRO_MAX else None

    # ── the requirement ──────────────────────────────────────────────────────────────────────────

    def _set(self, node: int, held: list[tuple[_Lot, float]]) -> tuple[int, int] | None:
        """Initial and maintenance margin of one netting set, millionths of a dollar."""
        plan = self._plan
        parts = dict(self._inputs)
        for place, scan in enumerate(plan.scans):
            least = self._least(place, scan, held)
            if not least > -_INFINITE:
                return None
            parts[scan.name] = self._loss(scan, node, max(-least, 0.0))
        for charge, amount in zip(plan.charges, self._charges, strict=True):
            parts[charge.name] = self._charge(charge, amount, held)
        for place, one in enumerate(plan.sums):
            if one.node == plan.top.name:
                parts[one.name] = _sum(held, place) / one.quanta
        bound, text = _bound(held), plan.rulebook.text.requirement
        initial = _rounded(self._initial.of(node, parts), text.round_initial) + bound
        maintenance = _rounded(self._maintenance.of(node, parts), text.round_maintenance) + bound
        dollars, room = self._tops.get(node) or self._top(node)
        if not (abs(initial) < room and abs(maintenance) < room):
            return None
        for part in parts.values():
            if not abs(part) < room:
                return None
        return max(0, math.ceil(initial * dollars)), max(0, math.ceil(maintenance * dollars))

    def _top(self, node: int) -> tuple[float, float]:
        """Millionths of a dollar per unit of a set's numeraire, and what its margin is below."""
        top = self._plan.top
        dollars = float(top.price[node]) * MICRO
        found = self._tops[node] = dollars, MONEY_MAX / max(1, len(top)) / dollars
        return found

    def _least(self, place: int, scan: ScanPlan, held: list[tuple[_Lot, float]]) -> float:
        """The least total over scenarios of a scan, in quanta."""
        total: Any = None
        for node, mine in _rows(held, self._depth[scan.node]):
            (lot, lots), *others = mine
            sums = lot.pnl[place] * lots
            for lot, lots in others:
                sums = sums + lot.pnl[place] * lots
            if not scan.node_map.plain[node]:
                sums = _mapped(scan, node, sums)
            total = sums if total is None else total + sums
        return float(np.minimum.reduce(total))

    def _loss(self, scan: ScanPlan, node: int, loss: float) -> float:
        """A loss in quanta as the numeraire's amount, in the scan's steps."""
        quanta = float(self._plan.top.quanta[node])
        if scan.round is not None:
            step = self._steps.get((scan.name, node))
            if step is None:
                step = max(quanta / _ten_to(scan.round.decimals), 1.0)
                self._steps[scan.name, node] = step
            loss = _ROUND[scan.round.mode](loss / step) * step
        return loss / quanta

    def _charge(
        self, charge: ChargePlan, amount: _Part, held: list[tuple[_Lot, float]]
    ) -> float:  # fmt: skip
        """Added row by row: the bits depend on the order."""
        total = 0.0
        for node, mine in _rows(held, self._depth[charge.node]):
            sums = {
                name: _sum(mine, self._sums[name]) / self._plan.sums[self._sums[name]].quanta
                for name in charge.sums
            }
            total += amount.of(node, sums)
        return total

    def _lot(self, row: int) -> _Lot | None:
        """What a lot of an instrument is; None where it cannot be margined."""
        if row in self._lots:
            return self._lots[row]
        plan, arrays = self._plan, self._plan.arrays
        found: _Lot | None = None
        if plan.marginable[row]:
            codes = tuple(int(plan.nodes[name].code[row]) for name in reversed(plan.levels))
            settlement = arrays.universe.settlements[int(arrays.universe.settlement[row])]
            micro = arrays.price_of(settlement) * MICRO
            value, worth = (float(arrays.units[name][row]) for name in ("value", "worth"))
            scale = float(arrays.scale["value"][row])
            found = _Lot(
                codes=codes,
                keys=tuple(codes[:depth] for depth in range(len(codes) + 1)),
                pnl=tuple(one.matrix[row, : len(one.scenarios)] for one in plan.scans),
                sides=tuple(
                    (float(one.long_side[row]), float(one.short_side[row])) for one in plan.sums
                ),
                bound=float(plan.bound_per_lot[row]),
                largest=float(plan.largest[row]),
                dollars_micro=(abs(value) + abs(worth)) * micro,
                quantum_micro=micro / scale,
                value=value,
                worth=0.0 if arrays.universe.is_option[row] else worth,
                scale=scale,
                group=int(arrays.groups.of_instrument[row]),
            )
        self._lots[row] = found
        return found


# ── arithmetic ───────────────────────────────────────────────────────────────────────────────────


def _rows(held: Sequence[tuple[_Lot, float]], depth: int) -> _Rows:
    """Rows of a level: runs of positions whose codes are equal down to it."""
    rows: _Rows = []
    last: tuple[int, ...] | None = None
    for one in held:
        key = one[0].keys[depth]
        if key != last:
            rows.append((key[-1], []))
            last = key
        rows[-1][1].append(one)
    return rows


def _in_range(held: Sequence[tuple[_Lot, Held]]) -> bool:
    """Whether sums of quanta are exact, and positions worth no more than money can hold."""
    reach = gross = 0.0
    for lot, one in held:
        size = abs(one.lots)
        reach += size * lot.largest
        gross += size * lot.dollars_micro + abs(one.entry_value) * lot.quantum_micro
    return reach < _QUANTA_MAX and gross < _MICRO_MAX


def _mapped(scan: ScanPlan, node: int, sums: Float64) -> Float64:
    """A node's sums [scenario], moved toward zero; losses and gains by their factors, capped."""
    told, count = scan.node_map, len(scan.scenarios)
    dead = told.dead[node, :count]
    gains = np.maximum(sums - dead, 0.0) * told.gain[node, :count]
    losses = np.minimum(sums + dead, 0.0) * told.loss[node, :count]
    return np.asarray(np.minimum(gains, told.cap[node, :count]) + losses)


def _sum(held: Iterable[tuple[_Lot, float]], place: int) -> float:
    """Whole quanta: the order does not matter."""
    total = 0.0
    for lot, lots in held:
        long, short = lot.sides[place]
        total += lots * (long if lots > 0.0 else short)
    return total


def _bound(held: Sequence[tuple[_Lot, float]]) -> float:
    """What rounding hides: no whole numbers, so added in the order of arrays."""
    total = 0.0
    for lot, lots in held:
        total += lots * (lot.bound if lots > 0.0 else -lot.bound)
    return total


def _rounded(amount: float, text: RoundText | None) -> float:
    if text is None:
        return amount
    scale = _ten_to(text.decimals)
    return _ROUND[text.mode](max(amount, 0.0) * scale) / scale


@cache
def _ten_to(decimals: int) -> float:
    return float(power(10.0, decimals))


def _even(number: float) -> float:
    return float(round(number))


def _up(number: float) -> float:
    return float(math.ceil(number))


def _down(number: float) -> float:
    return float(math.floor(number))


_ROUND: Final[dict[Rounding, Callable[[float], float]]] = {
    Rounding.HALF_EVEN: _even,
    Rounding.UP: _up,
    Rounding.CEILING: _up,
    Rounding.DOWN: _down,
    Rounding.FLOOR: _down,
}
"""Of amounts that are not negative."""


def _larger(one: float, other: float) -> float:
    return one if one >= other or one != one else other


def _smaller(one: float, other: float) -> float:
    return one if one <= other or one != one else other


NUMBERS: Final = Arithmetic(
    number=float,
    functions={
        "max": lambda *parts: reduce(_larger, parts),
        "min": lambda *parts: reduce(_smaller, parts),
        "abs": abs,
        "sign": lambda one: one if one != one else float((one > 0.0) - (one < 0.0)),
        "clip": lambda number, low, high: _smaller(_larger(number, low), high),
        "round": _even,
        "floor": _down,
        "ceil": _up,
        "where": lambda holds, one, other: one if holds != 0.0 else other,
        "and": lambda one, other: one != 0.0 and other != 0.0,
        "or": lambda one, other: one != 0.0 or other != 0.0,
        "not": lambda one: one == 0.0,
    },
)
"""Plain float64 numbers: the bits of `expressions.ARRAYS`. What is not finite may raise instead."""
