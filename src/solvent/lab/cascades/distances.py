"""Who is so far from every call that nobody need ask: a bound on what prices can do to an account.

For one that nothing has happened to since it was asked, equity changes by its notional times the
move of each coin, collateral in coins by no more than its value times that, and maintenance margin
by no more than the notional moves: no rulebook that it is used for asks for more of a position
than it is worth (`rules.is_bounded`).
So most accounts are proved far away with one line of arithmetic for all, and what is done is the
same as if all were asked (a test holds the two together).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from solvent.account.ledger import FIRST_ACCOUNT
from solvent.engine.standing import standings, view
from solvent.engine.state import LIQUIDATION, Account, Standing, State
from solvent.solvency.classes import State as Class
from solvent.solvency.venue import VenueWatch, Verdict
from solvent.units import MICRO, Float64

_EDGE: Final = 4.0, 5.0
"""Below a fifth of equity over maintenance calls begin: there 4 · equity = 5 · maintenance."""
_FAR: Final = Standing(1, 0, 0, True, False, False)


class Distances(VenueWatch):
    """Verdicts that are `HEALTHY` of accounts that are proved far away, and nothing of others.

    Not a watch that follows events: `look` is told what was touched.
    """

    def __init__(self, state: State) -> None:
        self.verdicts: dict[int, Verdict] = {}
        self.asked = self.skipped = 0
        self.closed = False
        self._coins = [contract.deal.underlying for contract in state.contracts]
        size = len(state.accounts)
        self._known = np.zeros(size, dtype=bool)
        self._price = np.zeros((size, len(self._coins)))
        self._notional = np.zeros((size, len(self._coins)))
        self._owned = np.zeros((size, len(self._coins)))
        self._equity = np.zeros(size)
        self._maintenance = np.zeros(size)

    def forget(self) -> None:
        """Rules have changed: everybody is asked again."""
        self._known[:] = False

    def look(self, state: State, touched: Iterable[int]) -> None:
        """Prove who is far away at the prices of now; `touched` accounts are proved nothing of."""
        for number in touched:
            if number < len(self._known):
                self._known[number] = False
        far = self._known & (self._bound(state) > 0.0)
        numbers = np.flatnonzero(far).tolist()
        self.skipped += len(numbers)
        verdict = Verdict(state=Class.HEALTHY, close=0, standing=_FAR, as_of_ms=state.log.time_ms)
        self.verdicts = dict.fromkeys(numbers, verdict)

    def learn(self, state: State) -> list[tuple[Account, Standing]]:
        """Ask everybody who was not proved far away, and remember it; who was asked, and where
        they stand."""
        accounts = [
            one for one in state.accounts[FIRST_ACCOUNT:]
            if one is not None and one.positions and one.number not in self.verdicts
            and one.status != LIQUIDATION and not one.modes
        ]  # fmt: skip
        seen = [view(state, one) for one in accounts]
        found = standings(state, seen)
        self.asked += len(found)
        prices = self._prices(state)
        for account, stands, mine in zip(accounts, found, seen, strict=True):
            if stands.known:
                self._note(state, account, stands, mine.balances, prices)
        return list(zip(accounts, found, strict=True))

    def _note(
        self, state: State, account: Account, stands: Standing, balances: dict[int, int],
        prices: Float64,
    ) -> None:  # fmt: skip
        number = account.number
        if number >= len(self._known):
            return
        self._known[number] = True
        self._price[number] = prices
        self._notional[number] = self._owned[number] = 0.0
        for place, position in (account.positions or {}).items():
            contract = state.contracts[place]
            value = contract.deal.value(position.lots, contract.mark_points or 0)
            self._notional[number, place] = float(contract.deal.money(value)) / MICRO
        for asset, amount in balances.items():
            name, decimals = state.assets[asset]
            if name in self._coins:
                place = self._coins.index(name)
                self._owned[number, place] = abs(amount) / 10**decimals * prices[place]
        self._equity[number] = stands.equity_micro / MICRO
        self._maintenance[number] = stands.maintenance_micro / MICRO

    def _bound(self, state: State) -> Float64:
        """[account] at least 4 · equity − 5 · maintenance, dollars."""
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = self._prices(state) / self._price - 1.0
        moved[~self._known] = 0.0
        size = np.abs(moved)
        gained = (self._notional * moved).sum(axis=1) - (self._owned * size).sum(axis=1)
        more = (np.abs(self._notional) * size).sum(axis=1)
        equity, maintenance = _EDGE
        bound = equity * (self._equity + gained) - maintenance * (self._maintenance + more)
        # A cent for roundings.
        return np.asarray(bound - 0.01)

    def _prices(self, state: State) -> Float64:
        return np.array([(one.mark_points or 0) * float(one.deal.point) for one in state.contracts])


def initial_of(found: Sequence[tuple[Account, Standing]]) -> int:
    """Initial margin of all together, millionths of a dollar."""
    return sum(one.initial_micro for _, one in found)
