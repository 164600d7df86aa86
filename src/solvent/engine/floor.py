"""The trading floor: where orders that meet become trades, and books ask who may have what.

A `Floor` serves one command. Each fill is checked by both accounts' margin as it stands at that
moment; whoever cannot bear it is named, and nothing has been done then. Where contracts are
ruled by themselves, margin accounts are levelled once the command's orders have come to rest.
"""

from __future__ import annotations

from itertools import islice

from solvent.engine import contract_rules, slack
from solvent.engine.bargain import Dealt, agree
from solvent.engine.combos import split
from solvent.engine.dealing import Leg
from solvent.engine.fees import BUY, SELL
from solvent.engine.margin_of_orders import admit_order
from solvent.engine.refusal import traded_contract
from solvent.engine.state import Account, Contract, State
from solvent.engine.trading import Party, carry_out, check_parties
from solvent.errors import Refused, Reject
from solvent.limits import COMBO_FIRST
from solvent.messages.events import Event, OrderReduced, OrderRested
from solvent.messages.fields import Side
from solvent.orders.order import Order, Verdict, Why

_NANO_PER_COIN = 10**9
_DELTA_PER_NANO = 10
"""Risk arrays count delta in 1e-10 coin."""


class Floor:
    """The gate between books and money, for one command; see `orders.order.Gate`."""

    def __init__(self, state: State, events: list[Event], closing: int = -1) -> None:
        self.state = state
        self._closing = closing
        """An account under liquidation, or the insurance fund, whose order this is; no other one
        that is under liquidation trades."""
        self._events = events
        self._seen = 0
        self._traded: dict[tuple[int, int], bool] = {}
        """(account, contract) that traded → whether its position became larger."""
        self._ordered: dict[tuple[int, int], bool] = {}
        """(account, contract) whose orders came or went → whether one came to rest."""

    def held(self, account: int, instrument: int) -> int:
        """Lots of a contract that an account holds; nobody holds a combination."""
        if instrument >= COMBO_FIRST:
            return 0
        position = self.state.contracts[instrument].holders.get(account)
        return 0 if position is None else position.lots

    def delta_nano(self, instrument: int) -> int:
        """Billionths of a coin that hedge a lot, by the arrays of the venue's rulebook; without
        them a whole lot, which no contract's delta exceeds."""
        state = self.state
        if instrument >= COMBO_FIRST:
            legs = state.combos[instrument - COMBO_FIRST].legs
            return sum(ratio * self.delta_nano(contract.number) for contract, ratio in legs)
        rules = state.rules.get(state.venue_rulebook)
        if rules is not None and rules.arrays is not None:
            rows = rules.row_of_contract
            row = rows[instrument] if instrument < len(rows) else -1
            if row >= 0 and rules.arrays.usable[row]:
                return int(rules.arrays.columns["delta"][row]) // _DELTA_PER_NANO
        return _whole_lot(state.contracts[instrument])

    def admit(self, order: Order) -> bool:
        """Whether an account may have an order that was a stop until now."""
        self._take(self._events)
        try:
            admit_order(self.state, self.state.account(order.account), None, order)
        except Refused:
            return False
        return True

    def fill(
        self, buy: Order, sell: Order, *, lots: int, price_ticks: int, aggressor: Side | None,
        events: list[Event],
    ) -> Verdict:  # fmt: skip
        """Trade, or say who cannot."""
        if aggressor is not None:
            return self._fill(buy, sell, lots, price_ticks, aggressor, events)
        # What an auction ends with is still its own: it is charged and margined so.
        contract = self.state.contracts[buy.instrument]
        phase, contract.phase = contract.phase, self.state.desk.phase(buy.instrument)
        try:
            return self._fill(buy, sell, lots, price_ticks, None, events)
        finally:
            contract.phase = phase

    def _fill(
        self, buy: Order, sell: Order, lots: int, price_ticks: int, aggressor: Side | None,
        events: list[Event],
    ) -> Verdict:  # fmt: skip
        state = self.state
        self._take(events)
        try:
            deals = self._deals(buy, sell, lots, price_ticks, aggressor)
            parties = [self._party(order, deals, lots) for order in (buy, sell)]
            moves = check_parties(state, parties, price_ticks, closing=self._closing)
        except Refused as refused:
            return Verdict.SELLER if refused.side == SELL else Verdict.BUYER
        # From here on the trade must succeed.
        for dealt in deals:
            carry_out(state, dealt, moves, events)
            if state.house.contract is not None:
                for leg in dealt.legs:
                    key = leg.account.number, dealt.contract.number
                    self._traded[key] = self._traded.get(key, False) or not leg.reduces
        return Verdict.DONE

    def _deals(
        self, buy: Order, sell: Order, lots: int, price_ticks: int, aggressor: Side | None
    ) -> list[Dealt]:
        """The trade of a contract, or of each leg of a combination at its part of the price."""
        state = self.state
        buyer, seller = state.account(buy.account), state.account(sell.account)
        if buy.instrument < COMBO_FIRST:
            contract = state.contracts[buy.instrument]
            return [
                agree(state, contract, buyer, seller, lots=lots, price_ticks=price_ticks,
                      aggressor=aggressor, closing=self._closing)
            ]  # fmt: skip
        return leg_deals(
            state, buy.instrument, buyer, seller, lots=lots, price_ticks=price_ticks,
            aggressor=aggressor,
        )  # fmt: skip

    def _party(self, order: Order, deals: list[Dealt], lots: int) -> Party:
        account = self.state.account(order.account)
        rests = (order.account, order.name) in self.state.open.asked
        return Party(account, legs_of(deals, account), order if rests else None, lots)

    def _take(self, events: list[Event]) -> None:
        """Take in what was told of orders since the last look; where contracts are ruled by
        themselves, note whose margin that moves."""
        state = self.state
        if state.house.contract is not None:
            for event in islice(events, self._seen, None):
                if type(event) is OrderRested:
                    self._ordered[event.account, event.instrument] = True
                elif type(event) is OrderReduced and event.why != Why.FILLED:
                    # An order that has come and gone within the command is not known yet.
                    asked = state.open.asked.get((event.account, event.order))
                    if asked is not None:
                        self._ordered.setdefault((event.account, asked.instrument), False)
            self._seen = len(events)
        state.open.take(events)
        slack.follow(state)

    def close(self, events: list[Event]) -> None:
        """The command's orders have come to rest: take them in, and level margin accounts."""
        state = self.state
        self._take(events)
        if state.house.contract is None:
            return
        for (number, instrument), rested in self._ordered.items():
            account, contract = state.account(number), state.contracts[instrument]
            contract_rules.reserve_orders(state, account, contract)
            if rested:
                contract_rules.fill_up(state, account, contract)
        for (number, instrument), larger in self._traded.items():
            if larger and number != self._closing:
                account, contract = state.account(number), state.contracts[instrument]
                contract_rules.fill_up(state, account, contract)
        for number, instrument in {**self._ordered, **self._traded}:
            if number == self._closing:
                # What is left in its margin is what its liquidation is settled from.
                continue
            contract_rules.give_idle_back(state, state.account(number), state.contracts[instrument])


