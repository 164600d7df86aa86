"""Deribit's names over HTTP and WebSocket: ccxt's client reads the engine's own numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from solvent.documents import account_document
from solvent.engine.state import State
from solvent.host import Engine
from solvent.messages import commands as c
from solvent.messages.fields import Side
from solvent.pricing.black import inverse_black76
from solvent.pricing.greeks import greeks
from solvent.service.deribit.quotes import arrays_of
from solvent.service.deribit.terms import settlement_period
from solvent.service.published import Board
from solvent.units import YEAR_MS
from tests.engines import ACTOR, opened
from tests.services import Served, made

ME = "u7"
CALL = "BTC-1JUL26-65000-C"
PERPETUAL = "BTC-PERPETUAL"
LINEAR = "BTC_USDC-PERPETUAL"
HELD = {CALL: 12, PERPETUAL: -40, LINEAR: 25, "ETH-1JUL26-2000-P": -9}
"""Symbol → lots; bought or sold at the mark."""


def dealt(engine: Engine) -> None:
    """Give the account something to hold, and the books quotes."""
    state = engine.state
    told: list[Any] = [
        c.Deposit(key=f"coin {name}", actor=ACTOR, account=name, asset="BTC", amount=5 * 10**8)
        for name in (ME, "u8")
    ]  # fmt: skip
    told.append(c.Deposit(key="eth", actor=ACTOR, account=ME, asset="ETH", amount=10**9))
    for symbol, lots in HELD.items():
        buyer, seller = (ME, "u8") if lots > 0 else ("u8", ME)
        told.append(
            c.Trade(
                key=f"trade {symbol}", actor=ACTOR, buyer=buyer, seller=seller, symbol=symbol,
                lots=abs(lots), price_ticks=ticks(state, symbol), aggressor=None,
            )
        )  # fmt: skip
    for side, away in ((Side.BUY, -2), (Side.SELL, 3)):
        told.append(
            c.PlaceOrder(
                key=f"quote {side}", actor=ACTOR, account="u8", order=f"quote {side}", symbol=CALL,
                side=side, lots=5, price_ticks=ticks(state, CALL) + away,
            )
        )  # fmt: skip
    answers = engine.submit_all(told)
    assert all(one.accepted for one in answers), [one for one in answers if not one.accepted]


def ticks(state: State, symbol: str) -> int:
    contract = state.contracts[state.contract_numbers[symbol]]
    assert contract.mark_points is not None
    return round(contract.mark_points / contract.deal.points_per_tick)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    url = made(tmp_path_factory.mktemp("deribit"))
    with opened(url) as engine:
        dealt(engine)
    with Served(url) as found:
        yield found


@pytest.fixture(scope="module")
def books(served: Served) -> dict[str, Any]:
    """The engine's own numbers of the account, and a copy of what was published."""
    taken: dict[str, Any] = {}

    async def take() -> None:
        def look(engine: Engine) -> None:
            account = engine.state.account(engine.state.account_numbers[ME])
            taken["account"] = account_document(engine.state, account)
            taken["number"] = account.number

        await served.venue.read(look)

    import asyncio

    asyncio.run(take())
    board: Board = served.app.state.board
    taken["arrays"] = arrays_of(board.now)
    taken["state"] = board.now.state
    return taken


def call(served: Served, name: str, **params: Any) -> Any:
    with served.http() as http:
        found = http.post(
            "/api/v2", json={"jsonrpc": "2.0", "id": 7, "method": name, "params": params}
        )
    document = found.json()
    assert document["id"] == 7
    assert document["usOut"] - document["usIn"] == document["usDiff"] >= 0
    assert "error" not in document, document
    return document["result"]


def fault(served: Served, name: str, **params: Any) -> dict[str, Any]:
    with served.http() as http:
        found = http.post("/api/v2", json={"id": 1, "method": name, "params": params})
    assert found.status_code == 400
    told: dict[str, Any] = found.json()["error"]
    return told


@pytest.fixture(scope="module")
def ccxt_client(served: Served) -> Any:
    ccxt = pytest.importorskip("ccxt")
    client = ccxt.deribit({"apiKey": "any", "secret": "any"})
    client.urls["api"]["rest"] = served.url
    client.headers = {"Solvent-Account": ME}
    return client


