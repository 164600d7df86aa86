"""Venues' names of contracts to contracts. Every dated one is over at 08:00 UTC.

| venue | perpetual | future | option | spot |
|---|---|---|---|---|
| OKX | `BTC-USDT-SWAP` | `BTC-USD-241220` | `BTC-USD-241217-92000-C` | `BTC-USDT` |
| Bybit | `BTCUSDT`, `BTCPERP` | `BTC-27DEC24`, `BTCUSDZ24` | `BTC-30JUN25-100000-C` | `BTCUSDT` |
| Binance | `BTCUSDT`, `BTCUSD_PERP` | `BTCUSDT_240628`, `BTCUSD_240628` | | `BTCUSDT` |

Deribit's names are read by `instruments.symbols`. What is quoted in USD settles in its coin; an
option of Bybit settles in what its name ends in, else USDC, and is quoted in it.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date
from decimal import Decimal
from typing import Final

from solvent.instruments import Contract, Kind, OptionType
from solvent.instruments.contract import expiry_at, expiry_of_day
from solvent.limits import STRIKE_MAX
from solvent.units import TimeMs

_CODE: Final = r"[A-Z0-9]{1,15}"
_LINEAR: Final = ("USDT", "USDC", "FDUSD", "BUSD", "USDE", "USD1")
_SPOT: Final = (
    *_LINEAR, "TUSD", "DAI", "EUR", "BRL", "TRY", "BTC", "ETH", "BNB", "SOL", "USD",
)  # fmt: skip
_QUOTED: Final = {"inverse": ("USD",), "linear": _LINEAR, "spot": _SPOT}
"""What a pair is quoted in, where a name does not say where one coin ends: the first that fits.
Of an inverse contract nothing but dollars: DOTUSD is DOT, not DO in TUSD."""
_OKX: Final = re.compile(
    rf"(?P<base>{_CODE})-(?P<quote>{_CODE})(?:-(?:(?P<swap>SWAP)|(?P<day>\d{{6}})"
    r"(?:-(?P<strike>\d+(?:\.\d+)?)-(?P<type>[CP]))?))?",
    re.ASCII,
)
_BYBIT_OPTION: Final = re.compile(
    rf"(?P<base>{_CODE})-(?P<day>\d{{1,2}}[A-Z]{{3}}\d{{2}})-(?P<strike>\d+(?:\.\d+)?)-(?P<type>[CP])"
    r"(?:-(?P<settlement>USDT|USDC))?",
    re.ASCII,
)
_BYBIT_DATED: Final = re.compile(
    rf"(?P<pair>{_CODE})-(?P<day>\d{{1,2}}[A-Z]{{3}}\d{{2}})", re.ASCII
)
_BYBIT_QUARTERLY: Final = re.compile(
    rf"(?P<base>{_CODE})USD(?P<month>[HMUZ])(?P<year>\d{{2}})", re.ASCII
)
_BINANCE: Final = re.compile(rf"(?P<pair>{_CODE})(?:_(?P<tail>PERP|\d{{6}}))?", re.ASCII)
_QUARTERS: Final = {"H": 3, "M": 6, "U": 9, "Z": 12}
_FRIDAY: Final = 4


def okx_contract(name: str) -> Contract:
    """A contract of OKX. Raises ValueError for what is none.

    >>> okx_contract("BTC-USD-241217-92000-C").settlement, okx_contract("BTC-USDT-SWAP").kind.name
    ('BTC', 'PERPETUAL')
    """
    found = _OKX.fullmatch(name)
    if found is None:
        raise _unknown(name, "OKX")
    base, quote = found["base"], found["quote"]
    if not found["swap"] and not found["day"]:
        return _pair(name, base, quote)
    expiry = _of_digits(found["day"]) if found["day"] else None
    return _derivative(name, base, quote, expiry, found["strike"], found["type"])


def bybit_contract(name: str, category: str) -> Contract:
    """A contract of Bybit, of a category: linear, inverse, option or spot.

    >>> bybit_contract("ETH-26JUN26-16000-P", "option").settlement
    'USDC'
    >>> bybit_contract("BTCUSDZ24", "inverse") == bybit_contract("BTCUSD-27DEC24", "inverse")
    True
    """
    if category == "option":
        option = _BYBIT_OPTION.fullmatch(name)
        if option is None:
            raise _unknown(name, "Bybit")
        return _derivative(
            name, option["base"], option["settlement"] or "USDC", expiry_of_day(option["day"]),
            option["strike"], option["type"],
        )  # fmt: skip
    if category == "spot":
        return _pair(name, *_split(name, "spot"))
    if category not in ("linear", "inverse"):
        raise ValueError(f"Bybit has no category {category!r}")
    quarter = _BYBIT_QUARTERLY.fullmatch(name) if category == "inverse" else None
    if quarter is not None:
        month, year = _QUARTERS[quarter["month"]], 2000 + int(quarter["year"])
        return _derivative(name, quarter["base"], "USD", _last_friday(year, month), None, None)
    dated = _BYBIT_DATED.fullmatch(name)
    pair = name if dated is None else dated["pair"]
    expiry = None if dated is None else expiry_of_day(dated["day"])
    if pair.endswith("PERP") and dated is None:
        base, quote = pair.removesuffix("PERP"), "USDC"
    elif dated is not None and category == "linear" and not pair.endswith(_LINEAR):
        base, quote = pair, "USDC"
    else:
        base, quote = _split(pair, category)
    return _derivative(name, base, quote, expiry, None, None)


def binance_contract(name: str, market: str) -> Contract:
    """A contract of Binance, of a market: usdm, coinm or spot.

    >>> binance_contract("BTCUSD_240628", "coinm").inverse, binance_contract("LTCBTC", "spot").quote
    (True, 'BTC')
    """
    found = _BINANCE.fullmatch(name)
    if found is None or market not in ("usdm", "coinm", "spot"):
        raise _unknown(name, "Binance")
    if market == "spot":
        if found["tail"]:
            raise _unknown(name, "Binance")
        return _pair(name, *_split(found["pair"], "spot"))
    dated = found["tail"] and found["tail"] != "PERP"
    expiry = _of_digits(found["tail"]) if dated else None
    base, quote = _split(found["pair"], "inverse" if market == "coinm" else "linear")
    return _derivative(name, base, quote, expiry, None, None)


def _derivative(
    name: str, base: str, quote: str, expiry_ms: TimeMs | None, strike: str | None, kind: str | None
) -> Contract:
    if not base or base == quote:
        raise ValueError(f"{name!r}: a coin against itself")
    settlement = base if quote == "USD" else quote
    if expiry_ms is None:
        return Contract(base=base, quote=quote, settlement=settlement, kind=Kind.PERPETUAL)
    if strike is None or kind is None:
        return Contract(
            base=base, quote=quote, settlement=settlement, kind=Kind.FUTURE, expiry_ms=expiry_ms
        )
    if not 0 < Decimal(strike) <= Decimal(STRIKE_MAX):
        raise ValueError(f"{name!r}: strike {strike} is outside 0 to {STRIKE_MAX:.0e}")
    return Contract(
        base=base, quote=quote, settlement=settlement, kind=Kind.OPTION, expiry_ms=expiry_ms,
        strike=Decimal(strike), option_type=OptionType(kind),
    )  # fmt: skip


def _pair(name: str, base: str, quote: str) -> Contract:
    if not base or base == quote:
        raise ValueError(f"{name!r}: a coin against itself")
    return Contract(base=base, quote=quote, settlement=quote, kind=Kind.SPOT)


def _split(pair: str, category: str) -> tuple[str, str]:
    """Base and quote of a pair that is written together."""
    fits = (one for one in _QUOTED[category] if pair.endswith(one) and len(pair) > len(one))
    quote = next(fits, None)
    if quote is None:
        raise ValueError(f"{pair!r} is no pair of a known quote")
    return pair.removesuffix(quote), quote


def _of_digits(day: str) -> TimeMs:
    return expiry_at(year=2000 + int(day[:2]), month=int(day[2:4]), day=int(day[4:]))


def _last_friday(year: int, month: int) -> TimeMs:
    last = monthrange(year, month)[1]
    back = (date(year, month, last).weekday() - _FRIDAY) % 7
    return expiry_at(year=year, month=month, day=last - back)


def _unknown(name: str, venue: str) -> ValueError:
    return ValueError(f"{name!r} is no name of a contract of {venue}")
