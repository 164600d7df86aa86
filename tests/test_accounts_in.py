"""Every answer of the four venues in the fixtures, read; against an eye's and ccxt's reading."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from fnmatch import fnmatch
from pathlib import Path
from random import Random
from typing import Any

import pytest

from solvent import api
from solvent.errors import BadInput, Reject
from solvent.feeds.accounts import shapes
from solvent.feeds.accounts.answer import (
    Answer,
    collateral_rows,
    mode_rows,
    order_rows,
    position_rows,
)
from solvent.feeds.accounts.cells import parsed, read_json
from solvent.feeds.accounts.market import market_of
from solvent.feeds.accounts.names import binance_contract, bybit_contract, okx_contract
from solvent.instruments.symbols import listed_symbol
from solvent.units import TimeMs
from tests.accounts_told import CARRIES, CARRIES_NOTHING, REFUSED, SWAPS
from tests.conftest import ROOT, SHARED, need_shared

FIXTURES = SHARED / "data" / "exchange_responses" / "nautilus"
VENUES = ("deribit", "okx", "bybit", "binance")
KINDS = ("listings", "prices", "holdings", "money", "reported", "orders", "tiers", "notes")
FIELDS = ("bid", "ask", "mark", "index", "forward", "vol", "last")


def path_of(name: str) -> Path:
    return need_shared("data", "exchange_responses", "nautilus", *name.split("/"))


def market_word(name: str) -> str:
    """What an answer itself does not tell: Bybit's category, Binance's market."""
    if name.startswith("binance"):
        return "spot" if "/spot/" in name else "usdm"
    words = ("linear", "inverse", "option", "spot")
    return next((word for word in words if word in name), "linear")


def read(name: str) -> Answer:
    paths = [path_of(name)]
    if name.startswith("okx") and name not in SWAPS and "instruments" not in name:
        paths += [path_of(other) for other in SWAPS]
    found = shapes.read_files(name.split("/")[0], paths, market=market_word(name))
    if len(paths) > 1:
        found = replace(found, listings=())
    return found


def same(told: object, found: object) -> bool:
    return found is None if told is None else found == Decimal(str(told))


@pytest.mark.parametrize("name", CARRIES)
def test_a_fixture_says_what_an_eye_reads(name: str) -> None:
    found, told = read(name), CARRIES[name]
    assert {kind for kind in KINDS if getattr(found, kind)} == set(told)
    for one, (symbol, lot, unit, tick) in zip(
        found.listings, told.get("listings", ()), strict=True
    ):
        sizes = one.instrument.specification
        assert (one.symbol, one.unit) == (symbol, Decimal(unit))
        assert (sizes.lot_size, sizes.tick_size) == (Decimal(lot), Decimal(tick))
    for price, (symbol, time_ms, fields) in zip(found.prices, told.get("prices", ()), strict=True):
        assert (price.symbol, price.time_ms) == (symbol, time_ms)
        for field in FIELDS:
            assert same(fields.get(field), getattr(price, field)), field
    for held, (symbol, size, entry, mode) in zip(
        found.holdings, told.get("holdings", ()), strict=True
    ):
        assert (held.symbol, held.size, held.mode) == (symbol, Decimal(size), mode)
        assert same(entry, held.entry_price)
    for money, (asset, amount, backing) in zip(found.money, told.get("money", ()), strict=True):
        assert money.asset == asset
        assert (money.amount, money.backing) == (Decimal(amount), Decimal(backing))
    for said, (part, currency, *amounts) in zip(
        found.reported, told.get("reported", ()), strict=True
    ):
        assert (said.part, said.currency) == (part, currency)
        ours = (said.equity, said.initial, said.maintenance)
        assert all(same(a, b) for a, b in zip(amounts, ours, strict=True))
    for order, (symbol, number, buy, size, price_told) in zip(
        found.orders, told.get("orders", ()), strict=True
    ):
        assert (order.symbol, order.order, order.buy) == (symbol, number, buy)
        assert (order.size, order.price) == (Decimal(size), Decimal(price_told))
    for tier, (symbol, unit, *numbers) in zip(found.tiers, told.get("tiers", ()), strict=True):
        assert (tier.symbol, tier.unit) == (symbol, unit)
        of_tier = (tier.above, tier.to, tier.maintenance_rate, tier.initial_rate, tier.leverage)
        assert of_tier == tuple(map(Decimal, numbers))
    for note, words in zip(found.notes, told.get("notes", ()), strict=True):
        assert words in str(note)


def test_every_fixture_is_listed() -> None:
    """Each is read, or there is a reason why it is not; and no reason without a file."""
    need_shared("data", "exchange_responses")
    files = sorted(
        str(path.relative_to(FIXTURES))
        for venue in VENUES for path in (FIXTURES / venue).rglob("*") if path.is_file()
    )  # fmt: skip
    patterns = [pattern for some in CARRIES_NOTHING.values() for pattern in some]
    for name in files:
        reasons = [one for one in (*REFUSED, *patterns) if fnmatch(name, one)]
        assert name in CARRIES or reasons, f"{name}: neither read nor is there a reason"
    for pattern in (*CARRIES, *REFUSED, *patterns):
        assert any(fnmatch(name, pattern) for name in files), f"{pattern}: no such file"
    assert len(CARRIES) >= 90


def test_the_page_tells_the_same() -> None:
    page = (ROOT / "docs" / "accounts_in.md").read_text("utf-8")
    assert f"{len(CARRIES)} files of the four venues" in page
    for name, reason in REFUSED.items():
        assert f"| `{name}` | {reason} |" in page
    columns = ("listings", "prices", "money", "reported", "holdings", "orders", "tiers")
    for venue in VENUES:
        told = [content for name, content in CARRIES.items() if name.startswith(f"{venue}/")]
        counts = [sum(kind in one for one in told) for kind in columns]
        row = " | ".join(map(str, (len(told), *counts)))
        assert re.search(rf"(?i)\| {venue} \| \d+ \| {re.escape(row)} \|", page), venue


@pytest.mark.parametrize("venue", VENUES)
def test_what_is_not_read_is_refused_in_words(venue: str) -> None:
    """No file of the rest passes for an account, and none raises anything but BadInput."""
    need_shared("data", "exchange_responses")
    for path in sorted((FIXTURES / venue).rglob("*.json")):
        name = str(path.relative_to(FIXTURES))
        if name in CARRIES:
            continue
        with pytest.raises(BadInput) as caught:
            read(name)
        assert str(path) in str(caught.value), name


# ── what is read can be margined ─────────────────────────────────────────────────────────────────


def test_an_account_of_okx_becomes_a_book_with_collateral() -> None:
    names = ("http_get_positions", "http_get_account_balance", "http_get_mark_price",
             "http_get_index_price", "http_get_instruments_swap")  # fmt: skip
    found = shapes.read_files("okx", [path_of(f"okx/{name}.json") for name in names])
    market = market_of(found, source="okx", as_of_ms=TimeMs(1_746_942_707_815))
    answer = api.margin(
        position_rows(found, "me"), market, "okx-futures",
        collateral=collateral_rows(found, "me"),
        modes=[{**row, "maintenance_rate": 0.004} for row in mode_rows(found, "me")],
    ).to_polars().row(0, named=True)  # fmt: skip
    # 0.005 BTC at 84,660.1, leverage 10; 0.5 USDT of margin are put to it.
    assert answer["initial_margin"] == pytest.approx(0.005 * 84_660.1 / 10)
    gained = 0.005 * (84_660.1 - 10_000)
    assert answer["equity"] == pytest.approx(94.42612990333333 + 0.5 + gained, abs=1e-5)


@pytest.mark.parametrize(
    ("side", "told", "size", "mode"),
    [("short", "0.5", "-0.005", "hedge"), ("long", "0.5", "0.005", "hedge"),
     ("net", "-0.5", "-0.005", "cross"), ("net", "0.5", "0.005", "cross")],
)  # fmt: skip
def test_okx_tells_sides_in_two_ways(
    tmp_path: Path, side: str, told: str, size: str, mode: str
) -> None:
    """Long and short apart with sizes above 0, or one net size with a sign."""
    document = json.loads(path_of("okx/http_get_positions.json").read_text("utf-8"))
    document["data"][0] |= {"posSide": side, "pos": told, "mgnMode": "cross"}
    made = tmp_path / "positions.json"
    made.write_text(json.dumps(document), "utf-8")
    (held,) = shapes.read_files("okx", [made, path_of(SWAPS[0])]).holdings
    assert (held.size, held.mode) == (Decimal(size), mode)


def test_a_position_of_bybit_in_hedge_mode(tmp_path: Path) -> None:
    document = json.loads(path_of("bybit/http_get_positions.json").read_text("utf-8"))
    rows = document["result"]["list"]
    rows[0]["positionIdx"] = 1
    rows[1] |= {"symbol": "BTCUSDT", "positionIdx": 2}
    made = tmp_path / "positions.json"
    made.write_text(json.dumps(document), "utf-8")
    long, short, _ = shapes.read_files("bybit", [made]).holdings
    assert (long.size, short.size) == (Decimal("0.5"), Decimal(-5))
    assert {long.mode, short.mode} == {"hedge"}


def test_orders_are_margined_too() -> None:
    files = ("http_get_orders_realtime", "http_get_instruments_linear")
    found = shapes.read_files(
        "bybit", [path_of(f"bybit/{name}.json") for name in files], market="linear"
    )
    assert [row["side"] for row in order_rows(found, "me")] == ["buy", "sell"]
    assert [row["size"] for row in order_rows(found, "me")] == ["0.01", "0.01"]


# ── names ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("contract", "symbol"),
    [
        (okx_contract("BTC-USD-SWAP"), "BTC-PERPETUAL"),
        (okx_contract("ETH-USDC-SWAP"), "ETH_USDC-PERPETUAL"),
        (okx_contract("BTC-USDT-250627"), "BTC_USDT-27JUN25"),
        (bybit_contract("DOTUSD", "inverse"), "DOT-PERPETUAL"),
        (bybit_contract("BNBUSD", "inverse"), "BNB-PERPETUAL"),
        (bybit_contract("BTCUSDZ24", "inverse"), "BTC-27DEC24"),
        (bybit_contract("BTCUSDH25", "inverse"), "BTC-28MAR25"),
        (bybit_contract("BTCPERP", "linear"), "BTC_USDC-PERPETUAL"),
        (bybit_contract("1000PEPEUSDT", "linear"), "1000PEPE_USDT-PERPETUAL"),
        (bybit_contract("BTC-27DEC24", "linear"), "BTC_USDC-27DEC24"),
        (bybit_contract("BTCUSDT-27DEC24", "linear"), "BTC_USDT-27DEC24"),
        (bybit_contract("XRP-27DEC24-2.5-P-USDT", "option"), "XRP_USDT-27DEC24-2d5-P"),
        (binance_contract("DOTUSD_PERP", "coinm"), "DOT-PERPETUAL"),
        (binance_contract("BTCUSD_240628", "coinm"), "BTC-28JUN24"),
        (binance_contract("BTCUSDT_240628", "usdm"), "BTC_USDT-28JUN24"),
        (binance_contract("BNBBTC", "spot"), "BNB_BTC"),
    ],
)
def test_names_of_venues(contract: Any, symbol: str) -> None:
    assert listed_symbol(contract) == symbol


@pytest.mark.parametrize(
    ("read_name", "name"),
    [
        (okx_contract, "BTC-BTC-SWAP"), (okx_contract, "BTC-USD-241332"), (okx_contract, "BTC"),
        (okx_contract, "BTC-USD_UM-SWAP"), (okx_contract, "BTC-USD-241217-0-C"),
        (lambda name: bybit_contract(name, "linear"), "BTCUSD"),
        (lambda name: bybit_contract(name, "option"), "BTC-30FEB25-1-C"),
        (lambda name: bybit_contract(name, "swap"), "BTCUSDT"),
        (lambda name: binance_contract(name, "usdm"), "BTCUSD_PERP"),
        (lambda name: binance_contract(name, "spot"), "BTCUSDT_PERP"),
        (lambda name: binance_contract(name, "usdm"), "USDT"),
    ],
)  # fmt: skip
def test_what_is_no_name(read_name: Any, name: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_name(name)


# ── bad input ────────────────────────────────────────────────────────────────────────────────────


def altered(tmp_path: Path, name: str, *change: Any) -> Path:
    """A fixture with one cell changed: the path to it, then what it becomes."""
    document = json.loads(path_of(name).read_text("utf-8"))
    *where, last, value = change
    inside = document
    for step in where:
        inside = inside[step]
    if value is altered:
        del inside[last]
    else:
        inside[last] = value
    made = tmp_path / "altered.json"
    made.write_text(json.dumps(document), "utf-8")
    return made


ROW = ("result", "list", 1)


@pytest.mark.parametrize(
    ("name", "change", "code", "field"),
    [
        ("bybit/http_get_positions.json", (*ROW, "size", "-5"), Reject.FIELD_NOT_A_NUMBER, "size"),
        ("bybit/http_get_positions.json", (*ROW, "size", float("nan")), Reject.FIELD_NOT_FINITE,
         "size"),
        ("bybit/http_get_positions.json", (*ROW, "size", "NaN"), Reject.FIELD_NOT_FINITE, "size"),
        ("bybit/http_get_positions.json", (*ROW, "size", "1e999999999"), Reject.FIELD_NOT_FINITE,
         "size"),
        ("bybit/http_get_positions.json", (*ROW, "size", [1]), Reject.FIELD_NOT_A_NUMBER, "size"),
        ("bybit/http_get_positions.json", (*ROW, "size", True), Reject.FIELD_NOT_A_NUMBER, "size"),
        ("bybit/http_get_positions.json", (*ROW, "size", altered), Reject.FIELD_MISSING, "size"),
        ("bybit/http_get_positions.json", (*ROW, "side", ""), Reject.SIDE_UNKNOWN, "side"),
        ("bybit/http_get_positions.json", (*ROW, "side", "Short"), Reject.ROW_MALFORMED, "side"),
        ("bybit/http_get_positions.json", (*ROW, "symbol", "NOPE"), Reject.SYMBOL_UNKNOWN,
         "symbol"),
        ("bybit/http_get_positions.json", (*ROW, "symbol", "BTCUSDT"), Reject.ROW_DUPLICATED,
         "symbol"),
        ("bybit/http_get_positions.json", (*ROW, "avgPrice", "-1"), Reject.PRICE_NOT_POSITIVE,
         "avgPrice"),
        ("bybit/http_get_positions.json", (*ROW, "updatedTime", "12"), Reject.TIME_INVALID,
         "updatedTime"),
        ("okx/http_get_instruments_swap.json", ("data", 1, "ctVal", "0"),
         Reject.PRICE_NOT_POSITIVE, "ctVal"),
        ("deribit/http_get_account_summaries.json", ("result", "summaries", 1, "currency", "BTC"),
         Reject.ROW_DUPLICATED, "currency"),
        ("deribit/http_get_account_summaries.json", ("result", "summaries", 1, "equity", None),
         Reject.FIELD_MISSING, "equity"),
    ],
)  # fmt: skip
def test_a_bad_cell_names_file_row_and_field(
    tmp_path: Path, name: str, change: Any, code: Reject, field: str
) -> None:
    made = altered(tmp_path, name, *change)
    with pytest.raises(BadInput) as caught:
        shapes.read_files(name.split("/")[0], [made], market=market_word(name))
    (problem,) = caught.value.problems
    assert (problem.code, problem.field, problem.row) == (code, field, 2)
    assert problem.source == str(made)


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("okx/http_get_instruments_swap.json", ("data", 1, "settleCcy", "BTC"), "settleCcy"),
        ("okx/http_get_instruments_swap.json", ("data", 1, "ctValCcy", "USDT"), "ctValCcy"),
        ("okx/http_get_instruments_swap.json", ("data", 1, "instType", "OPTION"), "instType"),
        ("okx/http_get_instruments_swap.json", ("data", 1, "instId", "ETH-USD_UM-SWAP"), "instId"),
        ("deribit/http_get_instruments.json", ("result", 1, "settlement_currency", "ETH"),
         "settlement_currency"),
        ("bybit/http_get_instruments_linear.json", ("result", "list", 1, "baseCoin", "BTC"),
         "baseCoin"),
    ],
)  # fmt: skip
def test_a_listing_that_is_not_what_its_name_says_is_left_out(
    tmp_path: Path, name: str, change: Any, field: str
) -> None:
    """It stops nobody who does not hold it; who does is refused, since it is not listed."""
    made = altered(tmp_path, name, *change)
    venue, market = name.split("/")[0], market_word(name)
    found = shapes.read_files(venue, [made], market=market)
    whole = shapes.read_files(venue, [path_of(name)], market=market)
    gone = [one for one in whole.listings if one.symbol not in {o.symbol for o in found.listings}]
    assert len(gone) == 1
    (note,) = [one for one in found.notes if one.field == field]
    assert (note.row, note.source) == (2, str(made))


def test_json_that_is_cut_short(tmp_path: Path) -> None:
    whole = path_of("okx/http_get_account_balance.json").read_bytes()
    made = tmp_path / "cut.json"
    for length in range(0, len(whole), 97):
        made.write_bytes(whole[:length])
        with pytest.raises(BadInput, match=r"cut\.json"):
            shapes.read_files("okx", [made])
    with pytest.raises(BadInput, match=r"(?i)no such"):
        read_json(tmp_path / "none.json")


JUNK = (None, "", 0, -1, 1e308, float("nan"), float("inf"), "NaN", "-5", "1e400", "x", True,
        "BTCUSDT", 10**50, "9" * 60, "\ud800", "BTC-PERPETUAL")  # fmt: skip


def places(inside: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every cell of a document."""
    found = inside.items() if isinstance(inside, dict) else enumerate(inside)
    for key, value in found:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_in_a_cell_is_read_or_refused(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    for _ in range(25):
        name = rng.choice([name for name in CARRIES if "empty" not in name])
        document = json.loads(path_of(name).read_text("utf-8"))
        where = rng.choice(list(places(document)))
        value: Any = rng.choice((*JUNK, [], {}, [1], altered))
        if isinstance(document, list):
            continue
        made = altered(tmp_path, name, *where, value)
        with suppress(BadInput):
            shapes.read_files(name.split("/")[0], [made], market=market_word(name))


def test_answers_of_two_accounts_are_not_one(tmp_path: Path) -> None:
    name = "deribit/http_get_account_summaries.json"
    other = altered(tmp_path, name, "result", "username", "somebody")
    with pytest.raises(BadInput, match="a statement of") as caught:
        shapes.read_files("deribit", [path_of(name), other])
    assert caught.value.problems[0].code is Reject.ACCOUNT_UNKNOWN


def test_a_contract_is_not_counted_without_its_listing() -> None:
    with pytest.raises(BadInput, match="a contract that is listed"):
        shapes.read_files("okx", [path_of("okx/http_get_positions.json")])


def test_numbers_are_read_as_they_are_written() -> None:
    told = parsed('{"a": 0.1234567890123456789, "b": "1"}', "here")
    assert told["a"] == Decimal("0.1234567890123456789")
    for text in ("", "[1,", "nul", '{"a": ' * 100_000):
        with pytest.raises(BadInput):
            parsed(text, "here")
