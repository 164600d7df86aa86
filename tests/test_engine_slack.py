"""What an account can spare at least; that neither it nor what was worked out ahead decides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from solvent.engine import ahead, slack
from solvent.engine.apply import apply, apply_all
from solvent.engine.bargain import deal_in
from solvent.engine.dealing import Leg
from solvent.engine.image import image, restore, state_hash
from solvent.engine.standing import (
    standing,
    standings,
    view,
)
from solvent.engine.state import Ahead, Spare, Spared, Standing, State
from solvent.errors import Reject
from solvent.margining.plan import Plan
from solvent.messages import commands as c
from solvent.messages.codec import Sealed, encode_command
from solvent.messages.fields import AccountKind, ComboLeg, Command, Side
from tests.venues import (
    BTC,
    CALL,
    DOLLAR,
    FUT,
    INV,
    LIN,
    MARKS,
    PUT,
    QUANTO,
    SPREAD,
    T0,
    USDC,
    Venue,
    leg_of,
    listing,
    new_venue,
    trade_of,
)

ALL = 10_000 * DOLLAR


UNKNOWN = Standing(0, 0, 0, False, False, False)


PRICED = (LIN, INV, FUT, CALL, PUT, QUANTO)


def crowd(rulebook: str, engine: str = "") -> Venue:
    """Twelve people, all with little, in positions already."""
    venue = new_venue(engine, scans=True)
    rng = Random(4)
    for number in range(12):
        name = f"u{number}"
        venue.open(name, usdc=rng.choice((300, 1_000, 3_000, 20_000)), btc=5 * 10**6,
                   rulebook=rulebook)  # fmt: skip
    return venue


def trades(rng: Random, count: int, tag: str, *, worst: int = 40) -> list[Command]:
    """Trades near what people can bear, deposits, withdrawals and orders in between."""
    found: list[Command] = []
    for number in range(count):
        key, one, other = f"{tag}{number}", *rng.sample(range(12), 2)
        if found and rng.random() < 0.1:
            # What was told already is told again.
            found.append(rng.choice(found[-8:]))
        what = rng.random()
        told: dict[str, Any] = {"key": key, "actor": "op", "account": f"u{one}"}
        if what < 0.06:
            found.append(c.Deposit(**told, asset="USDC", amount=rng.choice((1, 50)) * DOLLAR))
        elif what < 0.10:
            found.append(c.RequestWithdrawal(**told, asset="USDC", amount=20 * DOLLAR,
                                             reference=key))  # fmt: skip
        elif what < 0.12:
            found.append(c.Transfer(key=key, actor="op", source=f"u{one}", target=f"u{other}",
                                    asset="USDC", amount=30 * DOLLAR))  # fmt: skip
        elif what < 0.14:
            found.append(c.PlaceOrder(**told, order=key, symbol=LIN, side=rng.choice(list(Side)),
                                      lots=2, price_ticks=50_000))  # fmt: skip
        elif what < 0.15:
            found.append(c.Heartbeat(key=key, actor="op"))
        else:
            symbol = rng.choice(PRICED)
            lots = {FUT: 40_000, LIN: worst, INV: 300, CALL: 4, PUT: 20, QUANTO: 60}[symbol]
            ticks = MARKS[symbol] // 10
            found.append(
                c.Trade(
                    key=key, actor="op", buyer=f"u{one}", seller=f"u{other}", symbol=symbol,
                    lots=rng.randint(1, lots), price_ticks=max(1, ticks + rng.randint(-2, 2)),
                    aggressor=rng.choice((None, *Side)),
                )
            )  # fmt: skip
    return found


def one_by_one(state: State, commands: list[Command]) -> list[int]:
    """Each by itself, with nothing spared and nothing worked out."""
    codes = []
    for command in commands:
        state.slack.clear()
        state.asked.clear()
        state.ahead = Ahead()
        codes.append(apply(state, Sealed(state.log.sequence + 1, T0, command)).code)
    return codes


def in_batch(state: State, commands: list[Command]) -> list[int]:
    bodies = [encode_command(command) for command in commands]
    return [one.code for one in apply_all(state, commands, [T0] * len(commands), bodies)]


FEES = """
[[engine.fees]]
component = "taker"
rate = 0.0005
[[engine.fees]]
component = "maker"
rate = -0.0001
payer = "maker"
"""


@pytest.mark.parametrize("count", [50, *(pytest.param(100 + n, id=f"seed{n}") for n in range(3))])
@pytest.mark.parametrize(
    ("rulebook", "engine"),
    [
        ("deribit-pm", ""), ("deribit-pm", FEES), ("deribit-pm", 'reducing = "margin"'),
        ("deribit-pm", 'realise = "at_mark"\nreducing = "none"'), ("tenth", ""),
        ("tenth", f'reducing = "margin"\n{FEES}'),
    ],
)  # fmt: skip
def test_outcomes_are_the_same_with_and_without(rulebook: str, engine: str, count: int) -> None:
    first = crowd(rulebook, engine).state
    commands = trades(Random(count), count, "t")
    other = restore(image(first))
    found, expected = in_batch(first, commands), one_by_one(other, commands)
    assert found == expected
    assert first.log.chain == other.log.chain
    assert state_hash(first) == state_hash(other)
    counts = Counter(found)
    assert counts[0] > 15
    assert counts[Reject.MARGIN_INSUFFICIENT] > 4
    if rulebook == "deribit-pm":
        assert first.slack
        # What is kept is a lower bound of what there is.
        check_bounds(first)


def check_bounds(state: State) -> None:
    """Every bound that is kept is at most what its account can spare."""
    for number in list(state.slack):
        account = state.account(number)
        bound = slack.after(state, account, (), None, None)
        one = standing(state, view(state, account))
        assert one.known
        assert bound is None or bound <= one.equity_micro - one.initial_micro


def bases(state: State) -> dict[int, int]:
    """Account → what it could spare when that was last worked out."""
    return {number: one.base for number, one in state.slack.items()}


def test_most_trades_need_no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = new_venue(scans=True)
    for number in range(12):
        venue.open(f"u{number}", usdc=10**7, rulebook="deribit-pm")
    trading = [one for one in trades(Random(7), 60, "t") if isinstance(one, c.Trade)]
    checks = []
    real = standings

    def counted(state: State, views: Any) -> Any:
        checks.append(len(views))
        return real(state, views)

    monkeypatch.setattr(slack, "standings", counted)
    monkeypatch.setattr(ahead, "standings", lambda *_: pytest.fail("nothing is to be worked out"))
    assert set(in_batch(venue.state, [*trading])) == {0}
    # Everybody who trades was looked at once, together.
    names = {one.buyer for one in trading} | {one.seller for one in trading}
    assert checks == [len(names)]


def spare(venue: Venue) -> Spare:
    found = venue.state.rules["deribit-pm"].spare
    assert found is not None
    return found


def test_what_bounds_the_margin_need() -> None:
    venue = new_venue(scans=True)
    found = spare(venue)
    # A micro is a micro; a nano of bitcoin is fifty, if it counts in full.
    assert found.unit_micro[USDC] == 1.0
    assert found.unit_micro[BTC] in (0.0, 50.0)
    assert found.value_micro[0] == 100.0
    assert found.steep_micro[0] > 0.05 * 50 * DOLLAR
    assert found.steep_micro[6] == -1
    assert found.worth_micro[6] == 0.0
    assert found.worth_micro[0] == pytest.approx(50 * DOLLAR)
    assert found.worth_micro[3] == pytest.approx(10 * DOLLAR, rel=0.5)
    assert venue.state.rules["tenth"].spare is None
    # An asset that nobody counts has no price, and a contract in it no bound.
    venue.do(c.ListAsset, asset="DUST", decimals=2)
    told = {name: getattr(listing("NEW"), name) for name in listing("NEW").__struct_fields__}
    told |= {"settlement": "DUST", "quote": "DUST", "key": "new"}
    assert venue.send(c.ListInstrument(**told)).code == 0
    venue.publish("deribit-pm")
    found = spare(venue)
    assert found.unit_micro[2] == 0.0
    assert found.steep_micro[7] == -1
    assert (found.worth_micro[7], found.value_micro[7]) == (0.0, 0.0)


def test_a_bound_is_lowered_by_what_a_trade_costs_at_worst() -> None:
    venue = new_venue(scans=True)
    state = venue.state
    for name in ("alice", "bob"):
        venue.do(c.AssignRulebook, account=name, rulebook="deribit-pm")
    found = spare(venue)

    def bound(lots: int, ticks: int, symbol: str = LIN) -> int | None:
        trade = c.Trade(key="k", actor="op", buyer="alice", seller="bob", symbol=symbol, lots=lots,
                        price_ticks=ticks, aggressor=None)  # fmt: skip
        return slack.after(state, state.account(16), deal_in(state, trade).legs[:1], None, None)

    assert bound(1, 50_000) is None
    state.slack[16] = Spared(10**9)
    # A cent is kept for what was worked out, and one for each leg since.
    assert slack.after(state, state.account(16), (), None, None) == 10**9 - 10_000 - 1
    low = 10**9 - found.steep_micro[0] - 20_000
    at_mark = bound(1, 50_000)
    assert at_mark is not None
    assert low - 2 <= at_mark <= low
    # A tick of a lot is a thousandth of a dollar.
    worse = bound(1, 50_007)
    assert worse is not None
    assert abs(at_mark - worse - 7_000) <= 1
    five = bound(5, 50_000)
    assert five is not None
    assert abs(10**9 - 5 * found.steep_micro[0] - 20_000 - five) <= 2
    # Of a premium what the option is worth comes back.
    call = bound(2, 1_000, CALL)
    assert call is not None
    lost = 20 * DOLLAR - 2 * found.worth_micro[3] + 2 * found.steep_micro[3]
    assert abs(10**9 - lost - 20_000 - call) <= 3
    # Nothing has been done, and nothing is left of it.
    assert slack.after(state, state.account(16), (), None, None) == 10**9 - 10_000 - 1
    # Where nothing is known there is no bound.
    assert bound(1, 3_000, SPREAD) is None
    assert set(state.slack) == {16}
    assert venue.send(listing("NEW")).code == 0
    assert bound(1, 50_000, "NEW") is None
    assert set(state.slack) == {16}
    state.account(16).modes = {}
    venue.do(c.SetLeverage, account="alice", symbol=LIN, leverage="5")
    state.slack[16] = Spared(10**9)
    assert bound(1, 50_000) is not None
    mode = state.account(16).mode(0)
    assert mode is not None
    mode.isolated = True
    assert bound(1, 50_000) is None
    assert set(state.slack) == {16}
    state.slack[16] = Spared(10**9)
    assert bound(1, 50_000, FUT) is not None
    state.account(16).rulebook = "tenth"
    assert bound(1, 50_000, FUT) is None
    assert set(state.slack) == set()


def test_what_a_standing_tells() -> None:
    venue = new_venue(scans=True)
    state, alice = venue.state, venue.account("alice")
    good = Standing(10, 3, 2, True, False, False)

    def told(found: Standing) -> int | None:
        state.slack[16] = Spared(10**15)
        slack.told(state, alice, found)
        return bases(state).get(16)

    assert told(good) is None
    alice.rulebook = "deribit-pm"
    assert told(good) == 7
    assert told(good._replace(equity_micro=1)) == -2
    assert told(good._replace(known=False)) is None
    venue.do(c.SetLeverage, account="alice", symbol=LIN, leverage="5")
    assert told(good) is None


def deribit() -> Venue:
    """Everybody is margined by Deribit's rules, and what they can spare has been noted."""
    venue = new_venue(scans=True)
    for name in ("alice", "bob", "carol"):
        venue.do(c.AssignRulebook, account=name, rulebook="deribit-pm")
    trade = {"symbol": LIN, "lots": 1, "price_ticks": 50_000, "aggressor": None}
    batch: list[Command] = [
        c.Trade(key="1", actor="op", buyer="alice", seller="bob", **trade),  # type: ignore[arg-type]
        c.Trade(key="2", actor="op", buyer="bob", seller="carol", **trade),  # type: ignore[arg-type]
    ]
    assert in_batch(venue.state, batch) == [0, 0]
    assert set(venue.state.slack) == {16, 17, 18}
    assert venue.state.asked == {16, 17, 18}
    return venue


