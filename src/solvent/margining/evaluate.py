"""Requirements of a whole book: the compiled plan over every account at once.

Sums of integers are exact in any order. What follows them, per set, is a fixed sequence of IEEE
operations on numbers that depend on the set alone, so a set's requirement has the same bits in a
book of one account and in a book of a million, on one thread or on many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject
from solvent.limits import EXACT_MAX, MONEY_MAX, PROBLEMS_MAX
from solvent.margining.equity import carried
from solvent.margining.plan import ChargePlan, Formula, Plan, ScanPlan, SumPlan
from solvent.margining.requirement import Requirements, Sets
from solvent.margining.schema import RoundText
from solvent.portable import power
from solvent.risk import Book, Layout, layout
from solvent.risk.product import Totals, check_exact, signed_sums, worst_of
from solvent.risk.tails import scan_tail
from solvent.units import MICRO, Float64, Rounding, requirement_up

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

Inputs = Mapping[str, Any]
"""Input name → one number for all sets, one a set, or (account, set's name) → number, the default
where none is told. In the set's numeraire, finite, 0 or more."""


def arrange(plan: Plan, book: Book) -> Layout:
    """A book along the plan's tree; worth keeping while its positions do not change."""
    return layout(book, [plan.nodes[name].code for name in plan.levels])


def requirements(
    plan: Plan,
    book: Book,
    *,
    arranged: Layout | None = None,
    inputs: Inputs | None = None,
    threads: int = 1,
) -> Requirements:
    """Margin every account. Raises BadInput for a book that leaves the exact range, and for inputs
    that are no amounts.

    Positions that cannot be margined count as nothing; their accounts are told in `refused`. A set
    whose formulas give no finite number has none; its account is told in `undefined`.
    """
    arranged = arrange(plan, book) if arranged is None else arranged
    lots = np.where(plan.marginable[arranged.instrument], arranged.lots, 0.0)
    _check_range(plan, book, arranged)
    sets = _sets(plan, arranged, lots, _told_inputs(plan, book, arranged, inputs or {}), threads)
    accounts = len(book)
    refused = np.full(accounts, -1, dtype=np.int64)
    bad = np.flatnonzero(~plan.marginable[arranged.instrument])
    refused[arranged.account[bad[::-1]]] = bad[::-1]
    value, unrealised = carried(plan.arrays, book, plan.marginable, threads=threads)
    return Requirements(
        sets=sets,
        layout=arranged,
        initial=_per_account(sets.initial_micro, sets.account, accounts),
        maintenance=_per_account(sets.maintenance_micro, sets.account, accounts),
        option_value=value,
        unrealised=unrealised,
        worst_set=_worst_set(sets, accounts),
        refused=refused,
        undefined={
            int(sets.account[one]): f"{plan.rulebook.name}: {part} has no finite number here"
            for one, part in sorted(sets.undefined.items(), reverse=True)
        },
    )


def _told_inputs(plan: Plan, book: Book, arranged: Layout, inputs: Inputs) -> dict[str, Float64]:
    """Every input of the rulebook by set, its default where none is told."""
    top = plan.levels.index(plan.top.name)
    level, texts = arranged.levels[top], plan.rulebook.text.inputs
    if strange := sorted(inputs.keys() - texts.keys()):
        known = ", ".join(texts) or "none"
        expected = f"an input of {plan.rulebook.name} ({known})"
        raise BadInput(_bad_input(strange[0], expected, ", ".join(strange)))
    columns: dict[str, Float64] = {}
    for name, text in texts.items():
        value = inputs.get(name, text.default)
        try:
            if isinstance(value, Mapping):
                value = _by_set(plan, book, arranged, name, value, text.default)
            told = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as fault:
            raise BadInput(_bad_input(name, "numbers", str(fault))) from fault
        if told.shape not in ((), (len(level),)):
            expected = f"one number, or {len(level)} (one for each netting set)"
            raise BadInput(_bad_input(name, expected, f"an array of shape {told.shape}"))
        columns[name] = np.array(np.broadcast_to(told, len(level)))
        bad = np.flatnonzero(~(np.isfinite(columns[name]) & (columns[name] >= 0.0)))
        if len(bad):
            account = book.accounts[arranged.account_of(top)[bad[0]]]
            where = f"set {plan.top.names[level.node[bad[0]]]} of account {account}"
            found = f"{columns[name][bad[0]]:g} ({where})"
            raise BadInput(_bad_input(name, "a finite amount of 0 or more", found))
    return columns


def _by_set(
    plan: Plan, book: Book, arranged: Layout, name: str, told: Mapping[Any, Any], default: float
) -> Float64:
    top = plan.levels.index(plan.top.name)
    accounts = {account: row for row, account in enumerate(book.accounts)}
    nodes = {node: row for row, node in enumerate(plan.top.names)}
    held = zip(arranged.account_of(top).tolist(), arranged.levels[top].node.tolist(), strict=True)
    sets = {key: one for one, key in enumerate(held)}
    column = np.full(len(sets), default)
    for key, amount in told.items():
        account, node = key if isinstance(key, tuple) and len(key) == 2 else (key, "")
        one = sets.get((accounts.get(account, -1), nodes.get(node, -1)))
        if one is None:
            expected = f"an account and one of its sets, such as {', '.join(plan.top.names[:3])}"
            raise BadInput(_bad_input(name, expected, f"{account} {node or 'without a set'}"))
        column[one] = float(amount)
    return column


def _bad_input(name: str, expected: str, found: str) -> Problem:
    return Problem(
        code=Reject.INPUT_INVALID, source="inputs", field=name, expected=expected, found=found
    )


def _sets(
    plan: Plan, arranged: Layout, lots: Float64, inputs: Mapping[str, Float64], threads: int
) -> Sets:
    top = plan.levels.index(plan.top.name)
    level = arranged.levels[top]
    node = level.node
    components = dict(inputs)
    binding: dict[str, Int32] = {}
    for one in plan.scans:
        components[one.name], binding[one.name] = _scan(plan, one, arranged, lots, threads)
    sums = {one.name: _sum(plan, one, arranged, lots, threads) for one in plan.sums}
    for charge in plan.charges:
        components[charge.name] = _charge(plan, charge, arranged, sums)
    components |= {one.name: sums[one.name] for one in plan.sums if one.node == plan.top.name}
    bound = signed_sums(
        first=level.first,
        index=arranged.instrument,
        lots=lots,
        long_side=plan.bound_per_lot,
        short_side=-plan.bound_per_lot,
        threads=threads,
    )
    text = plan.rulebook.text.requirement
    with np.errstate(over="ignore"):
        initial = _rounded(_value(plan.initial, components, node), text.round_initial) + bound
        maintenance = (
            _rounded(_value(plan.maintenance, components, node), text.round_maintenance) + bound
        )
    dollars = plan.top.price[node] * MICRO
    # An account's sets must add up inside int64 too.
    with np.errstate(divide="ignore"):
        room = MONEY_MAX / max(1, len(plan.top)) / dollars
    undefined = _undefined(
        {**components, "requirement.initial": initial, "requirement.maintenance": maintenance}, room
    )
    for broken in undefined:
        initial[broken] = maintenance[broken] = np.nan
    in_micro = [np.nan_to_num(amount * dollars, nan=0.0) for amount in (initial, maintenance)]
    return Sets(
        account=arranged.account_of(top),
        node=node,
        components={**components, "rounding": bound},
        initial=np.maximum(initial, 0.0),
        maintenance=np.maximum(maintenance, 0.0),
        initial_micro=requirement_up(in_micro[0]),
        maintenance_micro=requirement_up(in_micro[1]),
        binding=binding,
        undefined=undefined,
    )


def _undefined(parts: Mapping[str, Float64], room: Float64) -> dict[int, str]:
    """Set → the first part of its margin that is no number, or none that money can hold."""
    found: dict[int, str] = {}
    for name, amount in parts.items():
        for one in np.flatnonzero(~(np.abs(amount) < room)):
            found.setdefault(int(one), name)
    return found


def _scan(
    plan: Plan, one: ScanPlan, arranged: Layout, lots: Float64, threads: int
) -> tuple[Float64, Int32]:
    """Worst loss of each set, or that of its tail, in its numeraire, never negative; and the
    scenario of it."""
    low, top = plan.levels.index(one.node), plan.levels.index(plan.top.name)
    rows = arranged.levels[low]
    book = Totals(
        matrix=one.matrix,
        columns=len(one.scenarios),
        set_first=arranged.parents(low, top),
        row_first=rows.first,
        row_node=rows.node,
        index=arranged.instrument,
        lots=lots,
        node_map=one.node_map,
    )
    if one.tail is None:
        least, binding = worst_of(book, threads=threads)
    else:
        least, binding = scan_tail(one.tail, book, tiles=one.tiles, threads=threads)
    quanta = plan.top.quanta[arranged.levels[top].node]
    loss = np.maximum(-least, 0.0)
    if one.round is not None:
        step = np.maximum(quanta / power(10.0, one.round.decimals), 1.0)
        loss = _ROUND[one.round.mode](loss / step) * step
    return loss / quanta, one.scenarios[binding].astype(np.int32)


def _sum(plan: Plan, one: SumPlan, arranged: Layout, lots: Float64, threads: int) -> Float64:
    rows = arranged.levels[plan.levels.index(one.node)]
    total = signed_sums(
        first=rows.first,
        index=arranged.instrument,
        lots=lots,
        long_side=one.long_side,
        short_side=one.short_side,
        threads=threads,
    )
    return total / one.quanta


def _charge(
    plan: Plan, charge: ChargePlan, arranged: Layout, sums: Mapping[str, Float64]
) -> Float64:
    low, top = plan.levels.index(charge.node), plan.levels.index(plan.top.name)
    rows = arranged.levels[low]
    amount = _value(charge.amount, {name: sums[name] for name in charge.sums}, rows.node)
    if low == top:
        return amount
    sets = len(arranged.levels[top])
    owner = np.repeat(np.arange(sets), np.diff(arranged.parents(low, top)))
    # bincount adds in the order of the rows, one by one: the bits depend on the set alone.
    return np.bincount(owner, weights=amount, minlength=sets).astype(np.float64)


def _value(formula: Formula, components: Mapping[str, Float64], node: Int32) -> Float64:
    names = formula.outer.names
    values = {name: column[node] for name, column in formula.inner.items() if name in names}
    values |= {name: column for name, column in components.items() if name in names}
    with np.errstate(all="ignore"):
        value = np.asarray(formula.outer(values), dtype=np.float64)
    return np.array(np.broadcast_to(value, len(node)))


_ROUND = {
    Rounding.HALF_EVEN: np.rint,
    Rounding.UP: np.ceil,
    Rounding.CEILING: np.ceil,
    Rounding.DOWN: np.floor,
    Rounding.FLOOR: np.floor,
}
"""Of amounts that are not negative."""


def _rounded(amount: Float64, text: RoundText | None) -> Float64:
    if text is None:
        return amount
    scale = power(10.0, text.decimals)
    return np.asarray(_ROUND[text.mode](np.maximum(amount, 0.0) * scale) / scale)


def beyond_range(plan: Plan, arranged: Layout) -> Int64:
    """Accounts with a set whose risk sums could leave the exact range, each once, in order."""
    level = plan.levels.index(plan.top.name)
    lots = np.where(plan.marginable[arranged.instrument], arranged.lots, 0.0)
    beyond = check_exact(
        first=arranged.levels[level].first,
        index=arranged.instrument,
        lots=lots,
        largest=plan.largest,
    )
    return np.unique(arranged.account_of(level)[beyond]).astype(np.int64)


def _check_range(plan: Plan, book: Book, arranged: Layout) -> None:
    """Refuse sums that could leave the exact range, naming the account."""
    beyond = beyond_range(plan, arranged).tolist()
    if beyond:
        raise BadInput(
            *(
                Problem(
                    code=Reject.EXACT_RANGE_EXCEEDED,
                    source=f"account {book.accounts[owner]}",
                    expected=f"risk sums below {EXACT_MAX} quanta",
                    found="positions whose sums could pass it",
                )
                for owner in beyond[:PROBLEMS_MAX]
            )
        )


def _per_account(amount: Int64, account: Int32, accounts: int) -> Int64:
    """Integer sums over each account's sets, which lie side by side."""
    running = np.concatenate([[0], np.cumsum(amount)])
    first = np.searchsorted(account, np.arange(accounts + 1))
    return np.asarray(running[first[1:]] - running[first[:-1]], dtype=np.int64)


def _worst_set(sets: Sets, accounts: int) -> Int64:
    """[account] its set with the largest initial margin, the first of equals; −1 for none."""
    first = np.searchsorted(sets.account, np.arange(accounts + 1)).astype(np.int64)
    counts = np.diff(first)
    worst = np.where(counts > 0, first[:-1], -1)
    for place in range(1, int(counts.max(initial=0))):
        more = np.flatnonzero(counts > place)
        other = first[more] + place
        larger = sets.initial_micro[other] > sets.initial_micro[worst[more]]
        worst[more[larger]] = other[larger]
    return worst
