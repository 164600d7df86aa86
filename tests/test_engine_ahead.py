"""Trades worked out ahead: as if those before were done, and thrown away where they were not."""

from __future__ import annotations

from typing import Any

import pytest

from solvent.account.ledger import GENERAL, node
from solvent.engine import ahead
from solvent.engine.apply import apply, apply_all
from solvent.engine.bargain import deal_in
from solvent.engine.image import image, restore, state_hash
from solvent.engine.standing import (
    view,
)
from solvent.engine.state import Ahead, Spared, Standing
from solvent.engine.trading import Party, admit
from solvent.errors import Refused, Reject
from solvent.messages import commands as c
from solvent.messages.codec import Sealed, encode_command
from solvent.messages.fields import Command, MarginMode, Side, TimeInForce
from tests.venues import (
    BTC,
    COIN,
    DOLLAR,
    FUT,
    LIN,
    T0,
    USDC,
    Venue,
    book_venue,
    new_venue,
    order_of,
    trade_of,
)

ALL = 10_000 * DOLLAR


UNKNOWN = Standing(0, 0, 0, False, False, False)


def test_what_rests_on_a_broken_command_falls() -> None:
    batch = Ahead()
    first, second, third = (c.Heartbeat(key=str(n), actor="op") for n in range(3))
    batch.entries = {id(first): ("a", ()), id(second): ("b", (id(first),)),
                     id(third): ("c", (id(second),))}  # fmt: skip
    assert batch.ready(first)
    assert batch.ready(second)
    assert not batch.ready(c.Heartbeat(key="x", actor="op"))
    batch.broken.add(id(first))
    assert not batch.ready(second)
    assert id(second) not in batch.entries
    assert batch.broken == {id(first), id(second)}
    assert not batch.ready(third)
    assert batch.ready(first)
    batch.clear()
    assert (batch.entries, batch.broken, batch.commands, batch.place) == ({}, set(), (), 0)


def worked_out(venue: Venue, *commands: Command) -> list[Any]:
    """For each command: its sides' standings and how many it rests on, or None."""
    ahead.look_ahead(venue.state, commands, 0)
    entries = [venue.state.ahead.entries.get(id(command)) for command in commands]
    return [one and (one[0], len(one[1])) for one in entries]


def test_trades_are_worked_out_as_if_those_before_were_done() -> None:
    venue = new_venue()
    state = venue.state
    commands: list[Command] = [
        trade_of(venue, "alice", "bob", 10), trade_of(venue, "carol", "alice", 4),
        c.Deposit(key="d", actor="op", account="bob", asset="USDC", amount=5),
        c.Heartbeat(key="h", actor="op"),
        c.Deposit(key="e", actor="op", account="bob", asset="XYZ", amount=5),
        trade_of(venue, "bob", "carol", 3),
    ]  # fmt: skip
    before = state_hash(state)
    found = worked_out(venue, *commands)
    assert state_hash(state) == before
    assert found[2:5] == [None, None, None]
    assert [one[1] for one in (found[0], found[1], found[5])] == [0, 1, 4]

    def at(standing: Standing) -> tuple[int, int]:
        return standing.equity_micro - 60_000 * DOLLAR, standing.initial_micro // DOLLAR

    assert [at(one) for one in found[0][0]] == [(0, 50), (0, 50)]
    # Alice sells four of ten: that only reduces, so nothing is asked of her.
    assert at(found[1][0][0]) == (0, 20)
    assert found[1][0][1] is None
    assert found[5][0] == (None, None)
    # What it says is where they stand once all of it is done.
    for command in commands[:4]:
        assert apply(state, Sealed(state.log.sequence + 1, T0, command)).code == 0


def test_deposits_are_seen_in_what_comes_after() -> None:
    venue = new_venue()
    commands: list[Command] = [
        c.Deposit(key="d", actor="op", account="bob", asset="USDC", amount=5),
        c.Deposit(key="e", actor="op", account="bob", asset="BTC", amount=1_000),
        trade_of(venue, "bob", "carol", 3), trade_of(venue, "bob", "alice", 3),
    ]  # fmt: skip
    found = worked_out(venue, *commands)
    assert found[2][0][0].equity_micro == 60_000 * DOLLAR + 5 + 50_000
    assert found[3][0][0].equity_micro == 60_000 * DOLLAR + 5 + 50_000
    assert [found[2][1], found[3][1]] == [2, 1]


