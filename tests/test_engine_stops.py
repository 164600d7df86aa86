"""What happens to orders that nobody touches: their time, stops, auctions, protection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from solvent.engine import ordering
from solvent.engine.floor import Floor
from solvent.errors import Reject
from solvent.messages import commands as c
from solvent.messages.events import (
    Event,
    FeePaid,
    MarketPublished,
    OrderEnded,
    PhaseChanged,
    PositionChanged,
    ProtectionSet,
    ProtectionTripped,
    StopCancelled,
    StopPlaced,
    StopTriggered,
    Uncrossed,
)
from solvent.messages.fields import (
    ComboLeg,
    IndexPrice,
    MarkPrice,
    Phase,
    StopAt,
    Trigger,
)
from tests.test_engine_orders import (
    ALICE,
    BOB,
    CAROL,
    GTD,
    NAMED,
    UNKNOWN,
    books,
    reduced,
    rested,
    traded,
)
from tests.venues import (
    CALL,
    FAR,
    FUT,
    INV,
    LIN,
    NANO,
    NEAR,
    PUT,
    QUANTO,
    T0,
    Venue,
    book_venue,
    order_of,
)


@pytest.fixture
def venue() -> Venue:
    return book_venue()


# ── time ─────────────────────────────────────────────────────────────────────────────────────────


def test_orders_are_good_until_their_time(venue: Venue) -> None:
    for name, after in (("a", 10), ("b", 20), ("c", 30)):
        venue.order("bob", name, -1, 50_000, time_in_force=GTD, expire_ms=T0 + after)
    stop = StopAt(Trigger.MARK, 1, False)
    venue.order("bob", "w", -1, 50_000, time_in_force=GTD, expire_ms=T0 + 10, stop=stop)
    venue.time_ms = T0 + 9
    assert venue.do(c.Heartbeat) == ()
    venue.time_ms = T0 + 10
    assert venue.do(c.Heartbeat) == (
        reduced(BOB, "a", 0, "expired"), StopCancelled(BOB, "w", "expired"),
    )  # fmt: skip
    venue.time_ms = T0 + 20
    events = venue.do(c.PublishMarket, index=(), marks=())
    assert events == (MarketPublished(0, 0), reduced(BOB, "b", 0, "expired"))
    # What has expired is never traded with, also where nobody has looked at the time.
    venue.time_ms = T0 + 30
    assert venue.order("alice", "x", 1, 50_000) == (
        reduced(BOB, "c", 0, "expired"), rested(ALICE, "x", 1, 50_000),
    )  # fmt: skip
    assert venue.state.open.sides == {ALICE: {0: (1, 500_000, 0, 0)}}


# ── stops ────────────────────────────────────────────────────────────────────────────────────────


def test_stops_are_set_off_by_mark_index_and_last(venue: Venue) -> None:
    venue.order("carol", "c", 9, 48_000)
    for name, trigger, price in (
        ("mark", Trigger.MARK, 490_000),
        ("index", Trigger.INDEX, 49_000 * NANO),
        ("last", Trigger.LAST, 480_000),
    ):
        stop = StopAt(trigger, price, False)
        assert venue.order("alice", name, -2, 47_000, stop=stop) == (StopPlaced(ALICE, name, 0),)
    # A stop that waits is no order yet.
    assert venue.state.open.sides == {CAROL: {0: (9, 4_320_000, 0, 0)}}
    venue.quote(LIN=490_001, index=49_001)
    assert list(venue.state.desk.stops[ALICE]) == ["mark", "index", "last"]
    # The mark's order trades at 48,000, and that sets the last price's off.
    assert books(venue.do(c.PublishMarket, **marked(LIN=490_000))) == (
        MarketPublished(0, 1), StopTriggered(ALICE, "mark"),
        traded(48_000, 2, (CAROL, "c"), (ALICE, "mark"), "sell"), reduced(CAROL, "c", 7),
        OrderEnded(ALICE, "mark", 0, "filled"),
        StopTriggered(ALICE, "last"),
        traded(48_000, 2, (CAROL, "c"), (ALICE, "last"), "sell"), reduced(CAROL, "c", 5),
        OrderEnded(ALICE, "last", 0, "filled"),
    )  # fmt: skip
    found = venue.tell(c.PublishMarket, **indexed("BTC", 49_000))
    assert found.code == 0
    venue.sound()
    assert StopTriggered(ALICE, "index") in found.events
    assert venue.position("alice", LIN) == (-6, -2_880_000, -2_880_000, 0)
    assert venue.state.desk.stops == {}


def marked(**marks: int) -> dict[str, Any]:
    """A market of these marks alone, of contracts that are named as they are here."""
    told = tuple(MarkPrice(globals()[name], points, 0) for name, points in marks.items())
    return {"index": (), "marks": told}


def indexed(underlying: str, dollars: int) -> dict[str, Any]:
    """A market of one index alone."""
    return {"index": (IndexPrice(underlying, dollars * NANO, 0),), "marks": ()}


def test_a_stop_rests_at_its_limit(venue: Venue) -> None:
    stop = StopAt(Trigger.MARK, 510_000, True)
    venue.order("alice", "o", 3, 51_000, stop=stop)
    events = venue.do(c.PublishMarket, **marked(LIN=510_000))
    assert events == (
        MarketPublished(0, 1), StopTriggered(ALICE, "o"), rested(ALICE, "o", 3, 51_000)
    )  # fmt: skip
    assert venue.state.open.sides == {ALICE: {0: (3, 1_530_000, 0, 0)}}


def test_marks_of_other_contracts_set_nothing_off(venue: Venue) -> None:
    venue.order("alice", "o", 3, 51_000, stop=StopAt(Trigger.MARK, 510_000, True))
    eth = StopAt(Trigger.INDEX, 2_100 * NANO, True)
    venue.order("bob", "e", 3, 51_000, symbol=QUANTO, stop=eth)
    venue.quote(INV=2_000_000, FUT=600_000, index=60_000)
    assert list(venue.state.desk.stops) == [ALICE, BOB]
    # A contract that is over is not looked at any more.
    venue.do(c.DelistInstrument, symbol=INV)
    found = venue.tell(c.PublishMarket, **indexed("ETH", 2_100))
    assert StopTriggered(BOB, "e") in found.events


# ── auctions ─────────────────────────────────────────────────────────────────────────────────────


def test_an_auction_ends_in_trades_at_one_price(venue: Venue) -> None:
    assert venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION) == (PhaseChanged(0, "auction"),)
    assert venue.order("alice", "a", 5, 50_020) == (rested(ALICE, "a", 5, 50_020),)
    venue.order("carol", "c", 3, 49_990)
    venue.order("bob", "s", -2, 49_980)
    assert venue.order("bob", "t", -4, 50_000) == (rested(BOB, "t", -4, 50_000),)
    assert venue.state.desk.uncrossing(0) == (50_000, 5)
    events = venue.do(c.SetPhase, symbol=LIN, phase=Phase.CONTINUOUS)
    assert events == (
        PhaseChanged(0, "continuous"),
        PositionChanged(ALICE, 0, 2, 1_000_000, 1_000_000, 0),
        PositionChanged(BOB, 0, -2, -1_000_000, -1_000_000, 0),
        traded(50_000, 2, (ALICE, "a"), (BOB, "s")), reduced(ALICE, "a", 3), reduced(BOB, "s", 0),
        PositionChanged(ALICE, 0, 5, 2_500_000, 2_500_000, 0),
        PositionChanged(BOB, 0, -5, -2_500_000, -2_500_000, 0),
        traded(50_000, 3, (ALICE, "a"), (BOB, "t")), reduced(ALICE, "a", 0), reduced(BOB, "t", -1),
        Uncrossed(0, 50_000, 5),
    )  # fmt: skip
    assert venue.state.open.sides == {
        CAROL: {0: (3, 1_499_700, 0, 0)}, BOB: {0: (0, 0, -1, -500_000)}
    }  # fmt: skip
    assert venue.contract(LIN).phase is Phase.CONTINUOUS
    assert venue.state.desk.phase(0) is Phase.CONTINUOUS


@pytest.mark.parametrize(
    ("rule", "paid"), [("skipped", []), ("split", [125_000, 125_000]), ("whole", [250_000] * 2)]
)
def test_what_an_auction_ends_with_is_charged_as_in_one(rule: str, paid: list[int]) -> None:
    told = f'[[engine.fees]]\ncomponent = "x"\nrate = 0.001\npayer = "both"\nauction = "{rule}"'
    venue = book_venue(told)
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION)
    venue.order("alice", "a", 6, 50_000)
    venue.order("bob", "b", -5, 50_000)
    events = venue.do(c.SetPhase, symbol=LIN, phase=Phase.CONTINUOUS)
    # Five lots are 250 dollars.
    assert [one.amount for one in events if isinstance(one, FeePaid)] == paid
    assert venue.contract(LIN).phase is Phase.CONTINUOUS
    # The next trade is none of an auction.
    events = venue.order("bob", "c", -1, 50_000)
    assert [one.amount for one in events if isinstance(one, FeePaid)] == [50_000, 50_000]


def test_what_crosses_after_a_halt_trades_as_at_an_auctions_end(venue: Venue) -> None:
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION)
    venue.order("alice", "a", 6, 50_000)
    venue.order("bob", "b", -5, 50_000)
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.HALTED)
    events = venue.do(c.SetPhase, symbol=LIN, phase=Phase.CONTINUOUS)
    assert events[-1] == Uncrossed(0, 50_000, 5)
    assert venue.contract(LIN).phase is Phase.CONTINUOUS


def test_in_an_auction_nothing_is_immediate(venue: Venue) -> None:
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION)
    venue.refuse(
        Reject.ORDER_NOT_FOR_AUCTION,
        f"{NAMED}an order that may rest, in an auction, found ioc",
        c.PlaceOrder, **order_of("alice", "o", 1, None),
    )  # fmt: skip
    # Stops wait until it is over.
    venue.order("alice", "w", 1, 50_000, stop=StopAt(Trigger.MARK, 510_000, True))
    venue.quote(LIN=510_000)
    assert list(venue.state.desk.stops[ALICE]) == ["w"]
    assert venue.do(c.SetPhase, symbol=LIN, phase=Phase.HALTED) == (PhaseChanged(0, "halted"),)
    assert venue.do(c.SetPhase, symbol=LIN, phase=Phase.CONTINUOUS) == (
        PhaseChanged(0, "continuous"), StopTriggered(ALICE, "w"), rested(ALICE, "w", 1, 50_000)
    )  # fmt: skip


# ── protection ───────────────────────────────────────────────────────────────────────────────────


def protect(venue: Venue, **changes: Any) -> tuple[Event, ...]:
    told = {"account": "alice", "group": "g", "window_ms": 1_000, "frozen_ms": 500, **changes}
    return venue.do(c.SetProtection, **told)


def test_a_group_that_is_filled_too_much_goes(venue: Venue) -> None:
    assert protect(venue, lots=5) == (ProtectionSet(ALICE, "g"),)
    for name, lots, ticks, symbol in (
        ("a", 3, 50_000, LIN), ("b", 3, 49_999, LIN), ("c", -3, 51_000, LIN), ("d", 1, 1, FUT),
    ):  # fmt: skip
        venue.order("alice", name, lots, ticks, symbol=symbol, group="g")
    venue.order("alice", "other", 7, 49_998)
    venue.order("alice", "w", 1, 1, group="g", stop=StopAt(Trigger.MARK, 1, False))
    venue.order("bob", "x", -3, 50_000)
    assert list(venue.state.orders_of(ALICE)) == ["b", "c", "d", "other"]
    # Within a second that makes six: more than five.
    venue.time_ms = T0 + 999
    assert books(venue.order("bob", "y", -5, 49_998)) == (
        traded(49_999, 3, (ALICE, "b"), (BOB, "y"), "sell"), reduced(ALICE, "b", 0),
        ProtectionTripped(ALICE, "g", T0 + 1_499),
        reduced(ALICE, "c", 0, "protection"), reduced(ALICE, "d", 0, "protection"),
        StopCancelled(ALICE, "w", "protection"),
        traded(49_998, 2, (ALICE, "other"), (BOB, "y"), "sell"), reduced(ALICE, "other", 5),
        OrderEnded(BOB, "y", 0, "filled"),
    )  # fmt: skip
    assert venue.state.open.sides == {ALICE: {0: (5, 5 * 499_980, 0, 0)}}
    again = order_of("alice", "e", 1, 49_000, group="g")
    frozen = (
        f"order 'e' of account 16: expected group 'g' to quote, found it frozen until {T0 + 1_499}"
    )
    venue.refuse(Reject.PROTECTION_TRIPPED, frozen, c.PlaceOrder, **again)
    venue.time_ms = T0 + 1_499
    venue.do(c.PlaceOrder, **again)


def test_until_it_is_reset(venue: Venue) -> None:
    protect(venue, lots=1, frozen_ms=0)
    venue.order("alice", "a", 2, 50_000, group="g")
    events = venue.order("bob", "x", -2, 50_000)
    assert ProtectionTripped(ALICE, "g", 0) in events
    venue.time_ms = T0 + 50_000
    again = order_of("alice", "e", 1, 49_000, group="g")
    venue.refuse(
        Reject.PROTECTION_TRIPPED,
        "order 'e' of account 16: expected group 'g' to quote, found it frozen until it is reset",
        c.PlaceOrder, **again,
    )  # fmt: skip
    events = venue.do(c.ResetProtection, account="alice", group="g")
    assert events == (ProtectionSet(ALICE, "g"),)
    venue.do(c.PlaceOrder, **again)


def test_delta_trips_by_the_arrays_of_the_venues_rules(venue: Venue) -> None:
    # A lot is a thousandth of a bitcoin: a million billionths.
    protect(venue, delta_nano=3_000_000)
    venue.order("alice", "a", 9, 50_000, group="g")
    venue.order("alice", "z", -2, 51_000, group="g")
    venue.order("bob", "x", -3, 50_000)
    # What is sold goes the other way.
    venue.order("bob", "u", 2, 51_000)
    venue.order("bob", "y", -2, 50_000)
    assert list(venue.state.orders_of(ALICE)) == ["a"]
    events = books(venue.order("bob", "v", -1, 50_000))
    assert events[2:4] == (
        ProtectionTripped(ALICE, "g", T0 + 500), reduced(ALICE, "a", 0, "protection")
    )  # fmt: skip
    assert dict(venue.state.orders_of(ALICE)) == {}


def test_the_delta_of_a_lot() -> None:
    venue = book_venue(more=True)
    legs = (ComboLeg(NEAR, 2), ComboLeg(FAR, -1))
    venue.do(c.ListCombo, symbol="ROLL", legs=legs, tick_size="0.5")
    state = venue.state
    floor = Floor(state, [])

    def deltas() -> list[int]:
        symbols = (LIN, INV, FUT, CALL, PUT, QUANTO)
        numbers = [*(venue.contract(symbol).number for symbol in symbols), 2**20]
        return [floor.delta_nano(number) for number in numbers]

    rules = state.rules["tenth"]
    arrays, rows = rules.arrays, list(rules.row_of_contract)
    assert arrays is not None
    call = int(arrays.columns["delta"][rows[3]]) // 10
    assert 5_000_000 < call < 5_100_000
    # Ten dollars of bitcoin; half a hundredth of a coin of the call; the put is far away.
    assert deltas() == [1_000_000, 200_000, 1_000, call, 0, 1_000, 1_000_000]
    # Of what the arrays do not have no lot can have more than all of its size.
    rules.row_of_contract = [-1, *rows[1:3]]
    assert deltas()[:4] == [1_000_000, 200_000, 1_000, 10_000_000]
    rules.row_of_contract = rows
    usable = arrays.usable.copy()
    usable[rows[1]] = False
    rules.arrays = replace(arrays, usable=usable)
    venue.contract(INV).mark_points = 800_000
    # Ten dollars at 40,000 are a quarter of a thousandth; without a mark a coin a dollar.
    assert floor.delta_nano(1) == 250_000
    rules.arrays = None
    # Of a put a tenth of a coin.
    assert deltas() == [1_000_000, 250_000, 1_000, 10_000_000, 100_000_000, 10**9, 1_000_000]
    venue.contract(INV).mark_points = None
    assert floor.delta_nano(1) == 10 * 10**9
    rules.arrays, state.venue_rulebook = arrays, "none"
    assert floor.delta_nano(1) == 10 * 10**9


def test_protections_are_refused_by_account_room_and_limits(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"account": "zoe", "group": "g", "window_ms": 1, "frozen_ms": 0}
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, c.SetProtection, **told)
    told["account"] = "alice"
    venue.do(c.FreezeAccount, account="alice", reason="")
    frozen = "account alice: expected an active one, found frozen"
    venue.refuse(Reject.ACCOUNT_FROZEN, frozen, c.SetProtection, **told)
    venue.do(c.UnfreezeAccount, account="alice")
    assert ordering.GROUPS_MAX == 1_000
    monkeypatch.setattr(ordering, "GROUPS_MAX", 2)
    limits = "group g of account alice: expected a limit of lots or delta"
    venue.refuse(Reject.ORDER_TERMS_INVALID, limits, c.SetProtection, **told)
    for group in ("g", "h"):
        protect(venue, group=group, lots=1)
    full = "account alice: expected at most 2 groups"
    venue.refuse(Reject.CAPACITY_REACHED, full, c.SetProtection, **{**told, "group": "i"})
    protect(venue, group="g", delta_nano=1)
    protect(venue, account="bob", lots=1)
    venue.refuse(Reject.ACCOUNT_UNKNOWN, UNKNOWN, c.ResetProtection, account="zoe", group="g")
    venue.refuse(
        Reject.PROTECTION_UNKNOWN,
        "group 'i' of account 16: expected one that is protected",
        c.ResetProtection, account="alice", group="i",
    )  # fmt: skip
