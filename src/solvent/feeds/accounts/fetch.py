"""One's own account, asked of a venue: money, positions, open orders, and the market they are on.

Everything is read only. What the venue says of the key comes along, so that one which may do more
than read can be warned of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.accounts import binance, bybit, deribit, okx, signing
from solvent.feeds.accounts.answer import Answer, Listing, by_name
from solvent.feeds.accounts.cells import Cells, masking
from solvent.feeds.accounts.keys import RESTRICTIONS_URL, URLS, Credentials, Secret
from solvent.feeds.accounts.rest import Rest, Signer
from solvent.instruments import Kind
from solvent.units import DOLLARS

_BYBIT_SETTLED: Final = ("USDT", "USDC")
_PAGES_MAX: Final = 100
_OF_OTHERS: Final = (
    Reject.SYMBOL_UNKNOWN, Reject.INSTRUMENT_TERMS_INVALID, Reject.INSTRUMENT_NOT_FOR_THIS,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An account as its venue told it. `model` is the venue's word for how it is margined;
    `permitted` is what the key may do beyond reading."""

    venue: str
    account: str
    answer: Answer
    model: str
    permitted: tuple[str, ...]
    fetched_ms: int


def fetch(
    who: Credentials, *, clock: Callable[[], int], pause: Callable[[float], None] | None = None
) -> Fetched:
    """Ask a venue for an account and the market of what it holds. Raises BadInput."""
    more: dict[str, Any] = {} if pause is None else {"pause": pause}
    rest = Rest(who, **more)
    mask = who.without_secrets
    try:
        with masking(mask):
            answer, model, permitted = _VENUES[who.venue](rest, who, clock, more)
    except BadInput as fault:
        raise masked(fault, who) from None
    finally:
        rest.close()
    notes = tuple(_without(one, mask) for one in answer.notes)
    return Fetched(
        venue=who.venue, account=who.account, answer=replace(answer, notes=notes),
        model=mask(model), permitted=tuple(map(mask, permitted)), fetched_ms=clock(),
    )  # fmt: skip


def masked(fault: BadInput, who: Credentials) -> BadInput:
    """A venue's message with whatever it repeats of our secrets taken out."""
    return BadInput(*(_without(one, who.without_secrets) for one in fault.problems))


def _without(one: Problem, mask: Callable[[str], str]) -> Problem:
    return replace(one, expected=mask(one.expected), found=mask(one.found))


Told = tuple[Answer, str, tuple[str, ...]]


def _coins(answer: Answer) -> list[str]:
    """Coins of which a price is needed: those that are held, and one so that there is a market."""
    return sorted({one.asset for one in answer.money if one.amount} - DOLLARS | {"BTC"})


def _held(answer: Answer) -> dict[str, Listing]:
    """Listings, by Solvent's symbol, of what is held or ordered, and a perpetual of each coin."""
    symbols = {one.symbol for one in answer.holdings if one.size}
    symbols |= {one.symbol for one in answer.orders}
    listed = {one.symbol: one for one in answer.listings}
    missing = sorted(symbols - listed.keys())
    if missing:
        raise BadInput(
            *(
                Problem(
                    code=Reject.INSTRUMENT_NOT_IN_MARKET, source="the venue's listings",
                    expected="every contract that is held", found=name,
                )
                for name in missing
            )
        )  # fmt: skip
    perpetuals = {one.instrument.contract.base: one.symbol for one in listed.values()
                  if one.instrument.contract.kind is Kind.PERPETUAL}  # fmt: skip
    symbols |= {perpetuals[coin] for coin in _coins(answer) if coin in perpetuals}
    return {symbol: listed[symbol] for symbol in sorted(symbols)}


def _only(answer: Answer, kept: Iterable[Listing]) -> Answer:
    """The same with these listings alone: a venue lists thousands, some of kinds that we do not
    know. What of them is held is refused elsewhere; of the others nothing need be said."""
    notes = tuple(one for one in answer.notes if one.code not in _OF_OTHERS)
    return replace(answer, listings=tuple(kept), notes=notes)


# ── Deribit ──────────────────────────────────────────────────────────────────────────────────────


def _deribit(rest: Rest, who: Credentials, _clock: Callable[[], int], _more: Any) -> Told:
    token, permitted = _deribit_token(rest, who)
    sign = signing.bearer(token)

    def ask(method: str, read: Callable[[Any, str], Answer], signer: Signer | None = None,
            **query: str) -> Answer:  # fmt: skip
        source = f"deribit {method}"
        return read(rest.get(f"/api/v2/{method}", query, sign=signer), source)

    found = ask("private/get_account_summaries", deribit.accounts, sign, extended="true")
    found += ask("private/get_positions", deribit.positions, sign, currency="any")
    found += ask("private/get_open_orders", deribit.orders, sign)
    found += ask("public/get_instruments", deribit.listings, currency="any", expired="false")
    held = _held(found)
    found = _only(found, held.values())
    for one in held.values():
        found += ask("public/ticker", deribit.prices, instrument_name=one.name)
    models = {one.model for one in found.reported if one.model}
    return found, ", ".join(sorted(models)), permitted


