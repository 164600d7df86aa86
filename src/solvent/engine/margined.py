"""Views as margining takes them: positions, balances, orders and modes of many accounts as arrays.

What margining can say nothing of, such as a contract that its arrays do not know, is told by place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from solvent.engine.inputs import brought
from solvent.engine.open_orders import Asked
from solvent.engine.state import Rules, State
from solvent.limits import COMBO_FIRST
from solvent.margining.alone import Held
from solvent.margining.compile import AnyPlan
from solvent.margining.levels.book import Balances, Orders
from solvent.margining.levels.modes import Modes
from solvent.risk import Book
from solvent.units import DOLLARS, quanta_per_unit

if TYPE_CHECKING:
    from solvent.engine.standing import View


class Margined(NamedTuple):
    """What margining is asked of views; and places of those that it can say nothing of."""

    book: Book
    balances: Balances
    orders: Orders | None
    modes: Modes | None
    inputs: dict[str, dict[str, float]]
    unlisted: list[int]


def margined(
    state: State, rules: Rules, plan: AnyPlan, views: Sequence[View], *, with_orders: bool = False
) -> Margined:
    """Views as margining takes them; orders stand in it for rulebooks of formulas alone."""
    names = _row_names(views)
    book, unlisted = _book(rules, views, names)
    if not isolates_positions(rules):
        unlisted += [place for place, seen in enumerate(views) if _held_apart(seen)]
    if with_orders:
        unlisted += [place for place, seen in enumerate(views) if _orders_unlisted(rules, seen)]
    inputs, strange = brought(rules, [seen.account for seen in views], names)
    unlisted += strange
    return Margined(
        book, _balances(state, plan, views),
        _orders(state, rules, views) if with_orders else None,
        _modes(state, rules, views, names), inputs, unlisted,
    )  # fmt: skip


def isolates_positions(rules: Rules) -> bool:
    """Whether a rulebook can margin a position by itself."""
    return "isolated_pools" in getattr(rules.rulebook.text, "properties", ())


def _orders_unlisted(rules: Rules, seen: View) -> bool:
    return not all(
        order.instrument >= COMBO_FIRST or _has_row(rules, order.instrument)
        for order in seen.orders
    )


def _held_apart(seen: View) -> bool:
    return any(mode.isolated and number in seen.positions for number, mode in seen.modes.items())


def _row_names(views: Sequence[View]) -> list[str]:
    """Names of rows, each its own: one account may be seen in several ways."""
    names = [seen.account.name for seen in views]
    if len(set(names)) == len(names):
        return names
    return [f"{name} {place}" for place, name in enumerate(names)]


def _book(rules: Rules, views: Sequence[View], names: list[str]) -> tuple[Book, list[int]]:
    """Positions as margining takes them, and the views that hold what the arrays do not know."""
    account: list[int] = []
    contract: list[int] = []
    lots: list[int] = []
    basis: list[int] = []
    for place, seen in enumerate(views):
        held = seen.positions
        account += [place] * len(held)
        contract += held
        lots += [one[0] for one in held.values()]
        basis += [one[1] for one in held.values()]
    owner = np.array(account, dtype=np.int32)
    numbers = np.array(contract, dtype=np.int64)
    # The last stands for contracts that were listed after the arrays were made.
    rows_of = np.array([*rules.row_of_contract, -1], dtype=np.int32)
    factor_of = np.array([*rules.quanta_of_value, 0.0])
    rows = rows_of[np.minimum(numbers, len(rows_of) - 1)]
    factor = factor_of[np.minimum(numbers, len(factor_of) - 1)]
    held_lots = np.array(lots, dtype=np.float64)
    values = np.array(basis, dtype=np.float64)
    listed = rows >= 0
    unlisted = owner[~listed].tolist()
    if unlisted:
        owner, rows, factor = owner[listed], rows[listed], factor[listed]
        held_lots, values = held_lots[listed], values[listed]
    order = np.lexsort((rows, owner))
    held_lots = held_lots[order]
    quanta = np.rint(values * factor)
    owner = owner[order]
    return (
        Book(
            accounts=names,
            first=np.searchsorted(owner, np.arange(len(views) + 1)).astype(np.int64),
            instrument=rows[order],
            lots=held_lots,
            entry_lots=held_lots,
            entry_value=quanta[order],
        ),
        unlisted,
    )


def held_of(rules: Rules, seen: View) -> list[Held] | None:
    """Positions of one view as margining takes them; None where it holds what the arrays do not
    know."""
    rows, factors = rules.row_of_contract, rules.quanta_of_value
    found = []
    for number, (lots, basis) in seen.positions.items():
        row = rows[number] if number < len(rows) else -1
        if row < 0:
            return None
        found.append(Held(row, float(lots), float(round(basis * factors[number]))))
    return found


def owned_of(state: State, seen: View) -> Iterator[tuple[str, float]]:
    """Balances of one view: an asset's name and units of it."""
    for number, owned in seen.balances.items():
        name, decimals = state.assets[number]
        yield name, owned / 10**decimals


