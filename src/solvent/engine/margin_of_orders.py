"""Margin of orders: may an account have one, and which go when it cannot bear them all.

An order is admitted as if it rested whole at its limit price, beside all others. One that can only
make the position smaller is let through as such a trade is. A plan of relief is data: it says which
orders would be taken back, in which order, and where the account would stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from solvent.engine import contract_rules, slack
from solvent.engine.combos import check_one_contract
from solvent.engine.open_orders import Asked
from solvent.engine.refusal import check_active, check_known, short_of_margin
from solvent.engine.standing import View, fresh_plan, reordered, standing, standings, view
from solvent.engine.state import FROZEN, OPEN, Account, Contract, Standing, State
from solvent.errors import Refused, Reject, check
from solvent.limits import COMBO_FIRST
from solvent.margining.levels.rows import Row, Sheet, Unset
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.messages.fields import Side
from solvent.orders.order import Order

ROUNDS_MAX = 64
"""How often orders are weighed anew in a plan; where there are more, several go at a time."""


def admit_order(state: State, account: Account, was: Asked | None, order: Order) -> None:
    """Refuse an order that the account's margin does not bear; `was` is what it takes the place of.

    Refusals, in order: the account's status, its risk not known, its margin.
    """
    asked = Asked(order.instrument, order.lots, worst_price(state, order))
    if state.decided:
        return
    reduces = _only_reduces(state, account, was, asked)
    if account.status != OPEN and not (account.status == FROZEN and reduces):
        check_active(account)
    if state.house.contract is not None:
        _admit_by_contract(state, account, was, asked, reduces=reduces)
        return
    if reduces and state.house.reducing == "position":
        return
    fresh = fresh_plan(state, state.rules[account.rulebook]) is not None
    bound = slack.after(state, account, (), was, asked)
    if bound is None and account.number not in state.asked:
        slack.warm(state, state.ahead.commands, state.ahead.place)
        bound = slack.after(state, account, (), was, asked)
    if bound is not None and bound >= 0 and fresh:
        return
    seen = view(state, account)
    after = standing(state, reordered(state, seen, was, asked))
    if reduces and state.house.reducing == "margin" and not after.known:
        return
    check_known(account, after)
    good = not after.call
    if not good and state.house.reducing == "margin":
        before = standing(state, seen)
        good = before.known and after.initial_micro <= before.initial_micro
    if not good:
        raise short_of_margin(account, after)
    slack.told_after(state, account, after, (), was, asked)


def worst_price(state: State, order: Order) -> int:
    """The price at which an order is margined, in ticks: its limit; of a market order how far it
    could go, by the band or by what rests, or else the mark."""
    if order.price_ticks is not None:
        return order.price_ticks
    book, buys = state.desk.books[order.instrument], order.lots > 0
    if book.terms.band_ppm is not None and book.mark_points is not None:
        return book.buy_max if buys else max(book.sell_min, 1)
    side = Side.BUY if buys else Side.SELL
    _, _, worst = state.desk.impact(order.instrument, side, abs(order.lots))
    if worst is not None:
        return worst
    return max(1, (book.mark_points or 0) // book.terms.points_per_tick)


def _only_reduces(state: State, account: Account, was: Asked | None, asked: Asked) -> bool:
    """Whether an order, with all others on its side, could only make the position smaller."""
    if asked.instrument >= COMBO_FIRST:
        return False
    position = state.contracts[asked.instrument].holders.get(account.number)
    held = position.lots if position else 0
    if held * asked.lots >= 0:
        return False
    sides = state.open.sides.get(account.number, {}).get(asked.instrument)
    others = 0
    if sides is not None:
        others = sides.bid_lots if asked.lots > 0 else sides.ask_lots
    if was is not None:
        others -= was.lots
    return abs(others + asked.lots) <= abs(held)


def _admit_by_contract(
    state: State, account: Account, was: Asked | None, asked: Asked, *, reduces: bool
) -> None:
    check_one_contract(state, asked.instrument)
    contract = state.contracts[asked.instrument]
    rows = contract_rules.order_rows(state, account, contract)
    if was is not None:
        rows.remove(contract_rules.order_row(contract, was.lots, was.price_ticks))
    row = contract_rules.order_row(contract, asked.lots, asked.price_ticks)
    sheet = contract_rules.as_it_is(state, account, contract, orders=[*rows, row])
    if not reduces and not sheet.holds(contract_rules.hooks(state).order_accepted):
        raise Refused(Reject.MARGIN_INSUFFICIENT, contract_rules.short(state, account, contract))


# ── relief ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Relief:
    """What would be taken back, first to last: (order, what was available after it, in micro)."""

    account: str
    before: Standing
    after: Standing
    orders: tuple[tuple[str, int], ...]


def relief_plan(state: State, account: Account) -> Relief:
    """Which orders go until the account has its initial margin, by its rulebook's way: those that
    free most first, weighed anew after each, or all. Changes nothing.

    Refuses for an account that is not known to be short, and where contracts rule themselves.
    """
    if state.house.contract is not None:
        raise Refused(
            Reject.ACCOUNT_NOT_FOR_THIS,
            f"account {account.name}: expected a venue that margins accounts as a whole",
        )
    seen = view(state, account)
    before = standing(state, seen)
    check_known(account, before)
    if not before.call:
        raise Refused(
            Reject.ACCOUNT_NOT_SHORT_OF_MARGIN,
            f"account {account.name}: expected equity below its initial margin, "
            f"{before.initial_micro} micro, found {before.equity_micro}",
        )
    names = list(state.orders_of(account.number))
    rules = state.rules[account.rulebook]
    if rules.house.kept_orders is not None:
        gone = _not_kept(state, account, rules.house.kept_orders)
        steps = _steps(state, account, gone)
        return Relief(account.name, before, _left(state, account, gone), steps)
    at_once = len(names) if rules.house.relief == "all" else -(-len(names) // ROUNDS_MAX)
    now, gone = before, []
    while names and (now.call or rules.house.relief == "all"):
        views = [_without(state, seen, account, name) for name in names]
        left = standings(state, views)
        # What frees most goes first; of equals the one that came first.
        places = sorted(range(len(names)), key=lambda place: -_available(left[place]))[:at_once]
        for place in places:
            seen = _without(state, seen, account, names[place])
            gone.append(names[place])
        names = [name for name in names if name not in gone]
        now = standing(state, seen)
    return Relief(account.name, before, now, _steps(state, account, gone))


def _not_kept(state: State, account: Account, column: str) -> list[str]:
    """The orders that a column of the rulebook does not keep, contract by contract."""
    rulebook = state.rules[account.rulebook].rulebook
    check(isinstance(rulebook, LevelsRulebook), "a column is of a rulebook of formulas", column)
    by_contract: dict[int, list[str]] = {}
    for name, order in state.orders_of(account.number).items():
        by_contract.setdefault(order.instrument, []).append(name)
    gone = []
    for number, names in by_contract.items():
        if number >= COMBO_FIRST:
            # It opens positions in its legs, whatever else it does.
            gone += names
            continue
        asked = [state.open.asked[account.number, name] for name in names]
        sheet = Sheet(
            rulebook.form,  # type: ignore[union-attr]
            _rows(state.contracts[number], account, asked),
            tables=rulebook.tables,  # type: ignore[arg-type]
        )
        try:
            stay = [sheet.value("order", column, place) for place in range(len(names))]
        except Unset as fault:
            raise Refused(Reject.RISK_UNKNOWN, f"column order.{column}: {fault}") from fault
        gone += [name for name, kept in zip(names, stay, strict=True) if not kept]
    return gone


def _rows(contract: Contract, account: Account, asked: Sequence[Asked]) -> Mapping[str, list[Row]]:
    """A contract's position and orders as rows of a sheet."""
    deal, position = contract.deal, contract.holders.get(account.number)
    market: Row = {"instrument": deal.symbol, "underlying": deal.underlying}
    held = 0 if position is None else position.lots
    return {
        "position": [{**market, "size": held * deal.lot_size}],
        "order": [
            {**market, "order": place, "size": abs(one.lots) * deal.lot_size,
             "price": one.price_ticks * deal.points_per_tick * deal.point,
             "buy": int(one.lots > 0)}
            for place, one in enumerate(asked)
        ],
    }  # fmt: skip


def _left(state: State, account: Account, gone: Sequence[str]) -> Standing:
    seen = view(state, account)
    for name in gone:
        seen = _without(state, seen, account, name)
    return standing(state, seen)


def _steps(state: State, account: Account, gone: Sequence[str]) -> tuple[tuple[str, int], ...]:
    seen, views = view(state, account), []
    for name in gone:
        seen = _without(state, seen, account, name)
        views.append(seen)
    found = standings(state, views)
    return tuple((name, _available(one)) for name, one in zip(gone, found, strict=True))


def _available(found: Standing) -> int:
    return found.equity_micro - found.initial_micro


def _without(state: State, seen: View, account: Account, name: str) -> View:
    return reordered(state, seen, state.open.asked[account.number, name], None)
