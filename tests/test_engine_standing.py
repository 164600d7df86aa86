"""Where accounts stand, to the micro; views of them as they are, or would be."""

from __future__ import annotations

from solvent.account.ledger import node
from solvent.engine.dealing import view_after
from solvent.engine.margined import _orders
from solvent.engine.open_orders import Asked, with_order
from solvent.engine.standing import (
    _filled,
    has_risk,
    isolated_margins,
    reordered,
    standing,
    standings,
    view,
)
from solvent.engine.state import Mode, Standing
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.fields import MarginMode, OpeningPosition, Side
from tests.venues import (
    BTC,
    CALL,
    COIN,
    DAY,
    DOLLAR,
    FUT,
    INV,
    LIN,
    SPREAD,
    T0,
    TENTH,
    USDC,
    Venue,
    leg_of,
    listing,
    new_venue,
)

ALL = 10_000 * DOLLAR


UNKNOWN = Standing(0, 0, 0, False, False, False)


def stands(venue: Venue, name: str) -> Standing:
    return standing(venue.state, view(venue.state, venue.account(name)))


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
    assert stands(venue, "alice")[3:6] == (True, True, False)
    venue.state.ledger.move(node(16, 16, 0), 16 << 30, 250 * DOLLAR)
    assert stands(venue, "alice")[3:6] == (True, True, True)
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
        assert found[1][4:6] == (False, False)
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
        for one in orders:
            seen = reordered(state, seen, None, Asked(*one))
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
    # A premium, once filled, is not the account's any more; what the call is worth is.
    assert with_orders((3, 1, 1_000)).known
    seen = view(state, venue.account("dave"))
    seen.positions[3] = (1, 0)
    held = standing(state, seen)
    lost = 10_010 * DOLLAR - (held.equity_micro - plain.equity_micro)
    dear = with_orders((3, 1, 1_001_000))
    assert dear.initial_micro == held.initial_micro + lost
    assert (dear.equity_micro, dear.call) == (plain.equity_micro, True)
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


def test_orders_filled_at_their_prices() -> None:
    venue = new_venue()
    seen = view(venue.state, venue.account("alice"))
    seen.positions = {0: (10, 5_000_000), 3: (2, 0)}
    seen.margins, seen.modes = {0: 7}, {0: Mode(isolated=True, factor=None)}
    asked = (
        Asked(0, 1, 49_000), Asked(0, 2, 48_000), Asked(0, -10, 51_000), Asked(3, -2, 900),
        Asked(3, 5, 900), Asked(1, -3, 100_000),
    )  # fmt: skip
    for order in asked:
        seen.sides = with_order(seen.sides, venue.state.value_of, None, order)
    before = dict(seen.balances)
    bids = _filled(venue.state, seen, buys=True)
    # Five hundredths of a call at 900 cost 45 dollars, once filled; two bring 18.
    assert bids.balances == {USDC: ALL - 45 * DOLLAR, BTC: COIN}
    assert bids.positions == {0: (13, 5_000_000 + 490_000 + 2 * 480_000), 3: (7, 0)}
    offers = _filled(venue.state, seen, buys=False)
    # Three lots of ten dollars sold at 50,000; what nets to nothing is no position, and what it
    # brought, a thousand dollars for a hundredth of a bitcoin, is money.
    assert offers.positions == {1: (-3, 600_000_000)}
    assert offers.balances == {USDC: ALL + (18 + 10) * DOLLAR, BTC: COIN}
    for one in (bids, offers):
        assert one.account is seen.account
        assert one.margins == {0: 7}
        assert (one.orders, one.sides, one.modes) == ([], {}, seen.modes)
    assert seen.balances == before
    assert seen.positions == {0: (10, 5_000_000), 3: (2, 0)}


def test_orders_as_a_rulebook_of_formulas_has_them() -> None:
    venue = new_venue()
    state = venue.state
    rules = state.rules["tenth"]
    seen = [view(state, venue.account(name)) for name in ("carol", "alice")]
    assert _orders(state, rules, seen) is None
    seen[1].orders = [Asked(0, 7, 49_000), Asked(1, -3, 100_001), Asked(0, 1, 1)]
    found = _orders(state, rules, seen)
    assert found is not None
    rows = rules.row_of_contract
    assert found.account.tolist() == [1, 1, 1]
    assert found.instrument.tolist() == [rows[0], rows[1], rows[0]]
    assert found.size.tolist() == [0.007, 30.0, 0.001]
    assert found.price.tolist() == [49_000.0, 50_000.5, 1.0]
    assert found.buy.tolist() == [1.0, 0.0, 1.0]


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
