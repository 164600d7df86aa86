"""From quotes to a snapshot: what is filled, what is flagged, and what is kept out."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from solvent.errors import InvariantBroken
from solvent.feeds.library import specification
from solvent.instruments import Instrument, Kind, parse_symbol, term_sheet
from solvent.instruments.sheet import straddle, structure
from solvent.limits import PRICE_MAX, VOL_MAX
from solvent.market import BLOCKING, Flag, Quotes, Snapshot, assemble
from solvent.pricing.black import black76
from solvent.risk import publish
from solvent.scenarios import ScenarioSet, Tables
from solvent.scenarios.scenario import ladder
from solvent.units import DAY_MS, YEAR_MS, TimeMs

EXPIRY = parse_symbol("BTC-27JUN25").expiry_ms or 0
NOW = TimeMs(EXPIRY - 73 * DAY_MS)
COLUMNS = ("index", "forward", "mark", "vol", "bid", "ask", "rate")
WILD = (np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-9, 0.01, 0.5, 3.0, 60_000.0, 1e13, 1e300)


def listed(symbol: str) -> Instrument:
    contract = parse_symbol(symbol)
    return term_sheet(contract, specification(contract))


def quotes(*instruments: str | Instrument, **columns: Any) -> Quotes:
    """Quotes that say nothing but these columns, all of one moment."""
    sheets = [listed(one) if isinstance(one, str) else one for one in instruments]
    said = {name: np.full(len(sheets), np.nan) for name in COLUMNS}
    said |= {name: np.full(len(sheets), column) for name, column in columns.items()}
    time_ms = np.full(len(sheets), said.pop("time_ms", NOW)).astype(np.int64)
    return Quotes(instruments=sheets, time_ms=time_ms, **said)


def flags_of(snapshot: Snapshot, symbol: str) -> Flag:
    return Flag(int(snapshot.flags[snapshot.universe.row(symbol) or 0]))


def pairs(strikes: list[int], *, inverse: bool, forward: float, rate: float = 0.0) -> Quotes:
    """Calls and puts, marked by Black-76 on one forward that the source does not tell."""
    root = "BTC" if inverse else "BTC_USDC"
    symbols = [f"{root}-27JUN25-{strike}-{side}" for strike in strikes for side in "CP"]
    price = black76(
        forward=np.full(len(symbols), forward),
        strike=np.repeat(np.array(strikes, dtype=np.float64), 2),
        years=np.full(len(symbols), 0.2),
        vol=np.full(len(symbols), 0.6),
        side=np.tile([1.0, -1.0], len(strikes)),
    )
    mark = price / forward if inverse else price * np.exp(-0.2 * rate)
    return quotes(*symbols, index=60_000.0, mark=mark, vol=0.6, rate=rate)


STRIKES = st.lists(st.integers(20, 200), min_size=3, max_size=9, unique=True).map(
    lambda thousands: [1_000 * n for n in thousands]
)


@settings(max_examples=60)
@given(STRIKES, st.booleans(), st.floats(40_000.0, 90_000.0), st.floats(-0.2, 0.3))
def test_parity_finds_the_forward(
    strikes: list[int], inverse: bool, forward: float, rate: float
) -> None:
    snapshot = assemble(pairs(strikes, inverse=inverse, forward=forward, rate=rate * (not inverse)))
    assert snapshot.curves.by_parity.tolist() == [True]
    assert snapshot.curves.forward == pytest.approx(forward, rel=1e-9)
    assert snapshot.forward == pytest.approx(forward, rel=1e-9)
    assert snapshot.mark_forward == pytest.approx(forward, rel=1e-9)
    assert snapshot.usable.all()


@settings(max_examples=60)
@given(STRIKES, st.booleans(), st.integers(0, 5), st.floats(0.0, 1e5))
@example([50_000, 60_000, 70_000], True, 0, 1.0)
def test_a_bad_mark_does_not_bend_the_curve(
    strikes: list[int], inverse: bool, which: int, mark: float
) -> None:
    said = pairs(strikes, inverse=inverse, forward=61_000.0)
    said.mark[which] = mark
    snapshot = assemble(said)
    assert snapshot.curves.forward == pytest.approx(61_000.0, rel=1e-9)
    assert np.isfinite(snapshot.mark_forward).all()


def test_forwards_without_parity_are_what_is_said_or_traded() -> None:
    future, call = "BTC-27JUN25", "BTC-27JUN25-60000-C"
    said = quotes(call, future, index=6e4, forward=[61_000.0, 63_000.0], mark=[0.1, 64_000.0])
    assert assemble(said).curves.forward.tolist() == [62_000.0]
    assert assemble(quotes(call, future, index=6e4, mark=[0.1, 64_000.0])).forward[1] == 64_000.0
    far = quotes(call, "BTC-27JUN25-60000-P", index=6e4, mark=[0.9, 0.0], forward=6.1e4, vol=0.5)
    assert assemble(far).curves.forward.tolist() == [61_000.0]
    assert not assemble(far).curves.by_parity.any()


@given(st.lists(st.one_of(st.just(np.nan), st.floats(-10.0, 1e5)), min_size=1, max_size=6))
def test_index_is_the_median_of_what_is_said(said: list[float]) -> None:
    symbols = ["BTC-PERPETUAL", *(f"BTC-{n}JUN25" for n in range(1, len(said)))]
    snapshot = assemble(quotes(*symbols, index=said, mark=7.0))
    heard = [price for price in said if price > 0.0]
    assert snapshot.index[0] == (np.median(heard) if heard else 7.0)
    assert snapshot.price_of("BTC") == snapshot.index[0]


def test_without_an_index_nothing_can_be_margined() -> None:
    snapshot = assemble(quotes("BTC-27JUN25", "ETH-PERPETUAL", mark=[60_000.0, 2_000.0]))
    assert flags_of(snapshot, "BTC-27JUN25") & Flag.INDEX_MISSING
    assert snapshot.usable.tolist() == [False, True]
    assert snapshot.price_of("BTC") is None
    assert snapshot.price_of("ETH") == 2_000.0
    assert snapshot.price_of("USDC") is None


FINE = {"index": 60_000.0, "forward": 60_000.0, "mark": 0.05, "vol": 0.5, "bid": 0.04, "ask": 0.06}


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({}, Flag.FINE),
        ({"index": np.nan}, Flag.INDEX_MISSING),
        ({"index": 0.0}, Flag.INDEX_MISSING),
        ({"forward": np.nan}, Flag.FORWARD_MISSING),
        ({"forward": 0.0}, Flag.FORWARD_MISSING),
        ({"vol": np.nan}, Flag.VOL_MISSING),
        ({"vol": 0.0}, Flag.VOL_MISSING),
        ({"vol": -0.5}, Flag.VOL_MISSING | Flag.OUT_OF_RANGE),
        ({"vol": VOL_MAX * 1.01}, Flag.VOL_MISSING | Flag.OUT_OF_RANGE),
        ({"vol": np.inf}, Flag.VOL_MISSING | Flag.OUT_OF_RANGE),
        ({"forward": np.inf}, Flag.FORWARD_MISSING | Flag.OUT_OF_RANGE),
        ({"index": PRICE_MAX * 1.01}, Flag.INDEX_MISSING | Flag.OUT_OF_RANGE),
        ({"mark": -0.01}, Flag.OUT_OF_RANGE | Flag.MARK_DERIVED),
        ({"rate": 11.0}, Flag.OUT_OF_RANGE),
        ({"mark": np.nan}, Flag.MARK_DERIVED),
        ({"mark": 0.0}, Flag.FINE),
        ({"bid": 0.07}, Flag.QUOTE_CROSSED),
        ({"bid": np.nan}, Flag.QUOTE_ONE_SIDED),
        ({"ask": np.inf}, Flag.QUOTE_ONE_SIDED),
        ({"bid": np.nan, "ask": np.nan}, Flag.FINE),
        ({"time_ms": NOW - 60_000}, Flag.FINE),
        ({"time_ms": NOW - 60_001}, Flag.STALE),
        ({"time_ms": EXPIRY}, Flag.FINE),
    ],
)
def test_flags_say_what_is_wrong(change: dict[str, float], flag: Flag) -> None:
    snapshot = assemble(quotes("BTC-27JUN25-60000-C", **{**FINE, **change}), as_of_ms=NOW)
    assert flags_of(snapshot, "BTC-27JUN25-60000-C") == flag
    assert snapshot.usable.all() == (not flag & BLOCKING)


@pytest.mark.parametrize(("before_ms", "flag"), [(1, Flag.FINE), (0, Flag.EXPIRED)])
def test_a_contract_expires_at_its_moment(before_ms: int, flag: Flag) -> None:
    moment = TimeMs(EXPIRY - before_ms)
    snapshot = assemble(quotes("BTC-27JUN25-60000-C", "BTC-PERPETUAL", **FINE, time_ms=moment))
    assert flags_of(snapshot, "BTC-27JUN25-60000-C") == flag
    assert snapshot.years.tolist() == [0.0, before_ms / YEAR_MS]
    assert snapshot.as_of_ms == moment


@pytest.mark.parametrize("symbol", ["BTC-PERPETUAL", "BTC_USDC-PERPETUAL", "BTC-27JUN25"])
@pytest.mark.parametrize("mark", [np.nan, 0.0])
def test_a_future_without_a_mark_is_worth_its_forward(symbol: str, mark: float) -> None:
    snapshot = assemble(quotes(symbol, index=60_000.0, forward=60_000.0, mark=mark))
    assert flags_of(snapshot, symbol) == Flag.MARK_DERIVED
    assert snapshot.mark.tolist() == [60_000.0]
    arrays = publish(snapshot, sets=[], rules={}, tables=Tables())
    lot = snapshot.universe.lot_size[0]
    assert arrays.units["worth"][0] == lot * (-1.0 / 6e4 if symbol[3] == "-" else 6e4)


def test_a_spread_may_cost_less_than_nothing() -> None:
    like = parse_symbol("BTC_USDC-27JUN25")
    lot = specification(like)
    spread = structure(symbol="S", like=like, terms=straddle(6e4), specification=lot)
    snapshot = assemble(quotes(spread, index=6e4, forward=6e4, vol=0.5, mark=-300.0, bid=-310.0))
    assert snapshot.flags.tolist() == [Flag.FINE]
    assert (snapshot.mark[0], snapshot.bid[0]) == (-300.0, -310.0)


SYMBOLS = (
    "BTC-PERPETUAL", "BTC_USDC", "BTC-27JUN25", "BTC-27JUN25-60000-C", "BTC-27JUN25-60000-P",
    "BTC_USDC-27JUN25-60000-C", "BTC_USDC-27JUN25-60000-P", "ETH-PERPETUAL", "ETH-25JUL25-2000-P",
)  # fmt: skip


@settings(max_examples=300)
@given(
    st.fixed_dictionaries(
        dict.fromkeys(
            COLUMNS, st.lists(st.sampled_from(WILD), min_size=len(SYMBOLS), max_size=len(SYMBOLS))
        )
    )
)
def test_nothing_impossible_passes_the_gate(columns: dict[str, list[float]]) -> None:
    """Whatever a source says, no warning, no NaN, and what is usable can be priced."""
    snapshot = assemble(quotes(*SYMBOLS, **columns))
    for name, column in arrays_of(snapshot).items():
        assert np.isfinite(column).all(), name
    usable, universe = snapshot.usable, snapshot.universe
    assert (snapshot.index_by_instrument[usable] > 0.0).all()
    assert (snapshot.forward[usable] > 0.0).all()
    assert (snapshot.mark[usable & (universe.kind < Kind.OPTION)] > 0.0).all()
    assert (snapshot.vol[usable & universe.is_option] > 0.0).all()
    sets = [ScenarioSet(name="grid", moves=ladder("0.5", 2))]
    arrays = publish(snapshot, sets=sets, rules={}, tables=Tables())
    assert np.isfinite(arrays.pnl).all()
    assert not arrays.pnl[~usable].any()


def arrays_of(snapshot: Snapshot) -> dict[str, NDArray[Any]]:
    holders = (snapshot, snapshot.curves)
    columns = {f.name: getattr(one, f.name) for one in holders for f in fields(one)}
    return {name: column for name, column in columns.items() if isinstance(column, np.ndarray)}


@given(st.permutations(range(len(SYMBOLS))))
def test_a_snapshot_does_not_depend_on_the_order_of_rows(order: list[int]) -> None:
    rng = np.random.default_rng(3)
    said = quotes(*SYMBOLS, **{name: rng.uniform(0.01, 2.0, len(SYMBOLS)) for name in COLUMNS})
    shuffled = replace(
        said,
        instruments=[said.instruments[row] for row in order],
        **{name: getattr(said, name)[order] for name in (*COLUMNS, "time_ms")},
    )
    one, other = assemble(said), assemble(shuffled)
    for name, column in arrays_of(one).items():
        assert np.array_equal(column, arrays_of(other)[name]), name


def test_a_snapshot_is_frozen_and_not_empty() -> None:
    snapshot = assemble(quotes(*SYMBOLS, **FINE))
    for column in arrays_of(snapshot).values():
        with pytest.raises(ValueError, match="read-only"):
            column[0] = column[0]
    with pytest.raises(InvariantBroken, match="a market has an instrument"):
        assemble(quotes())
