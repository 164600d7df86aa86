"""The court's runner: markets through time, books on them, and days judged in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solvent as sv
from solvent.errors import BadInput, RulebookError
from solvent.lab.court import sources
from solvent.lab.court.books import Listing, held
from solvent.lab.court.markets import MarketHistory, history_of
from solvent.lab.court.markets import Path as Prices
from solvent.lab.court.portfolios import (
    Leg,
    Portfolio,
    generated,
    market_maker,
    named,
    static,
)
from solvent.lab.court.result import Cell, CourtResult
from solvent.lab.court.run import backtest
from solvent.lab.court.strip import Strip, forward_at, vol_at
from solvent.units import DAY_MS, MICRO, YEAR_MS

HOUR_MS = 3_600_000
T0 = 20_454 * DAY_MS + 9 * HOUR_MS
"""2026-01-01 09:00 UTC, a Thursday."""


def strip(
    day: float,
    index: float,
    *,
    coin: str = "BTC",
    vol: float = 0.5,
    days: Sequence[int] = (1, 8, 29),
) -> Strip:
    """A flat smile; expiries so many days after the first, at 08:00."""
    as_of = T0 + round(day * DAY_MS)
    expiry = np.array([T0 - HOUR_MS + one * DAY_MS for one in days], dtype=np.int64)
    expiry = expiry[expiry > as_of]
    return Strip(
        coin=coin, as_of_ms=as_of, index=index, expiry_ms=expiry,
        forward=np.full(len(expiry), index), smile=np.full((len(expiry), 5), vol),
    )  # fmt: skip


def straight(*indices: float, **more: float) -> MarketHistory:
    strips = [strip(day, index, **more) for day, index in enumerate(indices)]  # type: ignore[arg-type]
    return history_of({"BTC": strips}, name="by hand")


@pytest.fixture(scope="module")
def small() -> MarketHistory:
    return sources.generated(days=36, seed=3)


@pytest.fixture(scope="module")
def books(small: MarketHistory) -> list[Portfolio]:
    return named(["target", "generated:4"], small.coins)


@pytest.fixture(scope="module")
def result(small: MarketHistory, books: list[Portfolio]) -> CourtResult:
    return backtest(["deribit-pm", "binance-usdm"], small, books, processes=1)


# ── what a day loses ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("contracts", "gain"),
    [("usdc", 10 * -5_000.0), ("inverse", 10 * 50_000.0 * (1 - 50_000 / 45_000))],
)
def test_a_perpetual_by_hand(contracts: str, gain: float) -> None:
    """10 coins long, 50,000 to 45,000. In coin: dollars·(1/P₀ − 1/P₁), told at the first index."""
    found = backtest(
        "deribit-pm", straight(50_000.0, 45_000.0), [Portfolio(
            name="long", kind="linear", underlying="BTC", legs=(Leg(10.0),))],
        contracts=[contracts], processes=1,  # type: ignore[list-item]
    )  # fmt: skip
    assert found.contracts == ((contracts,),)
    assert found.pnl_micro[0, 0, 0] / MICRO == pytest.approx(gain, rel=1e-9)
    assert found.gross_micro[0, 0, 0] == 500_000 * MICRO
    assert found.state[0, 0].tolist() == [Cell.JUDGED, Cell.NO_END]


def test_an_option_that_expires_settles_at_the_path() -> None:
    """Short a call at the money for a day; an hour before the end the index stood at 51,000."""
    settled = Prices(time_ms=np.array([T0 + DAY_MS - HOUR_MS]), price=np.array([51_000.0]))
    strips = [strip(0, 50_000.0), strip(1, 60_000.0)]
    history = history_of({"BTC": strips}, name="by hand", paths={"BTC": settled})
    short = Portfolio(name="short", kind="call", underlying="BTC", legs=(Leg(-1.0, 1.0, 0.5),))
    found = backtest("deribit-pm", history, [short], processes=1)
    listed = Listing(strips[0])
    key = listed.pick(short.legs[0])
    assert key is not None
    assert key[0] == T0 - HOUR_MS + DAY_MS
    vol, years = 0.5, 23 * HOUR_MS / YEAR_MS
    premium = sv_black(50_000.0, key[1], vol, years)
    assert found.pnl_micro[0, 0, 0] / MICRO == pytest.approx(
        premium - (51_000.0 - key[1]), abs=0.01
    )


def sv_black(forward: float, strike: float, vol: float, years: float) -> float:
    """A call by scipy, apart from the package's own kernel."""
    from scipy.stats import norm

    root = vol * years**0.5
    d1 = np.log(forward / strike) / root + root / 2
    return float(forward * norm.cdf(d1) - strike * norm.cdf(d1 - root))


