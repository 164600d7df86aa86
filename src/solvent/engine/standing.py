"""Where accounts stand by their rulebooks, on the published risk arrays; many at once.

A *view* is an account as it is, or as it would be after something: what is held, owned and ordered.
Nothing here changes the state. An account under arrays that are absent or too old is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from solvent.account.ledger import GENERAL, margin_slot, node
from solvent.engine.combos import split
from solvent.engine.inputs import brought
from solvent.engine.open_orders import Asked, Sides, with_order
from solvent.engine.state import Account, Contract, Mode, Rules, Standing, State
from solvent.limits import COMBO_FIRST
from solvent.margining.assess import Assessed, assess
from solvent.margining.compile import AnyPlan
from solvent.margining.levels.book import Balances, LevelsPlan, Orders
from solvent.margining.levels.modes import Modes
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.risk import Book
from solvent.units import DOLLARS, div_down, div_half_even, quanta_per_unit

NOT_KNOWN: Final = Standing(0, 0, 0, False, False, False)
FOUND_MAX: Final = 32_768
"""Standings that are kept of a plan; a look at more accounts than that is not worth it."""
_SCANS_MAX: Final = 1_024  # of scans: a key holds each position of what may be a large account
_FEW: Final = 64  # accounts: standings of scans are remembered of no larger looks, which are quick


@dataclass(slots=True)
class View:
    """What an account holds (contract → lots, basis), owns and orders.

    `margins` are the balances of isolated positions by contract, `modes` how contracts are held.
    Orders stand in `orders` one by one where formulas margin them, else summed up in `sides`.
    """

    account: Account
    positions: dict[int, tuple[int, int]]
    balances: dict[int, int]
    margins: dict[int, int] = field(default_factory=dict)
    orders: list[Asked] = field(default_factory=list)
    modes: dict[int, Mode] = field(default_factory=dict)
    sides: Mapping[int, Sides] = field(default_factory=dict)


def view(state: State, account: Account) -> View:
    """An account as it is."""
    balances = state.ledger.balances
    base = node(account.number, GENERAL, 0)
    owned = {}
    for asset in range(len(state.assets)):
        if amount := balances.get(base + asset, 0):
            owned[asset] = amount
    seen = View(account, {}, owned)
    for number, one in (account.positions or {}).items():
        seen.positions[number] = (one.lots, one.basis_value)
    if account.modes:
        seen.modes = account.modes
        seen.margins = isolated_margins(state, account)
    if account.number in state.open.sides:
        if _by_formulas(state, account):
            mine = state.desk.orders[account.number]
            seen.orders = [state.open.asked[account.number, name] for name in mine]
        else:
            seen.sides = state.open.sides[account.number]
    return seen


def _by_formulas(state: State, account: Account) -> bool:
    rules = state.rules.get(account.rulebook)
    return rules is not None and isinstance(rules.rulebook, LevelsRulebook)


def reordered(state: State, seen: View, was: Asked | None, now: Asked | None) -> View:
    """A view with one order another than it is, a new one, or one that has gone."""
    after = View(
        seen.account, seen.positions, seen.balances, seen.margins, seen.orders, seen.modes,
        seen.sides,
    )  # fmt: skip
    if not _by_formulas(state, seen.account):
        after.sides = with_order(seen.sides, state.value_of, was, now)
        return after
    after.orders = list(seen.orders)
    if was is not None:
        after.orders.remove(was)
    if now is not None and now.lots:
        after.orders.append(now)
    return after


def isolated_margins(state: State, account: Account) -> dict[int, int]:
    """Contract → balance of the margin of a position that is isolated, in its settlement asset."""
    found = {}
    for number, mode in (account.modes or {}).items():
        if mode.isolated:
            asset = state.contracts[number].deal.asset
            found[number] = state.ledger.balance(node(account.number, margin_slot(number), asset))
    return found


def has_risk(seen: View) -> bool:
    """Whether margin is asked of it at all: something is held, ordered or owed."""
    return bool(
        seen.positions
        or seen.orders
        or seen.sides
        or any(amount < 0 for amount in seen.balances.values())
    )


def fresh_plan(state: State, rules: Rules) -> AnyPlan | None:
    """The plan on which a rulebook decides now; None without arrays, or with old ones."""
    if rules.plan is None or rules.arrays is None:
        return None
    age_ms = state.log.time_ms - rules.arrays.as_of_ms
    return None if age_ms > rules.house.age_ms_max else rules.plan


def standings(state: State, views: Sequence[View]) -> list[Standing]:
    """Every view's standing, in order."""
    found = [NOT_KNOWN] * len(views)
    by_rulebook: dict[str, list[int]] = {}
    for place, seen in enumerate(views):
        by_rulebook.setdefault(seen.account.rulebook, []).append(place)
    for name, places in by_rulebook.items():
        rules = state.rules[name]
        plan = fresh_plan(state, rules)
        if plan is not None:
            mine = [views[place] for place in places]
            how = _remembered if _may_remember(rules, plan, len(mine)) else _assessed
            for place, one in zip(places, how(state, rules, plan, mine), strict=True):
                found[place] = one
    return found