@pytest.mark.parametrize(
    ("kind", "fields", "closed"),
    [
        (c.RequestWithdrawal, {"account": "bob", "asset": "USDC", "amount": 1, "reference": "r"},
         {"bob"}),
        (c.PlaceOrder, {"account": "bob", "order": "o", "symbol": LIN, "side": Side.BUY, "lots": 1,
                        "price_ticks": 1}, {"bob"}),
        (c.AmendOrder, {"account": "bob", "order": "o", "lots": 1}, {"bob"}),
        (c.CancelOrder, {"account": "bob", "order": "o"}, {"bob"}),
        (c.Transfer, {"source": "bob", "target": "carol", "asset": "USDC", "amount": 1},
         {"bob", "carol"}),
        (c.Heartbeat, {}, set()),
        (c.FreezeAccount, {"account": "bob", "reason": ""}, {"alice", "bob", "carol", "member"}),
    ],
)  # fmt: skip
def test_who_is_changed_otherwise_is_left_alone(
    kind: type[Command], fields: dict[str, Any], closed: set[str]
) -> None:
    venue = new_venue()
    pairs = [("alice", "member"), ("bob", "alice"), ("carol", "member"), ("alice", "carol")]
    commands: list[Command] = [kind(key="k", actor="op", **fields)]
    commands += [trade_of(venue, *pair, 1) for pair in pairs]
    found = worked_out(venue, *commands)
    out = set(closed)
    for pair, one in zip(pairs, found[1:], strict=True):
        # Who trades with one that is left alone is left alone from then on.
        if out & set(pair):
            out |= set(pair)
            assert one is None
        else:
            assert one is not None


def test_an_order_that_may_trade_may_change_anybody() -> None:
    """Where orders meet in the book nothing is said of what comes after one."""
    place = c.PlaceOrder(key="k", actor="op", account="member", order="o", symbol=LIN,
                         side=Side.BUY, lots=1, price_ticks=1)  # fmt: skip
    amend = c.AmendOrder(key="k", actor="op", account="member", order="o", lots=1)
    for command in (place, amend):
        for venue, known in ((book_venue(), False), (new_venue(), True)):
            before, behind = (trade_of(venue, name, "bob", 1) for name in ("alice", "carol"))
            found = worked_out(venue, before, command, behind)
            assert found[0] is not None
            assert (found[2] is not None) is known
    venue = book_venue()
    cancel = c.CancelOrder(key="k", actor="op", account="member", order="o")
    assert worked_out(venue, cancel, trade_of(venue, "alice", "bob", 1))[1] is not None


def test_what_cannot_be_traded_is_passed_over() -> None:
    venue = new_venue()
    wrong = trade_of(venue, "bob", "carol", 1, symbol="XYZ")
    twice = trade_of(venue, "alice", "member", 1)
    found = worked_out(venue, wrong, trade_of(venue, "bob", "alice", 1), twice, twice,
                       trade_of(venue, "member", "alice", 2))  # fmt: skip
    # Bob was in the first; alice, who trades with him, in the second.
    assert found == [None, None, None, None, None]
    found = worked_out(venue, twice, twice, trade_of(venue, "member", "alice", 2))
    assert found[0] is not None
    assert found[2] is None
    assert worked_out(venue, trade_of(venue, "alice", "insurance", 1)) == [None]


def test_filled_orders_are_not_worked_out_and_isolated_positions_once() -> None:
    venue = new_venue()
    venue.do(c.PlaceOrder, account="alice", order="o", symbol=LIN, side=Side.BUY, lots=9,
             price_ticks=50_000)  # fmt: skip
    # What a fill leaves of its order is margined too: that is for its own turn.
    fill = trade_of(venue, "alice", "bob", 1, buy_order="o")
    assert worked_out(venue, fill, trade_of(venue, "alice", "carol", 1)) == [None, None]
    found = worked_out(venue, fill, trade_of(venue, "carol", "member", 1))
    assert found[0] is None
    assert found[1] is not None
    found = worked_out(venue, trade_of(venue, "alice", "carol", 1), fill)
    assert found[0] is not None
    assert found[1] is None
    venue.do(c.SetMarginMode, account="carol", symbol=LIN, mode=MarginMode.ISOLATED, leverage="5")
    found = worked_out(
        venue, trade_of(venue, "bob", "carol", 1), trade_of(venue, "bob", "member", 1)
    )
    assert found[0] is not None
    assert found[1] is None
    found = worked_out(
        venue, trade_of(venue, "bob", "member", 1), trade_of(venue, "carol", "bob", 1)
    )
    assert found[0] is not None
    assert found[1] is None


