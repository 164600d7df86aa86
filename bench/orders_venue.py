"""A venue whose accounts hold positions and have orders, for the measurements of orders."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.engine_venue import ACTOR, found
from bench.orders_flow import AMEND, CANCEL, Flow, Op
from solvent.account.ledger import FIRST_ACCOUNT
from solvent.engine.standing import standings, view
from solvent.engine.state import Contract
from solvent.messages.commands import AmendOrder, CancelOrder, Deposit, PlaceOrder, Trade
from solvent.messages.fields import Command, Side

ACCOUNTS: Final = 1_000
POSITIONS: Final = 20
_TICKS_MIN: Final = 40
"""A contract is ordered in if it costs that much: so there is a book below its price."""
_COINS: Final[Mapping[str, int]] = {"BTC": 10 * 10**9, "ETH": 200 * 10**9}
"""What an account owns beside its dollars, in the smallest units."""
_ORDER_DOLLARS: Final = 20_000
_POSITION_DOLLARS: Final = 500_000
"""What an order, or a position, is about worth at most, by its underlying."""
_INDEX_DOLLARS: Final[Mapping[str, int]] = {"BTC": 64_000, "ETH": 1_900}


class Venue:
    """An engine whose accounts hold positions, orders at rest in its books, and what comes next."""

    def __init__(self, place: Path, *, accounts: int = ACCOUNTS, seed: int = 5) -> None:
        self.engine = found(place, accounts=accounts)
        chance = random.Random(seed)
        contracts = [one for one in self.engine.state.contracts if _ticks(one) >= _TICKS_MIN]
        chance.shuffle(contracts)
        self.contracts = contracts
        self._told = 0
        self._submit(_coins(accounts))
        self._submit(_positions(contracts, chance, accounts))
        self.flow = Flow(
            [_ticks(one) for one in contracts], accounts=accounts, seed=seed,
            lots_max=lambda number: _lots_worth(contracts[number], _ORDER_DOLLARS),
        )  # fmt: skip
        self.opening = self.flow.opening()
        self._submit(self.commands(self.opening))

    def _submit(self, commands: Sequence[Command]) -> None:
        for answer in self.engine.submit_all(commands):
            assert answer.accepted, answer

    def draw(self, count: int) -> tuple[list[Op], list[Command]]:
        """What comes next, and as commands."""
        ops = self.flow.draw(count)
        return ops, self.commands(ops)

    def forget_bounds(self) -> None:
        """As a new market does: no account's margin is bounded any more."""
        self.engine.state.slack.clear()
        self.engine.state.asked.clear()

    def margin_share(self) -> float:
        """Initial margin as a share of equity, of the account in the middle."""
        state = self.engine.state
        accounts = [one for one in state.accounts[FIRST_ACCOUNT:] if one is not None]
        found = standings(state, [view(state, one) for one in accounts])
        return statistics.median(one.initial_micro / one.equity_micro for one in found)

    def commands(self, ops: Sequence[Op]) -> list[Command]:
        return [self._command(op) for op in ops]

    def _command(self, op: Op) -> Command:
        self._told += 1
        key, account = f"f{self._told}", f"u{op.account - 1}"
        if op.kind == CANCEL:
            return CancelOrder(key=key, actor=ACTOR, account=account, order=op.name)
        if op.kind == AMEND:
            price = op.price_ticks if op.total is None else None
            return AmendOrder(
                key=key, actor=ACTOR, account=account, order=op.name, lots=op.total,
                price_ticks=price,
            )  # fmt: skip
        return PlaceOrder(
            key=key, actor=ACTOR, account=account, order=op.name,
            symbol=self.contracts[op.instrument].listing.symbol,
            side=Side.BUY if op.lots > 0 else Side.SELL, lots=abs(op.lots),
            price_ticks=op.price_ticks,
        )  # fmt: skip


def _ticks(contract: Contract) -> int:
    return (contract.mark_points or 0) // contract.deal.points_per_tick


def _lots_worth(contract: Contract, dollars: int) -> int:
    """Lots of an underlying that are about worth so much; two at least."""
    deal = contract.deal
    each = deal.lot_size
    if not deal.inverse or deal.up_front:
        each *= _INDEX_DOLLARS[deal.underlying.split("_")[0]]
    return max(2, int(dollars / each))


def _coins(accounts: int) -> list[Command]:
    return [
        Deposit(key=f"c{asset}{n}", actor=ACTOR, account=f"u{n}", asset=asset, amount=amount)
        for n in range(accounts)
        for asset, amount in _COINS.items()
    ]


def _positions(
    contracts: Sequence[Contract], chance: random.Random, accounts: int
) -> list[Command]:
    """Trades at the mark, by which every account comes to hold so many positions."""
    held: list[set[int]] = [set() for _ in range(accounts)]
    order = list(range(accounts))
    told: list[Command] = []
    for turn in range(POSITIONS):
        chance.shuffle(order)
        for buyer, seller in zip(order[::2], order[1::2], strict=True):
            number = chance.randrange(len(contracts))
            while number in held[buyer] or number in held[seller]:
                number = chance.randrange(len(contracts))
            held[buyer].add(number)
            held[seller].add(number)
            one = contracts[number]
            lots = chance.randint(1, _lots_worth(one, _POSITION_DOLLARS))
            told.append(
                Trade(
                    key=f"p{turn}.{buyer}", actor=ACTOR, buyer=f"u{buyer}", seller=f"u{seller}",
                    symbol=one.listing.symbol, lots=lots, price_ticks=_ticks(one),
                    aggressor=Side.BUY,
                )
            )  # fmt: skip
    return told