def _balances(state: State, plan: AnyPlan, views: Sequence[View]) -> Balances:
    account, asset, amount = [], [], []
    scales = [10**decimals for _, decimals in state.assets]
    for place, seen in enumerate(views):
        for number, owned in seen.balances.items():
            account.append(place)
            asset.append(number)
            amount.append(owned / scales[number])
    names = [name for name, _ in state.assets]
    prices = np.array([_price(plan, name) for name in names] or [0.0])
    codes = np.array(asset, dtype=np.int64)
    return Balances(
        account=np.array(account, dtype=np.int64),
        asset=[names[code] for code in asset],
        amount=np.array(amount, dtype=np.float64),
        price=prices[codes],
    )


def _price(plan: AnyPlan, asset: str) -> float:
    """Dollars per unit by the arrays' index; a dollar is a dollar where they have none."""
    names, index = plan.arrays.universe.underlyings, plan.arrays.index
    if asset in names and index[names.index(asset)] > 0.0:
        return float(index[names.index(asset)])
    return 1.0 if asset in DOLLARS else np.nan


def _orders(state: State, rules: Rules, views: Sequence[View]) -> Orders | None:
    rows = [
        (place, rules.row_of_contract[order.instrument], order)
        for place, seen in enumerate(views)
        for order in _by_leg(state, seen.orders)
        if _has_row(rules, order.instrument)
    ]
    if not rows:
        return None
    deals = [state.contracts[order.instrument].deal for _, _, order in rows]
    return Orders(
        account=np.array([place for place, _, _ in rows], dtype=np.int64),
        instrument=np.array([row for _, row, _ in rows], dtype=np.int64),
        size=np.array(
            [float(abs(o.lots) * d.lot_size) for (_, _, o), d in zip(rows, deals, strict=True)]
        ),
        price=np.array(
            [
                float(o.price_ticks * d.points_per_tick * d.point)
                for (_, _, o), d in zip(rows, deals, strict=True)
            ]
        ),
        buy=np.array([float(order.lots > 0) for _, _, order in rows]),
    )


def _by_leg(state: State, orders: Iterable[Asked]) -> Iterator[Asked]:
    """Orders, those for combinations as orders for each leg at its mark."""
    for order in orders:
        if order.instrument < COMBO_FIRST:
            yield order
            continue
        for contract, ratio in state.combos[order.instrument - COMBO_FIRST].legs:
            ticks = (contract.mark_points or 0) // contract.deal.points_per_tick
            yield Asked(contract.number, ratio * order.lots, max(ticks, 1))


def _has_row(rules: Rules, number: int) -> bool:
    """Whether the arrays know a contract; who holds one that they do not is not known."""
    return number < len(rules.row_of_contract) and rules.row_of_contract[number] >= 0


def _modes(state: State, rules: Rules, views: Sequence[View], names: list[str]) -> Modes | None:
    """How positions are held, as far as the rulebook asks; isolated ones with their margin."""
    asked = {one for columns in getattr(rules.rulebook.text, "inputs", {}).values()
             if isinstance(columns, Mapping) for one in columns}  # fmt: skip
    isolated: set[tuple[str, str]] = set()
    values: dict[str, dict[tuple[str, str], float]] = {}
    for place, seen in enumerate(views):
        ordered = {order.instrument for order in seen.orders} if seen.modes else ()
        for number, mode in seen.modes.items():
            held = number in seen.positions
            if not (held or number in ordered) or not _has_row(rules, number):
                continue
            contract = state.contracts[number]
            pair = names[place], contract.listing.symbol
            if mode.factor is not None and "leverage" in asked:
                values.setdefault("leverage", {})[pair] = float(1 / mode.factor)
            if held and mode.isolated and isolates_positions(rules):
                isolated.add(pair)
                if "isolated_margin" in asked:
                    scale = contract.deal.asset_scale
                    margin = seen.margins.get(number, 0) / scale
                    values.setdefault("isolated_margin", {})[pair] = margin
    if not isolated and not values:
        return None
    return Modes(isolated=frozenset(isolated), hedged=frozenset(), values=values)


def quanta_of_value(state: State, number: int) -> float:
    """Quanta of risk per value unit of a contract: a factor between two scales of one asset."""
    deal = state.contracts[number].deal
    asset = state.assets[deal.asset][0]
    scale = quanta_per_unit(asset) / deal.asset_scale
    return deal.numerator / deal.denominator * scale