@pytest.mark.parametrize(
    ("kind", "fields", "kept"),
    [
        (c.Heartbeat, {}, {16, 17, 18}),
        (c.Deposit, {"account": "alice", "asset": "USDC", "amount": 1}, {16, 17, 18}),
        (c.ListAsset, {"asset": "X", "decimals": 1}, {16, 17, 18}),
        (c.FreezeAccount, {"account": "alice", "reason": ""}, {16, 17, 18}),
        (c.UnfreezeAccount, {"account": "alice"}, {16, 17, 18}),
        (c.OpenAccount, {"account": "x", "kind": "user", "rulebook": "tenth"}, {16, 17, 18}),
        (c.RequestWithdrawal, {"account": "alice", "asset": "USDC", "amount": 1, "reference": "r"},
         {17, 18}),
        (c.PlaceOrder, {"account": "bob", "order": "o", "symbol": LIN, "side": Side.BUY, "lots": 1,
                        "price_ticks": 1}, {16, 17, 18}),
        (c.CancelOrders, {"symbol": LIN}, {16, 17, 18}),
        (c.Disconnect, {"account": "alice", "session": "s"}, {16, 17, 18}),
        (c.SetProtection, {"account": "alice", "group": "g", "window_ms": 1, "frozen_ms": 0,
                           "lots": 1}, {16, 17, 18}),
        (c.ReportBlock, {"account": "alice", "counterparty": "bob", "side": Side.BUY, "symbol": LIN,
                         "lots": 1, "price_ticks": 1, "reference": "r"}, {16, 17, 18}),
        (c.ListCombo, {"symbol": "C", "legs": (ComboLeg(LIN, 1), ComboLeg("LIN2", -1)),
                       "tick_size": "1"}, set()),
        (c.Transfer, {"source": "carol", "target": "bob", "asset": "USDC", "amount": 1}, {16, 17}),
        (c.SettleVariation, {"symbol": LIN}, set()),
        (c.AssignRulebook, {"account": "member", "rulebook": "tenth"}, set()),
        (c.SetLeverage, {"account": "alice", "symbol": LIN, "leverage": "5"}, set()),
    ],
)  # fmt: skip
def test_what_lowers_a_standing_drops_its_bound(
    kind: type[Command], fields: dict[str, Any], kept: set[int]
) -> None:
    venue = deribit()
    if kind is c.OpenAccount:
        fields = {**fields, "kind": AccountKind.USER}
    if kind is c.ListCombo:
        assert venue.send(listing("LIN2")).code == 0
    venue.do(kind, **fields)
    assert set(venue.state.slack) == kept
    assert venue.state.asked == (set() if not kept else {16, 17, 18})
    if kind is c.PlaceOrder:
        # A lot bought is all that an order of one can come to: less its margin, and nothing else.
        venue.state.slack[17] = Spared(10**9)
        venue.do(c.CancelOrder, account="bob", order="o")
        assert set(venue.state.slack) == {16, 17, 18}


