"""The venues' answers through ccxt's own parsers, and then through our reader of ccxt's structures:
the same as read straight, except where `DIFFERS` says what ccxt has instead and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from solvent.errors import BadInput
from solvent.feeds.accounts import ccxt as unified
from solvent.feeds.accounts import shapes
from solvent.feeds.accounts.answer import Answer
from tests.accounts_told import SWAPS
from tests.conftest import ROOT
from tests.test_accounts_in import market_word, path_of

MARKETS = {
    "deribit": ["http_get_instruments"],
    "okx": [f"http_get_instruments_{kind}" for kind in ("swap", "futures", "option", "spot")],
    "bybit": [f"http_get_instruments_{kind}" for kind in ("linear", "inverse", "option", "spot")],
}
BINANCE_LISTED = {
    "symbol": "BTCUSDT", "pair": "BTCUSDT", "contractType": "PERPETUAL", "status": "TRADING",
    "deliveryDate": 4133404800000, "onboardDate": 1569398400000, "baseAsset": "BTC",
    "quoteAsset": "USDT", "marginAsset": "USDT", "pricePrecision": 2, "quantityPrecision": 3,
    "baseAssetPrecision": 8, "quotePrecision": 8, "orderTypes": ["LIMIT", "MARKET"],
    "timeInForce": ["GTC"],
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "556.80", "maxPrice": "4529764",
         "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
    ],
}  # fmt: skip
"""As the venue's own documentation has it: no fixture does."""
HOURS = "ccxt takes the moment that is told, which is not the name's: the name counts"
CASH = "ccxt's total is equity: gains, option values and isolated margin are in it"
DEBT = "ccxt adds the interest that accrues, and is not charged yet, to the debt"
DIFFERS: dict[tuple[str, str], tuple[Any, str]] = {
    **{
        ("okx/http_get_instruments_option.json", f"BTC-17DEC24-{strike} {what}"):
            (value, "ccxt takes ctVal alone; a contract is ctVal times ctMult")
        for strike in ("92000-C", "92000-P", "94000-C", "94000-P")
        for what, value in (("unit", "1"), ("lot", "1"))
    },
    ("bybit/http_get_instruments_option.json", "symbols"): (["ETH_USDC-28MAY26-16000-P"], HOURS),
    ("deribit/http_get_account_summaries.json", "BTC amount"): ("302.61869214", CASH),
    ("okx/http_get_account_balance.json", "USDT amount"): ("99.89469657000001", CASH),
    ("bybit/http_get_wallet_balance.json", "ETH amount"): ("-0.08142", DEBT),
    ("bybit/http_get_wallet_balance_with_spot_borrow.json", "USDT amount"): ("999.5", DEBT),
    ("bybit/http_get_wallet_balance_spot_short.json", "ETH amount"): ("-0.08142", DEBT),
    ("bybit/ws_ticker_option.json", "BTC_USDC-6JAN23-17500-C ask"):
        (None, "ccxt reads what REST tells, ask1Price; a stream of an option tells askPrice"),
}  # fmt: skip
NOT_PARSED = {
    "deribit private/get_positions": "no fixture",
    "okx position tiers": "ccxt tells sizes as notionals, and asks for a symbol that it knows",
    "okx option summaries": "ccxt parses them as greeks, not as tickers",
    "binance streams": "ccxt parses them inside its socket handlers, which need a connection",
}


