"""What each answer of the four venues says, read by eye: what tests hold the readers against.

`CARRIES` names every fixture that tells of positions, balances, instruments, prices, orders or
tiers, with its content; `CARRIES_NOTHING` every other one, by pattern, with the reason. Numbers are
as the file has them, sizes in Solvent's unit.
"""

from __future__ import annotations

from typing import Any

SWAPS = ("okx/http_get_instruments_swap.json", "okx/http_get_instruments_option.json")
"""Listings without which contracts cannot be counted."""
L, P, H, M, R, ORDERS, T, N = (
    "listings", "prices", "holdings", "money", "reported", "orders", "tiers", "notes",
)  # fmt: skip


def _deribit_summary(part: str, equity: str, initial: str, maintenance: str) -> tuple[str, ...]:
    return (part, part, equity, initial, maintenance)


CARRIES: dict[str, dict[str, Any]] = {
    # listings: symbol, lot, unit, tick; money: asset, amount, backing;
    # reported: part, currency, equity, initial, maintenance
    "deribit/http_get_account_summaries.json": {
        M: [("BTC", "302.60065765", "302.56807660"), ("ETH", "100", "100")],
        R: [_deribit_summary("BTC", "302.61869214", "1.24669592", "0.8857841"),
            _deribit_summary("ETH", "100", "0.000402", "0")],
    },
    "deribit/http_get_account_summaries_cross_margin.json": {
        M: [("BTC", "0.00002288", "0.00002288"), ("USDT", "23.61869", "23.61869"),
            ("SOL", "0", "0"), ("ETH", "0.000086", "0.000086")],
        R: [("", "USD", "25.710502678", "0.806292412", "0.2671726792")],
    },
    "deribit/ws_portfolio.json": {
        M: [("USDT", "55.00055", "55.00055")],
        R: [("", "USD", "54.924283065", "1.099130991", "0")],
    },
    "deribit/http_get_instrument.json": {L: [("BTC-PERPETUAL", "10", "1", "0.5")]},
    "deribit/http_get_instrument_option.json": {
        L: [("BTC-27DEC24-100000-C", "0.1", "1", "0.0005")], N: ["12:00 UTC"],
    },
    "deribit/http_get_instruments.json": {
        L: [("BTC-PERPETUAL", "10", "1", "0.5"), ("BTC-27DEC24", "10", "1", "0.5"),
            ("BTC-27DEC24-100000-C", "0.1", "1", "0.0005")],
        N: ["12:00 UTC", "12:00 UTC", "BTC-COMBO-1"],
    },
    "deribit/http_get_instruments_future_combo.json": {N: ["future_combo"] * 6},
    "deribit/http_get_instruments_option_combo.json": {N: ["option_combo"] * 6},
    "deribit/http_get_order_book.json": {
        P: [("BTC-PERPETUAL", 1766554855140, {"bid": "87002.5", "ask": "87003", "mark": "87006.21",
                                              "index": "86992.82", "last": "87002.5"})],
    },
    "deribit/ws_ticker.json": {
        P: [("BTC-PERPETUAL", 1765541474086, {"bid": "92283.5", "ask": "92284", "mark": "92281.78",
                                              "index": "92263.55", "last": "92283.5"})],
    },
    "deribit/ws_quote.json": {
        P: [("BTC-PERPETUAL", 1765541767174, {"bid": "92288", "ask": "92288.5"})],
    },
    "deribit/ws_order_cancel_response.json": {N: ["cancelled"]},
    "okx/http_balance_detail_new_fields.json": {M: [("USDT", "100", "100")]},
    "okx/http_balance_detail_old_fields.json": {M: [("USDT", "100", "100")]},
    "okx/http_get_account_balance.json": {
        M: [("USDT", "94.42612990333333", "94.42612990333333")],
        R: [("", "USD", "99.88870288820581", None, None)],
    },
    "okx/ws_account.json": {
        M: [("USDT", "100.52768569797846", "100.52768569797846"),
            ("BTC", "0.0000000051", "0.0000000051"), ("ETH", "0.000000185", "0.000000185")],
        R: [("", "USD", "100.56089404807182", None, None)],
    },
    "okx/ws_account_empty.json": {R: [("", "USD", "0", None, None)]},
    "okx/http_get_positions.json": {
        # Half a contract of 0.01 BTC, long, alone with its margin.
        H: [("BTC_USDT-PERPETUAL", "0.005", "10000", "isolated")],
    },
    "okx/http_get_instruments_swap.json": {
        L: [("BTC-PERPETUAL", "100", "100", "0.1"), ("ETH_USDT-PERPETUAL", "0.001", "0.1", "0.01"),
            ("BTC_USDT-PERPETUAL", "0.0001", "0.01", "0.1")],
    },
    "okx/ws_instruments.json": {L: [("BTC_USDT-PERPETUAL", "0.01", "0.01", "0.1")]},
    "okx/http_get_instruments_futures.json": {
        L: [(f"BTC-{day}", "100", "100", "0.1") for day in
            ("20DEC24", "27DEC24", "31JAN25", "28FEB25", "28MAR25", "27JUN25")],
    },
    "okx/http_get_instruments_option.json": {
        L: [(f"BTC-17DEC24-{strike}", "0.01", "0.01", "0.0001") for strike in
            ("92000-C", "92000-P", "94000-C", "94000-P")],
    },
    "okx/http_get_instruments_spot.json": {
        L: [("BTC_USD", "0.00000001", "1", "0.1"), ("ETH_USD", "0.000001", "1", "0.01"),
            ("SOL_USD", "0.000001", "1", "0.01"), ("XRP_USD", "0.000001", "1", "0.0001"),
            ("USDT_USD", "0.0001", "1", "0.0001")],
    },
    "okx/http_get_instruments_margin.json": {
        L: [("BTC_USDT", "0.00000001", "1", "0.1"), ("ETH_USDT", "0.000001", "1", "0.01"),
            ("OKB_USDT", "0.000001", "1", "0.01"), ("SOL_USDT", "0.000001", "1", "0.01")],
    },
    "okx/http_get_index_price.json": {
        P: [("BTC_USDT", 1746942707815, {"index": "103895"})],
    },
    "okx/http_get_mark_price.json": {
        P: [("BTC_USDT-PERPETUAL", 1744590349506, {"mark": "84660.1"})],
    },
    "okx/http_get_option_summary.json": {
        P: [(f"BTC-17DEC24-{strike}", 1734166000000, {"vol": "0.455", "forward": "97000"})
            for strike in ("92000-C", "92000-P", "94000-C", "94000-P")],
    },
    "okx/ws_opt_summary.json": {
        P: [("BTC-28MAR25-92000-C", 1711612800000, {"vol": "0.53", "forward": "92150.50"}),
            ("BTC-28MAR25-92000-P", 1711612800000, {"vol": "0.52", "forward": "92150.50"})],
    },
    "okx/ws_tickers.json": {
        P: [("BTC_USDT", 1597026383085, {"bid": "8888.88", "ask": "9999.99", "last": "9999.99"})],
    },
    "okx/ws_bbo_tbt.json": {
        P: [("BTC_USDT", 1597026383085, {"bid": "8476.97", "ask": "8476.98"})],
    },
    "okx/ws_books_snapshot.json": {
        P: [("BTC_USDT", 1597026383085, {"bid": "8476.97", "ask": "8476.98"})],
    },
    "okx/http_get_position_tiers.json": {
        T: [("BTC_USDT", "size", "0", "50", "0.03", "0.1", "10")],
    },
    "okx/http_get_orders_pending.json": {
        # A tenth of a contract of 0.01 BTC.
        ORDERS: [("BTC_USDT-PERPETUAL", "1234567890123456789", True, "0.001", "103500")],
    },
    "okx/http_get_orders_pending_with_attached_tp_sl.json": {
        ORDERS: [("ETH_USDT-PERPETUAL", "2234567890123456789", True, "0.001", "2300")],
    },
    **{f"okx/{name}.json": {N: ["left out"]} for name in (
        "http_get_orders_history", "ws_orders", "ws_orders_adl", "ws_orders_fok", "ws_orders_ioc",
        "ws_orders_liquidation", "ws_orders_optimal_limit_ioc", "ws_orders_option",
        "ws_orders_trigger",
    )},
    "bybit/http_get_wallet_balance.json": {
        M: [("BTC", "0", "0"), ("USDT", "1000.50", "1000.50"), ("ETH", "-0.06142", "-0.06142")],
        R: [("", "USD", "3.00326056", "0", "0")],
    },
    "bybit/http_get_wallet_balance_spot_short.json": {
        M: [("ETH", "-0.06142", "-0.06142"), ("USDT", "2500", "2500")],
        R: [("", "USD", "2500", "0", "0")],
    },
    "bybit/http_get_wallet_balance_with_spot_borrow.json": {
        M: [("USDT", "1000", "1000")], R: [("", "USD", "2500", "0", "0")],
    },
    "bybit/ws_account_wallet.json": {
        M: [("BTC", "0.00102964", "0.00102964"), ("USDT", "9647.75537647", "9647.75537647")],
        R: [("", "USD", "9684.46297164", "127.8573161", "12.78573161")],
    },
    "bybit/ws_account_wallet_locked_exceeds_total.json": {
        M: [("USDT", "100", "100")], R: [("", "USD", "100", "120", "12")],
    },
    "bybit/ws_account_wallet_small_order.json": {
        M: [("USDT", "51333.82543837", "51333.82543837")],
        R: [("", "USD", "51333.82543837", "50.028", "5.0028")],
    },
    "bybit/http_get_positions.json": {
        H: [("BTC_USDT-PERPETUAL", "0.5", "50000", "cross"),
            ("ETH_USDT-PERPETUAL", "-5", "3000", "cross"),
            ("SOL_USDT-PERPETUAL", "0", None, "cross")],
    },
    "bybit/http_get_positions_with_open_time.json": {
        H: [("LTC_USDT-PERPETUAL", "1", "70", "cross")],
    },
    "bybit/ws_account_position.json": {H: [("ETH_USDT-PERPETUAL", "-0.01", "3641.075", "cross")]},
    "bybit/ws_account_position_short.json": {
        H: [("ETH_USDT-PERPETUAL", "-0.01", "3641.075", "cross")],
    },
    "bybit/ws_account_position_with_open_time.json": {
        H: [("BTC_USDT-PERPETUAL", "0.1", "50000", "cross")],
    },
    "bybit/http_get_instruments_inverse.json": {L: [("BTC-PERPETUAL", "1", "1", "0.5")]},
    "bybit/http_get_instruments_inverse_symbol_type.json": {
        L: [("BRENT-PERPETUAL", "0.001", "1", "0.01")],
    },
    "bybit/http_get_instruments_linear.json": {
        L: [("BTC_USDT-PERPETUAL", "0.001", "1", "0.5"),
            ("ETH_USDT-PERPETUAL", "0.01", "1", "0.05")],
    },
    "bybit/http_get_instruments_linear_symbol_type.json": {
        L: [("TSLA_USDT-PERPETUAL", "0.001", "1", "0.01")],
    },
    "bybit/http_get_instruments_option.json": {
        L: [("ETH_USDC-26JUN26-16000-P", "1", "1", "0.1")], N: ["the name counts"],
    },
    "bybit/http_get_instruments_option_symbol_id.json": {
        L: [("BTC_USDC-30JUN25-100000-C", "0.01", "1", "5")], N: ["the name counts"],
    },
    "bybit/http_get_instruments_spot.json": {
        L: [("BTC_USDT", "0.0001", "1", "0.1"), ("ETH_USDT", "0.00001", "1", "0.01")],
    },
    "bybit/http_get_instruments_spot_xstocks.json": {L: [("AAPL_USDT", "0.0001", "1", "0.01")]},
    "bybit/ws_ticker_linear.json": {
        P: [("BTC_USDT-PERPETUAL", 1673272861686, {
            "bid": "17215.50", "ask": "17216", "mark": "17217.33", "index": "17227.36",
            "last": "17216",
        })],
    },
    "bybit/ws_ticker_option.json": {
        P: [("BTC_USDC-6JAN23-17500-C", 1672917511074, {
            "ask": "10", "mark": "7.86976724", "index": "16823.73", "forward": "16815.1",
            "vol": "0.4896", "last": "10",
        })],
    },
    "bybit/http_get_orders_realtime.json": {
        ORDERS: [("ETH_USDT-PERPETUAL", "open-order-1", True, "0.01", "3930.41"),
            ("ETH_USDT-PERPETUAL", "open-order-2", False, "0.01", "3940.42")],
    },
    "bybit/http_get_orders_realtime_tp_sl.json": {N: ["left out"] * 2},
    "bybit/http_get_orders_history_with_duplicate.json": {
        ORDERS: [("ETH_USDT-PERPETUAL", "open-order-1", True, "0.01", "3930.41")],
        N: ["Cancelled, left out"],
    },
    **{f"bybit/{name}.json": {N: ["left out"]} for name in (
        "http_get_order_partially_filled_rejected", "http_get_orders_history",
        "ws_account_order", "ws_account_order_buy_stop_market", "ws_account_order_filled",
        "ws_account_order_limit_if_touched", "ws_account_order_market_if_touched",
        "ws_account_order_partially_filled_rejected", "ws_account_order_sell_market_if_touched",
        "ws_account_order_stop_limit", "ws_account_order_stop_loss",
        "ws_account_order_stop_market", "ws_account_order_take_profit",
    )},
    "binance/futures/http_json/account_info_v2.json": {
        M: [("USDT", "23.72469206", "23.72469206")],
        R: [("", "USD", "23.72469206", "0", "0")],
        H: [("BTC_USDT-PERPETUAL", "0", None, "cross")],
    },
    "binance/futures/http_json/balance.json": {M: [("USDT", "122.12345678", "122.12345678")]},
    "binance/futures/http_json/position_risk.json": {
        H: [("BTC_USDT-PERPETUAL", "0.001", "50000", "cross")],
    },
    "binance/futures/http_json/order_response.json": {
        ORDERS: [("BTC_USDT-PERPETUAL", "12345678", True, "0.001", "50000")],
    },
    "binance/futures/market_data_json/book_ticker_stream.json": {
        P: [("BNB_USDT-PERPETUAL", 1568014460893, {"bid": "25.3519", "ask": "25.3652"})],
    },
    "binance/futures/market_data_json/mark_price_stream.json": {
        P: [("BTC_USDT-PERPETUAL", 1562305380000, {"mark": "11794.15", "index": "11784.62659091"})],
    },
    "binance/futures/market_data_json/ticker_stream.json": {
        P: [("BTC_USDT-PERPETUAL", 1672515782136, {"last": "16584.60"})],
    },
    "binance/futures/user_data_json/account_update.json": {
        M: [("USDT", "122624.12345678", "100.12345678")],
        H: [("BTC_USDT-PERPETUAL", "0", None, "isolated"),
            ("BTC_USDT-PERPETUAL", "20", "6563.6", "isolated"),
            ("BTC_USDT-PERPETUAL", "-10", "6563.8", "isolated")],
    },
    "binance/futures/user_data_json/account_update_bnfcr.json": {
        M: [("BNFCR", "5001.28983031", "5001.28983031")],
    },
    "binance/spot/http_json/account_response.json": {
        M: [("BTC", "4723846.89208129", "4723846.89208129"),
            ("LTC", "4763368.68006011", "4763368.68006011")],
    },
    "binance/spot/http_json/book_ticker_response.json": {
        P: [("LTC_BTC", None, {"bid": "4", "ask": "4.000002"})],
    },
    "binance/spot/http_json/ticker_24hr_response.json": {
        P: [("BNB_BTC", 1499869899040, {"bid": "4", "ask": "4.000002", "last": "4.000002"})],
    },
    "binance/spot/http_json/ticker_price_response.json": {
        P: [("LTC_BTC", None, {"last": "4.000002"})],
    },
    "binance/spot/http_json/open_orders_response.json": {
        ORDERS: [("LTC_BTC", "1", True, "1", "0.1")],
    },
    "binance/spot/http_json/all_orders_response.json": {
        ORDERS: [("LTC_BTC", "1", True, "1", "0.1")],
    },
    "binance/spot/http_json/order_response.json": {ORDERS: [("LTC_BTC", "1", True, "1", "0.1")]},
    "binance/spot/http_json/cancel_order_response.json": {N: ["CANCELED, left out"]},
    "binance/spot/http_json/new_order_full_response.json": {N: ["FILLED, left out"]},
    "binance/spot/user_data_json/account_position.json": {
        M: [("USDT", "12500", "12500"), ("ETH", "5", "5")],
    },
    "binance/spot/user_data_json/account_position_wrapped.json": {M: [("ETH", "10000", "10000")]},
}  # fmt: skip