def _deribit_token(rest: Rest, who: Credentials) -> tuple[Secret, tuple[str, ...]]:
    """A token for client credentials, asked for in a body so that no address holds the secret."""
    body = {
        "jsonrpc": "2.0", "id": 1, "method": "public/auth",
        "params": {
            "grant_type": "client_credentials", "client_id": who.key.reveal(),
            "client_secret": who.secret.reveal(),
        },
    }  # fmt: skip
    source = "deribit public/auth"
    told = rest.post("/api/v2/public/auth", json.dumps(body).encode())
    result = Cells(source, None, deribit.unwrapped(told, source))
    token = Secret(result.text("access_token"))
    who.given.append(token)
    refresh = result.maybe_text("refresh_token")
    if refresh:
        who.given.append(Secret(refresh))
    scopes = result.maybe_text("scope").split()
    risky = tuple(one for one in scopes if one.endswith(":read_write"))
    return token, risky


# ── OKX ──────────────────────────────────────────────────────────────────────────────────────────

_OKX_MODELS: Final = {"1": "spot", "2": "futures", "3": "multi-currency", "4": "portfolio margin"}
_OKX_ROWS: Final = 100
_OKX_TYPES: Final = {Kind.PERPETUAL: "SWAP", Kind.FUTURE: "FUTURES"}


def _okx(rest: Rest, who: Credentials, clock: Callable[[], int], _more: Any) -> Told:
    sign = signing.okx(who, clock)

    def ask(path: str, read: Callable[[Any, str], Answer], signer: Signer | None = None,
            **query: str) -> Answer:  # fmt: skip
        return read(rest.get(f"/api/v5/{path}", query, sign=signer), f"okx {path}")

    source = "okx account/config"
    rows = okx.unwrapped(rest.get("/api/v5/account/config", sign=sign), source)
    config = Cells(source, 0, rows[0] if rows else {})
    model = config.one_of("acctLv", _OKX_MODELS)
    risky = tuple(one for one in config.maybe_text("perm").split(",") if one not in
                  ("", "read_only"))  # fmt: skip
    raw = rest.get("/api/v5/account/positions", sign=sign)
    waiting = _okx_orders(rest, sign)
    families = _families(raw, "okx account/positions") | _families(waiting, "okx orders-pending")
    found = ask("account/balance", okx.accounts, sign)
    families |= {("SWAP", f"{coin}-USDT") for coin in _coins(found)}
    for kind, family in sorted(families):
        found += ask("public/instruments", okx.listings, instType=kind, instFamily=family)
    known = by_name(found.listings)
    found += okx.positions(raw, "okx account/positions", listings=known)
    found += okx.orders(waiting, "okx trade/orders-pending", listings=known)
    held = _held(found)
    found = _only(found, held.values())
    for kind, family in sorted(families):
        found += ask("public/mark-price", okx.prices, instType=kind, instFamily=family)
        if kind == "OPTION":
            found += ask("public/opt-summary", okx.prices, instFamily=family)
        elif kind in _OKX_TYPES.values():
            found += ask(
                "public/position-tiers",
                lambda document, where: okx.tiers(document, where, listings=by_name(held.values())),
                instType=kind, tdMode="cross", instFamily=family,
            )  # fmt: skip
    for family in sorted({family for _, family in families}):
        found += ask("market/index-tickers", okx.prices, instId=family)
    return found, model, risky


def _okx_orders(rest: Rest, sign: Signer) -> list[Any]:
    """Rows of all open orders: the venue tells a hundred at a time, those older than the last."""
    source, query = "okx trade/orders-pending", {"limit": str(_OKX_ROWS)}
    rows: list[Any] = []
    for _ in range(_PAGES_MAX):
        page = okx.unwrapped(rest.get("/api/v5/trade/orders-pending", query, sign=sign), source)
        rows += page
        if len(page) < _OKX_ROWS:
            return rows
        query["after"] = Cells(source, len(rows) - 1, page[-1]).text("ordId")
    raise _too_many(source)


def _too_many(source: str) -> BadInput:
    return BadInput(
        Problem(
            code=Reject.SOURCE_UNREADABLE, source=source, expected=f"at most {_PAGES_MAX} pages",
            found="more",
        )
    )  # fmt: skip


def _families(document: Any, source: str) -> set[tuple[str, str]]:
    """Types and families of the contracts that positions or orders are in."""
    found = set()
    for number, row in enumerate(okx.unwrapped(document, source)):
        cells = Cells(source, number, row)
        if cells.text("instType") not in ("SPOT", "MARGIN"):
            name = cells.text("instId")
            found.add((cells.text("instType"), "-".join(name.split("-")[:2])))
    return found


# ── Bybit ────────────────────────────────────────────────────────────────────────────────────────


