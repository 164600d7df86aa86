"""Where accounts stand; neither what they can spare nor what was worked out ahead decides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from solvent.account.ledger import GENERAL, node
from solvent.engine import ahead, slack
from solvent.engine.apply import apply, apply_all
from solvent.engine.bargain import deal_in
from solvent.engine.dealing import Leg, view_after
from solvent.engine.image import image, restore, state_hash
from solvent.engine.refusal import Refused
from solvent.engine.standing import (
    _filled,
    _orders,
    has_risk,
    isolated_margins,
    standing,
    standings,
    view,
)
from solvent.engine.state import Ahead, Mode, Order, Spare, Standing, State
from solvent.engine.trading import admit
from solvent.errors import Reject
from solvent.margining.plan import Plan
from solvent.messages import commands as c
from solvent.messages.codec import Sealed, encode_command
from solvent.messages.fields import AccountKind, Command, MarginMode, OpeningPosition, Side
from tests.venues import (
    BTC,
    CALL,
    COIN,
    DAY,
    DOLLAR,
    FUT,
    INV,
    LIN,
    MARKS,
    PUT,
    QUANTO,
    SPREAD,
    T0,
    TENTH,
    USDC,
    Venue,
    listing,
    new_venue,
)

ALL = 10_000 * DOLLAR
UNKNOWN = Standing(0, 0, 0, False, False, False)


def stands(venue: Venue, name: str) -> Standing:
    return standing(venue.state, view(venue.state, venue.account(name)))


# ── standings ────────────────────────────────────────────────────────────────────────────────────


def test_a_view_is_the_account_as_it_is() -> None:
    venue = new_venue()
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=MarginMode.ISOLATED, leverage="5")
    venue.do(c.SetLeverage, account="alice", symbol=FUT, leverage="5")
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("bob", "alice", 3, 1_000, symbol=CALL)
    venue.do(c.PlaceOrder, account="alice", order="o", symbol=FUT, side=Side.SELL, lots=1,
             price_ticks=7)  # fmt: skip
    seen = view(venue.state, venue.account("alice"))
    assert seen.account is venue.account("alice")
    assert seen.positions == {0: (10, 5_000_000), 3: (-3, 0)}
    assert seen.balances == {USDC: ALL - 70 * DOLLAR, BTC: COIN}
    assert seen.margins == {0: 100 * DOLLAR}
    assert isolated_margins(venue.state, venue.account("bob")) == {}
    assert [(o.instrument, o.lots, o.price_ticks) for o in seen.orders] == [(2, -1, 7)]
    assert seen.modes is venue.account("alice").modes
    bare = view(venue.state, venue.account("member"))
    assert (bare.positions, bare.margins, bare.orders, bare.modes) == ({}, {}, [], {})
    assert bare.balances == {USDC: 1_000 * DOLLAR}
    assert not has_risk(bare)
    bare.balances[USDC] = 0
    assert not has_risk(bare)
    bare.balances[USDC] = -1
    assert has_risk(bare)
    assert has_risk(seen)
    seen.positions = {}
    assert has_risk(seen)


def test_a_standing_to_the_micro() -> None:
    venue = new_venue()
    venue.trade("alice", "bob", 100, 49_000)
    # 10,000 dollars, a coin of 50,000 and 100 of gain; a tenth and a twentieth of 5,000.
    gain = 60_100 * DOLLAR
    assert stands(venue, "alice") == Standing(gain, 500 * DOLLAR, 250 * DOLLAR, True, False, False)
    lost = 59_900 * DOLLAR
    assert stands(venue, "bob") == Standing(lost, 500 * DOLLAR, 250 * DOLLAR, True, False, False)
    assert stands(venue, "carol") == Standing(60_000 * DOLLAR, 0, 0, True, False, False)
    both = [view(venue.state, venue.account(name)) for name in ("carol", "alice", "carol")]
    assert [one.equity_micro for one in standings(venue.state, both)] == [
        60_000 * DOLLAR, gain, 60_000 * DOLLAR
    ]  # fmt: skip
    assert standings(venue.state, []) == []


def test_coin_margined_positions_count_in_dollars() -> None:
    venue = new_venue()
    venue.trade("alice", "bob", 100, 80_000, symbol=INV)
    # 1,000 dollars from 40,000 to 50,000: 0.005 coin, 250 dollars.
    found = stands(venue, "alice")
    assert (found.equity_micro, found.initial_micro) == (60_250 * DOLLAR, 100 * DOLLAR)


def test_options_are_worth_what_they_are() -> None:
    venue = new_venue()
    venue.trade("alice", "bob", 3, 1_000, symbol=CALL)
    # 30 dollars were paid for what is worth 30.
    assert stands(venue, "alice").equity_micro == 60_000 * DOLLAR
    assert stands(venue, "bob").equity_micro == 60_000 * DOLLAR


def test_leverage_is_told_to_the_rulebook() -> None:
    venue = new_venue()
    venue.trade("alice", "bob", 100, 50_000)
    venue.do(c.SetLeverage, account="alice", symbol=LIN, leverage="20")
    assert stands(venue, "alice").initial_micro == 250 * DOLLAR
    assert stands(venue, "bob").initial_micro == 500 * DOLLAR
    venue.do(c.SetLeverage, account="alice", symbol=FUT, leverage="20")
    assert stands(venue, "alice").initial_micro == 250 * DOLLAR
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=MarginMode.CROSS)
    assert stands(venue, "alice").initial_micro == 500 * DOLLAR


def test_an_isolated_pool_is_called_by_itself() -> None:
    venue = new_venue()
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=MarginMode.ISOLATED, leverage="8")
    venue.trade("alice", "bob", 100, 50_000)
    found = stands(venue, "alice")
    # 625 dollars were put to it; they count, wherever they are.
    assert (found.equity_micro, found.call, found.liquidate) == (60_000 * DOLLAR, False, False)
    venue.state.ledger.move(node(16, 16, 0), 16 << 30, 126 * DOLLAR)
    assert stands(venue, "alice")[3:] == (True, True, False)
    venue.state.ledger.move(node(16, 16, 0), 16 << 30, 250 * DOLLAR)
    assert stands(venue, "alice")[3:] == (True, True, True)
    assert stands(venue, "alice").equity_micro == 60_000 * DOLLAR


def test_what_is_not_known() -> None:
    venue = new_venue()
    venue.trade("alice", "bob", 100, 50_000)
    venue.time_ms = T0 + 60_000
    venue.do(c.Heartbeat)
    assert stands(venue, "alice").known
    venue.time_ms += 1
    venue.do(c.Heartbeat)
    assert stands(venue, "alice") == UNKNOWN
    venue = new_venue()
    positions = (OpeningPosition("alice", SPREAD, 1, 1), OpeningPosition("bob", SPREAD, -1, 1))
    venue.do(c.ImportBooks, balances=(), positions=positions)
    assert not stands(venue, "alice").known
    assert venue.send(listing("NEW")).code == 0
    positions = (OpeningPosition("carol", "NEW", 1, 1), OpeningPosition("bob", "NEW", -1, 1))
    venue.do(c.ImportBooks, balances=(), positions=positions)
    for _ in range(2):
        found = standings(venue.state, [view(venue.state, venue.account(name))
                                        for name in ("member", "carol")])  # fmt: skip
        assert [one.known for one in found] == [True, False]
        assert found[1][4:] == (False, False)
        # Arrays of now have no row for it either.
        venue.publish()
    venue.do(c.AdoptRulebook, name="tenth", day="2026-06-01", venue=True,
             toml=venue.state.rules["tenth"].toml)  # fmt: skip
    assert stands(venue, "member") == UNKNOWN


def test_an_order_where_the_arrays_know_nothing() -> None:
    venue = new_venue()
    assert venue.send(listing("NEW")).code == 0
    told = {"account": "alice", "order": "o", "symbol": "NEW", "side": Side.BUY, "lots": 1,
            "price_ticks": 1}  # fmt: skip
    for _ in range(2):
        venue.refuse(
            Reject.RISK_UNKNOWN, "account alice: expected known risk, found none by tenth",
            c.PlaceOrder, **told,
        )  # fmt: skip
        venue.publish()


def test_orders_of_a_rulebook_of_scans_are_taken_as_filled() -> None:
    venue = new_venue(scans=True)
    venue.open("dave", usdc=10_000, rulebook="deribit-pm")
    state = venue.state
    venue.trade("dave", "bob", 10, 50_000)

    def initial(**lots: int) -> int:
        seen = view(state, venue.account("dave"))
        seen.positions = {0: (lots.get("held", 10), lots.get("held", 10) * 500_000)}
        seen.positions = {n: p for n, p in seen.positions.items() if p[0]}
        return standing(state, seen).initial_micro

    def with_orders(*orders: tuple[int, int, int]) -> Standing:
        seen = view(state, venue.account("dave"))
        seen.orders = [Order(*one) for one in orders]
        return standing(state, seen)

    plain = with_orders()
    assert plain.initial_micro == initial(held=10)
    # Bids make 30 lots long; offers 10 of 30 short: the bids are worse.
    assert with_orders((0, 20, 50_000), (0, -20, 50_000)).initial_micro == initial(held=30)
    assert with_orders((0, 5, 50_000), (0, -45, 50_000)).initial_micro == initial(held=-35)
    assert with_orders((0, -10, 50_000)).initial_micro == initial(held=10)
    assert with_orders((0, 20, 50_000)).equity_micro == plain.equity_micro
    assert with_orders((0, 20, 50_000)).maintenance_micro == plain.maintenance_micro
    assert with_orders((0, 2_000, 50_000)).call
    assert not with_orders((0, 20, 50_000)).call
    # Premiums of options, once filled, are not the account's any more; they have no basis.
    assert with_orders((3, 1, 1_000)).known
    assert not with_orders((6, 1, 1)).known
    many = standings(state, [view(state, venue.account(name)) for name in ("dave", "dave", "bob")])
    assert many[0] == many[1] == plain


def test_orders_at_prices_of_formulas() -> None:
    venue = new_venue()
    venue.do(c.PlaceOrder, account="alice", order="o", symbol=INV, side=Side.SELL, lots=7,
             price_ticks=100_000)  # fmt: skip
    assert stands(venue, "alice").initial_micro == 7 * DOLLAR
    venue.do(c.PlaceOrder, account="alice", order="p", symbol=LIN, side=Side.BUY, lots=2,
             price_ticks=50_000)  # fmt: skip
    assert stands(venue, "alice").initial_micro == 17 * DOLLAR


# ── what an account can spare ────────────────────────────────────────────────────────────────────


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
        for number, bound in first.slack.items():
            one = standing(first, view(first, first.account(number)))
            assert one.known
            assert bound <= one.equity_micro - one.initial_micro


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
    assert found.steep_micro[6] == float("inf")
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
    assert found.steep_micro[7] == float("inf")
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
        return slack.after(state, deal_in(state, trade).legs[0])

    assert bound(1, 50_000) is None
    state.slack[16] = 10**9
    low = 10**9 - found.steep_micro[0] - 10_000
    at_mark = bound(1, 50_000)
    assert at_mark is not None
    assert low - 2 <= at_mark <= low
    # A tick of a lot is a thousandth of a dollar.
    worse = bound(1, 50_007)
    assert worse is not None
    assert abs(at_mark - worse - 7_000) <= 1
    five = bound(5, 50_000)
    assert five is not None
    assert abs(10**9 - 5 * found.steep_micro[0] - 10_000 - five) <= 2
    # Of a premium what the option is worth comes back.
    call = bound(2, 1_000, CALL)
    assert call is not None
    lost = 20 * DOLLAR - 2 * found.worth_micro[3] + 2 * found.steep_micro[3]
    assert abs(10**9 - lost - 10_000 - call) <= 3
    # Where nothing is known there is no bound.
    assert bound(1, 3_000, SPREAD) is None
    assert venue.send(listing("NEW")).code == 0
    assert bound(1, 50_000, "NEW") is None
    state.account(16).modes = {}
    venue.do(c.SetLeverage, account="alice", symbol=LIN, leverage="5")
    state.slack[16] = 10**9
    assert bound(1, 50_000) is not None
    mode = state.account(16).mode(0)
    assert mode is not None
    mode.isolated = True
    assert bound(1, 50_000) is None
    assert bound(1, 50_000, FUT) is not None
    state.account(16).rulebook = "tenth"
    assert bound(1, 50_000, FUT) is None


def test_what_a_standing_tells() -> None:
    venue = new_venue(scans=True)
    state, alice = venue.state, venue.account("alice")
    good = Standing(10, 3, 2, True, False, False)
    assert slack.told(state, alice, good) is None
    alice.rulebook = "deribit-pm"
    assert slack.told(state, alice, good) == 7
    assert slack.told(state, alice, good._replace(equity_micro=1)) == -2
    assert slack.told(state, alice, good._replace(known=False)) is None
    venue.do(c.SetLeverage, account="alice", symbol=LIN, leverage="5")
    assert slack.told(state, alice, good) is None


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
                        "price_ticks": 1}, {16, 18}),
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
    venue.do(kind, **fields)
    assert set(venue.state.slack) == kept
    assert venue.state.asked == (set() if not kept else {16, 17, 18})
    if kind is c.PlaceOrder:
        venue.state.slack[17] = 5
        venue.do(c.CancelOrder, account="bob", order="o")
        assert set(venue.state.slack) == {16, 18}


def test_a_trade_keeps_bounds_or_drops_them() -> None:
    venue = deribit()
    state = venue.state
    state.slack[16] = 10**12
    venue.trade("alice", "insurance", 1, 50_000)
    assert 0 < state.slack[16] < 10**12
    assert set(state.slack) == {16, 17, 18}
    venue.do(c.SetLeverage, account="bob", symbol=FUT, leverage="5")
    state.slack = {16: 10**12, 18: 1}
    venue.trade("bob", "carol", 1, 50_000)
    # Bob has modes, so nothing is known of what he can spare; carol was looked at anew.
    assert set(state.slack) == {16, 18}
    assert state.slack[18] > 10**9


def test_a_bound_is_no_leave_when_the_arrays_are_old() -> None:
    venue = deribit()
    venue.state.slack = {16: 10**12, 17: 10**12, 18: 10**12}
    venue.time_ms = T0 + 60_001
    venue.refuse(
        Reject.RISK_UNKNOWN, "account alice: expected known risk, found none by deribit-pm",
        c.Trade, buyer="alice", seller="bob", symbol=LIN, lots=1, price_ticks=50_000,
        aggressor=None,
    )  # fmt: skip


# ── worked out ahead ─────────────────────────────────────────────────────────────────────────────


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


def told(venue: Venue, buyer: str, seller: str, lots: int, **more: Any) -> c.Trade:
    fields = {"symbol": LIN, "price_ticks": 50_000, "aggressor": None, **more}
    return c.Trade(key=f"{buyer}{seller}{lots}{len(more)}{venue.state.log.sequence}", actor="op",
                   buyer=buyer, seller=seller, lots=lots, **fields)  # fmt: skip


def worked_out(venue: Venue, *commands: Command) -> list[Any]:
    """For each command: its sides' standings and how many it rests on, or None."""
    ahead.look_ahead(venue.state, commands, 0)
    entries = [venue.state.ahead.entries.get(id(command)) for command in commands]
    return [one and (one[0], len(one[1])) for one in entries]