def test_a_trade_keeps_bounds_or_drops_them() -> None:
    venue = deribit()
    state = venue.state
    state.slack[16] = Spared(10**12)
    venue.trade("alice", "insurance", 1, 50_000)
    bound = slack.after(state, state.account(16), (), None, None)
    assert bound is not None
    assert abs(10**12 - spare(venue).steep_micro[0] - 20_000 - bound) <= 2
    assert bases(state)[16] == 10**12
    assert set(state.slack) == {16, 17, 18}
    venue.do(c.SetLeverage, account="bob", symbol=FUT, leverage="5")
    state.slack = {16: Spared(10**12), 17: Spared(1), 18: Spared(1)}
    venue.trade("bob", "carol", 1, 50_000)
    # Bob has modes, so nothing is known of what he can spare; carol was looked at anew.
    assert set(state.slack) == {16, 18}
    assert state.slack[18].base > 10**9


def test_a_bound_is_no_leave_when_the_arrays_are_old() -> None:
    venue = deribit()
    venue.state.slack = {16: Spared(10**12), 17: Spared(10**12), 18: Spared(10**12)}
    venue.time_ms = T0 + 60_001
    venue.refuse(
        Reject.RISK_UNKNOWN, "account alice: expected known risk, found none by deribit-pm",
        c.Trade, buyer="alice", seller="bob", symbol=LIN, lots=1, price_ticks=50_000,
        aggressor=None,
    )  # fmt: skip


