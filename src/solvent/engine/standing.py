"""Where accounts stand by their rulebooks, on the published risk arrays; many at once, or a few one
by one where that is sooner.

A *view* is an account as it is, or as it would be after something: what is held, owned and ordered.
Nothing here changes the state. An account under arrays that are absent or too old is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from solvent.account.ledger import GENERAL, margin_slot, node
from solvent.engine.combos import split
from solvent.engine.margined import held_of, margined, owned_of
from solvent.engine.open_orders import Asked, Sides, with_order
from solvent.engine.state import Account, Contract, Mode, Rules, Standing, State
from solvent.limits import COMBO_FIRST
from solvent.margining.alone import Alone
from solvent.margining.assess import Assessed, assess
from solvent.margining.compile import AnyPlan
from solvent.margining.levels.book import LevelsPlan
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.units import div_down, div_half_even

NOT_KNOWN: Final = Standing(0, 0, 0, False, False, False)
FOUND_MAX: Final = 32_768
"""Standings that are kept of a plan; a look at more accounts than that is not worth it."""
_SCANS_MAX: Final = 1_024  # of scans: a key holds each position of what may be a large account
_FEW: Final = 64  # accounts: standings of scans are remembered of no larger looks, which are quick
_ALONE_MAX: Final = 16  # views: beyond so many arrays are sooner than one after the other
_ALONE_HELD_MAX: Final = 64  # positions of them all: beyond so many, too


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
    asked = list(views)
    for buys in (True, False):
        asked += [_filled(state, views[place], buys=buys) for place in ordering]
    answers = _by_scans(state, rules, plan, asked)
    found = answers[: len(views)]
    for place, one in zip([*ordering, *ordering], answers[len(views) :], strict=True):
        was = found[place]
        cost = max(was.equity_micro - one.equity_micro, 0)
        initial = max(was.initial_micro, one.initial_micro + cost)
        known = was.known and one.known
        found[place] = was._replace(
            initial_micro=initial, known=known, call=known and was.equity_micro < initial
        )
    return found


def _by_scans(
    state: State, rules: Rules, plan: AnyPlan, views: Sequence[View]
) -> list[Standing]:  # fmt: skip
    """Without their orders; a few one by one, and what cannot be told so, and crowds, in arrays."""
    if (
        rules.alone is None
        or rules.plan is not plan
        or len(views) > _ALONE_MAX
        or sum(len(seen.positions) for seen in views) > _ALONE_HELD_MAX
    ):
        return list(_columns(_assess(state, rules, plan, views), views))
    found = [_alone(state, rules, rules.alone, seen) for seen in views]
    left = [seen for seen, one in zip(views, found, strict=True) if one is None]
    others = iter(_columns(_assess(state, rules, plan, left), left) if left else ())
    return [next(others) if one is None else one for one in found]


def _alone(state: State, rules: Rules, plan: Alone, seen: View) -> Standing | None:
    if seen.modes:
        return None
    positions = held_of(rules, seen)
    found = None if positions is None else plan.stands(positions, owned_of(state, seen))
    if found is None:
        return None
    equity, initial, maintenance = found
    return Standing(equity, initial, maintenance, True, equity < initial, equity < maintenance)


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
