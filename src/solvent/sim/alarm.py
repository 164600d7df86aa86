"""After prices have moved: who cannot pay is looked for, and what is to be done about it is due."""

from __future__ import annotations

from functools import partial
from typing import Final

from solvent.engine import contract_rules
from solvent.engine.standing import standing, standings, view
from solvent.engine.state import LIQUIDATION, OPEN, Account, State
from solvent.errors import Refused
from solvent.limits import MONEY_MAX
from solvent.messages import commands as c
from solvent.messages.fields import Command, OpeningBalance
from solvent.sim import dealings, distress, ordering, winding_up
from solvent.sim.draws import Draws
from solvent.sim.money import Draft

_STEPS: Final[dict[type[Command], Draft]] = {
    kind: draft
    for kind, draft in {**distress.DRAFTS, **winding_up.DRAFTS}.items()
    if kind not in (c.BeginLiquidation, c.ReviewMargin, c.SetBackstop, c.FundMarket, c.PortAccount)
}
_LOOKED_AT: Final = 12
"""Accounts that are looked at where contracts are margined by themselves: each costs a lot."""


def look_round(draws: Draws, state: State) -> None:
    """After prices have moved: who cannot pay is to be taken over, and who is short of margin loses
    orders, as far as this history does that."""
    draws.alarmed = False
    if not draws.does(c.BeginLiquidation) and not draws.does(c.RelieveMargin):
        return
    held = [
        one for one in state.accounts
        if one is not None and one.kind != "system" and one.positions
        and one.status != LIQUIDATION
    ]  # fmt: skip
    if state.house.contract is not None:
        draws.rng.shuffle(held)
        low = [one for one in held[:_LOOKED_AT] if _distressed(state, one)]
    else:
        found = standings(state, [view(state, one) for one in held])
        low = [one for one, stands in zip(held, found, strict=True) if stands.liquidate]
        short = [one for one, stands in zip(held, found, strict=True) if stands.call]
        _relieve(draws, state, short)
    for account in low:
        if draws.does(c.BeginLiquidation) and draws.often(draws.greed):
            draws.due.append(partial(_begin, draws, account.name))
            for _ in range(draws.one((0, 5, 20))):
                draws.due.append(partial(_step, draws, account.number))


def _relieve(draws: Draws, state: State, short: list[Account]) -> None:
    for account in short:
        if draws.does(c.RelieveMargin) and state.orders_of(account.number):
            draws.due.append(partial(ordering.relieved, draws, account.name))


def _distressed(state: State, account: Account) -> bool:
    try:
        return any(
            contract_rules.distressed(state, account, state.contracts[number])
            for number in account.positions or ()
        )
    except Refused:
        return False


def _step(draws: Draws, number: int, state: State) -> Command | None:
    """One of the ways of winding an account up, while prices are as they were when it began; later,
    where it has not begun yet."""
    account = state.accounts[number]
    if account is None or account.status != LIQUIDATION:
        draws.later.append((number, partial(_step, draws, number)))
        return None
    draws.focus = number
    kinds = [kind for kind in _STEPS if draws.does(kind)]
    if number in state.auctions and draws.often(0.7):
        kinds = [c.BidInAuction, c.BidInAuction, c.BidInAuction, c.EndAuction]
    return _STEPS[draws.one(kinds)](draws, state) if kinds else None


def _begin(draws: Draws, name: str, state: State) -> Command:
    del state
    return c.BeginLiquidation(account=name, **draws.told())


def resume(draws: Draws, state: State) -> None:
    """What was put off until an account is under liquidation, if it is, on fresh arrays."""
    for number, draft in draws.later:
        account = state.accounts[number]
        if account is not None and account.status == LIQUIDATION:
            if draws.often(0.3):
                _refresh(draws, account)
            draws.due.append(draft)
    draws.later.clear()


def _refresh(draws: Draws, account: Account) -> None:
    if account.rulebook in draws.world.rulebooks:
        draws.due.append(partial(dealings.arrays_of, draws, account.rulebook))


def squeeze(draws: Draws, state: State) -> None:
    """Leave somebody with less than his maintenance margin: what another system says that he owes
    is taken over. Then he is liquidated."""
    account = draws.holder(state)
    if account.status != OPEN or not account.positions or draws.world.kind != "account":
        return
    _refresh(draws, account)
    found = standing(state, view(state, account))
    if not found.known or not draws.does(c.BeginLiquidation):
        return
    left = draws.one((0.9, 0.5, 0.0, -1.0)) * found.maintenance_micro
    debt = int((found.equity_micro - left) * 10 ** state.assets[0][1] / 1_000_000)
    if 0 < debt < MONEY_MAX:
        owed = OpeningBalance(account.name, state.assets[0][0], -debt)
        draws.due.append(partial(_owes, draws, owed))
        draws.due.append(partial(_begin, draws, account.name))
        draws.due.extend(partial(_step, draws, account.number) for _ in range(draws.one((5, 20))))


def _owes(draws: Draws, owed: OpeningBalance, state: State) -> Command:
    del state
    return c.ImportBooks(balances=(owed,), positions=(), **draws.told())