def test_what_counts_in_full_has_a_price() -> None:
    venue = new_venue(scans=True)
    terms = venue.state.rules["deribit-pm"].rulebook.collateral  # type: ignore[union-attr]
    for asset in terms:
        if asset not in venue.state.asset_numbers:
            venue.do(c.ListAsset, asset=asset, decimals=6)
    venue.publish("deribit-pm")
    prices = {name: dollars / 10 ** (6 - decimals) for (name, decimals), dollars in
              zip(venue.state.assets, spare(venue).unit_micro, strict=True)}  # fmt: skip
    for asset, one in terms.items():
        expected = {"par": 1.0}.get(one.price, {"BTC": 50_000.0, "ETH": 2_000.0}.get(
            asset, {"BTC": 50_000.0, "ETH": 2_000.0}.get(one.of or "", 0.0)))  # fmt: skip
        assert prices[asset] == pytest.approx(0.0 if one.haircut else expected), asset


def test_who_is_looked_at_together() -> None:
    venue = new_venue(scans=True)
    state = venue.state
    for name in ("alice", "carol", "member"):
        venue.do(c.AssignRulebook, account=name, rulebook="deribit-pm")
    venue.do(c.SetLeverage, account="carol", symbol=LIN, leverage="3")
    state.asked = {venue.account("member").number}
    batch: list[Command] = [
        trade_of(venue, "zoe", "fees", 1), c.Heartbeat(key="h", actor="op"),
        trade_of(venue, "alice", "bob", 1), trade_of(venue, "carol", "member", 1),
        trade_of(venue, "insurance", "alice", 1),
    ]  # fmt: skip
    slack.warm(state, batch, 5)
    assert (state.slack, len(state.asked)) == ({}, 1)
    slack.warm(state, batch, 0)
    # Bob's rulebook tells no bounds, carol has modes, the member was asked for already.
    assert bases(state) == {16: 60_000 * DOLLAR}
    assert state.asked == {3, 16, 17, 18, 19}
    state.asked.clear()
    state.slack = {16: Spared(1)}
    slack.warm(state, batch, 3)
    assert bases(state) == {16: 1, 19: 1_000 * DOLLAR}
    assert state.asked == {18, 19}
    # Where nothing is known there is no bound.
    state.asked.clear()
    state.slack.clear()
    venue.time_ms = T0 + 60_001
    venue.do(c.Heartbeat)
    slack.warm(state, batch, 3)
    assert (state.slack, state.asked) == ({}, {16, 18, 19})