def test_trades_are_worked_out_as_if_those_before_were_done() -> None:
    venue = new_venue()
    state = venue.state
    commands: list[Command] = [
        told(venue, "alice", "bob", 10), told(venue, "carol", "alice", 4),
        c.Deposit(key="d", actor="op", account="bob", asset="USDC", amount=5),
        c.Heartbeat(key="h", actor="op"),
        c.Deposit(key="e", actor="op", account="bob", asset="XYZ", amount=5),
        told(venue, "bob", "carol", 3),
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
        told(venue, "bob", "carol", 3), told(venue, "bob", "alice", 3),
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
    commands += [told(venue, *pair, 1) for pair in pairs]
    found = worked_out(venue, *commands)
    out = set(closed)
    for pair, one in zip(pairs, found[1:], strict=True):
        # Who trades with one that is left alone is left alone from then on.
        if out & set(pair):
            out |= set(pair)
            assert one is None
        else:
            assert one is not None


def test_what_cannot_be_traded_is_passed_over() -> None:
    venue = new_venue()
    wrong = told(venue, "bob", "carol", 1, symbol="XYZ")
    twice = told(venue, "alice", "member", 1)
    found = worked_out(venue, wrong, told(venue, "bob", "alice", 1), twice, twice,
                       told(venue, "member", "alice", 2))  # fmt: skip
    # Bob was in the first; alice, who trades with him, in the second.
    assert found == [None, None, None, None, None]
    found = worked_out(venue, twice, twice, told(venue, "member", "alice", 2))
    assert found[0] is not None
    assert found[2] is None
    assert worked_out(venue, told(venue, "alice", "insurance", 1)) == [None]


def test_filled_orders_and_isolated_positions_are_worked_out_once() -> None:
    venue = new_venue()
    venue.do(c.PlaceOrder, account="alice", order="o", symbol=LIN, side=Side.BUY, lots=9,
             price_ticks=50_000)  # fmt: skip
    fill = told(venue, "alice", "bob", 1, buy_order="o")
    found = worked_out(venue, fill, told(venue, "alice", "carol", 1))
    assert found[0] is not None
    assert found[1] is None
    found = worked_out(venue, told(venue, "alice", "carol", 1), fill)
    assert found[0] is not None
    assert found[1] is None
    venue.do(c.SetMarginMode, account="carol", symbol=LIN, mode=MarginMode.ISOLATED, leverage="5")
    found = worked_out(venue, told(venue, "bob", "carol", 1), told(venue, "bob", "member", 1))
    assert found[0] is not None
    assert found[1] is None
    found = worked_out(venue, told(venue, "bob", "member", 1), told(venue, "carol", "bob", 1))
    assert found[0] is not None
    assert found[1] is None


def test_after_too_many_that_cannot_be_done_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = new_venue()
    monkeypatch.setattr(ahead, "_PASSED_MAX", 2)
    wrong = [told(venue, f"x{n}", f"y{n}", 1) for n in range(6)]
    good = told(venue, "alice", "bob", 1)
    assert worked_out(venue, *wrong[:2], good)[-1] is not None
    assert worked_out(venue, *wrong[:3], good)[-1] is None
    assert worked_out(venue, good, *wrong[:3], told(venue, "carol", "member", 1))[-1] is not None
    assert worked_out(venue, good, *wrong[:4], told(venue, "carol", "member", 1))[-1] is None
    monkeypatch.setattr(ahead, "AHEAD_MAX", 2)
    assert worked_out(venue, wrong[0], good)[-1] is not None
    assert worked_out(venue, *wrong[:2], good)[-1] is None


def test_it_begins_where_it_is_told() -> None:
    venue = new_venue()
    commands = [told(venue, "alice", "bob", 1), told(venue, "alice", "bob", 2)]
    ahead.look_ahead(venue.state, commands, 1)
    assert list(venue.state.ahead.entries) == [id(commands[1])]


def test_outside_a_batch_nothing_is_worked_out() -> None:
    venue = new_venue()
    one = told(venue, "alice", "bob", 1)
    assert ahead.known(venue.state, one, 0) is None
    assert venue.state.ahead.alone == 1
    venue.state.ahead.commands = [one]
    found = ahead.known(venue.state, one, 0)
    assert found is not None
    assert (found.initial_micro, venue.state.ahead.alone) == (5 * DOLLAR, 0)
    assert ahead.known(venue.state, told(venue, "alice", "bob", 2), 0) is None


def test_where_slack_helps_some_are_looked_at_alone_first() -> None:
    venue = new_venue()
    state = venue.state
    state.slack[99] = 1
    commands = [told(venue, "alice", "bob", 1)]
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
    one = told(venue, "alice", "bob", 1)
    short = Standing(1, 2, 1, True, True, False)
    state.ahead.entries[id(one)] = (short, UNKNOWN), ()
    legs = deal_in(state, one).legs
    with pytest.raises(Refused) as fault:
        admit(state, legs[0], one, 0)
    assert fault.value.detail == (
        "account alice: expected equity of at least its initial margin by tenth, 2 micro, found 1"
    )
    with pytest.raises(Refused) as fault:
        admit(state, legs[1], one, 1)
    assert fault.value.code == Reject.RISK_UNKNOWN
    assert admit(state, legs[0]) is None
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
    pair = [told(venue, "alice", "bob", 10), told(venue, "alice", "carol", 10)]
    assert worked_out(venue, *pair)[1] is None
    venue.do(c.ContributeFund, account="member", asset="USDC", amount=1)
    fees = node(3, GENERAL, USDC)
    venue.state.ledger.move(19 << 30, fees, 2 * DOLLAR)
    venue.state.ledger.take_posted()
    found = worked_out(venue, *pair, told(venue, "alice", "bob", 2))
    # Two dollars pay for two trades, and for no more.
    assert found[1] is not None
    assert found[1][0][0].equity_micro == 60_001 * DOLLAR
    assert found[2] is not None
    assert worked_out(venue, *pair, told(venue, "alice", "bob", 2),
                      told(venue, "alice", "bob", 3))[3] is None  # fmt: skip
    # Of a trade that is passed over it is not known what it gets.
    wrong = told(venue, "x", "y", 1)
    assert worked_out(venue, wrong, *pair)[2] is None
    # What costs nothing, or costs, is no matter.
    plain = new_venue(REBATES.replace("-", ""))
    pair = [told(plain, "alice", "bob", 10), told(plain, "alice", "carol", 10)]
    assert worked_out(plain, told(plain, "x", "y", 1), *pair)[2] is not None


def test_a_rebate_is_the_venues_whoever_is_to_receive() -> None:
    venue = new_venue(REBATES + 'receiver = "maker"')
    trade = told(venue, "alice", "bob", 10, aggressor=Side.BUY)
    legs = deal_in(venue.state, trade).legs
    assert [leg.fees for leg in legs] == [0, DOLLAR // 2]


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
        told(venue, "zoe", "fees", 1), c.Heartbeat(key="h", actor="op"),
        told(venue, "alice", "bob", 1), told(venue, "carol", "member", 1),
        told(venue, "insurance", "alice", 1),
    ]  # fmt: skip
    slack.warm(state, batch, 5)
    assert (state.slack, len(state.asked)) == ({}, 1)
    slack.warm(state, batch, 0)
    # Bob's rulebook tells no bounds, carol has modes, the member was asked for already.
    assert state.slack == {16: 60_000 * DOLLAR}
    assert state.asked == {3, 16, 17, 18, 19}
    state.asked.clear()
    state.slack = {16: 1}
    slack.warm(state, batch, 3)
    assert state.slack == {16: 1, 19: 1_000 * DOLLAR}
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
    slack.warm(venue.state, [*beats, told(venue, "alice", "bob", 1)], 0)
    assert venue.state.asked == set()
    slack.warm(venue.state, [*beats, told(venue, "alice", "bob", 1)], 1)
    assert venue.state.asked == {16, 17}


def test_a_bound_after_a_check_counts_no_rebate() -> None:
    venue = deribit()
    state = venue.state
    good = Standing(10**9, 3, 2, True, False, False)
    leg = deal_in(state, told(venue, "alice", "bob", 1)).legs[0]
    assert slack.told_after(state, leg, good) == 10**9 - 3
    leg.fees = -5
    assert slack.told_after(state, leg, good) == 10**9 - 3
    leg.fees = 5
    assert slack.told_after(state, leg, good) == 10**9 - 3 - 5 - 10_000
    assert slack.told_after(state, leg, good._replace(known=False)) is None
    venue.account("alice").rulebook = "tenth"
    assert slack.told_after(state, leg, good) is None


def test_a_rulebook_that_isolates_without_asking_for_the_margin() -> None:
    venue = new_venue()
    part = TENTH.index("[inputs.pool.isolated_margin]"), TENTH.index("[at.position]")
    toml = (TENTH[: part[0]] + TENTH[part[1] :]).replace(" + isolated_margin", "")
    venue.do(c.AdoptRulebook, name="tenth", toml=toml, day=DAY, venue=True)
    venue.publish()
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=MarginMode.ISOLATED, leverage="5")
    # The position is a pool of its own, which has nothing: it cannot be opened.
    found = venue.tell(c.Trade, buyer="alice", seller="bob", symbol=LIN, lots=1, price_ticks=50_000,
                       aggressor=None)  # fmt: skip
    assert found.code == Reject.MARGIN_INSUFFICIENT


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
    assert found.steep_micro[1] == float("inf")
    assert found.unit_micro == [1.0, 0.0]
    assert slack.spare_of(state, None) is None


