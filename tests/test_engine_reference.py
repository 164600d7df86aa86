"""Assets, contracts, phases and rulebooks; prices and arrays as they are published."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from solvent.engine import market as engine_market
from solvent.engine import reference
from solvent.engine.state import Average
from solvent.errors import Reject
from solvent.feeds.library import rulebook_source
from solvent.instruments import Kind, OptionType, Payoff
from solvent.messages import commands as c
from solvent.messages.events import (
    ArraysPublished,
    Delisted,
    MarketPublished,
    Numbered,
    PhaseChanged,
    RulebookAdopted,
)
from solvent.messages.fields import IndexPrice, MarkPrice, Phase, Side, TermText
from tests.venues import (
    CALL,
    DAY,
    EXPIRY,
    FUT,
    INV,
    LIN,
    MARKS,
    NANO,
    PUT,
    QUANTO,
    SPREAD,
    T0,
    TENTH,
    Venue,
    adoption,
    arrays,
    engine_text,
    listing,
    market,
    new_venue,
)


@pytest.fixture
def venue() -> Venue:
    return new_venue()


def told(command: Any, **changes: Any) -> dict[str, Any]:
    names = [name for name in command.__struct_fields__ if name not in ("key", "actor")]
    return {**{name: getattr(command, name) for name in names}, **changes}


# ── assets and contracts ─────────────────────────────────────────────────────────────────────────


def test_an_asset_gets_the_next_number(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert venue.do(c.ListAsset, asset="ETH", decimals=8) == (Numbered("asset", "ETH", 2),)
    assert venue.state.assets == [("USDC", 6), ("BTC", 9), ("ETH", 8)]
    assert venue.state.asset_numbers == {"USDC": 0, "BTC": 1, "ETH": 2}
    monkeypatch.setattr(reference, "ASSETS_MAX", 3)
    venue.refuse(
        Reject.NAME_TAKEN, "asset 'ETH': expected a new name", c.ListAsset, asset="ETH", decimals=1
    )
    venue.refuse(
        Reject.CAPACITY_REACHED, "expected at most 3 assets", c.ListAsset, asset="X", decimals=1
    )
    monkeypatch.setattr(reference, "ASSETS_MAX", 4)
    venue.do(c.ListAsset, asset="X", decimals=1)


def test_a_contract_gets_the_next_number(venue: Venue) -> None:
    venue.time_ms = T0 + 5
    parameters = {"taker_fee": "0.25"}
    events = venue.do(c.ListInstrument, **told(listing("NEW", parameters=parameters)))
    assert events == (Numbered("instrument", "NEW", 7),)
    new = venue.contract("NEW")
    assert (new.number, new.deal.number, new.deal.symbol, new.deal.asset) == (7, 7, "NEW", 0)
    assert (new.listed_ms, new.funded_ms, new.phase_ms) == (T0 + 5,) * 3
    assert (new.deal.underlying, new.deal.kind, new.deal.points_per_tick) == (
        "BTC",
        "perpetual",
        10,
    )
    assert new.deal.parameters == {"taker_fee": Fraction(1, 4)}
    assert (new.phase, new.settled, new.mark_points) == ("continuous", "", None)
    assert venue.state.desk.order_count(7) == 0
    assert (new.settled_points, new.basis_total, new.auction_ms) == (0, 0, 0)
    assert new.listing.symbol == "NEW"


def test_listings_are_refused_by_name_asset_room_terms_expiry(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = told(listing(FUT, settlement="XYZ", strike="1", expiry_ms=T0))
    venue.refuse(
        Reject.NAME_TAKEN, f"instrument {FUT!r}: expected a new name", c.ListInstrument, **wrong
    )
    wrong["symbol"] = "NEW"
    venue.refuse(
        Reject.ASSET_UNKNOWN, "asset 'XYZ': expected one that is listed", c.ListInstrument, **wrong
    )
    wrong["settlement"] = "USDC"
    monkeypatch.setattr(reference, "LISTED_MAX", 7)
    venue.refuse(
        Reject.CAPACITY_REACHED, "expected at most 7 instruments", c.ListInstrument, **wrong
    )
    monkeypatch.setattr(reference, "LISTED_MAX", 8)
    venue.refuse(
        Reject.INSTRUMENT_TERMS_INVALID,
        "instrument NEW: expected a strike and a type, C or P, for an option and for nothing else",
        c.ListInstrument, **wrong,
    )  # fmt: skip
    wrong["strike"] = None
    venue.refuse(
        Reject.INSTRUMENT_EXPIRED,
        f"instrument NEW: expected an expiry after {T0}, found {T0}", c.ListInstrument, **wrong,
    )  # fmt: skip
    venue.do(c.ListInstrument, **{**wrong, "expiry_ms": T0 + 1})


KINDS = "a kind of perpetual, future, option, structure, found 'spot'"
DATED = "an expiry for what is dated and none for a perpetual"
STRUCK = "a strike and a type, C or P, for an option and for nothing else"
TERMED = "terms for a structure and for nothing else"
INVERSE = "an inverse contract to settle in its base, and no other"
TERM = TermText("call", "1", "1")


@pytest.mark.parametrize(
    ("symbol", "changes", "wrong"),
    [
        (LIN, {"kind": "spot"}, KINDS),
        (LIN, {"expiry_ms": EXPIRY}, DATED),
        (FUT, {"expiry_ms": None}, DATED),
        (CALL, {"expiry_ms": None}, DATED),
        (LIN, {"strike": "1"}, STRUCK),
        (LIN, {"option_type": "C"}, STRUCK),
        (CALL, {"strike": None}, STRUCK),
        (CALL, {"option_type": None}, STRUCK),
        (CALL, {"option_type": "X"}, STRUCK),
        (LIN, {"terms": (TERM,)}, TERMED),
        (SPREAD, {"terms": ()}, TERMED),
        (LIN, {"quote": "BTC"}, "a quote currency that is not the base"),
        (LIN, {"inverse": True}, INVERSE),
        (INV, {"inverse": False}, INVERSE),
        (INV, {"quanto_rate": "2"}, "no quanto rate of an inverse contract"),
        (LIN, {"lot_size": "0"}, "a lot_size above 0 and at most 1e+12, found 0"),
        (LIN, {"lot_size": "-1"}, "a lot_size above 0 and at most 1e+12, found -1"),
        (LIN, {"contract_size": "0"}, "a contract_size above 0 and at most 1e+12, found 0"),
        (LIN, {"tick_size": "0"}, "a tick_size above 0 and at most 1e+12, found 0"),
        (LIN, {"quanto_rate": "0"}, "a quanto_rate above 0 and at most 1e+12, found 0"),
        (LIN, {"quanto_rate": "1000000000000.1"},
         "a quanto_rate above 0 and at most 1e+12, found 1000000000000.1"),
        (CALL, {"strike": "0"}, "a strike above 0 and at most 1e+12, found 0"),
        (SPREAD, {"terms": (TermText("forward", "1", "1"),)},
         "payoffs of call, put, above, below, found 'forward'"),
        (SPREAD, {"terms": (TERM, TermText("put", "-1", "1"))},
         "a strike from 0 to 1e+12, found -1"),
        (SPREAD, {"terms": (TermText("put", "1000000000001", "1"),)},
         "a strike from 0 to 1e+12, found 1000000000001"),
        (SPREAD, {"terms": (TermText("put", "1", "1000000000001"),)},
         "a strike from 0 to 1e+12, found 1"),
        (SPREAD, {"terms": (TermText("put", "1", "-1000000000001"),)},
         "a strike from 0 to 1e+12, found 1"),
    ],
)  # fmt: skip
def test_terms_that_make_no_contract(
    venue: Venue, symbol: str, changes: dict[str, Any], wrong: str
) -> None:
    command = listing(symbol, **changes)
    venue.refuse(
        Reject.INSTRUMENT_TERMS_INVALID, f"instrument NEW: expected {wrong}",
        c.ListInstrument, **told(command, symbol="NEW"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "changes"),
    [
        (LIN, {"lot_size": "1000000000000"}), (CALL, {"strike": "1000000000000"}),
        (SPREAD, {"terms": (TermText("above", "0", "1000000000000"),)}),
        (SPREAD, {"terms": (TermText("below", "1000000000000", "-1000000000000"),)}),
    ],
)  # fmt: skip
def test_terms_at_their_bounds(venue: Venue, symbol: str, changes: dict[str, Any]) -> None:
    venue.do(c.ListInstrument, **told(listing(symbol, **changes), symbol="NEW"))


def test_what_a_listing_describes() -> None:
    one = reference.instrument_of(listing(PUT))
    contract = one.contract
    assert (one.symbol, one.inverse, one.quanto_rate) == (PUT, True, 1.0)
    assert (contract.base, contract.quote, contract.settlement) == ("BTC", "USD", "BTC")
    assert (contract.kind, contract.expiry_ms) == (Kind.OPTION, EXPIRY)
    assert (contract.strike, contract.option_type) == (Decimal(40_000), OptionType.PUT)
    assert one.specification.lot_size == Decimal("0.1")
    assert one.specification.tick_size == Decimal("0.0001")
    assert one.specification.contract_size == Decimal(1)
    linear = reference.instrument_of(listing(LIN, contract_size="3"))
    assert linear.contract.expiry_ms is None
    assert linear.contract.strike is None
    assert linear.contract.option_type is None
    assert linear.specification.contract_size == Decimal(3)
    assert reference.instrument_of(listing(QUANTO)).quanto_rate == 1e-6
    spread = reference.instrument_of(listing(SPREAD, quanto_rate="0.5", settlement="USDC"))
    assert (spread.symbol, spread.inverse, spread.quanto_rate) == (SPREAD, False, 0.5)
    assert [(t.payoff, t.strike, t.weight) for t in spread.terms] == [
        (Payoff.CALL, 60_000.0, 1.0), (Payoff.CALL, 70_000.0, -1.0)
    ]  # fmt: skip
    assert spread.contract.kind is Kind.STRUCTURE
    assert spread.specification.lot_size == Decimal("0.01")
    assert reference.instrument_of(listing(SPREAD, inverse=True, settlement="BTC")).inverse


@pytest.mark.parametrize(
    ("symbol", "payoff", "strike", "weight"),
    [
        (LIN, "call", 0, 1), (INV, "above", 0, -1), (CALL, "call", 50_000, 1),
        (PUT, "put", 40_000, 1), (QUANTO, "call", 0, 1),
    ],
)  # fmt: skip
def test_what_a_deal_pays(venue: Venue, symbol: str, payoff: str, strike: int, weight: int) -> None:
    deal = venue.contract(symbol).deal
    assert [(t.payoff, int(t.strike), int(t.weight)) for t in deal.terms] == [
        (payoff, strike, weight)
    ]
    assert deal.up_front == (symbol in (CALL, PUT))
    assert deal.inverse == (symbol in (INV, PUT))
    assert deal.expiry_ms == (EXPIRY if symbol in (CALL, PUT) else None)


def test_the_deal_of_a_structure(venue: Venue) -> None:
    deal = venue.contract(SPREAD).deal
    assert [(t.payoff, int(t.strike), int(t.weight)) for t in deal.terms] == [
        ("call", 60_000, 1), ("call", 70_000, -1)
    ]  # fmt: skip
    assert (deal.up_front, deal.kind, deal.asset_scale) == (True, "structure", 10**6)
    assert venue.contract(QUANTO).deal.quanto_rate == Fraction(1, 10**6)
    assert venue.contract(INV).deal.point == Fraction(1, 20)


def test_delisting_what_nobody_holds_or_orders(venue: Venue) -> None:
    resting = {"account": "alice", "order": "o", "symbol": LIN, "side": Side.BUY, "lots": 1,
               "price_ticks": 1}  # fmt: skip
    venue.do(c.PlaceOrder, **resting)
    held = f"instrument {LIN}: expected no position and no order, found "
    venue.refuse(Reject.INSTRUMENT_HELD, f"{held}0 and 1", c.DelistInstrument, symbol=LIN)
    venue.do(c.CancelOrder, account="alice", order="o")
    venue.trade("alice", "bob", 1, 50_000)
    venue.refuse(Reject.INSTRUMENT_HELD, f"{held}2 and 0", c.DelistInstrument, symbol=LIN)
    venue.trade("bob", "alice", 1, 50_000)
    assert venue.do(c.DelistInstrument, symbol=LIN) == (Delisted(0),)
    over = f"instrument {LIN}: expected one that is traded, found delisted"
    for kind, more in ((c.DelistInstrument, {}), (c.SetPhase, {"phase": Phase.HALTED})):
        venue.refuse(Reject.INSTRUMENT_CLOSED, over, kind, symbol=LIN, **more)
        venue.refuse(
            Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed",
            kind, symbol="XYZ", **more,
        )  # fmt: skip
    venue.refuse(
        Reject.NAME_TAKEN, f"instrument {LIN!r}: expected a new name",
        c.ListInstrument, **told(listing(LIN)),
    )  # fmt: skip


# ── phases and averages ──────────────────────────────────────────────────────────────────────────


def test_an_average_weighs_by_time() -> None:
    one = Average()
    assert one.value(5, counts=True) is None
    one.observe(10, 100, counts=True)
    assert (one.price, one.since_ms, one.known, one.area, one.span_ms) == (10, 100, True, 0, 0)
    assert one.value(100, counts=True) is None
    assert one.value(99, counts=True) is None
    assert one.value(101, counts=True) == 10
    assert one.value(101, counts=False) is None
    one.observe(20, 110, counts=True)
    assert (one.area, one.span_ms, one.since_ms) == (100, 10, 110)
    assert one.value(110, counts=True) == 10
    assert one.value(115, counts=True) == Fraction(200, 15)
    one.advance(120, counts=False)
    assert (one.area, one.span_ms, one.since_ms) == (100, 10, 120)
    one.advance(119, counts=True)
    assert (one.area, one.span_ms, one.since_ms) == (100, 10, 120)
    one.advance(121, counts=True)
    assert (one.area, one.span_ms, one.since_ms) == (120, 11, 121)
    one.restart(120)
    assert (one.price, one.area, one.span_ms, one.since_ms, one.known) == (20, 0, 0, 121, True)
    one.restart(130)
    assert one.since_ms == 130
    assert Average(known=False, price=7).value(9, counts=True) is None
    fresh = Average()
    fresh.advance(50, counts=True)
    assert (fresh.area, fresh.span_ms, fresh.since_ms) == (0, 0, 50)


def test_time_in_an_auction_is_counted_and_left_out(venue: Venue) -> None:
    contract = venue.contract(LIN)
    assert contract.future.since_ms == contract.spot.since_ms == T0
    venue.time_ms = T0 + 10
    assert venue.do(c.SetPhase, symbol=LIN, phase=Phase.AUCTION) == (PhaseChanged(0, "auction"),)
    assert (contract.phase, contract.phase_ms, contract.auction_ms) == (Phase.AUCTION, T0 + 10, 0)
    assert (contract.future.area, contract.future.span_ms) == (5_000_000, 10)
    assert (contract.spot.area, contract.spot.span_ms) == (10 * 50_000 * NANO, 10)
    venue.time_ms = T0 + 17
    venue.quote(LIN=600_000)
    assert (contract.future.span_ms, contract.future.price) == (10, 600_000)
    assert (contract.spot.span_ms, contract.spot.since_ms) == (10, T0 + 17)
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.HALTED)
    assert (contract.phase_ms, contract.auction_ms) == (T0 + 17, 7)
    assert contract.future.span_ms == 10
    venue.time_ms = T0 + 20
    venue.do(c.SetPhase, symbol=LIN, phase=Phase.CONTINUOUS)
    assert (contract.phase_ms, contract.auction_ms) == (T0 + 20, 7)
    assert (contract.future.area, contract.future.span_ms) == (5_000_000 + 1_800_000, 13)
    venue.time_ms = T0 + 22
    venue.quote(LIN=700_000)
    assert contract.future.span_ms == contract.spot.span_ms == 15


# ── rulebooks ────────────────────────────────────────────────────────────────────────────────────


def test_adopting(venue: Venue) -> None:
    text = engine_text(TENTH, 'reducing = "none"')
    events = venue.do(c.AdoptRulebook, name="other", toml=text, day=DAY, venue=False)
    rules = venue.state.rules["other"]
    assert events == (RulebookAdopted("other", rules.rulebook.digest, False),)
    assert (rules.toml, rules.day, rules.arrays, rules.plan) == (text, DAY, None, None)
    assert (venue.state.venue_rulebook, venue.state.house.reducing) == ("tenth", "position")
    events = venue.do(c.AdoptRulebook, name="other", toml=text, day=DAY, venue=True)
    assert events == (RulebookAdopted("other", venue.state.rules["other"].rulebook.digest, True),)
    assert (venue.state.venue_rulebook, venue.state.house.reducing) == ("other", "none")
    # The venue's rulebook again, though not said to be: it is the house's still.
    text = engine_text(TENTH, 'reducing = "margin"')
    venue.do(c.AdoptRulebook, name="other", toml=text, day=DAY, venue=False)
    assert (venue.state.venue_rulebook, venue.state.house.reducing) == ("other", "margin")
    venue.do(c.AdoptRulebook, name="tenth", toml=TENTH, day=DAY, venue=False)
    assert venue.state.house.reducing == "margin"
    assert venue.state.rules["tenth"].arrays is None


@pytest.mark.parametrize(
    ("toml", "day"),
    [("nonsense", DAY), (TENTH, "1-2-3"), (TENTH.replace("equity  ", "equities"), DAY)],
)
def test_a_rulebook_that_cannot_be_put_in_force(venue: Venue, toml: str, day: str) -> None:
    found = venue.tell(c.AdoptRulebook, name="other", toml=toml, day=day, venue=True)
    assert found.code == Reject.RULEBOOK_INVALID
    (event,) = found.events
    assert event.detail.startswith(  # type: ignore[attr-defined]
        "rulebook other: expected one that can be put in force: "
    )
    assert "other" not in venue.state.rules


def test_how_contracts_are_ruled_changes_only_without_positions_or_orders(venue: Venue) -> None:
    by_contract = {"name": "vega", "day": DAY, "venue": True, "toml": adoption("vega").toml}
    by_contract["toml"] = rulebook_source("vega")
    held = (
        "rulebook vega: expected no position and no order while contracts come to be margined in "
        "another way"
    )
    venue.trade("alice", "bob", 1, 50_000)
    venue.refuse(Reject.INSTRUMENT_HELD, held, c.AdoptRulebook, **by_contract)
    # Nor by another text for the one that is the venue's already.
    own = {**by_contract, "name": venue.state.venue_rulebook, "venue": False}
    refused = held.replace("vega", venue.state.venue_rulebook)
    venue.refuse(Reject.INSTRUMENT_HELD, refused, c.AdoptRulebook, **own)
    venue.do(c.AdoptRulebook, **{**by_contract, "venue": False})
    venue.trade("bob", "alice", 1, 50_000)
    resting = {"account": "alice", "order": "o", "symbol": INV, "side": Side.BUY, "lots": 1,
               "price_ticks": 1}  # fmt: skip
    venue.do(c.PlaceOrder, **resting)
    venue.refuse(Reject.INSTRUMENT_HELD, held, c.AdoptRulebook, **by_contract)
    venue.do(c.CancelOrder, account="alice", order="o")
    venue.do(c.AdoptRulebook, **by_contract)
    assert venue.state.house.contract is not None
    venue.do(c.AdoptRulebook, **by_contract)
    venue.do(c.AdoptRulebook, name="tenth", toml=TENTH, day=DAY, venue=True)
    assert venue.state.house.contract is None


def test_contracts_are_ruled_by_formulas_alone(venue: Venue) -> None:
    hooks = adoption("vega").toml
    part = hooks[hooks.index("[engine.contract]") : hooks.index("# ── what the caller")]
    toml = adoption("deribit-pm").toml + part
    venue.refuse(
        Reject.RULEBOOK_INVALID, "rulebook scans: expected formulas at levels",
        c.AdoptRulebook, name="scans", toml=toml, day=DAY, venue=True,
    )  # fmt: skip


# ── the market ───────────────────────────────────────────────────────────────────────────────────


def test_prices_hold_as_they_are_told(venue: Venue) -> None:
    venue.time_ms = T0 + 50
    events = venue.do(
        c.PublishMarket, index=(IndexPrice("BTC", 7, 20), IndexPrice("SOL", 9, T0 + 51)),
        marks=(MarkPrice(LIN, 3, 10), MarkPrice(FUT, 0, 10)),
    )  # fmt: skip
    assert events == (MarketPublished(2, 2),)
    assert venue.state.underlyings["BTC"].price_nano == 7
    assert list(venue.state.underlyings["BTC"].seen) == [(T0, 50_000 * NANO), (T0 + 30, 7)]
    assert list(venue.state.underlyings["SOL"].seen) == [(0, 9)]
    assert (venue.contract(LIN).mark_points, venue.contract(FUT).mark_points) == (3, 0)
    assert (venue.contract(LIN).future.price, venue.contract(LIN).future.since_ms) == (3, T0 + 40)
    assert (venue.contract(LIN).spot.price, venue.contract(LIN).spot.since_ms) == (7, T0 + 30)
    assert venue.contract(QUANTO).spot.price == 2_000 * NANO
    assert venue.contract(FUT).future.known is False
    assert venue.contract(FUT).spot.known is False
    # A price older than the last is seen when that was.
    venue.do(c.PublishMarket, index=(IndexPrice("BTC", 8, 40),), marks=(MarkPrice(LIN, 4, 45),))
    assert list(venue.state.underlyings["BTC"].seen) == [(T0, 50_000 * NANO), (T0 + 30, 8)]
    assert (venue.contract(LIN).future.price, venue.contract(LIN).future.since_ms) == (4, T0 + 40)
    assert venue.contract(LIN).spot.price == 8


def test_a_market_tells_each_name_once_and_knows_all(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = IndexPrice("BTC", 7, 0)
    mark = MarkPrice(LIN, 3, 0)
    once = "prices: expected each name once"
    venue.refuse(
        Reject.INSTRUMENT_UNKNOWN, "instrument 'XYZ': expected one that is listed",
        c.PublishMarket, index=(index, index), marks=(mark, MarkPrice("XYZ", 1, 0)),
    )  # fmt: skip
    venue.refuse(Reject.ROW_DUPLICATED, once, c.PublishMarket, index=(index, index), marks=())
    venue.refuse(Reject.ROW_DUPLICATED, once, c.PublishMarket, index=(), marks=(mark, mark))
    venue.do(c.PublishMarket, index=(), marks=())
    monkeypatch.setattr(engine_market, "INSTRUMENTS_MAX", 2)
    venue.do(c.PublishMarket, index=(index,), marks=())
    venue.refuse(
        Reject.CAPACITY_REACHED, "expected at most 2 underlyings",
        c.PublishMarket, index=(IndexPrice("SOL", 7, 0),), marks=(),
    )  # fmt: skip


def test_prices_are_kept_as_long_as_a_settlement_may_need_them(venue: Venue) -> None:
    hour = 3_600_000

    def seen() -> list[int]:
        return [at - T0 for at, _ in venue.state.underlyings["BTC"].seen]

    for offset in (0, 1, 2):
        venue.time_ms = T0 + offset * hour
        venue.quote()
    # Half an hour before now is what the settlement of the day's expiry can reach; the price that
    # held then is kept.
    assert seen() == [hour, 2 * hour]
    venue.time_ms = T0 + 2 * hour + 1_800_000 - 1
    venue.quote()
    assert seen() == [hour, 2 * hour, 2 * hour + 1_800_000 - 1]
    venue.time_ms += 1
    venue.quote()
    assert seen() == [2 * hour, 2 * hour + 1_800_000 - 1, 2 * hour + 1_800_000]
    # While a contract that has expired waits for its settlement, what it needs stays.
    for offset in (23, 24, 25, 26):
        venue.time_ms = T0 + offset * hour
        venue.quote()
    assert seen() == [23 * hour, 24 * hour, 25 * hour, 26 * hour]
    for symbol in (FUT, CALL, PUT, SPREAD):
        assert seen()[0] == 23 * hour
        venue.do(c.SettleExpiry, symbol=symbol)
    venue.time_ms += 1
    venue.do(c.PublishMarket, index=(IndexPrice("BTC", 7, 0),), marks=())
    assert seen() == [25 * hour, 26 * hour, 26 * hour + 1]


def test_so_many_prices_are_kept_and_no_more(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_market.OBSERVATIONS_MAX == 100_000
    monkeypatch.setattr(engine_market, "OBSERVATIONS_MAX", 3)
    for _ in range(4):
        venue.time_ms += 1
        venue.quote()
    assert [at - T0 for at, _ in venue.state.underlyings["BTC"].seen] == [2, 3, 4]


# ── arrays ───────────────────────────────────────────────────────────────────────────────────────


def test_arrays_hold_from_now_on(venue: Venue) -> None:
    events = venue.do(c.PublishArrays, **told(arrays("tenth", as_of_ms=T0 + 60_000)))
    assert events == (ArraysPublished("tenth", T0 + 60_000),)
    rules = venue.state.rules["tenth"]
    assert rules.arrays is not None
    assert rules.arrays.as_of_ms == T0 + 60_000
    assert rules.arrays_bytes == arrays("tenth", as_of_ms=T0 + 60_000).arrays
    symbols = list(rules.arrays.universe.symbols)
    assert rules.row_of_contract == [
        symbols.index(one.listing.symbol) for one in venue.state.contracts
    ]
    # Millionths of a dollar, billionths of a coin, per value unit.
    assert rules.quanta_of_value == [100.0, 0.001, 0.1, 1_000.0, 1_000.0, 5.0, 1_000.0]
    venue.refuse(
        Reject.ARRAYS_INVALID,
        "arrays for tenth: expected a time up to 60000 ms from now, found 60001 ms",
        c.PublishArrays, **told(arrays("tenth", as_of_ms=T0 + 60_001)),
    )  # fmt: skip
    venue.refuse(
        Reject.RULEBOOK_NOT_ADOPTED, "rulebook 'none': expected one in force",
        c.PublishArrays, rulebook="none", arrays=b"",
    )  # fmt: skip
    found = venue.tell(c.PublishArrays, rulebook="tenth", arrays=b"nonsense")
    assert found.code == Reject.ARRAYS_INVALID
    assert found.events[0].detail.startswith("risk arrays: ")  # type: ignore[attr-defined]
    # A contract that was listed after them has no row.
    venue.do(c.ListInstrument, **told(listing("NEW")))
    venue.publish()
    assert venue.state.rules["tenth"].row_of_contract[7] == -1


def test_arrays_for_contracts_that_are_not_listed() -> None:
    venue = new_venue()
    venue.state.contracts.pop()
    found = venue.tell(c.PublishArrays, **told(arrays("tenth")))
    assert found.code == Reject.ARRAYS_INVALID


def test_a_published_market_is_the_venues(venue: Venue) -> None:
    assert {one.listing.symbol: one.mark_points for one in venue.state.contracts} == MARKS
    assert market().marks[0].mark_points == MARKS[LIN]


def test_the_earliest_expiry_says_which_prices_are_kept(venue: Venue) -> None:
    hour = 3_600_000
    for name, later_ms in (("LATE", 30 * 24 * hour), ("LATER", 60 * 24 * hour)):
        late = told(listing(FUT, expiry_ms=EXPIRY + later_ms), symbol=name)
        venue.do(c.ListInstrument, **late)
    for offset in (23, 24, 25, 26):
        venue.time_ms = T0 + offset * hour
        venue.quote()
    seen = [at - T0 for at, _ in venue.state.underlyings["BTC"].seen]
    assert seen == [23 * hour, 24 * hour, 25 * hour, 26 * hour]


def test_without_a_window_the_last_price_is_enough() -> None:
    venue = new_venue("settlement_window_ms = 0")
    venue.time_ms += 1
    venue.quote()
    assert [at - T0 for at, _ in venue.state.underlyings["BTC"].seen] == [1]