def test_ccxt_reads_the_balance(ccxt_client: Any, books: dict[str, Any]) -> None:
    """Free is what margin leaves over, used the maintenance, in each currency's own unit."""
    found = ccxt_client.fetch_balance()
    standing, arrays = books["account"].standing, books["arrays"]
    for currency in ("BTC", "ETH", "USDC"):
        unit = arrays.price_of(currency)
        assert found[currency]["free"] == pytest.approx(float(standing.available) / unit, rel=1e-6)
        used = float(standing.maintenance) / unit
        assert found[currency]["used"] == pytest.approx(used, rel=1e-6)
    owned = sum(one.amount for one in books["account"].balances if one.asset == "BTC")
    gains = sum(one.unrealised for one in books["account"].positions if one.instrument == PERPETUAL)
    state = books["state"]
    option = state.contracts[state.contract_numbers[CALL]]
    worth = HELD[CALL] * option.deal.lot_size * option.mark_points * option.deal.point
    assert found["BTC"]["total"] == pytest.approx(float(owned + gains) + float(worth), abs=1e-8)
    one = ccxt_client.fetch_balance({"code": "USDC"})
    assert one["USDC"] == found["USDC"]


def test_ccxt_reads_the_positions(ccxt_client: Any, books: dict[str, Any]) -> None:
    found = {one["info"]["instrument_name"]: one for one in ccxt_client.fetch_positions()}
    rows = {one.instrument: one for one in books["account"].positions}
    assert set(found) == set(rows) == set(HELD)
    for symbol, row in rows.items():
        one = found[symbol]
        assert one["side"] == ("long" if HELD[symbol] > 0 else "short")
        assert one["contracts"] == pytest.approx(float(row.size), rel=1e-12)
        assert one["entryPrice"] == pytest.approx(float(row.entry_price), rel=1e-12)
        assert one["markPrice"] == pytest.approx(float(row.mark), rel=1e-12)
        assert one["unrealizedPnl"] == pytest.approx(float(row.unrealised), abs=5.1e-7)
    assert found[PERPETUAL]["symbol"] == "BTC/USD:BTC"
    assert found[CALL]["symbol"] == "BTC/USD:BTC-260701-65000-C"
    some = ccxt_client.fetch_positions(None, {"kind": "option"})
    assert {one["info"]["instrument_name"] for one in some} == {CALL, "ETH-1JUL26-2000-P"}


def test_ccxt_reads_the_chain(ccxt_client: Any, books: dict[str, Any]) -> None:
    found = ccxt_client.fetch_option_chain("BTC")
    state = books["state"]
    options = {
        one.listing.symbol: one for one in state.contracts
        if one.listing.option_type and one.listing.base == "BTC"
    }  # fmt: skip
    told = {one["info"]["instrument_name"]: one for one in found.values()}
    assert set(told) == set(options)
    arrays = books["arrays"]
    for symbol, contract in options.items():
        row = arrays.universe.symbols.index(symbol)
        mark = float(contract.mark_points * contract.deal.point)
        assert told[symbol]["markPrice"] == pytest.approx(mark, rel=1e-12)
        forward = float(arrays.fields["forward"][row])
        assert told[symbol]["underlyingPrice"] == pytest.approx(forward, rel=1e-12)
    point = options[CALL].deal.point * options[CALL].deal.points_per_tick
    middle = ticks(state, CALL)
    assert told[CALL]["bidPrice"] == pytest.approx(float((middle - 2) * point))
    assert told[CALL]["askPrice"] == pytest.approx(float((middle + 3) * point))
    assert told[CALL]["openInterest"] == pytest.approx(float(12 * options[CALL].deal.lot_size))


