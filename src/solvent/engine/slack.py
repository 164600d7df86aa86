"""What an account can spare at least, so that most trades need no margin check.

`slack` is a lower bound of an account's available margin (equity − initial), in millionths of a
dollar. A trade lowers it by what the trade costs at the mark and by the most that its lots can add
to initial margin (`margining.steepness`). While the bound stays at or above zero the full check
would let the trade through as well, so it is not made; otherwise it is, and the bound starts anew
from its answer. What is decided is the same with and without it. Nothing here is remembered.

Whatever else may lower an account's standing drops its bound; a new market drops all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from solvent.account.ledger import INSURANCE
from solvent.engine.dealing import Leg
from solvent.engine.standing import standings, view
from solvent.engine.state import Account, Spare, Standing, State
from solvent.margining.plan import Plan
from solvent.margining.steepness import dollars_per_lot
from solvent.messages.commands import (
    CancelOrder,
    Deposit,
    FreezeAccount,
    Heartbeat,
    ListAsset,
    ListInstrument,
    OpenAccount,
    PlaceOrder,
    RequestWithdrawal,
    Trade,
    Transfer,
    UnfreezeAccount,
)
from solvent.messages.fields import Command
from solvent.units import MICRO

WARM_MAX: Final = 16_384
"""Commands whose accounts are assessed together."""
_HIDDEN_MICRO: Final = 10_000
"""More than the roundings of a rulebook and of amounts in dollars can hide in one leg."""
_FAR: Final = 1e18
_CLOSE: Final = 1e-9
"""Relative error of a few floating-point operations, and much more."""


def spare_of(state: State, plan: object) -> Spare | None:
    """What bounds need of a plan; None where it has no steepness."""
    steep = dollars_per_lot(plan) if isinstance(plan, Plan) else None
    if steep is None or not isinstance(plan, Plan):
        return None
    arrays = plan.arrays
    row_of = {symbol: row for row, symbol in enumerate(arrays.universe.symbols)}
    steep_micro, worth_micro, value_micro = [], [], []
    dollars = [_dollars(plan, name) for name, _ in state.assets]
    for contract in state.contracts:
        row = row_of.get(contract.listing.symbol, -1)
        price = dollars[contract.deal.asset]
        known = row >= 0 and price is not None
        steep_micro.append(float(steep[row]) * MICRO if known else math.inf)
        what = "value" if contract.deal.up_front else "worth"
        worth = float(arrays.units[what][row]) * (price or 0.0) * MICRO if known else 0.0
        worth_micro.append(worth)
        unit = (price or 0.0) * MICRO / contract.deal.asset_scale
        value_micro.append(contract.deal.numerator / contract.deal.denominator * unit)
    return Spare(
        steep_micro=steep_micro,
        worth_micro=worth_micro,
        value_micro=value_micro,
        unit_micro=[
            0.0 if price is None else price * MICRO / 10**decimals
            for price, (_, decimals) in zip(dollars, state.assets, strict=True)
        ],
    )


def _dollars(plan: Plan, asset: str) -> float | None:
    """Dollars per unit of an asset that counts in full; None for any other."""
    terms = plan.rulebook.collateral.get(asset)
    if terms is None or terms.haircut != 0.0:
        return None
    if terms.price == "par":
        return 1.0
    names, index = plan.arrays.universe.underlyings, plan.arrays.index
    for name in (asset, terms.of or asset):
        if name in names and index[names.index(name)] > 0.0:
            return float(index[names.index(name)])
    return None


def after(state: State, leg: Leg) -> int | None:
    """The account's slack after a leg; None where there is none to tell."""
    number = leg.account.number
    slack = state.slack.get(number)
    if slack is None or leg.apart:
        return None
    spare = state.rules[leg.account.rulebook].spare
    contract = leg.contract.number
    if spare is None or contract >= len(spare.steep_micro):
        return None
    change = leg.change
    lots = change.lots - leg.before_lots
    # A rebate may be cut to what the venue's fees hold.
    received = leg.premium + leg.realised + min(leg.fees, 0)
    cash = received * spare.unit_micro[leg.contract.deal.asset]
    worth = lots * spare.worth_micro[contract]
    basis = (change.basis_value - leg.before_basis) * spare.value_micro[contract]
    margin = abs(lots) * spare.steep_micro[contract]
    size = abs(cash) + abs(worth) + abs(basis) + margin
    bound = slack + cash + worth - basis - margin - size * _CLOSE - _HIDDEN_MICRO
    return int(bound) - 1 if bound > -_FAR else None


def told(state: State, account: Account, found: Standing) -> int | None:
    """A new bound from an account's standing; None where none can be kept."""
    if not found.known or account.modes or state.rules[account.rulebook].spare is None:
        return None
    return found.equity_micro - found.initial_micro


def told_after(state: State, leg: Leg, found: Standing) -> int | None:
    """The same from where it stands after a leg: a rebate that counts there may yet be cut."""
    bound = told(state, leg.account, found)
    spare = state.rules[leg.account.rulebook].spare
    if bound is None or spare is None or leg.fees <= 0:
        return bound
    return bound - math.ceil(leg.fees * spare.unit_micro[leg.contract.deal.asset]) - _HIDDEN_MICRO


def keep(state: State, legs: Sequence[Leg], spared: Sequence[int | None]) -> None:
    """Note what accounts can spare after a trade that is done."""
    for leg, bound in zip(legs, spared, strict=True):
        if bound is None:
            state.slack.pop(leg.account.number, None)
        else:
            state.slack[leg.account.number] = bound


def warm(state: State, commands: Sequence[Command], start: int) -> None:
    """Learn the slack of all accounts that trade soon and have none, together."""
    wanted: dict[int, Account] = {}
    for command in commands[start : start + WARM_MAX]:
        if isinstance(command, Trade):
            for name in (command.buyer, command.seller):
                number = state.account_numbers.get(name, INSURANCE)
                if number not in state.slack and number not in state.asked and number != INSURANCE:
                    wanted[number] = state.account(number)
    state.asked.update(wanted)
    mine = [
        account
        for account in wanted.values()
        if account.rulebook in state.rules and state.rules[account.rulebook].spare is not None
    ]
    found = standings(state, [view(state, account) for account in mine])
    for account, one in zip(mine, found, strict=True):
        bound = told(state, account, one)
        if bound is not None:
            state.slack[account.number] = bound


def forget(state: State, command: Command) -> None:
    """Drop the bounds that a command that was done may have made too large."""
    match command:
        case (
            Trade() | Deposit() | Heartbeat() | OpenAccount() | ListAsset() | ListInstrument()
            | FreezeAccount() | UnfreezeAccount()
        ):  # fmt: skip
            return
        case RequestWithdrawal() | PlaceOrder() | CancelOrder():
            state.slack.pop(state.account_numbers[command.account], None)
        case Transfer():
            state.slack.pop(state.account_numbers[command.source], None)
        case _:
            state.slack.clear()
            state.asked.clear()