def test_margin_is_what_solvent_margin_says(small: MarketHistory, result: CourtResult) -> None:
    """The first day's strangle, told as positions to `sv.margin` on a market of its own."""
    from solvent.lab.court.books import Line, contracts_of, instrument, snapshot_of
    from solvent.lab.court.markets import worth

    place = result.portfolios.index("BTC short strangle")
    market = small.strip(small.begin, 0, 0)
    assert market is not None
    wanted = held(named(["target"], ["BTC"])[2], Listing(market), inverse=False).coins
    keys = tuple(sorted(wanted))
    value = worth(market, contracts_of(keys), inverse=False)
    line = Line(coin="BTC", strip=market, keys=keys, start=value, end=value)
    snapshot, gain = snapshot_of([line], "usdc", int(small.time_ms[0]))
    rows = [{"account": "a", "instrument": instrument("BTC", "usdc", key).symbol, "size": size}
            for key, size in wanted.items()]  # fmt: skip
    answer = sv.margin(rows, snapshot, rulebook="deribit-pm")
    assert isinstance(answer, sv.Margin)
    assert int(answer.initial_micro[0]) == result.initial_micro[0, place, 0]
    assert not gain.any()


# ── the same whatever way it is done ─────────────────────────────────────────────────────────────


def same(one: CourtResult, other: CourtResult) -> None:
    for name in ("initial_micro", "maintenance_micro", "pnl_micro", "gross_micro", "state"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    assert (one.contracts, one.reasons, one.notes) == (other.contracts, other.reasons, other.notes)


def test_alone_is_as_in_a_crowd(small: MarketHistory, result: CourtResult) -> None:
    """A book, a rulebook and a few days by themselves."""
    place = result.portfolios.index("ETH market maker 1")
    days = small.between(int(small.time_ms[5]), int(small.time_ms[9]))
    alone = backtest("deribit-pm", days, [market_maker("ETH", seed=1)], processes=1)
    assert alone.initial_micro[0, 0].tolist() == result.initial_micro[0, place, 5:9].tolist()
    assert alone.pnl_micro[0, 0].tolist() == result.pnl_micro[0, place, 5:9].tolist()


class _Stopped(Exception):
    pass


def test_a_stopped_run_goes_on(
    small: MarketHistory, books: list[Portfolio], result: CourtResult, tmp_path: Path
) -> None:
    def stop(done: int, _: int) -> None:
        if done:
            raise _Stopped

    run = ["deribit-pm", "binance-usdm"]
    with pytest.raises(_Stopped):
        backtest(run, small, books, store=tmp_path, processes=1, progress=stop)
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    seen: list[int] = []
    again = backtest(run, small, books, store=tmp_path, processes=1,
                     progress=lambda done, _: seen.append(done))  # fmt: skip
    assert seen == [16, 32, 36]
    same(again, result)
    torn = next(iter(sorted(tmp_path.glob("*.parquet"))))
    torn.write_bytes(torn.read_bytes()[:100])
    same(backtest(run, small, books, store=tmp_path, processes=1), result)


def test_another_run_may_not_use_the_folder(small: MarketHistory, tmp_path: Path) -> None:
    days = small.between(0, int(small.time_ms[3]))
    backtest("deribit-pm", days, named(["linear"], ["BTC"]), store=tmp_path, processes=1)
    with pytest.raises(BadInput, match="pieces of another one"):
        backtest("deribit-pm", days, named(["linear"], ["ETH"]), store=tmp_path, processes=1)


@pytest.mark.soak
def test_processes_change_nothing(
    small: MarketHistory, books: list[Portfolio], result: CourtResult
) -> None:
    same(backtest(["deribit-pm", "binance-usdm"], small, books, processes=2), result)


# ── markets through time ─────────────────────────────────────────────────────────────────────────


def test_disorder_is_put_right_and_told() -> None:
    strips = [strip(2, 3.0), strip(0, 1.0), strip(1, 2.0), strip(1, 2.5), strip(6, 4.0)]
    history = history_of({"BTC": strips}, name="disorder")
    assert {note.code: note.count for note in history.notes} == {
        "unsorted": 1, "duplicated": 1, "gap": 3,
    }  # fmt: skip
    assert history.index[0].tolist() == [1.0, 2.5, 3.0, 4.0]
    assert (history.until_ms > 0).tolist() == [True, True, False, False]


def test_a_history_of_one_moment_is_none() -> None:
    with pytest.raises(BadInput, match="2 moments or more"):
        straight(1.0)


@given(jitter=st.lists(st.floats(-0.06, 0.06), min_size=4, max_size=12))
@settings(max_examples=30)
def test_days_do_not_overlap(jitter: list[float]) -> None:
    """Moments within an hour and a half of the hour: one a day, and a period ends where the next
    one begins."""
    history = history_of(
        {"BTC": [strip(day + off, 1.0) for day, off in enumerate(jitter)]}, name="jitter"
    )
    assert len(history) == len(jitter)
    assert history.until_ms[:-1].tolist() == history.time_ms[1:].tolist()


def test_a_path_knows_no_price_across_a_hole() -> None:
    path = Prices(time_ms=np.array([0, 10, 100]), price=np.array([1.0, 2.0, 3.0]))
    found = path.at(np.array([0, 10, 50, 100, 101, -1]), apart_ms=20)
    assert found[[0, 1, 3]].tolist() == pytest.approx([1.0, 2.0, 3.0])
    assert np.isnan(found[[2, 4, 5]]).all()


# ── strips ───────────────────────────────────────────────────────────────────────────────────────

SMILES = st.tuples(*[st.floats(0.2, 1.5)] * 5)


@given(smile=SMILES, share=st.floats(0.05, 0.95))
@settings(max_examples=60)
def test_a_smile_goes_through_its_points(smile: tuple[float, ...], share: float) -> None:
    """At the money of a told expiry, and between two expiries of one smile, the vol is the smile's;
    everywhere it is above 0."""
    days = np.array([T0 + 10 * DAY_MS, T0 + 40 * DAY_MS])
    one = Strip(
        coin="BTC", as_of_ms=T0, index=100.0, expiry_ms=days, forward=np.full(2, 100.0),
        smile=np.array([smile, smile]),
    )  # fmt: skip
    between = np.array([T0 + round((10 + 30 * share) * DAY_MS)])
    assert vol_at(one, days[:1], np.array([100.0]))[0] == pytest.approx(smile[2])
    assert vol_at(one, between, np.array([100.0]))[0] == pytest.approx(smile[2])
    wide = vol_at(one, np.repeat(days[:1], 50), np.geomspace(1.0, 10_000.0, 50))
    assert bool((wide > 0.0).all())


def test_forwards_between_expiries_follow_the_basis() -> None:
    one = replace(strip(0, 100.0), forward=np.array([100.0, 101.0, 104.0]))
    told = forward_at(one, one.expiry_ms)
    assert told.tolist() == [100.0, 101.0, 104.0]
    middle = forward_at(one, (one.expiry_ms[1:2] + one.expiry_ms[2:3]) // 2)[0]
    assert 101.0 < middle < 104.0


# ── books ────────────────────────────────────────────────────────────────────────────────────────


@given(seed=st.integers(0, 10_000), inverse=st.booleans())
@settings(max_examples=40)
def test_a_hedged_book_has_no_delta(seed: int, inverse: bool) -> None:
    listing = Listing(strip(0, 50_000.0, days=(2, 8, 29, 90, 180, 300)))
    book = held(market_maker("BTC", seed=seed), listing, inverse=inverse)
    assert not book.missing
    left = sum(n * listing.delta(key, inverse=inverse) for key, n in book.coins.items())
    assert left == pytest.approx(0.0, abs=1e-9)


def test_legs_take_the_nearest_delta() -> None:
    listing = Listing(strip(0, 50_000.0, days=(29,)))
    for delta in (0.1, 0.25, -0.25, -0.1):
        key = listing.pick(Leg(1.0, 30.0, delta))
        assert key is not None
        assert key[2] == (delta > 0)
        assert listing.delta(key, inverse=False) == pytest.approx(delta, abs=0.05)


def test_what_is_not_listed_is_not_held() -> None:
    """No expiry within a factor of 2.5 of 300 days; and a static book whose option has expired."""
    listing = Listing(strip(0, 50_000.0))
    far = Portfolio(name="far", kind="x", underlying="BTC", legs=(Leg(1.0, 300.0, 0.5),))
    assert "300" in held(far, listing, inverse=False).missing
    gone = static("gone", "BTC", [("BTC_USDC-2JAN26-50000-C", -1.0)])
    found = backtest("deribit-pm", straight(50_000.0, 50_100.0, 50_200.0), [gone], processes=1)
    assert found.state[0, 0].tolist() == [Cell.JUDGED, Cell.NO_BOOK, Cell.NO_BOOK]


def test_a_seed_gives_the_same_books() -> None:
    assert generated(["BTC", "ETH"], count=20, seed=5) == generated(
        ["BTC", "ETH"], count=20, seed=5
    )
    assert generated(["BTC"], count=5, seed=5) != generated(["BTC"], count=5, seed=6)


# ── what cannot be ───────────────────────────────────────────────────────────────────────────────


def test_bad_input_is_named(small: MarketHistory) -> None:
    long = named(["linear"], ["BTC"])
    with pytest.raises(BadInput, match="expected one of BTC, ETH, found SOL"):
        backtest("deribit-pm", small, named(["linear"], ["SOL"]))
    with pytest.raises(BadInput, match="each name once"):
        backtest("deribit-pm", small, [*long, *long])
    with pytest.raises(BadInput, match="a day or more"):
        backtest("deribit-pm", small.between(0, 1), long)
    with pytest.raises(BadInput, match="maker:N"):
        named(["straddles"], ["BTC"])
    with pytest.raises(RulebookError, match="no rulebook 'nobody'"):
        backtest("nobody", small, long)
    with pytest.raises(BadInput, match="a size that is not 0"):
        Portfolio(name="none", kind="x", underlying="BTC", legs=(Leg(0.0),))


def test_what_a_rulebook_refuses_is_told(result: CourtResult) -> None:
    rulebook, place = 1, result.portfolios.index("BTC calendar")
    assert result.contracts[rulebook][place] == ""
    assert (result.state[rulebook, place] == Cell.REFUSED).all()
    assert "is not set" in result.reasons[rulebook, place]
    assert not result.initial_micro[rulebook, place].any()