def _bybit(rest: Rest, who: Credentials, clock: Callable[[], int], _more: Any) -> Told:
    sign = signing.bybit(who, clock)

    def ask(path: str, read: Callable[[Any, str], Answer], signer: Signer | None = None,
            **query: str) -> Answer:  # fmt: skip
        """All pages of an answer."""
        found, cursor = Answer(), ""
        for _ in range(_PAGES_MAX):
            told = {**query, "cursor": cursor} if cursor else query
            document = rest.get(f"/v5/{path}", told, sign=signer)
            found += read(document, f"bybit {path}")
            cursor = str(document["result"].get("nextPageCursor") or "")
            if not cursor:
                return found
        raise _too_many(f"bybit {path}")

    permitted = bybit.permitted(rest.get("/v5/user/query-api", sign=sign), "bybit user/query-api")
    info = rest.get("/v5/account/info", sign=sign)
    model = bybit.margin_mode(info, "bybit account/info")
    found = ask("account/wallet-balance", bybit.accounts, sign, accountType="UNIFIED")
    # A linear contract is asked for by what it settles in; the others by category alone.
    asked = [{"category": "linear", "settleCoin": coin} for coin in _BYBIT_SETTLED]
    asked += [{"category": "inverse"}, {"category": "option"}]
    for query in asked:

        def positions(document: Any, source: str, category: str = query["category"]) -> Answer:
            return bybit.positions(document, source, category=category)

        def orders(document: Any, source: str, category: str = query["category"]) -> Answer:
            return bybit.orders(document, source, category=category)

        found += ask("position/list", positions, sign, limit="200", **query)
        found += ask("order/realtime", orders, sign, limit="50", **query)
    return _bybit_market(ask, found), model, permitted


def _bybit_market(ask: Callable[..., Answer], found: Answer) -> Answer:
    """Listings, tickers and risk limits of what is held, each contract asked for by its name."""
    wanted = {one.symbol for one in found.holdings if one.size}
    wanted |= {one.symbol for one in found.orders}
    market, coins = Answer(), _coins(found)
    wanted |= {f"{coin}_USDT-PERPETUAL" for coin in coins}
    for category in ("linear", "inverse", "option"):

        def listings(document: Any, source: str, category: str = category) -> Answer:
            return bybit.listings(document, source, category=category)

        def prices(document: Any, source: str, category: str = category) -> Answer:
            return bybit.prices(document, source, category=category)

        def tiers(document: Any, source: str, category: str = category) -> Answer:
            return bybit.tiers(document, source, category=category)

        bases = sorted({_base(symbol) for symbol in wanted if symbol.endswith(("-C", "-P"))})
        queries = [{"baseCoin": coin} for coin in bases] if category == "option" else [{}]
        for query in queries:
            told = ask(
                "market/instruments-info", listings, category=category, limit="1000", **query
            )
            mine = [one for one in told.listings if one.symbol in wanted]
            market += _only(told, mine)
            for one in mine:
                market += ask("market/tickers", prices, category=category, symbol=one.name)
                if category != "option":
                    market += ask("market/risk-limit", tiers, category=category, symbol=one.name)
    whole = found + market
    return _only(whole, _held(whole).values())


def _base(symbol: str) -> str:
    return symbol.split("-")[0].split("_")[0].split("/")[0]


# ── Binance ──────────────────────────────────────────────────────────────────────────────────────


def _binance(rest: Rest, who: Credentials, clock: Callable[[], int], more: Any) -> Told:
    sign = signing.binance(who, clock)
    found = binance.accounts(rest.get("/fapi/v2/account", sign=sign), "binance account")
    found = _without_positions(found)
    raw = rest.get("/fapi/v2/positionRisk", sign=sign)
    found += binance.positions(raw, "binance positionRisk")
    waiting = rest.get("/fapi/v1/openOrders", sign=sign)
    found += binance.orders(waiting, "binance openOrders")
    found += binance.listings(
        rest.get("/fapi/v1/exchangeInfo"), "binance exchangeInfo", market="usdm"
    )
    held = _held(found)
    found = _only(found, held.values())
    for one in held.values():
        query = {"symbol": one.name}
        for path in ("premiumIndex", "ticker/bookTicker"):
            told = rest.get(f"/fapi/v1/{path}", query)
            found += binance.prices(told, f"binance {path}", market="usdm")
        told = rest.get("/fapi/v1/leverageBracket", query, sign=sign)
        found += binance.tiers(told, "binance leverageBracket")
    # A test network answers this at its own address, or not at all.
    url = RESTRICTIONS_URL if who.url == URLS["binance"] else who.url
    apart = Rest(who, url=url, **more)
    try:
        restrictions = apart.get("/sapi/v1/account/apiRestrictions", sign=sign)
        permitted = binance.permitted(restrictions, "binance apiRestrictions")
    except BadInput:
        permitted = ("unknown: the venue did not say what the key may do",)
    finally:
        apart.close()
    models = {one.model for one in found.reported}
    return found, ", ".join(sorted(models)), permitted


def _without_positions(answer: Answer) -> Answer:
    """The account's answer tells positions in brief; they are asked for whole."""
    return replace(answer, holdings=())


_VENUES: Final[dict[str, Callable[..., Told]]] = {
    "deribit": _deribit, "okx": _okx, "bybit": _bybit, "binance": _binance,
}  # fmt: skip
