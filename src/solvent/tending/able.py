"""How much those on the other side can give up at a price: never so much that one of them could
not pay itself afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from solvent.engine.standing import View, standings
from solvent.engine.state import Account, Contract, Standing, State
from solvent.engine.wound_up import pool_of, pool_view
from solvent.tending.fills import Ask, Fill, after, fewest

_AT_ONCE = 32


def able(
    state: State, contract: Contract, numbers: Sequence[int], ticks: int,
    *, wanted: int | None = None,
) -> list[int]:  # fmt: skip
    """Lots of a contract that each of some accounts can close at a price: all where that costs it
    nothing against the mark, else as many as leave what backs them at its maintenance margin.

    `wanted`: who comes after so many lots were found is not looked at, and gives nothing.
    """
    found: list[int] = []
    for first in range(0, len(numbers), _AT_ONCE):
        if wanted is not None and sum(found) >= wanted:
            break
        found += _of_some(state, contract, numbers[first : first + _AT_ONCE], ticks)
    return found + [0] * (len(numbers) - len(found))


def _of_some(state: State, contract: Contract, numbers: Sequence[int], ticks: int) -> list[int]:
    others = [(state.account(number), contract.holders[number].lots) for number in numbers]
    most = [abs(lots) for _, lots in others]
    costly = [place for place, (_, lots) in enumerate(others) if costs(contract, lots, ticks)]
    asks = [_ask(state, contract, *others[place], ticks) for place in costly]
    found = standings(state, [one.view(lots) for one in asks for lots in (0, one.most)])
    now, whole = found[::2], found[1::2]
    searched: dict[int, Ask] = {}
    for place, ask, before, gone in zip(costly, asks, now, whole, strict=True):
        if not before.known or before.liquidate:
            most[place] = 0
        elif _beyond(gone):
            searched[place] = ask._replace(start=before, end=gone)
    for place, lots in zip(searched, fewest(state, list(searched.values())), strict=True):
        if lots is not None:
            most[place] = lots - 1
    return most


def costs(contract: Contract, lots: int, ticks: int) -> bool:
    """Whether closing a position at a price is worse for who holds it than at the mark."""
    deal = contract.deal
    at_price = deal.value(lots, ticks * deal.points_per_tick)
    return at_price < deal.value(lots, contract.mark_points or 0)


def _ask(state: State, contract: Contract, account: Account, lots: int, ticks: int) -> Ask:
    """A search for the fewest lots that are too many."""
    seen = pool_view(state, account, pool_of(state, account, contract.number))
    return Ask(
        abs(lots),
        partial(_closed, state, seen, contract, ticks, lots < 0),
        lambda _, stands: _beyond(stands),
        gap=lambda stands: stands.maintenance_micro - stands.equity_micro - 1,
    )


def _closed(
    state: State, seen: View, contract: Contract, ticks: int, buys: bool, lots: int
) -> View:
    return after(state, seen, contract, (Fill(lots, ticks),), buys=buys) if lots else seen


def _beyond(found: Standing) -> bool:
    return not found.known or found.liquidate