def test_after_too_many_that_cannot_be_done_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = new_venue()
    monkeypatch.setattr(ahead, "_PASSED_MAX", 2)
    wrong = [trade_of(venue, f"x{n}", f"y{n}", 1) for n in range(6)]
    good = trade_of(venue, "alice", "bob", 1)
    assert worked_out(venue, *wrong[:2], good)[-1] is not None
    assert worked_out(venue, *wrong[:3], good)[-1] is None
    assert (
        worked_out(venue, good, *wrong[:3], trade_of(venue, "carol", "member", 1))[-1] is not None
    )
    assert worked_out(venue, good, *wrong[:4], trade_of(venue, "carol", "member", 1))[-1] is None
    monkeypatch.setattr(ahead, "AHEAD_MAX", 2)
    assert worked_out(venue, wrong[0], good)[-1] is not None
    assert worked_out(venue, *wrong[:2], good)[-1] is None


def test_it_begins_where_it_is_told() -> None:
    venue = new_venue()
    commands = [trade_of(venue, "alice", "bob", 1), trade_of(venue, "alice", "bob", 2)]
    ahead.look_ahead(venue.state, commands, 1)
    assert list(venue.state.ahead.entries) == [id(commands[1])]


def test_outside_a_batch_nothing_is_worked_out() -> None:
    venue = new_venue()
    one = trade_of(venue, "alice", "bob", 1)
    assert ahead.known(venue.state, one, 0) is None
    assert venue.state.ahead.alone == 1
    venue.state.ahead.commands = [one]
    found = ahead.known(venue.state, one, 0)
    assert found is not None
    assert (found.initial_micro, venue.state.ahead.alone) == (5 * DOLLAR, 0)
    assert ahead.known(venue.state, trade_of(venue, "alice", "bob", 2), 0) is None


def test_where_slack_helps_some_are_looked_at_alone_first() -> None:
    venue = new_venue()
    state = venue.state
    state.slack[99] = Spared(1)
    commands = [trade_of(venue, "alice", "bob", 1)]
    state.ahead.commands = commands
    for _ in range(7):
        assert ahead.known(state, commands[0], 1) is None
        assert state.ahead.entries == {}
    assert ahead.known(state, commands[0], 1) is not None
    assert state.ahead.alone == 0


def test_what_is_known_ahead_is_what_decides() -> None:
    """An answer that is there is taken, for the side that asks."""
    venue = new_venue()
    state = venue.state
    one = trade_of(venue, "alice", "bob", 1)
    short = Standing(1, 2, 1, True, True, False)
    state.ahead.entries[id(one)] = (short, UNKNOWN), ()
    parties = [Party(leg.account, (leg,), None, 1) for leg in deal_in(state, one).legs]
    with pytest.raises(Refused) as fault:
        admit(state, parties[0], one, 0)
    assert fault.value.detail == (
        "account alice: expected equity of at least its initial margin by tenth, 2 micro, found 1"
    )
    with pytest.raises(Refused) as fault:
        admit(state, parties[1], one, 1)
    assert fault.value.code == Reject.RISK_UNKNOWN
    # Without the answer the account is looked at itself, and has what it needs.
    admit(state, parties[0])
    assert GENERAL == 0


REBATES = """
[[engine.fees]]
component = "maker"
rate = -0.001
payer = "maker"
"""


def test_nothing_rests_on_a_rebate_that_may_be_cut() -> None:
    venue = new_venue(REBATES)
    # Ten lots are 500 dollars: half a dollar of rebate for each side.
    pair = [trade_of(venue, "alice", "bob", 10), trade_of(venue, "alice", "carol", 10)]
    assert worked_out(venue, *pair)[1] is None
    venue.do(c.ContributeFund, account="member", asset="USDC", amount=1)
    fees = node(3, GENERAL, USDC)
    venue.state.ledger.move(19 << 30, fees, 2 * DOLLAR)
    venue.state.ledger.take_posted()
    found = worked_out(venue, *pair, trade_of(venue, "alice", "bob", 2))
    # Two dollars pay for two trades, and for no more.
    assert found[1] is not None
    assert found[1][0][0].equity_micro == 60_001 * DOLLAR
    assert found[2] is not None
    assert worked_out(venue, *pair, trade_of(venue, "alice", "bob", 2),
                      trade_of(venue, "alice", "bob", 3))[3] is None  # fmt: skip
    # Of a trade that is passed over it is not known what it gets.
    wrong = trade_of(venue, "x", "y", 1)
    assert worked_out(venue, wrong, *pair)[2] is None
    # What costs nothing, or costs, is no matter.
    plain = new_venue(REBATES.replace("-", ""))
    pair = [trade_of(plain, "alice", "bob", 10), trade_of(plain, "alice", "carol", 10)]
    assert worked_out(plain, trade_of(plain, "x", "y", 1), *pair)[2] is not None


