"""Marks, impact prices, bands, redemption values and pegs."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.conform.marks import INPUTS, found_in_market
from solvent.errors import BadInput, InvariantBroken
from solvent.feeds.market_rules import (
    index_rule,
    parse_market_rules,
    read_market_rules,
    redemption_rule,
    shipped_market_rules,
)
from solvent.market.averages import MovingAverage
from solvent.market.depeg import Peg, PegRule, PegState, watched
from solvent.market.impact import average_price, impact_mid, impact_price, margined_book_price
from solvent.market.index import Index, Reason
from solvent.market.mark import (
    banded,
    based_price,
    composite_mark,
    composite_median,
    funded_price,
    median_mark,
    option_mark,
    points_of,
    traded_price,
    weighted_median_mark,
)
from solvent.market.oracles import NANO
from solvent.market.redemption import Rate, RedemptionRule, Worth, redemption_value, valued
from tests.conftest import need_shared

F = Fraction
NOW = 1_780_000_000_000
HOUR = 3_600_000


# ── depth ────────────────────────────────────────────────────────────────────────────────────────

LEVELS = st.lists(st.tuples(st.integers(1, 1_000), st.integers(0, 50)), min_size=1, max_size=6)


@settings(max_examples=60)
@given(LEVELS, st.integers(1, 20_000))
def test_an_impact_price_is_what_the_levels_sell(
    rows: list[tuple[int, int]], notional: int
) -> None:
    levels = [(F(price), F(size)) for price, size in sorted(rows)]
    found = impact_price(levels, notional=F(notional))
    assert (found is None) == (sum(p * s for p, s in rows) < notional)
    if found is not None:
        size = F(notional) / found
        assert average_price(levels, size=size) == found
        assert levels[0][0] <= found <= levels[-1][0]


def test_a_thin_empty_or_crossed_book_says_nothing() -> None:
    bids, asks = [(F(99), F(1))], [(F(101), F(1))]
    assert impact_mid(bids, asks, notional=F(99)) == 100
    assert impact_mid(bids, asks, notional=F(100)) is None
    assert impact_mid([], asks, notional=F(1)) is None
    assert impact_mid([(F(102), F(1))], asks, notional=F(1)) is None
    with pytest.raises(InvariantBroken):
        impact_price(bids, notional=F(0))


def test_vegas_book_price_by_hand() -> None:
    told = {"initial": F(2), "slippage": F(1, 4), "risk_long": F(1, 4), "risk_short": F(3, 4)}
    bids, asks = [(F(100), F(6)), (F(91), F(9))], [(F(110), F(3)), (F(120), F(9))]
    # 1,000 of cash is 1,000 of bids and 500 of offers: 10 at the bids, 4 at the offers.
    found = margined_book_price(bids, asks, cash=F(1_000), **told)
    assert found == ((6 * 100 + 4 * 91) // 10 + (3 * 110 + 120) // 4) // 2
    assert margined_book_price(bids, asks, cash=F(0), **told) == 105
    assert margined_book_price(bids, asks, cash=F(1_600), **told) is None
    assert margined_book_price([], asks, cash=F(0), **told) is None


# ── marks ────────────────────────────────────────────────────────────────────────────────────────


def test_binances_mark_is_the_median_of_three() -> None:
    index = F(10_000)
    first = funded_price(index, rate=F(3, 10_000), left_ms=4 * HOUR, interval_ms=8 * HOUR)
    assert first == F("10001.5")
    basis = MovingAverage(length=30)
    for n in range(31):
        basis = basis.at(F(n))
    second = based_price(index, basis.value)
    assert second == F("10015.5")
    assert median_mark([first, second, F(9_000)]) == first
    assert median_mark([first, second, F(10_009)]) == 10_009
    assert median_mark([first, second]) == F("10008.5")


def test_a_mark_is_unknown_when_an_input_is() -> None:
    assert funded_price(None, rate=F(0), left_ms=0, interval_ms=1) is None
    assert funded_price(F(1), rate=None, left_ms=0, interval_ms=1) is None
    assert based_price(None, F(1)) is based_price(F(1), None) is None
    assert median_mark([F(1), None, F(2)]) is None
    assert median_mark([]) is None
    assert weighted_median_mark([(None, 1), (F(1), 1)]) is None
    assert banded(None, F(1), band=F(1, 10)) is banded(F(1), None, band=F(1, 10)) is None
    assert option_mark(None, low=F(1), high=F(2), bid=F(1), ask=F(2)) is None
    assert points_of(None, point=F(1)) is None


def test_hyperliquids_median_of_exchanges_is_by_weight() -> None:
    mids = [(F(100), 3), (F(101), 2), (F(102), 2), (F(90), 1), (F(110), 1), (F(111), 1)]
    assert weighted_median_mark(mids) == 101
    assert weighted_median_mark([(F(1), 1), (F(3), 1)]) == 2


def test_a_deribit_mark_stays_within_its_band_of_the_index() -> None:
    assert banded(F(50_500), F(50_000), band=F(5, 1_000)) == 50_250
    assert banded(F(49_000), F(50_000), band=F(5, 1_000)) == 49_750
    assert banded(F(50_001), F(50_000), band=F(5, 1_000)) == 50_001


def test_an_options_mark_is_banded_around_the_surface() -> None:
    told = {"low": F(95), "high": F(105)}
    assert option_mark(F(100), **told) == 100
    assert option_mark(F(100), **told, bid=F(101)) == 100
    assert option_mark(F(100), **told, bid=F(104), ask=F(103)) == 100
    assert option_mark(F(100), **told, bid=F(101), ask=F(103)) == 102
    assert option_mark(F(100), **told, bid=F(1), ask=F(900)) == 105
    with pytest.raises(InvariantBroken):
        option_mark(F(100), low=F(101), high=F(105))


def test_points_are_whole_and_half_even() -> None:
    assert points_of(F("10.25"), point=F("0.1")) == 102
    assert points_of(F("10.35"), point=F("0.1")) == 104
    assert points_of(F("0.04"), point=F("0.1")) is None
    assert points_of(F("0.04"), point=F("0.1"), least=0) == 0
    assert points_of(F(2**60), point=F(1)) is None


# ── Vega ─────────────────────────────────────────────────────────────────────────────────────────


def test_vegas_mark_and_funding_cases_by_the_market_alone() -> None:
    rows = json.loads(need_shared("vectors", "vega", "cases.json").read_text("utf-8"))["cases"]
    seen = []
    for row in rows:
        found = found_in_market(row)
        if found is None:
            assert row["kind"] not in INPUTS, row["id"]
            continue
        seen.append(row["kind"])
        for what, expected in row["expected"].items():
            assert found[what] == F(str(expected)), (row["id"], what)
    assert len(seen) == 11


def test_trades_count_less_as_they_age() -> None:
    trades = [(5, F(1), F(9)), (4, F(100), F(1)), (0, F(110), F(3))]
    told = {"period": 4, "power": 1}
    assert traded_price(trades, decay=F(0), **told) == 107
    assert traded_price(trades, decay=F(1), **told) == 110
    assert traded_price(trades, decay=F(1, 2), period=4, power=2) == (50 + 330) * 2 // 7
    assert traded_price([], decay=F(0), **told) is None
    assert traded_price([(4, F(1), F(1))], decay=F(1), **told) is None


def test_a_composite_leaves_out_what_is_stale_and_rounds_each_share_down() -> None:
    rows = [(100, F(1), 0), (101, F(1), 5), (103, F(1), 9)]
    assert composite_mark(rows, stale_ms=[9, 9, 9]) == 33 + 33 + 34
    assert composite_mark(rows, stale_ms=[9, 9, 8]) == 50 + 50
    assert composite_mark([(None, F(1), 0), *rows[1:]], stale_ms=[9] * 3) == 50 + 51
    assert composite_mark(rows, stale_ms=[-1] * 3) is None
    assert composite_median(rows, stale_ms=[9, 9, 9]) == 101
    assert composite_median(rows, stale_ms=[9, 9, 8]) == 100
    assert composite_median(rows, stale_ms=[-1] * 3) is None


# ── redemption ───────────────────────────────────────────────────────────────────────────────────

PEG = PegRule(leave_ppm=20_000, return_ppm=5_000, lost_ms=60_000, held_ms=600_000)


def index_of(name: str, price: float | None, reason: Reason = Reason.QUORUM) -> Index:
    nano = None if price is None else round(price * NANO)
    return Index(underlying=name, time_ms=NOW, price_nano=nano, age_ms=7, sources=(),
                 reason=reason if price is None else Reason.FINE)  # fmt: skip


def rule(worth: Worth, **more: Any) -> RedemptionRule:
    told = {"asset": "stETH", "underlying": "ETH", "lost": Worth.UNKNOWN, "peg": PEG, **more}
    return RedemptionRule(worth=worth, **told)


ONE = Rate(rate=F(11, 10), time_ms=NOW)


@pytest.mark.parametrize(
    ("worth", "market", "price"),
    [
        (Worth.MARKET, 2_100.0, 2_100.0),
        (Worth.REDEMPTION, 2_100.0, 2_200.0),
        (Worth.LESSER, 2_100.0, 2_100.0),
        (Worth.LESSER, 2_300.0, 2_200.0),
        (Worth.GREATER, 2_100.0, 2_200.0),
        (Worth.GREATER, 2_300.0, 2_300.0),
        (Worth.BANDED, 2_000.0, 2_090.0),
        (Worth.BANDED, 2_190.0, 2_190.0),
        (Worth.BANDED, 2_900.0, 2_222.0),
    ],
)
def test_worth_by_the_rule(worth: Worth, market: float, price: float) -> None:
    found = valued(
        rule(worth, below_ppm=50_000, above_ppm=10_000), PegState(), index_of("stETH", market),
        ONE, index_of("ETH", 2_000.0), now_ms=NOW,
    )  # fmt: skip
    assert (found.index.price_nano, found.index.reason) == (round(price * NANO), Reason.FINE)
    assert found.redemption_nano == 2_200 * NANO


@pytest.mark.parametrize("worth", [one for one in Worth if one is not Worth.UNKNOWN])
@pytest.mark.parametrize(
    ("market", "rate", "coin"),
    [
        (None, ONE, 2_000.0),
        (2_100.0, None, 2_000.0),
        (2_100.0, ONE, None),
        (2_100.0, Rate(rate=F(0), time_ms=NOW), 2_000.0),
        (2_100.0, Rate(rate=F(-1), time_ms=NOW), 2_000.0),
        (2_100.0, Rate(rate=F(1), time_ms=NOW - 86_400_001), 2_000.0),
        (2_100.0, Rate(rate=F(1), time_ms=NOW + 1), 2_000.0),
        (2_100.0, Rate(rate=F(10**12), time_ms=NOW), 2_000.0),
    ],
)
def test_what_it_is_made_of_must_be_known(
    worth: Worth, market: float | None, rate: Rate | None, coin: float | None
) -> None:
    found = valued(rule(worth), PegState(), index_of("stETH", market), rate,
                   index_of("ETH", coin), now_ms=NOW)  # fmt: skip
    needs = {Worth.MARKET: market is not None, Worth.REDEMPTION: market is None}
    assert found.index.known == needs.get(worth, False)
    if not found.index.known:
        assert found.index.reason is (
            Reason.QUORUM if market is None and worth is not Worth.REDEMPTION else Reason.INPUT
        )
        floored = replace(rule(worth), floor_ppm=900_000)
        again = valued(floored, PegState(), index_of("stETH", market), rate,
                       index_of("ETH", coin), now_ms=NOW)  # fmt: skip
        assert not again.index.known


def test_a_floor_holds_until_the_peg_is_lost() -> None:
    floored = rule(Worth.LESSER, floor_ppm=950_000, lost=Worth.LESSER, underlying="", asset="USDe")
    state, prices, pegs = PegState(peg=Peg.HELD), [], []
    for second in (0, 30, 60, 90):
        found = valued(
            floored, state, index_of("USDe", 0.65), Rate(rate=F(1), time_ms=NOW), None,
            now_ms=NOW + 1_000 * second,
        )  # fmt: skip
        state = found.peg
        prices.append(found.index.price_nano)
        pegs.append(state.peg)
    assert pegs == [Peg.STRAINED, Peg.STRAINED, Peg.LOST, Peg.LOST]
    assert prices == [950_000_000, 950_000_000, 650_000_000, 650_000_000]


def test_a_lost_peg_may_freeze_who_holds_it() -> None:
    lost = PegState(peg=Peg.LOST)
    found = valued(rule(Worth.LESSER), lost, index_of("stETH", 1_500.0), ONE,
                   index_of("ETH", 2_000.0), now_ms=NOW)  # fmt: skip
    assert (found.index.price_nano, found.index.reason) == (None, Reason.DEPEGGED)


def test_a_redemption_value_is_rounded_down() -> None:
    stable = rule(Worth.REDEMPTION, underlying="", asset="USDe")
    rate = Rate(rate=F(2, 3), time_ms=NOW)
    assert redemption_value(stable, rate, None, now_ms=NOW) == 666_666_666


# ── pegs ─────────────────────────────────────────────────────────────────────────────────────────


def peg_of(rows: list[tuple[int, float | None]], start: Peg = Peg.HELD) -> list[str]:
    state, found = PegState(peg=start), []
    for second, price in rows:
        nano = None if price is None else round(price * NANO)
        state = watched(PEG, state, market_nano=nano, redemption_nano=NANO, now_ms=second * 1_000)
        found.append(state.peg.value)
    return found


def test_a_peg_does_not_flap() -> None:
    # At the bound it holds; beyond, it must last; between the bounds nothing changes.
    assert peg_of([(0, 0.98), (1, 0.979), (30, 0.985), (31, 0.979), (61, 1.021)]) == [
        "held", "strained", "strained", "strained", "strained",
    ]  # fmt: skip
    assert peg_of([(0, 0.979), (59, 0.97), (60, 1.03)]) == ["strained", "strained", "lost"]
    assert peg_of([(0, 0.995), (599, 1.0), (600, 1.005)], Peg.LOST) == ["lost", "lost", "held"]
    assert peg_of([(0, 1.0), (599, 0.994), (700, 1.0), (1_299, 1.0)], Peg.LOST) == ["lost"] * 4
    assert peg_of([(0, 0.99)], Peg.STRAINED) == ["strained"]


def test_while_a_price_is_not_known_no_time_counts() -> None:
    assert peg_of([(0, 0.9), (59, None), (60, 0.9), (119, 0.9), (120, 0.9)]) == [
        "strained", "strained", "strained", "strained", "lost",
    ]  # fmt: skip


@pytest.mark.parametrize("changes", [{"return_ppm": 20_000}, {"lost_ms": -1}, {"held_ms": -1}])
def test_a_peg_returns_nearer_than_it_leaves(changes: dict[str, int]) -> None:
    with pytest.raises(InvariantBroken):
        replace(PEG, **changes)


# ── rules as a file ──────────────────────────────────────────────────────────────────────────────


def test_shipped_rules_are_read(tmp_path: object) -> None:
    rules = shipped_market_rules()
    assert set(rules.indices) == {"guarded", "tolerant", "stable"}
    assert set(rules.redemptions) == {"WBTC", "stETH", "USDe"}
    assert (index_rule("guarded").tolerated, index_rule("tolerant").tolerated) == (0, 3)
    assert index_rule("stable").source.frozen_ms == 0
    assert redemption_rule("USDe").floor_ppm == 950_000
    with pytest.raises(BadInput, match="one of WBTC, stETH, USDe"):
        redemption_rule("LUNA")
    with pytest.raises(BadInput, match="one of guarded, tolerant, stable"):
        index_rule("none")
    with pytest.raises(BadInput, match="SOURCE_UNREADABLE"):
        read_market_rules(f"{tmp_path}/none.toml")


GOOD = '[index.mine]\nsource = "here"\nunderlying = "BTC"\nclamp_ppm = 1000\nquorum = 2\n'


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (GOOD, "index.mine.weights.*nothing"),
        (GOOD + "weights = {a = 1, b = 0}", "weights.b"),
        (GOOD + "weights = {a = 1, b = 1, c = 1, d = 1}", "a quorum is a majority"),
        (GOOD + "weights = {a = 1, b = 1}\nmagic = 1", "magic"),
        (GOOD + "weights = {a = 1, b = 1}\nstale_ms = 0", "a price grows old"),
        (GOOD + 'weights = {a = 1, b = 1}\nhow = "guess"', "how"),
        ("[funding.mine]\nsource = 'x'\ninterval_ms = 1\ncap = nan", "cap"),
        ("[funding.mine]\nsource = 'x'\ninterval_ms = 1\ncap = 0.1\nfloor = 0.2", "floor up to"),
        ("[funding.mine]\ninterval_ms = 1", "source"),
        ("[funding", "TOML"),
    ],
)
def test_a_file_that_cannot_be_is_refused_by_its_key(text: str, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        parse_market_rules(text, source="mine.toml")