def _may_remember(rules: Rules, plan: AnyPlan, count: int) -> bool:
    """Whether a rulebook of formulas asks for nothing by the name of an account: names of rows are
    made up where one account is seen in several ways. A scan never does."""
    if not isinstance(plan, LevelsPlan):
        return count <= _FEW
    tables = getattr(rules.rulebook.text, "tables", {})
    return all(one.by != "account" for one in tables.values())


def _remembered(
    state: State, rules: Rules, plan: AnyPlan, views: Sequence[View]
) -> Iterable[Standing]:
    """Assessed, or remembered: the same account in the same place stands the same on one plan, and
    a liquidation asks for it several times."""
    if rules.found_by is not plan:
        rules.found_by, rules.found = plan, {}
    known = rules.found
    keys = [_key(seen) for seen in views]
    new = [place for place, key in enumerate(keys) if key is None or key not in known]
    if len(new) == len(views):
        fresh = list(_assessed(state, rules, plan, views))
    else:
        fresh = list(_assessed(state, rules, plan, [views[place] for place in new])) if new else []
    found = dict(zip(new, fresh, strict=True))
    answers = [found[place] if place in found else known[keys[place]]  # type: ignore[index]
               for place in range(len(views))]  # fmt: skip
    most = FOUND_MAX if isinstance(plan, LevelsPlan) else _SCANS_MAX
    if len(known) + len(new) > most:
        known.clear()
    if len(new) <= most:
        known.update((key, found[place]) for place in new if (key := keys[place]) is not None)
    return answers


def _key(seen: View) -> tuple[object, ...] | None:
    """All that a view's standing depends on besides the plan; None where that is marks, too."""
    if any(order.instrument >= COMBO_FIRST for order in seen.orders) or any(
        instrument >= COMBO_FIRST for instrument in seen.sides
    ):
        return None
    modes = tuple((number, mode.isolated, mode.factor) for number, mode in seen.modes.items())
    return (
        seen.account.number, tuple(seen.positions.items()), tuple(seen.balances.items()),
        tuple(seen.margins.items()), tuple(seen.orders), tuple(seen.sides.items()), modes,
        tuple((seen.account.inputs or {}).items()),
    )  # fmt: skip


def standing(state: State, seen: View) -> Standing:
    """One view's standing."""
    return standings(state, [seen])[0]