REFUSED = {
    "binance/spot/http_json/exchange_info_response.json":
        "instruments: its filters are empty, so no lot and no tick is told",
    "binance/spot/http_json/cancel_open_orders_response.json":
        "orders: one row is a list of orders, and all are cancelled",
    "okx/http_get_order_book.json": "prices: a book that does not say of what",
    "okx/ws_books_update.json": "prices: changes of a book: the live feed reads books",
    "deribit/ws_book_snapshot.json": "prices: a book without a mark: the live feed reads books",
    "deribit/ws_book_grouped_snapshot.json": "prices: a book without a mark, grouped",
    "bybit/http_get_orderbook.json": "prices: a book without a mark: the live feed reads books",
    "bybit/ws_orderbook_snapshot.json": "prices: a book without a mark: the live feed reads books",
    "binance/spot/http_json/depth_response.json": "prices: a book that does not say of what",
    "binance/spot/http_json/avg_price_response.json": "prices: an average that says not of what",
    "deribit/ws_volatility_index.json": "prices: an index of volatility, of no instrument",
    "deribit/http_get_combos.json": "instruments: orders for several instruments, not instruments",
    "deribit/http_get_expirations_*.json": "instruments: days on which there are some, none named",
    "okx/http_get_spreads.json": "instruments: orders for two instruments, not instruments",
    "okx/http_get_account_positions-history.json": "positions: closed ones",
    "binance/spot/user_data_json/balance_update*.json": "balances: a change, not what there is",
    "binance/spot/user_data_sbe/mainnet/outbound_account_position_event_?.sbe":
        "balances: binary (SBE): JSON is what is asked for",
}  # fmt: skip
"""Of what is sought, and not read: why."""