def test_ccxt_reads_greeks_and_they_reprice_the_mark(
    ccxt_client: Any, books: dict[str, Any]
) -> None:
    """Deribit's greeks: of Black-76 on the forward, in dollars; the implied vol gives the mark."""
    found = ccxt_client.fetch_greeks("BTC/USD:BTC-260701-65000-C")
    arrays = books["arrays"]
    row = arrays.universe.symbols.index(CALL)
    forward, vol = (float(arrays.fields[name][row]) for name in ("forward", "iv"))
    years = (int(arrays.universe.expiry_ms[row]) - arrays.as_of_ms) / YEAR_MS
    want = greeks(forward=forward, strike=65_000.0, years=years, vol=vol, side=1.0)
    assert found["delta"] == pytest.approx(float(want.delta), rel=1e-9)
    assert found["gamma"] == pytest.approx(float(want.gamma), rel=1e-9)
    assert found["vega"] == pytest.approx(float(want.vega) / 100.0, rel=1e-9)
    assert found["theta"] == pytest.approx(float(want.theta) / 365.0, rel=1e-9)
    assert found["rho"] is None
    assert found["markImpliedVolatility"] == pytest.approx(100.0 * vol, abs=0.005)
    told = 0.01 * found["markImpliedVolatility"]
    coin = inverse_black76(forward=forward, strike=65_000.0, years=years, vol=told, side=1.0)
    assert found["markPrice"] == pytest.approx(float(coin), abs=2e-4)


def test_ccxt_reads_markets_tickers_and_time(ccxt_client: Any, books: dict[str, Any]) -> None:
    markets = ccxt_client.load_markets()
    assert len(markets) == len(books["state"].contracts)
    future = next(one for one in markets.values() if one["id"] == "BTC-1JUL26")
    assert (future["inverse"], future["future"], future["contractSize"]) == (True, True, 10.0)
    assert ccxt_client.fetch_time() > 1_700_000_000_000
    found = ccxt_client.fetch_ticker("BTC/USDC:USDC")
    assert found["info"]["mark_price"] > 1_000
    assert ccxt_client.fetch_order_book("BTC/USD:BTC-260701-65000-C")["bids"][0][1] > 0


def test_summaries_add_up_over_currencies(served: Served, books: dict[str, Any]) -> None:
    """Dollars are the same everywhere, and each currency's margins are those dollars in it."""
    found = call(served, "private/get_account_summaries", account=ME, extended=True)
    assert found["id"] == books["number"]
    assert found["username"] == ME
    standing = books["account"].standing
    for row in found["summaries"]:
        assert row["total_initial_margin_usd"] == pytest.approx(float(standing.initial), abs=1e-6)
        unit = books["arrays"].price_of(row["currency"])
        assert row["initial_margin"] * unit == pytest.approx(float(standing.initial), rel=1e-5)
    by_number = call(
        served, "private/get_account_summary", subaccount_id=books["number"], currency="BTC"
    )
    (btc,) = [row for row in found["summaries"] if row["currency"] == "BTC"]
    assert {name: btc[name] for name in by_number if name != "id"} == {
        name: value for name, value in by_number.items() if name != "id"
    }
    delta = sum(
        lots * float(books["arrays"].units["delta"][books["arrays"].universe.symbols.index(name)])
        for name, lots in HELD.items() if name in (CALL, PERPETUAL)
    )  # fmt: skip
    assert btc["delta_total"] == pytest.approx(delta, abs=1e-7)


def test_what_ifs_are_the_engines(served: Served) -> None:
    """Simulating what is held again changes nothing; more of it asks for more; nothing is done."""
    now = call(served, "private/get_account_summary", account=ME, currency="BTC")
    same = call(served, "private/simulate_portfolio", account=ME, currency="BTC")
    assert same["total_initial_margin_usd"] == now["total_initial_margin_usd"]
    more = call(
        served, "private/simulate_portfolio", account=ME, currency="BTC",
        simulated_positions={LINEAR: 3.0},
    )  # fmt: skip
    assert more["total_initial_margin_usd"] > now["total_initial_margin_usd"]
    flat = call(
        served, "private/simulate_portfolio", account=ME, currency="BTC", add_positions=False
    )
    assert flat["total_initial_margin_usd"] < 0.01 * now["total_initial_margin_usd"]
    alone = call(
        served, "private/simulate_portfolio", account=ME, currency="BTC", add_positions=False,
        simulated_positions={LINEAR: 1.0},
    )  # fmt: skip
    asked = {"portfolio": {"positions": [{"symbol": LINEAR, "size": "1"}], "balances": {}}}
    with served.http() as http:
        want = http.post("/v1/whatif", json=asked).json()["before"]
    assert alone["total_initial_margin_usd"] == pytest.approx(float(want["initial"]), abs=1e-6)
    after = call(served, "private/get_account_summary", account=ME, currency="BTC")
    assert after == now