def test_so_many_commands_are_looked_at_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert slack.WARM_MAX == ahead.AHEAD_MAX == 16_384
    venue = deribit()
    venue.state.slack.clear()
    venue.state.asked.clear()
    monkeypatch.setattr(slack, "WARM_MAX", 2)
    beats: list[Command] = [c.Heartbeat(key=str(n), actor="op") for n in range(2)]
    slack.warm(venue.state, [*beats, trade_of(venue, "alice", "bob", 1)], 0)
    assert venue.state.asked == set()
    slack.warm(venue.state, [*beats, trade_of(venue, "alice", "bob", 1)], 1)
    assert venue.state.asked == {16, 17}


def test_a_bound_after_a_check_counts_no_rebate() -> None:
    venue = deribit()
    state = venue.state
    good = Standing(10**9, 3, 2, True, False, False)
    leg = deal_in(state, trade_of(venue, "alice", "bob", 1)).legs[0]
    alice = venue.account("alice")

    def bound(found: Standing) -> int | None:
        """What is told after the leg, once it is done."""
        slack.told_after(state, alice, found, (leg,), None, None)
        return slack.after(state, alice, (leg,), None, None)

    # Amounts of 200 dollars have moved there and back: a billionth of it is rounded away.
    assert bound(good) == 10**9 - 3 - 20_000 - 2
    assert bases(state)[16] == 10**9 - 3
    # Until it is done, the margin of its lot counts, and what it would cost does not.
    before = slack.after(state, alice, (), None, None)
    assert before is not None
    assert abs(10**9 - 3 - spare(venue).steep_micro[0] - 10_000 - before) <= 2
    leg.fees = -5
    assert bound(good) == 10**9 - 3 - 20_000 - 2
    leg.fees = 5
    assert bound(good) == 10**9 - 3 - 5 - 20_000 - 2
    assert bases(state)[16] == 10**9 - 3 - 5
    assert bound(good._replace(known=False)) is None
    assert 16 not in state.slack
    alice.rulebook = "tenth"
    assert bound(good) is None
    assert 16 not in state.slack