CARRIES_NOTHING = {
    "trades": ["*trades*.json", "*_trade*.json", "*trade_stream*", "okx/http_transaction_detail*",
               "bybit/*execution*", "*trade_lite*", "*liquidation_stream*"],
    "candles, charts": ["*kline*", "*candle*", "*chart*"],
    "changes of a book": ["*book_delta*", "*orderbook_delta*", "*depth_update*"],
    "funding rates": ["*funding*"],
    "fees": ["*fee_rate*", "*trade_fee*"],
    "answers to an order or to a change of one": [
        "*place_*order*", "*cancel_algo*", "deribit/ws_order_*", "bybit/ws_order_response.json",
        "*set_position_mode*"],
    "orders that wait for a trigger, or of spreads": [
        "*algo*", "okx/*spread_orders*", "okx/ws_sprd_orders.json"],
    "changes of orders": ["*order_update*", "*execution_report*", "*list_status*"],
    "keys, users, modes": ["bybit/http_*user*", "bybit/http_get_account_info.json"],
    "a connection's own": ["*auth_*", "*subscri*", "*test*.json", "*ws_error*", "*time*.json",
                           "*ping*"],
    "parts and descriptions of other files": [
        "okx/common_optional*", "binance/spot/user_data_sbe/*"],
}  # fmt: skip
"""Why → the files, by pattern: none tells of what is sought."""