def raw(name: str) -> Any:
    return json.loads(path_of(f"{name}.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def exchanges() -> dict[str, Any]:
    """ccxt's exchanges, whose calls for instruments are answered from the fixtures."""
    ccxt = pytest.importorskip("ccxt")
    path_of(SWAPS[0])
    deribit, okx, bybit, binance = ccxt.deribit(), ccxt.okx(), ccxt.bybit(), ccxt.binanceusdm()
    deribit.publicGetGetInstruments = lambda *_: raw("deribit/http_get_instruments")
    deribit.set_markets(deribit.fetch_markets())
    okx.set_markets([
        okx.parse_market(row) for name in MARKETS["okx"] for row in raw(f"okx/{name}")["data"]
    ])  # fmt: skip
    binance.set_markets([binance.parse_market(BINANCE_LISTED)])

    def instruments(query: dict[str, Any]) -> Any:
        if query.get("status") == "PreLaunch":
            return {"result": {"list": []}}
        return raw(f"bybit/http_get_instruments_{query['category']}")

    bybit.publicGetV5MarketInstrumentsInfo = instruments
    bybit.set_markets([
        *bybit.fetch_spot_markets({}), *bybit.fetch_future_markets({"category": "linear"}),
        *bybit.fetch_future_markets({"category": "inverse"}),
        *bybit.fetch_option_markets({"baseCoin": "ETH"}),
    ])  # fmt: skip
    return {"deribit": deribit, "okx": okx, "bybit": bybit, "binance": binance}


# ── what is compared ─────────────────────────────────────────────────────────────────────────────


def said(answer: Answer) -> dict[str, Any]:
    """Everything that both ways can tell, by what it is of."""
    told: dict[str, Any] = {}
    for one in answer.listings:
        sizes = one.instrument.specification
        told |= {f"{one.symbol} unit": one.unit, f"{one.symbol} lot": sizes.lot_size,
                 f"{one.symbol} tick": sizes.tick_size}  # fmt: skip
    for price in answer.prices:
        for name in ("bid", "ask", "mark", "index", "last"):
            told[f"{price.symbol} {name}"] = getattr(price, name)
    for held in answer.holdings:
        for name in ("size", "entry_price", "mark", "mode", "leverage", "unrealised"):
            told[f"{held.symbol} {name}"] = getattr(held, name)
    for money in answer.money:
        told[f"{money.asset} amount"] = money.amount
    return told


def symbols(answer: Answer) -> list[str]:
    """What is told of, in order."""
    return sorted({name.split(" ")[0] for name in said(answer)})


def like(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Decimal) and isinstance(theirs, Decimal):
        return abs(ours - theirs) <= abs(ours) * Decimal("1e-12")
    return bool(ours == theirs)


def straight(name: str) -> Answer:
    paths = [path_of(f"{name}.json")]
    if name.startswith("okx") and "instruments" not in name:
        paths += [path_of(other) for other in SWAPS]
        whole = shapes.read_files("okx", paths)
        return Answer(prices=whole.prices, holdings=whole.holdings, money=whole.money)
    return shapes.read_files(name.split("/")[0], paths, market=market_word(name))


def rows(name: str) -> list[Any]:
    """The rows of an answer, wherever each venue keeps them."""
    document = raw(name)
    if isinstance(document, list):
        return document
    found = document.get("data", document.get("result", document))
    found = document["params"]["data"] if "params" in document else found
    found = found.get("list", found) if isinstance(found, dict) else found
    return found if isinstance(found, list) else [found]


def tickers(name: str, exchange: Any) -> Answer:
    return unified.prices([exchange.parse_ticker(row) for row in rows(name)])


def positions(name: str, exchange: Any) -> Answer:
    parse = getattr(exchange, "parse_position_risk", exchange.parse_position)
    told = [parse(row) for row in rows(name)]
    return unified.positions([one for one in told if one["contracts"]])  # flat: any market is told


def balances(name: str, exchange: Any) -> Answer:
    if name.startswith("okx"):
        return unified.accounts(exchange.parse_trading_balance(raw(name)))
    if name.startswith("binance"):
        market = "spot" if "/spot/" in name else "linear"
        return unified.accounts(_undated(exchange.parse_balance_custom(raw(name), market)))
    document = raw(name)
    return unified.accounts(_undated(exchange.parse_balance(
        document["result"] if name.startswith("deribit") else document
    )))  # fmt: skip


def _undated(balance: dict[str, Any]) -> dict[str, Any]:
    """Some samples are of 1970, which no answer is."""
    return {**balance, "timestamp": None}


def markets(name: str, exchange: Any) -> Answer:
    mine = {row.get("instId", row.get("symbol", row.get("instrument_name"))) for row in rows(name)}
    spot = "spot" in name
    return unified.listings([
        one for one in exchange.markets.values()
        if one["id"] in mine and one["spot"] == spot and one["active"] is not None
    ])  # fmt: skip


Way = Callable[[str, Any], Answer]
COMPARED: list[tuple[str, Way]] = [
    *((f"{venue}/{name}", markets) for venue, some in MARKETS.items() for name in some),
    ("deribit/ws_ticker", tickers), ("deribit/http_get_order_book", tickers),
    ("okx/ws_tickers", tickers), ("okx/http_get_mark_price", tickers),
    ("okx/http_get_index_price", tickers), ("bybit/ws_ticker_linear", tickers),
    ("bybit/ws_ticker_option", tickers),
    ("okx/http_get_positions", positions), ("bybit/http_get_positions", positions),
    ("bybit/ws_account_position", positions), ("bybit/ws_account_position_short", positions),
    ("binance/futures/http_json/position_risk", positions),
    ("deribit/http_get_account_summaries", balances),
    ("deribit/http_get_account_summaries_cross_margin", balances),
    ("okx/http_get_account_balance", balances), ("okx/ws_account", balances),
    ("bybit/http_get_wallet_balance", balances),
    ("bybit/http_get_wallet_balance_spot_short", balances),
    ("bybit/http_get_wallet_balance_with_spot_borrow", balances),
    ("binance/futures/http_json/account_info_v2", balances),
    ("binance/futures/http_json/balance", balances),
    ("binance/spot/http_json/account_response", balances),
]  # fmt: skip


@pytest.mark.parametrize(("name", "way"), COMPARED, ids=[name for name, _ in COMPARED])
def test_ccxt_reads_the_same(name: str, way: Way, exchanges: dict[str, Any]) -> None:
    theirs, ours = way(name, exchanges[name.split("/")[0]]), straight(name)
    known = {what: told for (file, what), told in DIFFERS.items() if file == f"{name}.json"}
    if "symbols" in known:
        assert symbols(theirs) == known["symbols"][0] != symbols(ours)
        return
    left, right = said(ours), said(theirs)
    flat = {held.symbol for held in ours.holdings if not held.size}
    common = {what for what in left if what in right and what.split(" ")[0] not in flat}
    assert symbols(ours) == sorted({*symbols(theirs), *flat})
    assert common or not left
    different = {what: right[what] for what in sorted(common) if not like(left[what], right[what])}
    expected = {
        what: Decimal(value) if isinstance(value, str) else value
        for what, (value, _) in known.items()
    }
    assert different.keys() == expected.keys()
    assert all(like(expected[what], value) for what, value in different.items())


def test_every_difference_has_a_reason() -> None:
    page = (ROOT / "docs" / "accounts_in.md").read_text("utf-8")
    assert all(f"- {reason} (" in page for _, reason in DIFFERS.values())
    assert all(len(reason) > 20 for _, reason in DIFFERS.values())
    files = {f"{name}.json" for name, _ in COMPARED}
    assert {file for file, _ in DIFFERS} <= files


def test_a_structure_of_ccxt_that_is_wrong_is_refused() -> None:
    row = {"symbol": "BTC/USDT:USDT", "contracts": 1.5, "contractSize": 0.01, "side": "long"}
    (held,) = unified.positions([row]).holdings
    assert held.size == Decimal("0.015")
    for change in ({"symbol": "BTCUSDT"}, {"contracts": float("nan")}, {"side": "up"},
                   {"contracts": None}, {"side": None}, {"entryPrice": -1.0}):  # fmt: skip
        with pytest.raises(BadInput, match="ccxt positions, row 1"):
            unified.positions([{**row, **change}])
    with pytest.raises(BadInput, match="dollars of a contract"):
        unified.positions([{**row, "symbol": "BTC/USD:BTC", "contractSize": None}])
    with pytest.raises(BadInput, match="told once"):
        unified.positions([row, row])


def test_leverage_tiers_and_orders_of_ccxt() -> None:
    told = {"BTC/USDT:USDT": [
        {"tier": 1, "minNotional": 0, "maxNotional": 300_000, "maintenanceMarginRate": 0.004,
         "maxLeverage": 150, "info": {"cum": "0"}},
        {"tier": 2, "minNotional": 300_000, "maxNotional": 800_000,
         "maintenanceMarginRate": 0.005, "maxLeverage": 100, "info": {"cum": "300"}},
    ]}  # fmt: skip
    first, second = unified.tiers(told).tiers
    assert (first.symbol, first.above) == ("BTC_USDT-PERPETUAL", Decimal(0))
    assert first.to == second.above == Decimal(300_000)
    assert (second.maintenance_rate, second.deduction) == (Decimal("0.005"), Decimal(300))
    order = {"id": "7", "symbol": "BTC/USDT:USDT", "side": "sell", "price": 9.5, "remaining": 3.0}
    (resting,) = unified.orders([order], {"BTC_USDT-PERPETUAL": Decimal("0.01")}).orders
    assert (resting.buy, resting.size, resting.price) == (False, Decimal("0.03"), Decimal("9.5"))