def legs_of(deals: list[Dealt], account: Account) -> list[Leg]:
    """An account's legs of what two accounts trade."""
    return [leg for dealt in deals for leg in dealt.legs if leg.account is account]


def leg_deals(
    state: State, instrument: int, buyer: Account, seller: Account, *, lots: int, price_ticks: int,
    aggressor: Side | None,
) -> list[Dealt]:  # fmt: skip
    """A combination's trade as trades of its legs. A leg that it sells is bought by its seller."""
    combo = state.combos[instrument - COMBO_FIRST]
    prices = split(combo, price_ticks)
    if prices is None:
        raise Refused(
            Reject.PRICES_INCOMPLETE,
            f"instrument {combo.listing.symbol}: expected marks of all legs, and prices of them "
            f"that add up to {price_ticks} ticks",
        )
    deals = []
    for (contract, ratio), ticks in zip(combo.legs, prices, strict=True):
        traded_contract(state, contract.listing.symbol)
        sides = (buyer, seller) if ratio > 0 else (seller, buyer)
        try:
            deals.append(
                agree(state, contract, *sides, lots=abs(ratio) * lots, price_ticks=ticks,
                      aggressor=_side_of_leg(aggressor, ratio))
            )  # fmt: skip
        except Refused as refused:
            refused.side = refused.side if ratio > 0 else BUY + SELL - refused.side
            raise
    return deals


def _side_of_leg(aggressor: Side | None, ratio: int) -> Side | None:
    if aggressor is None or ratio > 0:
        return aggressor
    return Side.SELL if aggressor is Side.BUY else Side.BUY


def _whole_lot(contract: Contract) -> int:
    deal = contract.deal
    coins = deal.lot_size
    if deal.inverse and not deal.up_front:
        price = (contract.mark_points or 0) * deal.point
        coins = coins / price if price else coins
    return int(coins * _NANO_PER_COIN)
