"""Input that is wrong in ways that files are: said in one line with file, row and field."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import solvent as sv
from solvent.errors import BadInput
from solvent.feeds.market import read_market
from solvent.margining.plan import Plan

POSITIONS = "account,instrument,size\n"
BALANCES = "account,asset,amount\n"
MARKET = "instrument,timestamp,index_price,mark_price,implied_vol\n"
NOON = "2026-02-28T12:00:00+00:00"
NOON_MS = 1_772_280_000_000
ROWS = [{"account": "a", "instrument": "BTC-PERPETUAL", "size": 100}]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def table(answer: Any) -> dict[str, dict[str, Any]]:
    return {row["account"]: row for row in answer.to_polars().iter_rows(named=True)}


# ── accounts and balances ────────────────────────────────────────────────────────────────────


def test_blanks_round_an_account_are_no_other_account(plan: Plan) -> None:
    balances = [{"account": " a ", "asset": " btc ", "amount": 1}]
    answer = sv.margin(ROWS, plan, collateral=balances)
    assert list(table(answer)) == ["a"]
    assert table(answer)["a"]["status"] == "healthy"


def test_balances_that_add_up_beyond_money(tmp_path: Path, plan: Plan) -> None:
    """Three times 4e12 dollars are more than int64 holds in millionths."""
    path = written(tmp_path / "c.csv", BALANCES + "a,USD,4e12\n" * 3)
    with pytest.raises(BadInput, match=r"c.csv, account a, field 'amount': .* in all, found 1.2e"):
        sv.margin(ROWS, plan, collateral=path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b,BTC,1e300", r"row 2 \(line 3\), field 'amount': expected an amount worth less than"),
        ("b,DOGE,5", r"row 2 \(line 3\), field 'asset': expected an asset that deribit-pm accepts"),
        ("b,BTC,much", r"row 2 \(line 3\), field 'amount': expected a number, found much"),
    ],
)
def test_a_bad_balance_is_named_or_freezes_its_account(
    tmp_path: Path, plan: Plan, row: str, message: str
) -> None:
    path = written(tmp_path / "c.csv", f"{BALANCES}a,BTC,1\n{row}\nb,BTC,1\n")
    with pytest.raises(BadInput, match=message):
        sv.margin(ROWS, plan, collateral=path)
    answer = sv.margin(ROWS, plan, collateral=path, skip_bad=True)
    found = table(answer)
    assert (found["a"]["status"], found["b"]["status"]) == ("healthy", "unknown")
    assert found["b"]["reason"] == "rows of this account were left out as bad"
    assert (answer.dropped, len(answer.problems)) == (1, 1)


def test_an_account_that_lost_a_position_is_unknown(tmp_path: Path, plan: Plan) -> None:
    """The row left out may be the short option that the account cannot carry."""
    rows = "a,BTC-PERPETUAL,100\na,BTC-PERPETUAL,-1000x\nb,NOPE,1\nc,BTC-PERPETUAL,100\n"
    path = written(tmp_path / "b.csv", POSITIONS + rows)
    balances = [{"account": one, "asset": "BTC", "amount": 9} for one in "abc"]
    found = table(sv.margin(path, plan, collateral=balances, skip_bad=True))
    assert [found[one]["status"] for one in "abc"] == ["unknown", "unknown", "healthy"]
    assert found["a"]["initial_margin"] is None


def test_no_row_survives(plan: Plan) -> None:
    answer = sv.margin([{**ROWS[0], "size": "x"}], plan, skip_bad=True)
    assert answer.counts() == {"unknown": 1}
    assert answer.dropped == 1
    balances = [{"account": "a", "asset": "BTC", "amount": "x"}]
    assert sv.margin(ROWS, plan, collateral=balances, skip_bad=True).counts() == {"unknown": 1}


@pytest.mark.parametrize(
    ("instrument", "price"),
    [("BTC-PERPETUAL", 1e-300), ("BTC_USDC-PERPETUAL", 1e300), ("BTC-PERPETUAL", 1e-13)],
)
def test_an_entry_price_beyond_all_bounds(plan: Plan, instrument: str, price: float) -> None:
    rows = [{**ROWS[0], "account": "b"}, {**ROWS[0], "instrument": instrument, "size": 100_000}]
    rows[1]["entry_price"] = price
    with pytest.raises(BadInput, match="positions, row 2, field 'entry_price': expected a price"):
        sv.margin(rows, plan)
    assert table(sv.margin(rows, plan, skip_bad=True))["a"]["status"] == "unknown"


def test_numbers_in_messages_are_plain(plan: Plan) -> None:
    with pytest.raises(BadInput, match=r"expected a price above 0, found 0\.0 \["):
        sv.margin([{**ROWS[0], "entry_price": 0.0}], plan)


def test_a_part_of_a_lot_of_a_billion_is_a_part_of_a_lot(plan: Plan) -> None:
    for size in (10_000_000_004, 10_000_000_001):
        with pytest.raises(BadInput, match="expected a whole number of lots of 10"):
            sv.margin([{**ROWS[0], "size": size}], plan)
    for text in ("123456.001", "12345.9", "0.7"):
        answer = sv.margin([{**ROWS[0], "instrument": "ETH_USDC-PERPETUAL", "size": text}], plan)
        assert answer.book.lots.tolist() == [round(float(text) * 1_000)]


# ── times ────────────────────────────────────────────────────────────────────────────────────


def market(folder: Path, *times: str) -> Path:
    kinds = ("PERPETUAL", "27MAR26-60000-P", "27MAR26-60000-C", "27MAR26-70000-C")
    rows = (f"BTC-{k},{t},63620,0.05,0.58\n" for k, t in zip(kinds, times, strict=False))
    return written(folder / "market.csv", MARKET + "".join(rows))


@pytest.mark.parametrize(
    "time",
    [
        NOON, "2026-02-28T12:00:00Z", "2026-02-28 12:00:00", "2026-02-28T17:00:00+05:00",
        "2026-02-28T12:00:00.000000Z", str(NOON_MS), str(NOON_MS // 1_000),
        str(NOON_MS * 1_000), str(NOON_MS * 1_000_000), f"{NOON_MS / 1_000:.3f}",
    ],
)  # fmt: skip
def test_times_in_every_unit(tmp_path: Path, time: str) -> None:
    assert sv.read_market(market(tmp_path, time, NOON)).as_of_ms == NOON_MS


@pytest.mark.parametrize(
    "time",
    ["garbage", "NaN", "inf", "1e300", "-5", "7", "02/28/2026 09:18", "1970-01-01", "20260228"],
)
def test_what_is_no_time_is_a_fault(tmp_path: Path, time: str) -> None:
    path = market(tmp_path, NOON, time, NOON)
    message = r"market.csv, row 2 \(line 3\), field 'timestamp': expected an ISO 8601 time, or sec"
    with pytest.raises(BadInput, match=message):
        sv.read_market(path)
    read = read_market([path], skip_bad=True)
    assert (read.snapshot.as_of_ms, read.dropped) == (NOON_MS, 1)


def test_typed_times(tmp_path: Path) -> None:
    frame = pl.read_csv(market(tmp_path, *[NOON] * 4))
    whole = frame["timestamp"].str.to_datetime(time_zone="UTC")
    for column in (whole, whole.dt.epoch("s"), whole.dt.epoch("us").cast(pl.Float64)):
        frame.with_columns(timestamp=column).write_parquet(tmp_path / "m.parquet")
        assert sv.read_market(tmp_path / "m.parquet").as_of_ms == NOON_MS
    for value in (True, b"x", [1]):
        column = pl.Series([value] * frame.height)
        frame.with_columns(timestamp=column).write_parquet(tmp_path / "m.parquet")
        with pytest.raises(BadInput, match=r"field 'timestamp': expected a column of times, found"):
            sv.read_market(tmp_path / "m.parquet")


def test_a_market_without_a_moment(tmp_path: Path) -> None:
    """Another file may tell it; it is never 1970."""
    dated = market(tmp_path, NOON, NOON)
    dated = dated.rename(tmp_path / "dated.csv")
    bare = written(
        tmp_path / "bare.csv", "instrument,index_price,mark_price\nETH-PERPETUAL,2000,2000\n"
    )
    with pytest.raises(BadInput, match=r"bare.csv, field 'timestamp': expected a time in some row"):
        sv.read_market(bare)
    with pytest.raises(BadInput, match=r"market.csv, field 'timestamp': expected a time in some"):
        sv.read_market(market(tmp_path, "", ""))
    for files in ((bare, dated), (dated, bare)):
        snapshot = sv.read_market(*files)
        assert snapshot.as_of_ms == NOON_MS
        assert snapshot.age_ms.max() == 0


def test_one_row_of_the_far_future(tmp_path: Path) -> None:
    path = market(tmp_path, NOON, NOON, "2099-01-01T00:00:00Z")
    message = r"row 3 .*at most a day after the other rows' 2026-02-28 12:00 UTC, found 2099-01-01"
    with pytest.raises(BadInput, match=message):
        sv.read_market(path)
    assert read_market([path], skip_bad=True).snapshot.as_of_ms == NOON_MS


# ── files ────────────────────────────────────────────────────────────────────────────────────


def test_a_path_is_no_pattern(tmp_path: Path, plan: Plan) -> None:
    written(tmp_path / "book1.csv", POSITIONS + "wrong,BTC-PERPETUAL,100\n")
    mine = written(tmp_path / "book[1].csv", POSITIONS + "right,BTC-PERPETUAL,100\n")
    assert list(table(sv.margin(mine, plan))) == ["right"]
    assert list(table(sv.margin(ROWS, plan, collateral=written(
        tmp_path / "c*.csv", BALANCES + "b,BTC,1\n")))) == ["a", "b"]  # fmt: skip
    pl.DataFrame(ROWS).write_parquet(tmp_path / "p1.parquet")
    pl.DataFrame([{**ROWS[0], "account": "x"}]).write_parquet(tmp_path / "q.parquet")
    (tmp_path / "q.parquet").rename(tmp_path / "p[1].parquet")
    assert list(table(sv.margin(tmp_path / "p[1].parquet", plan))) == ["x"]


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "ragged": ("p.csv", b"a,BTC-PERPETUAL,1\nb,BTC-PERPETUAL,100,5\n",
               r"row 2 \(line 3\): expected 3 cells, as the header has, found 4 cells"),
    "not UTF-8": ("p.csv", b"a,BTC-PERPETUAL,1\ncaf\xe9,BTC-PERPETUAL,1\n",
                  r"row 2 \(line 3\): expected text in UTF-8, found caf"),
    "open quote": ("p.csv", b'"a,BTC-PERPETUAL,100\n',
                   r"quotes in pairs, found row 1 \(line 2\): a quote"),
    "JSON line": ("p.jsonl", b'{"account": "a"}\n\n{bad\n',
                  r"row 3 \(line 3\): expected a JSON object, found Expecting property name"),
    "JSON scalar": ("p.json", b"5", r"found a list of objects is expected, not 5"),
    "JSON text": ("p.json", b'"abc"', r"found a list of objects is expected, not abc"),
    "JSON null": ("p.json", b"null", r"found a list of objects is expected, not None"),
    "JSON list": ("p.json", b"[1, 2]", r"p.json, row 1: expected an object, found 1"),
    "JSON not UTF-8": ("p.json", b'[{"account":\n"\xff"}]', r"line 2: not UTF-8: byte 0xff"),
    "workbook": ("p.xlsx", b"PK\x03\x04", r"found a workbook or zip archive: save it as CSV"),
    "UTF-16": ("p.csv", "a,BTC-PERPETUAL,1".encode("utf-16"), r"binary data, or text in UTF-16"),
    "binary": ("p.csv", b"\x00\x01\xff" * 50, r"found binary data"),
    "Parquet": ("p.parquet", b"PAR1garbage", r"p.parquet: expected a readable table, found"),
    "gzip": ("p.json.gz", gzip.compress(b"[1]" * 99)[:20] + b"\0" * 90, r"p.json.gz: expected"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named(tmp_path: Path, plan: Plan, name: str) -> None:
    file, content, message = BROKEN[name]
    head = POSITIONS.encode() if file.endswith("csv") and name not in ("UTF-16", "binary") else b""
    path = written(tmp_path / file, head + content)
    with pytest.raises(BadInput, match=message) as caught:
        sv.margin(path, plan)
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput):
        sv.margin(ROWS, plan, collateral=path)
    with pytest.raises(BadInput):
        sv.read_market(path)


def test_broken_lines_are_left_out(tmp_path: Path, plan: Plan) -> None:
    rows = b"a,BTC-PERPETUAL,100\nb,BTC-PERPETUAL,100,5\ncaf\xe9,BTC-PERPETUAL,1\n"
    path = written(tmp_path / "p.csv", POSITIONS.encode() + rows)
    answer = sv.margin(path, plan, skip_bad=True)
    assert answer.dropped == 2
    assert [row["status"] for row in table(answer).values()] == ["unfunded", "unknown", "unknown"]
    path = written(tmp_path / "q.csv", POSITIONS + 'a,BTC-PERPETUAL,1\n"b,BTC-PERPETUAL,1\n')
    with pytest.raises(BadInput, match="quotes in pairs"):
        sv.margin(path, plan, skip_bad=True)
    lines = written(tmp_path / "p.jsonl", json.dumps(ROWS[0]) + "\n{bad\n")
    assert sv.margin(lines, plan, skip_bad=True).dropped == 1


def test_a_column_told_twice(tmp_path: Path, plan: Plan) -> None:
    path = written(tmp_path / "p.csv", "account,instrument,size,size\na,BTC-PERPETUAL,100,200\n")
    with pytest.raises(BadInput, match=r"p.csv, field 'size': expected a column once"):
        sv.margin(path, plan)


@pytest.mark.parametrize("column", ["account", "size"])
@pytest.mark.parametrize("value", [[1], b"x"], ids=["list", "binary"])
def test_columns_of_another_kind(tmp_path: Path, plan: Plan, column: str, value: Any) -> None:
    frame = pl.DataFrame(ROWS).with_columns(pl.Series(column, [value]))
    frame.write_parquet(tmp_path / "p.parquet")
    with pytest.raises(BadInput, match=rf"field '{column}': expected a column of (names|numbers)"):
        sv.margin(tmp_path / "p.parquet", plan)


def test_a_chain_names_its_own_columns(tmp_path: Path) -> None:
    head = "timestamp,instrument_name,mark_price,implied_volatility,index_price,futures_price"
    row = f"{NOON},BTC-27MAR26-60000-P,0.037,{{vol}},63620,{{future}}"
    path = written(tmp_path / "c.csv", f"{head}\n{row.format(vol=-1, future=6e4)}\n")
    with pytest.raises(BadInput, match="field 'implied_volatility': expected a number above 0"):
        sv.read_market(path)
    path = written(tmp_path / "c.csv", f"{head}\n{row.format(vol=0.5, future=-1)}\n")
    with pytest.raises(BadInput, match="field 'futures_price': expected a number above 0"):
        sv.read_market(path)
    path = written(
        tmp_path / "c.csv",
        f"{head},futures_instrument_name\n{row.format(vol=0.5, future=6e4)},GARBAGE\n",
    )
    with pytest.raises(BadInput, match=r"row 1 .*field 'futures_instrument_name'.*found GARBAGE"):
        sv.read_market(path)


def test_params_that_are_no_object(tmp_path: Path) -> None:
    path = written(tmp_path / "m.csv", "params,x\nnotjson,1\n")
    with pytest.raises(BadInput, match=r"m.csv, row 1 .*expected an object in 'params'"):
        sv.read_market(path)
    path = written(tmp_path / "m.json", '[{"result": "abc"}]')
    with pytest.raises(BadInput, match=r"m.json, row 1: expected an object in 'result'"):
        sv.read_market(path)


def test_rows_of_a_futures_table_are_those_of_the_file(tmp_path: Path) -> None:
    chain = market(tmp_path, NOON, NOON, NOON)
    head = "instrument_name,perp_futures_mark_price,obs_datetime\n"
    old, new = "X,1,2020-01-01T00:00:00+00:00\n", f"ETH-PERPETUAL,{{}},{NOON}\n"
    futures = written(tmp_path / "f.csv", head + old + new.format("abc"))
    with pytest.raises(BadInput, match=r"f.csv, row 2 \(line 3\), field 'perp_futures_mark_price'"):
        sv.read_market(chain, futures)
    futures = written(tmp_path / "f.csv", head + old)
    (note,) = read_market([chain, futures]).problems
    assert "field 'obs_datetime': expected a row within 120 s of 2026-02-28 12:00" in str(note)


# ── Python objects ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "size", [np.int64(100), np.float32(100.0), Decimal("100.0"), "100", " 100 ", 100.0], ids=repr
)
def test_sizes_of_every_type(plan: Plan, size: Any) -> None:
    assert sv.margin([{**ROWS[0], "size": size}], plan).book.lots.tolist() == [10.0]


def test_rows_in_every_container(plan: Plan) -> None:
    frame = pl.DataFrame(ROWS)
    for source in (tuple(ROWS), iter(ROWS), (row for row in ROWS), ROWS[0], frame.lazy()):
        assert sv.margin(source, plan).book.lots.tolist() == [10.0]


@pytest.mark.parametrize("source", [None, 5, {"a": 1}, b"x", [None], []], ids=repr)
def test_what_is_no_source(plan: Plan, source: Any) -> None:
    with pytest.raises(BadInput):
        sv.margin(source, plan)
    if source is not None:
        with pytest.raises(BadInput):
            sv.margin(ROWS, plan, collateral=source)


@pytest.mark.parametrize("value", [{1}, [1], {"a": 1}, True, object()], ids=lambda v: str(type(v)))
def test_what_is_no_size(plan: Plan, value: Any) -> None:
    with pytest.raises(BadInput, match="positions, row 1, field 'size': expected a number"):
        sv.margin([{**ROWS[0], "size": value}], plan)


# ── ccxt ─────────────────────────────────────────────────────────────────────────────────────

CCXT: dict[str, Any] = {"symbol": "BTC/USD:BTC", "contracts": 25.0, "contractSize": 10.0}


@pytest.mark.parametrize(
    ("told", "size"),
    [
        ({"side": "short"}, -250), ({"side": "SHORT"}, -250), ({"side": "sell"}, -250),
        ({"side": "Long"}, 250), ({"side": "buy"}, 250), ({"side": None}, 250), ({}, 250),
        ({"side": None, "contracts": -25}, -250), ({"side": "short", "contracts": -25}, -250),
        ({"side": "short", "contracts": None, "info": {"size": -250.0}}, -250),
        ({"side": "long", "contracts": None, "contractSize": None, "info": {"size": "250"}}, 250),
        ({"contracts": None, "info": {"size": -250.0, "x": object()}}, -250),
    ],
)  # fmt: skip
def test_sides_and_sizes_of_ccxt(plan: Plan, told: dict[str, Any], size: float) -> None:
    answer = sv.margin([{**CCXT, **told}], plan)
    assert answer.book.lots.tolist() == [size / 10]


def test_ccxt_from_a_file(tmp_path: Path, plan: Plan) -> None:
    row = {**CCXT, "side": "short", "contracts": None, "info": {"size": -250.0}}
    path = written(tmp_path / "c.json", json.dumps([row]))
    assert sv.margin(path, plan).book.lots.tolist() == [-25.0]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"side": "sideways"}, r"row 1, field 'side': expected one of long, buy, short, sell, or"),
        ({"contracts": None}, r"row 1, field 'contracts': expected a number, or the venue's own"),
        ({"contracts": None, "info": {"size": "x"}}, r"field 'contracts': expected a number, or"),
        ({"entryPrice": 0}, r"row 1, field 'entryPrice': expected a price above 0, found 0\.0"),
        ({"contracts": 25.5}, r"row 1, field 'contracts': expected a whole number of lots"),
    ],
)
def test_bad_positions_of_ccxt(plan: Plan, told: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        sv.margin([{**CCXT, **told}], plan)