def test_orders_filled_at_their_prices() -> None:
    venue = new_venue()
    seen = view(venue.state, venue.account("alice"))
    seen.positions = {0: (10, 5_000_000), 3: (2, 0)}
    seen.margins, seen.modes = {0: 7}, {0: Mode(isolated=True, factor=None)}
    seen.orders = [
        Order(0, 1, 49_000), Order(0, 2, 48_000), Order(0, -10, 51_000), Order(3, -2, 900),
        Order(3, 5, 900), Order(1, -3, 100_000),
    ]  # fmt: skip
    bids = _filled(venue.state, seen, buys=True)
    assert bids.positions == {0: (13, 5_000_000 + 490_000 + 2 * 480_000), 3: (7, 0)}
    offers = _filled(venue.state, seen, buys=False)
    # Three lots of ten dollars sold at 50,000; what nets to nothing is no position.
    assert offers.positions == {1: (-3, 600_000_000)}
    for one in (bids, offers):
        assert one.account is seen.account
        assert (one.balances, one.margins) == (seen.balances, {0: 7})
        assert (one.orders, one.modes) == ([], seen.modes)
    assert seen.positions == {0: (10, 5_000_000), 3: (2, 0)}


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


def test_what_a_trade_rests_on() -> None:
    venue = new_venue()
    paid = c.Deposit(key="d", actor="op", account="bob", asset="USDC", amount=5)
    first, second = told(venue, "alice", "bob", 1), told(venue, "bob", "carol", 2)
    last = told(venue, "alice", "carol", 3)
    ahead.look_ahead(venue.state, [paid, first, second, last], 0)
    entries = venue.state.ahead.entries
    assert entries[id(first)][1] == (id(paid),)
    assert entries[id(second)][1] == (id(first),)
    assert entries[id(last)][1] == (id(first), id(second))
    # Who trades with the fund, or fills an order after all that, is not seen any more.
    fund = told(venue, "alice", "insurance", 1)
    assert worked_out(venue, fund, told(venue, "alice", "bob", 1)) == [None, None]


