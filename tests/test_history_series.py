"""Histories as they are read: order, repetitions, gaps, outliers; files of several makes."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import BadInput, InvariantBroken
from solvent.feeds.histories import read_history, read_surface_nodes, write_history
from solvent.scenarios.history import HistorySpec, Series, join, joint_shocks
from solvent.scenarios.history.surface import components
from solvent.units import DAY_MS
from tests.conftest import ROOT, SOURCE, need_shared
from tests.history_made import START_MS, codes, made, same

SMALL: dict[str, Any] = {"lookback_days": 90, "min_observations": 20, "burn_in_days": 10}
SPEC = HistorySpec(**SMALL)


def noted(series: Series, code: str, spec: HistorySpec = SPEC) -> tuple[int, ...]:
    """Counts of a note, at the history's end."""
    built = joint_shocks(spec, series, as_of_ms=int(series.time_ms.max()))
    return tuple(one.count for one in built.notes if one.code == code)


@given(st.integers(0, 1_000))
@settings(max_examples=15)
def test_the_order_of_rows_does_not_matter_but_is_told(seed: int) -> None:
    series = made(120)
    turned = series.rows(np.random.default_rng(seed).permutation(len(series)))
    as_of = int(series.time_ms[-1])
    built = joint_shocks(SPEC, turned, as_of_ms=as_of)
    straight = joint_shocks(SPEC, series, as_of_ms=as_of)
    assert np.array_equal(built.shocks.move, straight.shocks.move)
    assert "sorted" in codes(built)
    assert straight.notes == ()


def test_repeated_times() -> None:
    series = made(120)
    again = series.rows(np.array([*range(120), 118, 119]))
    as_of = int(series.time_ms[-1])
    one = joint_shocks(SPEC, series, as_of_ms=as_of)
    two = joint_shocks(SPEC, again, as_of_ms=as_of)
    assert np.array_equal(one.shocks.move, two.shocks.move)
    assert noted(again, "repeated") == (2,)
    assert noted(again, "repeated-differing") == ()
    other = replace(again, price=np.concatenate([series.price, series.price[-2:] * 1.01]))
    stands = replace(series, price=other.price[[*range(118), 120, 121]])
    assert noted(other, "repeated-differing") == (2,)
    three = joint_shocks(SPEC, other, as_of_ms=as_of)
    assert np.array_equal(three.shocks.move, joint_shocks(SPEC, stands, as_of_ms=as_of).shocks.move)


def test_a_coin_may_be_told_in_a_row_of_its_own() -> None:
    series = made(120)
    first, second = series.price.copy(), series.price.copy()
    first[:, 1], second[:, 0] = np.nan, np.nan
    both = Series(
        names=series.names,
        time_ms=np.tile(series.time_ms, 2),
        price=np.concatenate([first, second]),
    )
    as_of = int(series.time_ms[-1])
    whole = joint_shocks(SPEC, series, as_of_ms=as_of)
    assert np.array_equal(joint_shocks(SPEC, both, as_of_ms=as_of).shocks.move, whole.shocks.move)
    assert noted(both, "repeated-differing") == ()


def test_short_gaps_are_filled_and_long_ones_left_out() -> None:
    series = made(120)
    price = series.price.copy()
    price[100, 0] = np.nan
    price[60:64, 1] = np.nan
    holed = replace(series, price=price)
    built = joint_shocks(SPEC, holed, as_of_ms=int(series.time_ms[-1]))
    counts = {(one.code, one.subject): one.count for one in built.notes}
    assert counts["gap-filled", "BTC"] == 1
    assert counts["gap-filled", "ETH"] == 1, "the first missing day stands at the one before"
    assert counts["gap", "ETH"] == 3
    assert counts["window-left-out", "ETH"] == 4
    assert len(built.shocks) == 86
    place = built.shocks.time_ms.tolist().index(int(series.time_ms[100]))
    assert built.shocks.move[0, place] == 0.0
    two_days = np.log(series.price[101, 0] / series.price[99, 0])
    plain = joint_shocks(
        replace(SPEC, filter="none"), holed, as_of_ms=int(series.time_ms[-1])
    ).shocks
    np.testing.assert_allclose(np.log1p(plain.move[0, place + 1]), two_days)