def test_a_rebate_is_the_venues_whoever_is_to_receive() -> None:
    venue = new_venue(REBATES + 'receiver = "maker"')
    trade = trade_of(venue, "alice", "bob", 10, aggressor=Side.BUY)
    legs = deal_in(venue.state, trade).legs
    assert [leg.fees for leg in legs] == [0, DOLLAR // 2]


def test_a_deposit_changes_nothing_but_a_balance() -> None:
    venue = new_venue()
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=MarginMode.ISOLATED, leverage="5")
    venue.do(c.PlaceOrder, account="alice", order="o", symbol=FUT, side=Side.BUY, lots=9,
             price_ticks=50_000)  # fmt: skip
    venue.trade("alice", "bob", 10, 50_000)
    for name, before in (("alice", COIN), ("member", 0)):
        seen = view(venue.state, venue.account(name))
        paid = c.Deposit(key="d", actor="op", account=name, asset="BTC", amount=5)
        after = ahead._paid_in(venue.state, seen, paid)
        assert after.balances == {**seen.balances, BTC: before + 5}
        assert after is not seen
        assert after.account is seen.account
        assert (after.positions, after.margins) == (seen.positions, seen.margins)
        assert (after.orders, after.modes) == (seen.orders, seen.modes)
        wrong = c.Deposit(key="d", actor="op", account=name, asset="XYZ", amount=5)
        assert ahead._paid_in(venue.state, seen, wrong) is seen


def test_a_deposit_leaves_what_orders_need() -> None:
    """Under scans orders are sums, which a view keeps too."""
    venue = new_venue(scans=True)
    venue.open("dave", usdc=1_000, rulebook="deribit-pm")
    venue.order("dave", "o", 100, 50_000)
    seen = view(venue.state, venue.account("dave"))
    paid = c.Deposit(key="d", actor="op", account="dave", asset="USDC", amount=5)
    assert seen.sides == {0: (100, 50_000_000, 0, 0)}
    assert ahead._paid_in(venue.state, seen, paid).sides == seen.sides
    # A hundred lots need 850 dollars of a thousand: there is no room for a hundred more.
    one = trade_of(venue, "alice", "bob", 1)
    more = trade_of(venue, "dave", "bob", 100)
    found = worked_out(venue, one, paid, more)[2]
    assert found[0][0].call


@pytest.mark.parametrize("kind", [c.Heartbeat, c.PlaceOrder, c.AmendOrder])
def test_an_order_that_ends_by_itself_is_not_counted_on(kind: type[Command]) -> None:
    """Whatever lets time pass may end anybody's orders: nothing is said of what comes after it."""
    venue = new_venue()
    venue.open("dave", usdc=50)
    venue.order("carol", "x", 2, 40_000)
    venue.order("dave", "o", 10, 40_000, time_in_force=TimeInForce.GTD, expire_ms=T0 + 5)
    fields: dict[str, Any] = {"account": "carol", "order": "x", "lots": 1}
    if kind is c.Heartbeat:
        fields = {}
    elif kind is c.PlaceOrder:
        fields = order_of("carol", "y", 1, 40_000)
    commands = [
        trade_of(venue, "alice", "bob", 1), kind(key="k", actor="op", **fields),
        trade_of(venue, "dave", "bob", 10),
    ]  # fmt: skip
    times = [T0, T0 + 10, T0 + 10]
    one_by_one = Venue(restore(image(venue.state)))
    bodies = [encode_command(one) for one in commands]
    found = apply_all(venue.state, commands, times, bodies)
    codes = []
    for command, time_ms in zip(commands, times, strict=True):
        one_by_one.time_ms = time_ms
        codes.append(one_by_one.send(command).code)
    assert codes == [0, 0, 0]
    assert [one.code for one in found] == codes
    assert state_hash(venue.state) == state_hash(one_by_one.state)


def test_what_a_trade_rests_on() -> None:
    venue = new_venue()
    paid = c.Deposit(key="d", actor="op", account="bob", asset="USDC", amount=5)
    first, second = trade_of(venue, "alice", "bob", 1), trade_of(venue, "bob", "carol", 2)
    last = trade_of(venue, "alice", "carol", 3)
    ahead.look_ahead(venue.state, [paid, first, second, last], 0)
    entries = venue.state.ahead.entries
    assert entries[id(first)][1] == (id(paid),)
    assert entries[id(second)][1] == (id(first),)
    assert entries[id(last)][1] == (id(first), id(second))
    # Who trades with the fund, or fills an order after all that, is not seen any more.
    fund = trade_of(venue, "alice", "insurance", 1)
    assert worked_out(venue, fund, trade_of(venue, "alice", "bob", 1)) == [None, None]
