"""Orders where contracts have margins of their own: nothing is left in them that is not needed."""

from __future__ import annotations

from collections import Counter
from functools import cache
from random import Random
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.account.ledger import margin_slot, node, order_slot
from solvent.engine.apply import Applied, apply_all
from solvent.engine.image import image, restore, state_hash
from solvent.engine.state import LIQUIDATION, Account, Contract
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.codec import encode_command
from solvent.messages.events import OrderEnded, OrderReduced, Traded
from solvent.messages.fields import (
    Command,
    MarginMode,
    MarkPrice,
    Phase,
    SelfTrade,
    StopAt,
    TimeInForce,
    Trigger,
)
from tests.test_engine_contract_rules import by_contract
from tests.venues import BOOK, FUT, LIN, T0, Venue, order_of

PEOPLE: Final = 6
LOTS: Final = {LIN: 10, FUT: 5_000}
TICKS: Final = 50_000


@cache
def _crowd() -> bytes:
    venue = by_contract(BOOK)
    for number in range(PEOPLE):
        name = f"u{number}"
        venue.open(name, usdc=(50, 200, 1_000)[number % 3])
        venue.do(c.SetProtection, account=name, group="g", window_ms=1_000, frozen_ms=10, lots=12)
    return image(venue.state)


class Draw:
    """Requests at times ten milliseconds apart."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.count = 0
        self.placed: list[tuple[str, str]] = [("u0", "none")]

    def command(self) -> Command:
        self.count += 1
        told: dict[str, Any] = {"key": f"c{self.count}", "actor": "op"}
        symbol, name = self.rng.choice(list(LOTS)), f"u{self.rng.randrange(PEOPLE)}"
        kinds = (self._place, self._change, self._market, self._account)
        kind = self.rng.choices(kinds, (50, 20, 15, 15))[0]
        return kind(told, name, symbol)

    def _place(self, told: dict[str, Any], name: str, symbol: str) -> Command:
        rng = self.rng
        self.placed.append((name, told["key"]))
        lots = rng.randint(1, LOTS[symbol])
        stop = StopAt(Trigger.MARK, 10 * TICKS + rng.choice((-30, 30)), rng.random() < 0.5)
        until = T0 + 10 * self.count + rng.randint(5, 300)
        more: dict[str, Any] = rng.choice((
            {}, {}, {"reduce_only": True}, {"stop": stop}, {"group": "g"},
            {"display_lots": 1 + lots // 3},
            {"time_in_force": TimeInForce.GTD, "expire_ms": until},
        ))  # fmt: skip
        ticks = TICKS + rng.randint(-4, 4)
        own = rng.choice(list(SelfTrade))
        told_order = order_of(name, told["key"], lots * rng.choice((-1, 1)), ticks, symbol=symbol)
        return c.PlaceOrder(**told, **told_order, **more, self_trade=own)

    def _change(self, told: dict[str, Any], name: str, symbol: str) -> Command:
        rng = self.rng
        account, order = rng.choice(self.placed[-20:])
        change: dict[str, Any] = rng.choice((
            {"lots": rng.randint(1, LOTS[symbol])}, {"price_ticks": TICKS + rng.randint(-4, 4)},
        ))  # fmt: skip
        return rng.choice((
            c.AmendOrder(**told, account=account, order=order, **change),
            c.CancelOrder(**told, account=account, order=order),
            c.CancelOrders(**told, account=name),
        ))  # fmt: skip

    def _market(self, told: dict[str, Any], _: str, symbol: str) -> Command:
        rng = self.rng
        mark = MarkPrice(symbol, 10 * TICKS + rng.randint(-3_000, 3_000), 0)
        phase = rng.choice((Phase.AUCTION, Phase.HALTED, *[Phase.CONTINUOUS] * 5))
        return rng.choice((
            c.PublishMarket(**told, index=(), marks=(mark,)),
            c.SettleVariation(**told, symbol=symbol),
            c.SetPhase(**told, symbol=symbol, phase=phase),
            c.Heartbeat(**told),
        ))  # fmt: skip

    def _account(self, told: dict[str, Any], name: str, symbol: str) -> Command:
        isolated = {"mode": MarginMode.ISOLATED, "margin_factor": "0.2"}
        mode: dict[str, Any] = self.rng.choice((isolated, {"mode": MarginMode.CROSS}))
        return self.rng.choice((
            c.SetMarginMode(**told, account=name, symbol=symbol, **mode),
            c.BeginLiquidation(**told, account=name),
        ))  # fmt: skip


def check_margins(venue: Venue) -> None:
    """Who neither holds nor orders a contract has no money in it; no reserve is below zero."""
    for account in venue.state.accounts[16:]:
        assert account is not None
        for contract in venue.state.contracts[:3]:
            margin, reserved = _in(venue, account, contract)
            assert reserved >= 0
            ordered = contract.number in venue.state.open.sides.get(account.number, {})
            if not ordered and account.number not in contract.holders:
                assert (margin, reserved) == (0, 0) or account.status == LIQUIDATION


def _in(venue: Venue, account: Account, contract: Contract) -> tuple[int, ...]:
    slots = margin_slot(contract.number), order_slot(contract.number)
    asset = contract.deal.asset
    return tuple(venue.state.ledger.balance(node(account.number, slot, asset)) for slot in slots)


def history(draw: Draw, count: int) -> list[Applied]:
    """Commands one by one, the books sound after each; then all of it again from the record."""
    venue = Venue(restore(_crowd()))
    commands, times, found = list[Command](), list[int](), list[Applied]()
    for _ in range(count):
        commands.append(draw.command())
        venue.time_ms = T0 + 10 * draw.count
        times.append(venue.time_ms)
        found.append(venue.send(commands[-1]))
        venue.sound()
        check_margins(venue)
    again = restore(_crowd())
    bodies = [encode_command(one) for one in commands]
    apply_all(again, commands, times, bodies, records=[one.stored for one in found])
    assert state_hash(again) == state_hash(venue.state)
    return found


@settings(max_examples=20)
@given(rng=st.randoms(use_true_random=False), count=st.integers(1, 60))
def test_margins_hold_what_is_needed_and_no_more(rng: Random, count: int) -> None:
    history(Draw(rng), count)


def test_margins_over_a_long_history() -> None:
    found = history(Draw(Random(2)), 600)
    codes = Counter(one.code for one in found)
    events = [event for one in found for event in one.events]
    ends = Counter(one.why for one in events if isinstance(one, OrderEnded | OrderReduced))
    assert codes[0] > 250
    assert codes[Reject.MARGIN_INSUFFICIENT] > 20
    assert sum(isinstance(one, Traded) for one in events) > 40
    for why in ("filled", "cancelled", "expired", "amended", "protection", "self_trade"):
        assert ends[why] > 0, why