def test_outliers_are_told_and_kept_or_dropped() -> None:
    series = made(200, names=("BTC",))
    price = series.price.copy()
    price[150:] *= 0.4
    jumped = replace(series, price=price)
    assert noted(jumped, "outlier") == (1,)
    as_of = int(series.time_ms[-1])
    kept = joint_shocks(SPEC, jumped, as_of_ms=as_of)
    assert float(kept.shocks.move.min()) < -0.3
    dropped = joint_shocks(replace(SPEC, outliers="drop"), jumped, as_of_ms=as_of)
    assert float(dropped.shocks.move.min()) > -0.3
    assert len(dropped.shocks) == len(kept.shocks) - 1
    assert noted(made(200, names=("BTC",)), "outlier") == ()


@pytest.mark.parametrize("price", [0.0, -1.0, np.inf])
def test_a_price_is_a_number_above_0(price: float) -> None:
    series = made(5)
    prices = series.price.copy()
    prices[3, 1] = price
    with pytest.raises(BadInput, match=r"row 4, field 'price of ETH'"):
        replace(series, price=prices)


def test_a_series_is_laid_out_whole() -> None:
    series = made(5)
    with pytest.raises(InvariantBroken):
        replace(series, names=("BTC", "BTC"))
    with pytest.raises(InvariantBroken):
        replace(series, level=np.zeros((5, 2)))
    with pytest.raises(InvariantBroken):
        replace(series, basis=np.zeros((4, 2)))
    wrong = np.full((5, 2), np.inf)
    with pytest.raises(BadInput, match="basis of BTC"):
        replace(series, basis=wrong)


def test_histories_are_joined_on_their_times() -> None:
    one, two = made(100, names=("BTC",)), made(120, seed=2, names=("ETH",))
    both = join(one, two)
    assert both.names == ("BTC", "ETH")
    assert len(both) == 120
    assert np.array_equal(both.price[:100, 0], one.price[:, 0])
    assert np.isnan(both.price[100:, 0]).all()
    later = join(both, replace(one, price=2.0 * one.price))
    assert np.array_equal(later.price[:100, 0], 2.0 * one.price[:, 0])
    assert np.array_equal(later.price[:, 1], both.price[:, 1]), "what is not told again stays"
    turned = join(one.rows(np.arange(100)[::-1]), two)
    assert [mark.code for mark in turned.repairs] == ["sorted"]
    assert np.array_equal(turned.price, both.price, equal_nan=True)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    series = made(120, surfaces=True)
    holes = series.price.copy()
    holes[7, 0] = np.nan
    series = replace(series, price=holes)
    for name in ("history.csv", "history.csv.gz"):
        write_history(series, tmp_path / name)
        again = read_history(tmp_path / name)
        for part in ("time_ms", "price", "level", "skew", "term", "curve", "basis"):
            told = getattr(again, part)
            assert np.array_equal(told, getattr(series, part), equal_nan=True), part
    spec = replace(SPEC, surfaces=True, basis=True)
    as_of = int(series.time_ms[-1])
    told = joint_shocks(spec, replace(again, source="history"), as_of_ms=as_of)
    assert same(told, joint_shocks(spec, series, as_of_ms=as_of))
    with pytest.raises(BadInput, match="a file to write"):
        write_history(series, tmp_path / "none" / "history.csv")


