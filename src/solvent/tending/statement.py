"""A statement for an account that was liquidated, which it can check by itself: what was published,
what it held, the arithmetic of the moment at which it was taken over, and each step after that.

Whoever has the published risk arrays (their SHA-256 is told) and the rulebook's text can compute
the same margin; equity is added up here from balances and prices that everyone can see.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import closing
from fractions import Fraction
from typing import Any

from solvent.engine.standing import View, standing, standings, view
from solvent.engine.state import Account, State
from solvent.journal import Journal
from solvent.order_units import decimal_of
from solvent.recovery import batches, replay
from solvent.tending.funds import unit_micro
from solvent.tending.told import Step
from solvent.units import MICRO

_BATCH = 8_192


def state_before(journal: Journal, sequence: int) -> State:
    """The state right before a command, from nothing.

    Raises JournalCorrupt and ReplayDiverged as reading a journal does.
    """
    state = State()
    with closing(journal.read(0, sequence - 1)) as rows:
        for batch in batches(rows, _BATCH):
            replay(state, batch, decisions=False)
    return state


def statement(state: State, name: str, time_ms: int, steps: Iterable[Step]) -> dict[str, Any]:
    """Of an account as it was right before it was taken over, at a time; with what came then.

    Amounts are dollars, unless they are `units` of an asset.
    """
    account = state.account(state.account_numbers[name])
    before_ms, state.log.time_ms = state.log.time_ms, max(state.log.time_ms, time_ms)
    seen = view(state, account)
    found = standing(state, seen)
    rules = state.rules[account.rulebook]
    positions = _positions(state, account, seen)
    balances = _balances(state, seen)
    state.log.time_ms = before_ms
    money = sum((Fraction(one["dollars"]) for one in balances), Fraction(0))
    gains = sum((Fraction(one["gain"]) for one in positions), Fraction(0))
    equity = Fraction(found.equity_micro, MICRO)
    return {
        "account": name,
        "time_ms": time_ms,
        "rulebook": {
            "name": account.rulebook, "day": rules.day,
            "sha256": hashlib.sha256(rules.toml.encode()).hexdigest(),
        },
        "arrays": {
            "sha256": hashlib.sha256(rules.arrays_bytes).hexdigest(),
            "as_of_ms": None if rules.arrays is None else rules.arrays.as_of_ms,
        },
        "positions": positions,
        "balances": balances,
        "money": _text(money),
        "gains": _text(gains),
        "money_and_gains": _text(money + gains),
        "haircuts": _text(money + gains - equity),
        "equity": _text(equity),
        "maintenance": _text(Fraction(found.maintenance_micro, MICRO)),
        "short": _text(Fraction(found.maintenance_micro, MICRO) - equity),
        "steps": [one.to_dict() for one in steps],
    }  # fmt: skip


def _positions(state: State, account: Account, seen: View) -> list[dict[str, Any]]:
    """Each with its gain at the mark (of an option what it is worth), and its maintenance margin if
    it were the only one: what it needs less beside others is netting."""
    alone = [
        View(account, {number: one}, {}, {}, [], {n: m for n, m in seen.modes.items() if n == number
                                                  and not m.isolated})
        for number, one in seen.positions.items()
    ]  # fmt: skip
    found = standings(state, alone)
    rows = []
    for (number, (lots, basis)), one in zip(seen.positions.items(), found, strict=True):
        contract = state.contracts[number]
        deal, points = contract.deal, contract.mark_points or 0
        dollar = unit_micro(state, deal.asset) / MICRO
        value = deal.value(lots, points)
        position = contract.holders[account.number]
        rows.append(
            {
                "instrument": contract.listing.symbol, "lots": lots,
                "size": str(decimal_of(lots * deal.lot_size)),
                "mark": str(decimal_of(points * deal.point)),
                "entry_value": _text(deal.money(position.entry_value) * dollar),
                "value": _text(deal.money(value) * dollar),
                "gain": _text(deal.money(value - basis) * dollar),
                "isolated": account.isolates(number),
                "maintenance_alone": _text(Fraction(one.maintenance_micro, MICRO)),
            }
        )  # fmt: skip
    return rows


def _balances(state: State, seen: View) -> list[dict[str, Any]]:
    """The account's own money, and margins of isolated positions."""
    held = [("", asset, amount) for asset, amount in seen.balances.items()]
    held += [
        (state.contracts[number].listing.symbol, state.contracts[number].deal.asset, amount)
        for number, amount in seen.margins.items()
        if amount
    ]
    return [
        {
            "asset": state.assets[asset][0], "margin_of": symbol or None, "units": amount,
            "price": _text(unit_micro(state, asset) / MICRO * 10 ** state.assets[asset][1]),
            "dollars": _text(amount * unit_micro(state, asset) / MICRO),
        }
        for symbol, asset, amount in held
    ]  # fmt: skip


def _text(number: Fraction) -> str:
    return str(decimal_of(number))