def test_orders_as_a_rulebook_of_formulas_has_them() -> None:
    venue = new_venue()
    state = venue.state
    rules = state.rules["tenth"]
    seen = [view(state, venue.account(name)) for name in ("carol", "alice")]
    assert _orders(state, rules, seen) is None
    seen[1].orders = [Order(0, 7, 49_000), Order(1, -3, 100_001), Order(0, 1, 1)]
    found = _orders(state, rules, seen)
    assert found is not None
    rows = rules.row_of_contract
    assert found.account.tolist() == [1, 1, 1]
    assert found.instrument.tolist() == [rows[0], rows[1], rows[0]]
    assert found.size.tolist() == [0.007, 30.0, 0.001]
    assert found.price.tolist() == [49_000.0, 50_000.5, 1.0]
    assert found.buy.tolist() == [1.0, 0.0, 1.0]


def leg_of(venue: Venue, lots: int, ticks: int, *, symbol: str = LIN, fees: int = 0) -> Leg:
    """Alice's side of a trade; what is sold is negative."""
    pair = ("alice", "bob") if lots > 0 else ("bob", "alice")
    trade = told(venue, *pair, abs(lots), symbol=symbol, price_ticks=ticks)
    leg = deal_in(venue.state, trade).legs[0 if lots > 0 else 1]
    leg.fees = fees
    return leg


