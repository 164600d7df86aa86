"""Venues' REST interfaces on this machine: answers from the fixtures, signatures checked.

Each checks what it was sent with an HMAC of its own, written from the venue's documentation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.test_accounts_in import path_of

KEY, SECRET, PHRASE = "canary-key-5e1f", "canary-secret-93ab", "canary-phrase-77c0"
CANARIES = (KEY, SECRET, PHRASE, "canary-token-1d2e")
Answers = dict[str, Any]


def raw(name: str) -> Any:
    return json.loads(path_of(f"{name}.json").read_text("utf-8"))


class Server(ThreadingHTTPServer):
    """One venue; `asked` are the paths, `fails` what is answered instead of a path, once each."""

    def __init__(self, venue: str, answers: Answers) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.venue = venue
        self.answers = answers
        self.asked: list[str] = []
        self.refused: list[str] = []
        self.fails: dict[str, list[tuple[int, bytes]]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers["Content-Length"])))

    def _serve(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        self.server.asked.append(parts.path)
        waiting = self.server.fails.get(parts.path)
        if waiting:
            self._send(*waiting.pop(0))
            return
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        wrong = CHECKS[self.server.venue](self, parts.path, body)
        if wrong:
            self.server.refused.append(f"{parts.path}: {wrong}")
            self._send(401, json.dumps({"error": wrong}).encode())
            return
        answer = self.server.answers.get(parts.path)
        if answer is None:
            self._send(404, b"{}")
            return
        found = answer(query) if callable(answer) else answer
        self._send(200, json.dumps(found).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        del format, arguments


def _mac(text: str) -> bytes:
    return hmac.new(SECRET.encode("ascii"), text.encode("ascii"), hashlib.sha256).digest()


def _check_deribit(request: _Handler, path: str, body: bytes) -> str:
    if path == "/api/v2/public/auth":
        told = json.loads(body)["params"]
        right = (told["client_id"], told["client_secret"]) == (KEY, SECRET)
        return "" if right and told["grant_type"] == "client_credentials" else "credentials"
    if "/private/" in path and request.headers["Authorization"] != "Bearer canary-token-1d2e":
        return "token"
    return ""


def _check_okx(request: _Handler, path: str, body: bytes) -> str:
    if not path.startswith(("/api/v5/account", "/api/v5/trade")):
        return "" if request.headers["OK-ACCESS-KEY"] is None else "a key where none is needed"
    stamp = request.headers["OK-ACCESS-TIMESTAMP"]
    signature = base64.b64encode(_mac(stamp + "GET" + request.path + body.decode())).decode()
    told = {name: request.headers[f"OK-ACCESS-{name}"] for name in ("KEY", "SIGN", "PASSPHRASE")}
    right = told == {"KEY": KEY, "SIGN": signature, "PASSPHRASE": PHRASE}
    return "" if right and stamp.endswith("Z") and len(stamp) == 24 else "signature"


def _check_bybit(request: _Handler, path: str, body: bytes) -> str:
    if path.startswith("/v5/market"):
        return "" if request.headers["X-BAPI-API-KEY"] is None else "a key where none is needed"
    stamp, window = request.headers["X-BAPI-TIMESTAMP"], request.headers["X-BAPI-RECV-WINDOW"]
    text = stamp + KEY + window + urlsplit(request.path).query + body.decode()
    right = request.headers["X-BAPI-SIGN"] == _mac(text).hex()
    return "" if right and request.headers["X-BAPI-API-KEY"] == KEY else "signature"


def _check_binance(request: _Handler, path: str, body: bytes) -> str:
    del body
    public = ("exchangeInfo", "premiumIndex", "bookTicker")
    if path.endswith(public):
        return "" if request.headers["X-MBX-APIKEY"] is None else "a key where none is needed"
    query = urlsplit(request.path).query
    signed, _, signature = query.rpartition("&signature=")
    right = signature == _mac(signed).hex() and "timestamp=" in signed
    return "" if right and request.headers["X-MBX-APIKEY"] == KEY else "signature"


CHECKS: dict[str, Callable[[_Handler, str, bytes], str]] = {
    "deribit": _check_deribit, "okx": _check_okx, "bybit": _check_bybit, "binance": _check_binance,
}  # fmt: skip


@contextmanager
def serving(venue: str) -> Iterator[Server]:
    """A venue that answers on this machine."""
    server = Server(venue, ANSWERS[venue]())
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def key_file(path: Path, url: str, *, mode: int = 0o600) -> Path:
    lines = {"key": KEY, "secret": SECRET, "passphrase": PHRASE, "url": url, "account": "me"}
    path.write_text("".join(f'{name} = "{value}"\n' for name, value in lines.items()), "utf-8")
    path.chmod(mode)
    return path


# ── what each venue answers ──────────────────────────────────────────────────────────────────────


def result(found: Any) -> Any:
    return {"jsonrpc": "2.0", "id": 1, "result": found}


def _deribit() -> Answers:
    position = {
        "instrument_name": "BTC-PERPETUAL", "direction": "sell", "size": -870_000.0,
        "kind": "future",
        "average_price": 86_000.0, "mark_price": 87006.21, "floating_profit_loss": -0.01,
        "initial_margin": 0.2, "maintenance_margin": 0.1, "leverage": 50,
    }  # fmt: skip
    order = {
        "order_id": "ETH-1", "order_type": "limit", "order_state": "open", "direction": "buy",
        "instrument_name": "BTC-27DEC24-100000-C", "amount": 1.0, "filled_amount": 0.4,
        "price": 0.05,
    }  # fmt: skip
    ticker = {**raw("deribit/http_get_order_book")["result"]}
    option = {
        "instrument_name": "BTC-27DEC24-100000-C", "mark_price": 0.02, "index_price": 86992.82,
        "mark_iv": 55.5, "underlying_price": 87_100.0, "timestamp": 1_733_000_000_000,
        "best_bid_price": 0.0195, "best_ask_price": 0.0,
    }  # fmt: skip
    token = {
        "access_token": "canary-token-1d2e", "token_type": "bearer",
        "scope": "account:read trade:read_write wallet:none block_trade:read",
    }  # fmt: skip
    return {
        "/api/v2/public/auth": result(token),
        "/api/v2/private/get_account_summaries": raw("deribit/http_get_account_summaries"),
        "/api/v2/private/get_positions": result([position]),
        "/api/v2/private/get_open_orders": result([order]),
        "/api/v2/public/get_instruments": raw("deribit/http_get_instruments"),
        "/api/v2/public/ticker": lambda query: result(
            option if query["instrument_name"].endswith("-C") else ticker
        ),
    }


def _okx() -> Answers:
    tiers = [
        {"instFamily": "BTC-USDT", "instId": "", "tier": str(n + 1), "minSz": low, "maxSz": high,
         "mmr": mmr, "imr": "0.01", "maxLever": "100"}
        for n, (low, high, mmr) in enumerate((("0", "0.2", "0.004"), ("0.2", "2000", "0.01")))
    ]  # fmt: skip
    config = {"acctLv": "2", "perm": "read_only,trade", "uid": "1", "posMode": "long_short_mode"}
    return {
        "/api/v5/account/config": {"code": "0", "data": [config], "msg": ""},
        "/api/v5/account/balance": raw("okx/http_get_account_balance"),
        "/api/v5/account/positions": raw("okx/http_get_positions"),
        "/api/v5/trade/orders-pending": raw("okx/http_get_orders_pending"),
        "/api/v5/public/instruments": raw("okx/http_get_instruments_swap"),
        "/api/v5/public/mark-price": raw("okx/http_get_mark_price"),
        "/api/v5/public/position-tiers": {"code": "0", "data": tiers, "msg": ""},
        "/api/v5/market/index-tickers": raw("okx/http_get_index_price"),
    }


def _bybit() -> Answers:
    nothing = {"retCode": 0, "retMsg": "OK", "result": {"list": [], "nextPageCursor": ""}}

    def by_category(name: str) -> Callable[[dict[str, str]], Any]:
        def answer(query: dict[str, str]) -> Any:
            mine = query["category"] == "linear" and query.get("settleCoin", "USDT") == "USDT"
            return raw(name) if mine else nothing

        return answer

    def ticker(query: dict[str, str]) -> Any:
        told = dict(raw("bybit/ws_ticker_linear")["data"])
        if query["symbol"] == "ETHUSDT":
            told |= {"symbol": "ETHUSDT", "markPrice": "2950", "indexPrice": "2951",
                     "bid1Price": "2949.9", "ask1Price": "2950.1"}  # fmt: skip
        told |= {"markPrice": "50500", "indexPrice": "50490"} if "BTC" in query["symbol"] else {}
        return {"retCode": 0, "result": {"category": "linear", "list": [told]}}

    def limits(query: dict[str, str]) -> Any:
        rows = [
            {"id": n + 1, "symbol": query["symbol"], "riskLimitValue": value,
             "maintenanceMargin": mmr, "initialMargin": imr, "maxLeverage": "100"}
            for n, (value, mmr, imr) in enumerate(
                (("10000", "0.005", "0.01"), ("2000000", "0.01", "0.02"))
            )
        ]  # fmt: skip
        return {"retCode": 0, "result": {"category": "linear", "list": rows}}

    return {
        "/v5/user/query-api": raw("bybit/http_get_user_query_api"),
        "/v5/account/info": raw("bybit/http_get_account_info"),
        "/v5/account/wallet-balance": raw("bybit/http_get_wallet_balance"),
        "/v5/position/list": by_category("bybit/http_get_positions"),
        "/v5/order/realtime": by_category("bybit/http_get_orders_realtime"),
        "/v5/market/instruments-info": by_category("bybit/http_get_instruments_linear"),
        "/v5/market/tickers": ticker,
        "/v5/market/risk-limit": limits,
    }


def _binance() -> Answers:
    from tests.test_accounts_in_ccxt import BINANCE_LISTED

    brackets = [
        {"bracket": 1, "initialLeverage": 125, "notionalCap": 300_000, "notionalFloor": 0,
         "maintMarginRatio": 0.004, "cum": 0.0},
        {"bracket": 2, "initialLeverage": 100, "notionalCap": 800_000, "notionalFloor": 300_000,
         "maintMarginRatio": 0.005, "cum": 300.0},
    ]  # fmt: skip
    mark = {"symbol": "BTCUSDT", "markPrice": "51000.0", "indexPrice": "50990.0",
            "time": 1_625_474_304_765}  # fmt: skip
    best = {"symbol": "BTCUSDT", "bidPrice": "50999", "askPrice": "51001"}
    return {
        "/fapi/v2/account": raw("binance/futures/http_json/account_info_v2"),
        "/fapi/v2/positionRisk": raw("binance/futures/http_json/position_risk"),
        "/fapi/v1/openOrders": [raw("binance/futures/http_json/order_response")],
        "/fapi/v1/exchangeInfo": {"symbols": [BINANCE_LISTED]},
        "/fapi/v1/premiumIndex": mark,
        "/fapi/v1/ticker/bookTicker": best,
        "/fapi/v1/leverageBracket": [{"symbol": "BTCUSDT", "brackets": brackets}],
        "/sapi/v1/account/apiRestrictions": {
            "ipRestrict": True,
            "enableReading": True,
            "enableWithdrawals": False,
            "enableFutures": True,
        },
    }


ANSWERS: dict[str, Callable[[], Answers]] = {
    "deribit": _deribit, "okx": _okx, "bybit": _bybit, "binance": _binance,
}  # fmt: skip