def test_a_coin_without_a_price_counts_for_nothing() -> None:
    state = new_venue(scans=True).state
    plan = state.rules["deribit-pm"].plan
    assert isinstance(plan, Plan)
    assert slack._dollars(plan, "BTC") == 50_000.0
    assert slack._dollars(plan, "DUST") is None
    index = plan.arrays.index * 0.0
    plan = replace(plan, arrays=replace(plan.arrays, index=index))
    assert slack._dollars(plan, "USDC") == 1.0
    assert slack._dollars(plan, "BTC") is None
    found = slack.spare_of(state, plan)
    assert found is not None
    assert found.steep_micro[1] == -1
    assert found.unit_micro == [1.0, 0.0]
    assert slack.spare_of(state, None) is None


def test_a_bound_counts_gains_fees_and_premiums_in_their_money() -> None:
    venue = new_venue(scans=True)
    state, found = venue.state, spare(venue)
    for name in ("alice", "bob"):
        venue.do(c.AssignRulebook, account=name, rulebook="deribit-pm")
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("alice", "bob", 100, 100_000, symbol=INV)
    start = 10**12

    def lost(leg: Leg, steep: float) -> float:
        state.slack[16] = Spared(start)
        bound = slack.after(state, state.account(16), (leg,), None, None)
        assert bound is not None
        return start - bound - steep - 20_000

    # A gain of ten dollars on what stood at the mark is ten dollars more than the mark says.
    up = lost(leg_of(venue, -10, 51_000), 10 * found.steep_micro[0])
    assert up == pytest.approx(-10 * DOLLAR, abs=20)
    down = lost(leg_of(venue, -10, 49_000), 10 * found.steep_micro[0])
    assert down == pytest.approx(10 * DOLLAR, abs=20)
    # A fee is paid; a rebate may be cut.
    paid = lost(leg_of(venue, 1, 50_000, fees=-7_000), found.steep_micro[0])
    assert paid == pytest.approx(7_000, abs=20)
    assert lost(leg_of(venue, 1, 50_000, fees=7_000), found.steep_micro[0]) == pytest.approx(
        0, abs=5
    )
    # A thousand dollars of coin at 40,000 instead of 50,000: 250 dollars, if coin counts in full.
    full = found.unit_micro[BTC] != 0.0
    coin = lost(leg_of(venue, -100, 80_000, symbol=INV), 100 * found.steep_micro[1])
    fees = lost(leg_of(venue, 1, 100_000, symbol=INV, fees=-1_000), found.steep_micro[1])
    put = lost(leg_of(venue, 1, 200, symbol=PUT), found.steep_micro[4])
    assert full
    assert coin == pytest.approx(250 * DOLLAR, abs=20)
    assert fees == pytest.approx(50_000, abs=20)
    # Two hundredths of a coin a put, a tenth of it: a hundred dollars, for what it is worth.
    assert put == pytest.approx(100 * DOLLAR - found.worth_micro[4], abs=20)
    # What floating point may hide is counted too: a billionth of all that moved.
    start = 10**15
    big = leg_of(venue, 10**6, 50_000)
    hidden = lost(big, 10**6 * found.steep_micro[0])
    assert hidden == pytest.approx((100 * 10**12 + 10**6 * found.steep_micro[0]) / 10**9, rel=1e-3)
    rebated = leg_of(venue, 1, 100_000, symbol=INV, fees=1_000)
    good = Standing(10**9, 0, 0, True, False, False)
    slack.told_after(state, state.account(16), good, (rebated,), None, None)
    assert bases(state)[16] == 10**9 - 50_000


def test_alone_two_sides_are_looked_at_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = deribit()
    venue.state.slack.clear()
    venue.state.asked.clear()
    batch: list[Command] = [trade_of(venue, "alice", "bob", 1)]
    seen: list[int] = []

    def counted(_: Any, views: Any) -> Any:
        seen.append(len(views))
        return standings(venue.state, views)

    monkeypatch.setattr(slack, "standings", counted)
    monkeypatch.setattr(ahead, "standings", lambda *_: pytest.fail("nothing is to be worked out"))
    monkeypatch.setattr("solvent.engine.trading.standing", lambda *_: pytest.fail("nor alone"))
    assert in_batch(venue.state, batch) == [0]
    assert seen == [2]