def test_bars_end_where_the_next_begins(tmp_path: Path) -> None:
    path = tmp_path / "SOL_USD_4h.csv"
    path.write_text(
        "timestamp,open,close\n2024-01-01 00:00:00,1,10\n2024-01-01 04:00:00,1,11\n"
        "2024-01-01 08:00:00,1,12\n"
    )
    series = read_history(path)
    assert series.names == ("SOL",)
    assert series.price[:, 0].tolist() == [10.0, 11.0, 12.0]
    first = int(np.datetime64("2024-01-01T04:00", "ms").astype(np.int64))
    assert series.time_ms.tolist() == [first, first + DAY_MS // 6, first + DAY_MS // 3]
    assert read_history(path, name="X").names == ("X",)


def test_newest_first_under_a_remark(tmp_path: Path) -> None:
    path = tmp_path / "ADAUSDT_1h.csv"
    path.write_text(
        "https://www.example.com\nunix,date,symbol,close\n"
        "1655078400000,2022-06-13 00:00:00,ADA/USDT,0.5\n"
        "1655074800000,2022-06-12 23:00:00,ADA/USDT,0.4\n"
    )
    series = read_history(path)
    assert series.names == ("ADA",)
    assert series.price[:, 0].tolist() == [0.4, 0.5]
    assert series.time_ms.tolist() == [1655078400000, 1655082000000]
    with gzip.open(tmp_path / "ADAUSDT_1h.csv.gz", "wb") as file:
        file.write(path.read_bytes())
    again = read_history(tmp_path / "ADAUSDT_1h.csv.gz")
    assert np.array_equal(again.price, series.price)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time,name,price\n2024-01-01,BTC,1\n2024-01-02,BTC,zero\n", "row 2.*'price'"),
        ("time,name,price\n2024-01-01,BTC,1\n2024-01-02,BTC,0\n", "row 2.*above 0"),
        ("time,name,price\n2024-01-01,BTC,1\nlater,BTC,2\n", "row 2.*'time'"),
        ("time,name,price\n2024-01-01,BTC,1\n,BTC,2\n", "row 2.*'time'"),
        ("time,name,price\n2024-01-01,,1\n", "row 1.*'name'"),
        ("time,name,price,level\n2024-01-01,BTC,1,2\n", "'skew'"),
        ("time,symbol,price\n2024-01-01,BTC,1\n", "'name'"),
        ("name,price\nBTC,1\n", "'time_ms'"),
        ("timestamp,close\n2024-01-01,1\n", "two times or more"),
        ("time,name,price\n", "a row or more"),
    ],
)
def test_files_that_tell_no_history(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        read_history(path)
    with pytest.raises(BadInput, match="a file"):
        read_history(tmp_path / "none.csv")


def test_the_files_at_hand_are_read() -> None:
    """Coins, ends of bars, and that sources agree hour by hour."""
    data = need_shared("data")
    fifteen = read_history(data / "crypto_15m_2025" / "BTC_USD_15m.csv.gz")
    assert fifteen.names == ("BTC",)
    assert len(fifteen) == 28_778
    eth = read_history(data / "eth_hourly_2016_2020" / "ETH_1H.csv.gz")
    assert (len(eth), float(eth.price[0, 0]), float(eth.price[-1, 0])) == (34_497, 9.55, 150.39)
    assert (np.diff(eth.time_ms) > 0).all()
    day = read_history(data / "btc_prices_sky1241" / "BTC_USDT_1d.csv")
    times, here, there = np.intersect1d(day.time_ms, fifteen.time_ms, return_indices=True)
    assert len(times) > 200
    one, two = (np.diff(np.log(p)) for p in (day.price[here, 0], fifteen.price[there, 0]))
    assert np.corrcoef(one, two)[0, 1] > 0.99
    assert abs(np.corrcoef(one[1:], two[:-1])[0, 1]) < 0.2


def test_surfaces_of_the_file_at_hand() -> None:
    path = need_shared("data", "deribit_vol_surface_history.csv.gz")
    series = read_history(path)
    assert series.names == ("BTC", "ETH")
    assert len(series) == 931
    assert series.level is not None
    assert series.skew is not None
    assert not np.isnan(series.level).any()
    assert 0.3 < float(np.exp(series.level).mean(axis=0)[0]) < 0.6, "30-day ATM vol of BTC"
    assert float(series.skew.mean()) < 0.0, "puts are dearer"
    for nodes in read_surface_nodes(path):
        found = components(nodes, every=4)
        assert float(found.share[:3].sum()) > 0.95
        assert 0.9 < found.kept < float(found.share[:3].sum())


def test_a_year_of_real_history_makes_a_set() -> None:
    path = need_shared("data", "btc_prices_sky1241", "BTC_USD_2h.csv.gz")
    series = read_history(path).until(START_MS + 200 * DAY_MS)
    spec = HistorySpec(step_hours=2, mpor_hours=24, every_hours=24)
    built = joint_shocks(spec, series, as_of_ms=START_MS + 100 * DAY_MS)
    assert len(built.shocks) == 750
    worst = int(np.argmin(built.shocks.move[0]))
    day = np.datetime64(int(built.shocks.time_ms[worst]), "ms")
    assert str(day)[:10] in ("2020-03-12", "2020-03-13")


def test_every_note_is_in_the_documents_and_the_example_runs() -> None:
    text = (ROOT / "docs" / "history.md").read_text("utf-8")
    folder = SOURCE / "scenarios" / "history"
    code = re.compile(r'(?:mark_of\(|_note\(|code=)\s*"([a-z-]+)"')
    found = {one for path in folder.glob("*.py") for one in code.findall(path.read_text("utf-8"))}
    assert len(found) >= 25
    for one in found:
        assert f"`{one}`" in text, one
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    told: list[str] = []
    exec(example, {"print": lambda *words: told.append(" ".join(map(str, words)))})
    assert told[0] == "fhs-ewma-750d-24h (2, 750)"