def test_a_bound_counts_gains_fees_and_premiums_in_their_money() -> None:
    venue = new_venue(scans=True)
    state, found = venue.state, spare(venue)
    for name in ("alice", "bob"):
        venue.do(c.AssignRulebook, account=name, rulebook="deribit-pm")
    venue.trade("alice", "bob", 10, 50_000)
    venue.trade("alice", "bob", 100, 100_000, symbol=INV)
    state.slack[16] = start = 10**12

    def lost(leg: Leg, steep: float) -> float:
        bound = slack.after(state, leg)
        assert bound is not None
        return start - bound - steep - 10_000

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
    state.slack[16] = start = 10**15
    big = leg_of(venue, 10**6, 50_000)
    hidden = lost(big, 10**6 * found.steep_micro[0])
    assert hidden == pytest.approx((100 * 10**12 + 10**6 * found.steep_micro[0]) / 10**9, rel=1e-3)
    assert slack.told_after(
        state, leg_of(venue, 1, 100_000, symbol=INV, fees=1_000),
        Standing(10**9, 0, 0, True, False, False),
    ) == 10**9 - 50_000 - 10_000  # fmt: skip


def test_a_view_after_a_leg() -> None:
    venue = new_venue()
    venue.do(c.SetMarginMode, account="alice", symbol=LIN, mode=MarginMode.ISOLATED, leverage="5")
    venue.trade("alice", "bob", 10, 50_000)
    before = view(venue.state, venue.account("alice"))
    leg = leg_of(venue, -4, 52_000, fees=-3)
    leg.to_margin = -5
    after = view_after(venue.state, leg, before)
    # A gain of 8 dollars goes to the margin, the rest is the account's.
    assert after.margins == {0: 100 * DOLLAR + 8 * DOLLAR - 5}
    assert after.balances == {**before.balances, USDC: ALL - 100 * DOLLAR - 3 + 5}
    assert after.positions == {0: (6, 3_000_000)}
    assert (after.orders, after.modes) == (before.orders, before.modes)
    assert view_after(venue.state, leg_of(venue, -10, 50_000), before).positions == {}
    leg = leg_of(venue, 3, 50_000, symbol=FUT)
    other = view_after(venue.state, leg, before)
    assert other.positions == {0: (10, 5_000_000), 2: (3, 1_500_000)}
    assert other.margins is before.margins
    assert before.positions == {0: (10, 5_000_000)}


def test_alone_two_sides_are_looked_at_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = deribit()
    venue.state.slack.clear()
    venue.state.asked.clear()
    batch: list[Command] = [told(venue, "alice", "bob", 1)]
    seen: list[int] = []

    def counted(_: Any, views: Any) -> Any:
        seen.append(len(views))
        return standings(venue.state, views)

    monkeypatch.setattr(slack, "standings", counted)
    monkeypatch.setattr(ahead, "standings", lambda *_: pytest.fail("nothing is to be worked out"))
    monkeypatch.setattr("solvent.engine.trading.standing", lambda *_: pytest.fail("nor alone"))
    assert in_batch(venue.state, batch) == [0]
    assert seen == [2]