def test_margins_of_an_order_fall_on_the_side_that_hedges(served: Served) -> None:
    """The account is short a call's worth of coin: selling more asks for more than buying."""
    found = call(
        served, "private/get_margins", account=ME, instrument_name=LINEAR, amount=2.0,
        price=60_000.0,
    )  # fmt: skip
    assert set(found) >= {"buy", "sell"}
    assert found["buy"] != found["sell"]
    assert max(found["buy"], found["sell"]) > 0.0


def test_faults_have_deribits_codes(served: Served) -> None:
    assert fault(served, "public/nothing")["code"] == -32601
    assert fault(served, "public/ticker")["code"] == -32602
    missing = fault(served, "public/ticker", instrument_name="BTC-1JAN99-1-C")
    assert missing["data"]["param"] == "instrument_name"
    assert fault(served, "private/get_positions")["code"] == 11050
    assert fault(served, "private/get_positions", account="nobody")["code"] == -32602
    assert fault(served, "private/get_positions", subaccount_id=10**6)["code"] == 13021
    wrong = fault(served, "private/get_account_summary", account=ME, currency="DOGE")
    assert "BTC" in wrong["data"]["reason"]
    with served.http() as http:
        assert http.post("/api/v2", content=b"{").json()["error"]["code"] == -32700
        assert http.post("/api/v2", json=[1]).json()["error"]["code"] == -32600
        assert http.post("/api/v2/public/test", content=b"").json()["result"]["version"]


@pytest.mark.parametrize("way", ["query", "body", "path"])
def test_every_way_of_calling_is_the_same(served: Served, way: str) -> None:
    params = {"instrument_name": CALL}
    with served.http() as http:
        if way == "query":
            found = http.get("/api/v2/public/get_instrument", params=params)
        elif way == "path":
            found = http.post("/api/v2/public/get_instrument", json={"params": params, "id": "x"})
            assert found.json()["id"] == "x"
        else:
            found = http.post("/api/v2/public/get_instrument", json=params)
    assert found.json()["result"]["strike"] == 65_000.0
    assert found.json()["result"]["option_type"] == "call"


def test_over_a_websocket(served: Served) -> None:
    url = served.url.replace("http", "ws") + "/ws/api/v2"
    with connect(url) as socket:
        told = {"method": "public/get_index_price", "params": {"index_name": "btc_usd"}, "id": 3}
        socket.send(json.dumps(told))
        found = json.loads(socket.recv())
        assert found["id"] == 3
        assert found["result"]["index_price"] > 1_000
        socket.send("{")
        assert json.loads(socket.recv())["error"]["code"] == -32700
        told = {"method": "private/get_positions", "params": {"account": ME}, "id": 4}
        socket.send(json.dumps(told))
        assert len(json.loads(socket.recv())["result"]) == len(HELD)


def test_who_does_not_come_over_loopback_is_told_so(served: Served) -> None:
    with httpx.Client(base_url=served.url, headers={"host": "example.org"}) as http:
        found = http.get("/api/v2/private/get_positions", params={"account": ME}).json()
    assert found["error"]["code"] == 13009


def test_periods_of_settlement() -> None:
    assert settlement_period(1_735_300_800_000) == "month"
    assert settlement_period(1_735_300_800_000 - 7 * 86_400_000) == "week"
    assert settlement_period(1_735_300_800_000 - 86_400_000) == "day"


def test_nobody_has_quoted_or_holds_anything(tmp_path: Path) -> None:
    """A venue of no orders and no positions has a chain too."""
    with Served(made(tmp_path)) as served:
        rows = call(served, "public/get_book_summary_by_currency", currency="ETH", kind="option")
        assert {row["open_interest"] for row in rows} == {0.0}
        assert not any("bid_price" in row for row in rows)