def _assessed(
    state: State, rules: Rules, plan: AnyPlan, views: Sequence[View]
) -> Iterable[Standing]:
    """Under a rulebook of formulas orders are its own; under one of scans they are taken as filled,
    all bids or all offers, and the worse counts: its margin, and what filling would cost beyond
    what it brings."""
    if isinstance(plan, LevelsPlan):
        return _columns(_assess(state, rules, plan, views, with_orders=True), views)
    ordering = [place for place, seen in enumerate(views) if seen.sides]
    if not ordering:
        return _columns(_assess(state, rules, plan, views), views)
    found = list(_columns(_assess(state, rules, plan, views), views))
    for buys in (True, False):
        filled = [_filled(state, views[place], buys=buys) for place in ordering]
        worse = _columns(_assess(state, rules, plan, filled), filled)
        for place, one in zip(ordering, worse, strict=True):
            was = found[place]
            cost = max(was.equity_micro - one.equity_micro, 0)
            initial = max(was.initial_micro, one.initial_micro + cost)
            known = was.known and one.known
            found[place] = was._replace(
                initial_micro=initial, known=known, call=known and was.equity_micro < initial
            )
    return found


def _filled(state: State, seen: View, *, buys: bool) -> View:
    """A view with all its bids, or all its offers, filled at their prices."""
    held, owned = dict(seen.positions), dict(seen.balances)
    for instrument, (bid_lots, bid_value, ask_lots, ask_value) in seen.sides.items():
        lots, value = (bid_lots, bid_value) if buys else (ask_lots, ask_value)
        if not lots:
            continue
        if instrument < COMBO_FIRST:
            fill(state.contracts[instrument], lots, value, held, owned)
            continue
        combo = state.combos[instrument - COMBO_FIRST]
        # At its average price, rounded against the account; at the marks where that has no sense.
        prices = split(combo, -(-value // lots) if buys else value // lots)
        for place, (contract, ratio) in enumerate(combo.legs):
            deal = contract.deal
            points = contract.mark_points or 0
            if prices is not None:
                points = prices[place] * deal.points_per_tick
            fill(contract, ratio * lots, deal.value(ratio * lots, points), held, owned)
    held = closed_out(state, held, owned)
    return View(seen.account, held, owned, seen.margins, [], seen.modes)


def closed_out(
    state: State, held: Mapping[int, tuple[int, int]], owned: dict[int, int]
) -> dict[int, tuple[int, int]]:
    """What is still held; what positions that have closed gained or lost is money in `owned`."""
    for number, (lots, basis) in held.items():
        if not lots and basis:
            deal = state.contracts[number].deal
            gain = div_down(-basis * deal.numerator, deal.denominator)
            owned[deal.asset] = owned.get(deal.asset, 0) + gain
    return {number: one for number, one in held.items() if one[0]}


def fill(
    contract: Contract, lots: int, value: int, held: dict[int, tuple[int, int]],
    owned: dict[int, int],
) -> None:  # fmt: skip
    """Add lots and what they cost: of an option money, else a basis."""
    deal = contract.deal
    before, basis = held.get(contract.number, (0, 0))
    if deal.up_front:
        premium = div_half_even(value * deal.numerator, deal.denominator)
        owned[deal.asset] = owned.get(deal.asset, 0) - premium
        value = 0
    held[contract.number] = before + lots, basis + value


def _columns(found: Assessed, views: Sequence[View]) -> Iterable[Standing]:
    return (
        Standing(*row)
        for row in zip(
            found.equity_micro.tolist()[: len(views)], found.initial_micro.tolist(),
            found.maintenance_micro.tolist(), found.known.tolist(), found.call.tolist(),
            found.liquidate.tolist(), found.credit_micro.tolist(), strict=True,
        )
    )  # fmt: skip


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


def _assess(
    state: State, rules: Rules, plan: AnyPlan, views: Sequence[View], *, with_orders: bool = False
) -> Assessed:
    told = margined(state, rules, plan, views, with_orders=with_orders)
    unlisted = told.unlisted
    answer = assess(
        plan, told.book, balances=told.balances, orders=told.orders, modes=told.modes,
        inputs=told.inputs,
    )  # fmt: skip
    if not unlisted:
        return answer
    known = answer.known.copy()
    known[unlisted] = False
    return Assessed(
        equity_micro=answer.equity_micro, initial_micro=answer.initial_micro,
        maintenance_micro=answer.maintenance_micro, known=known, call=answer.call & known,
        liquidate=answer.liquidate & known, credit_micro=answer.credit_micro,
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
