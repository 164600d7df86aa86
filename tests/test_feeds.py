"""Files in: good ones of every layout, and bad ones that name file, row and field."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import solvent as sv
from solvent import api
from solvent.errors import BadInput
from solvent.feeds.library import shipped_rulebook
from solvent.feeds.market import read_market
from solvent.feeds.synthetic_book import Venue, generate_book
from solvent.feeds.synthetic_market import COINS, generate_market
from solvent.feeds.write import write_balances, write_book, write_market
from solvent.instruments import Kind
from solvent.lab.inspect import inspect_market, reprice
from solvent.market import Flag, Snapshot
from solvent.pricing.svi import Ssvi
from tests.conftest import SHARED, need_shared

CHAINS = (
    sorted((SHARED / "data" / "deribit_chains").glob("deribit_options_snapshot_*.csv.gz"))
    if SHARED.exists()
    else []
)
CHAIN_HEAD = (
    "timestamp,instrument_name,mark_price,implied_volatility,index_price,bid_price,ask_price,"
    "futures_price\n"
)
CHAIN_ROW = "2026-06-01T09:00:00+00:00,BTC-26JUN26-{k}-C,0.05,0.5,60000,{bid},{ask},60100\n"


# ── markets ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not CHAINS, reason="reference data is not here (set SOLVENT_SHARED)")
@pytest.mark.parametrize("path", CHAINS, ids=lambda p: p.name[24:40])
def test_real_chains_reprice_and_margin(path: Path) -> None:
    """Every chain reprices from its own vols and forwards, and margins an example book."""
    snapshot = sv.read_market(path)
    errors = reprice(snapshot)
    errors = errors[np.isfinite(errors)]
    assert errors.size > 1_200
    assert np.median(errors) < 1e-5
    # On 6 February 2026, 15:51, the venue was re-marking while the chain was read: 6.2e-5.
    assert np.quantile(errors, 0.99) < (6.3e-5 if "20260206T155121Z" in path.name else 6e-5)
    venue = generate_book(snapshot, accounts=50, seed=7)
    plan = api.prepare(snapshot, shipped_rulebook("deribit-pm"))
    answer = sv.margin(venue.book, plan, collateral=venue.collateral)
    assert answer.to_polars()["initial_margin"].null_count() == 0
    assert (answer.requirements.initial >= answer.requirements.maintenance).all()


@pytest.mark.skipif(not CHAINS, reason="reference data is not here (set SOLVENT_SHARED)")
def test_futures_tables_beside_a_chain() -> None:
    folder = CHAINS[0].parent
    alone = sv.read_market(CHAINS[0])
    both = sv.read_market(
        CHAINS[0], folder / "perpetual_futures_prices.csv.gz", folder / "term_futures_marks.csv.gz"
    )
    row = both.universe.row("BTC-PERPETUAL")
    assert row is not None
    assert both.mark[row] == 88539.0
    assert alone.flags[alone.universe.row("BTC-PERPETUAL") or 0] & Flag.MARK_DERIVED
    assert both.as_of_ms == alone.as_of_ms


def test_chain_of_2020_with_percent_vols_and_zero_for_none() -> None:
    path = need_shared("data", "deribit_option_chain_2020_05_21", "options_data.csv.gz")
    snapshot = sv.read_market(path)
    report = inspect_market(snapshot)
    assert 9_080 < snapshot.index[0] < 9_100
    assert report.instruments["option"] == 326
    assert 0.3 < float(np.median(snapshot.vol[snapshot.universe.is_option])) < 1.5
    assert report.reprice_median < 2e-5


def test_deribit_json_book_summary_and_ticker(tmp_path: Path) -> None:
    summary = {
        "jsonrpc": "2.0",
        "result": [
            {
                "instrument_name": f"BTC-26JUN26-60000-{kind}",
                "mark_price": mark,
                "mark_iv": 50.0,
                "underlying_price": 60100.0,
                "estimated_delivery_price": 60000.0,
                "bid_price": None,
                "ask_price": 0.06,
                "creation_timestamp": 1_780_300_800_000,
            }
            for kind, mark in (("C", 0.054), ("P", 0.0523))
        ],
    }
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(summary), "utf-8")
    snapshot = sv.read_market(path)
    assert snapshot.vol[snapshot.universe.is_option].tolist() == [0.5, 0.5]
    assert snapshot.index.tolist() == [60000.0]
    ticker = need_shared("data", "exchange_responses", "nautilus", "deribit", "ws_ticker.json")
    lines = tmp_path / "tickers.jsonl"
    lines.write_text(json.dumps(json.loads(ticker.read_text("utf-8"))["params"]["data"]), "utf-8")
    tick = sv.read_market(lines)
    assert tick.mark[tick.universe.row("BTC-PERPETUAL") or 0] == 92281.78


def test_own_layout_round_trips(tmp_path: Path, snapshot: Snapshot) -> None:
    for name in ("market.csv", "market.parquet"):
        write_market(snapshot, tmp_path / name)
        again = sv.read_market(tmp_path / name)
        assert again.universe.symbols == snapshot.universe.symbols
        assert again.as_of_ms == int(snapshot.as_of_ms - snapshot.age_ms.min())
        assert again.mark == pytest.approx(snapshot.mark, rel=1e-14)
        assert again.vol == pytest.approx(snapshot.vol, rel=1e-14)
        assert again.forward == pytest.approx(snapshot.forward, rel=1e-8)
        assert (again.universe.lot_size == snapshot.universe.lot_size).all()
    rows = pl.read_csv(tmp_path / "market.csv", infer_schema_length=None).to_dicts()
    (tmp_path / "market.json").write_text(json.dumps({"instruments": rows}), "utf-8")
    assert sv.read_market(tmp_path / "market.json").universe.symbols == snapshot.universe.symbols


def test_missing_vol_is_implied_from_the_mark(tmp_path: Path, snapshot: Snapshot) -> None:
    write_market(snapshot, tmp_path / "m.csv")
    frame = pl.read_csv(tmp_path / "m.csv", infer_schema=False)
    blank = frame.with_columns(implied_vol=pl.lit(None, pl.String))
    blank.write_csv(tmp_path / "blank.csv")
    implied = sv.read_market(tmp_path / "blank.csv")
    option = snapshot.universe.is_option & (snapshot.mark > 1e-3)
    assert implied.vol[option] == pytest.approx(snapshot.vol[option], rel=1e-5)


BadMarket = tuple[str, str]
BAD_MARKETS: dict[str, BadMarket] = {
    "no index column": (
        "instrument_name,mark_price,implied_volatility,timestamp\nBTC-26JUN26-60000-C,0.05,0.5,1\n",
        r"field 'index_price': expected a column 'index_price'.*FIELD_MISSING",
    ),
    "unknown symbol": (
        CHAIN_HEAD + CHAIN_ROW.format(k="x", bid=0.04, ask=0.06),
        r"row 1 \(line 2\), field 'instrument_name'.*found BTC-26JUN26-x-C \[SYMBOL_UNKNOWN",
    ),
    "crossed": (
        CHAIN_HEAD
        + CHAIN_ROW.format(k=1, bid="", ask="")
        + CHAIN_ROW.format(k=2, bid=0.07, ask=0.06),
        r"row 2 \(line 3\), field 'bid_price': expected at most the ask 0.06, found 0.07",
    ),
    "zero quote": (
        CHAIN_HEAD + CHAIN_ROW.format(k=60000, bid=0, ask=0.06),
        r"row 1 .*field 'bid_price': expected a price above 0, or nothing.*QUOTE_ZERO",
    ),
    "NaN": (
        CHAIN_HEAD + CHAIN_ROW.format(k=60000, bid="NaN", ask=0.06),
        r"field 'bid_price': expected a finite number, found NaN \[FIELD_NOT_FINITE",
    ),
    "text": (
        CHAIN_HEAD + CHAIN_ROW.format(k=60000, bid="abc", ask=0.06),
        r"field 'bid_price': expected a number, found abc \[FIELD_NOT_A_NUMBER",
    ),
    "no mark": (
        CHAIN_HEAD + "2026-06-01T09:00:00+00:00,BTC-26JUN26-60000-C,,0.5,60000,,,60100\n",
        r"field 'mark_price': expected a number, found nothing \[FIELD_MISSING",
    ),
    "duplicate": (
        CHAIN_HEAD + 2 * CHAIN_ROW.format(k=60000, bid="", ask=""),
        r"row 2 .*expected a contract once.*found BTC-26JUN26-60000-C \[ROW_DUPLICATED",
    ),
    "duplicate in another notation": (
        CHAIN_HEAD
        + CHAIN_ROW.format(k=60000, bid="", ask="")
        + CHAIN_ROW.format(k=60000, bid="", ask="").replace(
            "BTC-26JUN26-60000-C", "BTC/USD:BTC-260626-60000-C"
        ),
        r"row 2 .*found BTC/USD:BTC-260626-60000-C \[ROW_DUPLICATED",
    ),
    "empty": ("", r"expected a row or more, found an empty file \[SOURCE_EMPTY"),
    "header only": (CHAIN_HEAD, r"\[SOURCE_EMPTY"),
    "negative index": (
        CHAIN_HEAD + "2026-06-01T09:00:00+00:00,BTC-26JUN26-60000-C,0.05,0.5,-1,,,60100\n",
        r"field 'index_price': expected a number above 0, found.*PRICE_NOT_POSITIVE",
    ),
}


@pytest.mark.parametrize("name", BAD_MARKETS)
def test_bad_markets_are_named(tmp_path: Path, name: str) -> None:
    text, message = BAD_MARKETS[name]
    path = tmp_path / "chain.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(BadInput, match=message) as caught:
        sv.read_market(path)
    assert str(caught.value).startswith(str(path))


def test_skip_bad_keeps_the_good_rows(tmp_path: Path) -> None:
    path = tmp_path / "chain.csv"
    good = CHAIN_ROW.format(k=60000, bid=0.04, ask=0.06)
    path.write_text(CHAIN_HEAD + CHAIN_ROW.format(k=1, bid=7, ask=6) + good, "utf-8")
    read = read_market([path], skip_bad=True)
    assert read.dropped == 1
    assert "QUOTE_CROSSED" in str(read.problems[0])
    assert [s for s in read.snapshot.universe.symbols if s.endswith("C")] == ["BTC-26JUN26-60000-C"]


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        sv.read_market(tmp_path / "absent.csv")
    whole = gzip.compress(
        (CHAIN_HEAD + CHAIN_ROW.format(k=60000, bid=0.04, ask=0.06) * 500).encode()
    )
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"cut.csv.gz: expected a readable table, found .*SOURCE_UN"):
        sv.read_market(tmp_path / "cut.csv.gz")
    with pytest.raises(BadInput, match=r"cut.csv.gz: expected a readable table"):
        sv.read_positions(tmp_path / "cut.csv.gz")
    (tmp_path / "noise.json").write_bytes(b"\xff\xfe{{{")
    with pytest.raises(BadInput, match=r"noise.json: expected a readable table"):
        sv.read_positions(tmp_path / "noise.json")
    (tmp_path / "deep.json").write_text("[" * 100_000, "utf-8")
    with pytest.raises(BadInput, match=r"deep.json"):
        sv.read_positions(tmp_path / "deep.json")


def test_generated_markets_are_free_of_arbitrage_and_repeatable() -> None:
    one, two = (generate_market(seed=9, coins=("BTC", "SOL")) for _ in range(2))
    assert one.universe.symbols == two.universe.symbols
    assert (one.mark == two.mark).all()
    assert (generate_market(seed=10, coins=("BTC", "SOL")).mark[:5] != one.mark[:5]).any()
    report = inspect_market(one)
    assert report.violations == ()
    assert not any("MISSING" in name for name in report.flags)
    for coin in COINS.values():
        surface = Ssvi(rho=coin.skew, eta=coin.smile, gamma=0.5)
        thetas = [0.001, 0.01, 0.1, 0.5, 1.5]
        assert surface.free_of_calendar(thetas)
        assert all(surface.free_of_butterfly(theta) for theta in thetas)
        assert all(surface.smile(theta).butterfly() >= 0 for theta in thetas)
    with pytest.raises(BadInput, match="DOGE"):
        generate_market(coins=("DOGE",))


def test_arbitrage_is_seen(tmp_path: Path) -> None:
    """A butterfly and a vertical planted in the quotes."""
    write_market(generate_market(seed=1, coins=("BTC",), expiries=1, strikes=6), tmp_path / "m.csv")
    frame = pl.read_csv(tmp_path / "m.csv", infer_schema_length=None)
    symbols = [s for s in frame["instrument"] if s.endswith("-C") and "USDC" not in s]
    rich = symbols[1]
    planted = frame.with_columns(
        bid_price=pl.when(pl.col("instrument") == rich).then(0.9).otherwise("bid_price"),
        ask_price=pl.when(pl.col("instrument") == rich).then(0.91).otherwise("ask_price"),
    )
    planted.write_csv(tmp_path / "planted.csv")
    kinds = {
        (v.kind, v.executable)
        for v in inspect_market(sv.read_market(tmp_path / "planted.csv")).violations
    }
    assert ("vertical", True) in kinds
    assert ("butterfly", True) in kinds


# ── positions and collateral ─────────────────────────────────────────────────────────────────


def rows_of(venue: Venue, snapshot: Snapshot, count: int) -> list[dict[str, Any]]:
    names, held = venue.book.accounts, venue.book
    return [
        {
            "account": names[held.account[p]],
            "instrument": snapshot.universe.symbols[held.instrument[p]],
            "size": float(held.lots[p] * snapshot.universe.lot_size[held.instrument[p]]),
        }
        for p in range(count)
    ]


def _json(folder: Path, frame: pl.DataFrame) -> Path:
    frame.write_json(folder / "p.json")
    return folder / "p.json"


def _gzip(folder: Path, frame: pl.DataFrame) -> Path:
    (folder / "p.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    return folder / "p.csv.gz"


def _parquet(folder: Path, frame: pl.DataFrame) -> Path:
    frame.write_parquet(folder / "p.parquet")
    return folder / "p.parquet"


def _lines(folder: Path, frame: pl.DataFrame) -> Path:
    frame.write_ndjson(folder / "p.jsonl")
    return folder / "p.jsonl"


SOURCES: dict[str, Callable[[Path, pl.DataFrame], Any]] = {
    "polars": lambda _folder, frame: frame,
    "pandas": lambda _folder, frame: frame.to_pandas(),
    "dicts": lambda _folder, frame: frame.to_dicts(),
    "json": _json,
    "lines": _lines,
    "csv.gz": _gzip,
    "parquet": _parquet,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_margin(
    kind: str, tmp_path: Path, plan: Any, venue: Venue, snapshot: Snapshot
) -> None:
    frame = pl.DataFrame(rows_of(venue, snapshot, 300))
    expected = sv.margin(frame, plan).to_polars()
    source = SOURCES[kind](tmp_path, frame)
    assert sv.margin(source, plan).to_polars().equals(expected)


def test_ccxt_positions(plan: Any, snapshot: Snapshot) -> None:
    call = next(
        row for row in range(len(snapshot.universe)) if snapshot.universe.kind[row] == Kind.OPTION
    )
    from solvent.instruments.symbols import ccxt_symbol

    symbol = ccxt_symbol(snapshot.universe.instruments[call].contract)
    positions = [
        {"info": {"x": 1}, "symbol": "BTC/USD:BTC", "contracts": 50.0, "contractSize": 10.0,
         "side": "short", "entryPrice": 60_000.0},
        {"info": {}, "symbol": symbol, "contracts": 2.0, "contractSize": 1.0, "side": "long",
         "entryPrice": None},
    ]  # fmt: skip
    ours = [
        {"account": "main", "instrument": "BTC-PERPETUAL", "size": -500, "entry_price": 60_000},
        {"account": "main", "instrument": snapshot.universe.symbols[call], "size": 2},
    ]
    assert sv.margin(positions, plan).to_polars().equals(sv.margin(ours, plan).to_polars())


def test_books_round_trip(tmp_path: Path, plan: Any, venue: Venue, snapshot: Snapshot) -> None:
    write_book(venue.book, snapshot, tmp_path / "b.csv")
    write_balances(venue.collateral, venue.book, tmp_path / "c.csv")
    again = sv.margin(tmp_path / "b.csv", plan, collateral=tmp_path / "c.csv").to_polars()
    first = sv.margin(venue.book, plan, collateral=venue.collateral).to_polars()
    both = first.join(again, on="account", suffix="_again")
    assert both.height == first.height
    assert (both["initial_margin"] == both["initial_margin_again"]).all()
    # Where closed trades left no price to write, the gain is not told; elsewhere it is the same.
    same = (both["unrealised"] - both["unrealised_again"]).abs().to_numpy() < 1e-3
    assert same.mean() > 0.98
    with pytest.raises(BadInput, match=r"ends in \.csv or \.parquet"):
        write_book(venue.book, snapshot, tmp_path / "b.xlsx")


BAD_POSITIONS = {
    "missing column": (
        "account,instrument\na,BTC-PERPETUAL\n",
        r"field 'size': expected a column 'size', found columns account, instrument \[FIELD",
    ),
    "unknown symbol": (
        "account,instrument,size\na,BTC-PERPETUAL,10\na,BTC_PERP!,1\n",
        r"row 2 \(line 3\), field 'instrument': expected a symbol.*found BTC_PERP! \[SYMBOL",
    ),
    "not listed": (
        "account,instrument,size\na,BTC-25DEC99-1-C,1\n",
        r"row 1 .*an instrument of the market that was read.*INSTRUMENT_NOT_IN_MARKET",
    ),
    "expired": (
        "account,instrument,size\na,BTC-25DEC20-10000-C,1\n",
        r"expected an instrument that expires after 2026-06-30.*INSTRUMENT_EXPIRED",
    ),
    "NaN": (
        "account,instrument,size\na,BTC-PERPETUAL,NaN\n",
        r"field 'size': expected a finite number, found NaN \[FIELD_NOT_FINITE",
    ),
    "infinite": (
        "account,instrument,size\na,BTC-PERPETUAL,1e999\n",
        r"expected a finite number, found 1e999 \[FIELD_NOT_FINITE",
    ),
    "text": (
        "account,instrument,size\na,BTC-PERPETUAL,lots\n",
        r"expected a number, found lots \[FIELD_NOT_A_NUMBER",
    ),
    "no size": (
        "account,instrument,size\na,BTC-PERPETUAL,\n",
        r"field 'size': expected a number, found nothing \[FIELD_MISSING",
    ),
    "part of a lot": (
        "account,instrument,size\na,BTC-PERPETUAL,15\n",
        r"expected a whole number of lots of 10 \(BTC-PERPETUAL\), found 15 \[SIZE_NOT_WHOLE_LOTS",
    ),
    "too large": (
        "account,instrument,size\na,BTC-PERPETUAL,1e15\n",
        r"expected at most 1099511627776 lots of 10.*SIZE_TOO_LARGE",
    ),
    "no account": (
        "account,instrument,size\n ,BTC-PERPETUAL,10\n",
        r"field 'account': expected a name, found nothing \[ACCOUNT_EMPTY",
    ),
    "bad entry": (
        "account,instrument,size,entry_price\na,BTC-PERPETUAL,10,-5\n",
        r"field 'entry_price': expected a price above 0, found .*PRICE_NOT_POSITIVE",
    ),
    "empty": ("", r"\[SOURCE_EMPTY"),
    "header only": ("account,instrument,size\n", r"\[SOURCE_EMPTY"),
}


@pytest.mark.parametrize("name", BAD_POSITIONS)
def test_bad_positions_are_named(tmp_path: Path, plan: Any, name: str) -> None:
    text, message = BAD_POSITIONS[name]
    path = tmp_path / "book.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(BadInput, match=message) as caught:
        sv.margin(path, plan)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_skip_bad_lists_what_it_leaves_out(tmp_path: Path, plan: Any) -> None:
    path = tmp_path / "book.csv"
    good = "c,BTC-PERPETUAL,100\nd,ETH-PERPETUAL,7\n"
    path.write_text("account,instrument,size\n" + good + "a,NOPE,1\nb,BTC-PERPETUAL,x\n", "utf-8")
    answer = sv.margin(path, plan, skip_bad=True)
    assert answer.dropped == 2
    rest = answer.to_polars()
    assert rest["status"].to_list() == ["unfunded", "unfunded", "unknown", "unknown"]
    assert [problem.row for problem in answer.problems] == [4, 3]
    (tmp_path / "good.csv").write_text("account,instrument,size\n" + good, "utf-8")
    assert rest.head(2).equals(sv.margin(tmp_path / "good.csv", plan).to_polars())


def test_bad_rows_are_numbered_across_batches(
    tmp_path: Path, plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("solvent.feeds.sources.BATCH_ROWS", 100)
    lines = ["account,instrument,size"] + ["a,BTC-PERPETUAL,10"] * 950 + ["a,BTC-PERPETUAL,x"]
    (tmp_path / "long.csv").write_text("\n".join(lines) + "\n", "utf-8")
    with pytest.raises(BadInput, match=r"row 951 \(line 952\)"):
        sv.margin(tmp_path / "long.csv", plan)


def test_decimal_sizes_are_whole_lots(plan: Any, snapshot: Snapshot) -> None:
    """0.3 / 0.1 is no integer in binary; as text it is."""
    row = int(np.flatnonzero(snapshot.universe.is_option & snapshot.universe.inverse)[0])
    symbol = snapshot.universe.symbols[row]
    found = api.read_positions([{"account": "a", "instrument": symbol, "size": "0.3"}])
    answer = sv.margin(found, plan)
    assert answer.book.lots.tolist() == [3.0]


def test_bad_collateral_is_named(tmp_path: Path, plan: Any) -> None:
    rows = [{"account": "a", "instrument": "BTC-PERPETUAL", "size": 10}]
    path = tmp_path / "c.csv"
    path.write_text("account,asset,amount\na,BTC,1\na,BTC,inf\n", "utf-8")
    with pytest.raises(BadInput, match=r"c.csv, row 2 \(line 3\), field 'amount'.*NOT_FINITE"):
        sv.margin(rows, plan, collateral=path)
    skipped = sv.margin(rows, plan, collateral=path, skip_bad=True)
    assert skipped.dropped == 1
