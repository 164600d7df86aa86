"""Which adapter a venue has, by its name or by the address of a connection."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.live.adapter import Adapter
from solvent.feeds.live.binance import Binance, binance_routes
from solvent.feeds.live.bybit import Bybit
from solvent.feeds.live.bybit_v2 import BybitV2
from solvent.feeds.live.deribit import Deribit
from solvent.feeds.live.messages import Channel, Want
from solvent.feeds.live.okx import Okx

_Maker = Callable[[Iterable[Want]], Adapter]

ADAPTERS: Final[dict[str, _Maker]] = {
    "deribit": Deribit,
    "okx": Okx,
    "bybit": Bybit,
    "bybit-inverse": lambda wants: Bybit(wants, category="inverse"),
    "bybit-option": lambda wants: Bybit(wants, category="option"),
    "bybit-spot": lambda wants: Bybit(wants, category="spot"),
    "binance": Binance,
    "binance-coinm": lambda wants: Binance(wants, market="coinm"),
    "binance-spot": lambda wants: Binance(wants, market="spot"),
}
_PERPETUAL: Final = {
    "deribit": "{}-PERPETUAL", "okx": "{}-USDT-SWAP", "bybit": "{}USDT", "bybit-inverse": "{}USD",
    "bybit-spot": "{}USDT", "binance": "{}USDT", "binance-coinm": "{}USD_PERP",
    "binance-spot": "{}USDT",
}  # fmt: skip
_COIN: Final = re.compile(r"[A-Z0-9]{2,6}", re.ASCII)
_QUOTES: Final = ("USDT", "USDC", "USD")
_PLACES: Final[tuple[tuple[str, _Maker], ...]] = (
    ("deribit", Deribit),
    ("okx", Okx),
    ("bybit.com/realtime", BybitV2),
    ("bybit.com/v5/public/inverse", ADAPTERS["bybit-inverse"]),
    ("bybit.com/v5/public/option", ADAPTERS["bybit-option"]),
    ("bybit.com/v5/public/spot", ADAPTERS["bybit-spot"]),
    ("bybit", Bybit),
    ("dstream.binance", ADAPTERS["binance-coinm"]),
    ("fstream.binance", Binance),
    ("stream.binance", ADAPTERS["binance-spot"]),
)


def make_adapter(venue: str, wants: Iterable[Want] = ()) -> Adapter:
    """An adapter by the venue's name. Raises BadInput for a venue without one.

    >>> make_adapter("binance-coinm").rest_url
    'https://dapi.binance.com'
    """
    if venue not in ADAPTERS:
        raise BadInput(
            Problem(
                code=Reject.INPUT_INVALID, source="venue", found=venue,
                expected=f"one of {', '.join(ADAPTERS)}; ccxt has the others",
            )
        )  # fmt: skip
    return ADAPTERS[venue](wants)


def make_adapters(venue: str, wants: Iterable[Want]) -> list[Adapter]:
    """The adapters that a venue takes together, a connection each; the first has the books and the
    health of all. Raises BadInput as `make_adapter`.

    >>> wants = wants_for("binance", ["BTC"], [Channel.BOOK, Channel.TRADES])
    >>> [one.url for one in make_adapters("binance", wants)]
    ['wss://fstream.binance.com/public/stream', 'wss://fstream.binance.com/market/stream']
    """
    if venue == "binance":
        return [*binance_routes(wants)]
    return [make_adapter(venue, wants)]


def wants_for(venue: str, symbols: Iterable[str], channels: Iterable[Channel]) -> list[Want]:
    """Channels of instruments; a coin alone means the venue's perpetual, or its pair.

    >>> wants_for("okx", ["btc", "ETH-USDT"], [Channel.BOOK])
    [Want(channel=<Channel.BOOK: 'book'>, symbol='BTC-USDT-SWAP'), \
Want(channel=<Channel.BOOK: 'book'>, symbol='ETH-USDT')]
    """
    wanted = list(channels)
    names: list[str] = []
    for symbol in symbols:
        name = symbol.upper()
        alone = _COIN.fullmatch(name) and not name.endswith(_QUOTES)
        names.append(_PERPETUAL[venue].format(name) if alone and venue in _PERPETUAL else symbol)
    return [Want(channel, name) for name in dict.fromkeys(names) for channel in wanted]


def adapter_for(place: str, wants: Iterable[Want] = ()) -> Adapter:
    """An adapter by the address of a recorded connection. Raises BadInput where none fits.

    >>> adapter_for("wss://stream.bybit.com/realtime_public").numbered
    False
    """
    for part, maker in _PLACES:
        if part in place:
            return maker(wants)
    raise BadInput(
        Problem(
            code=Reject.INPUT_INVALID, source="recording", found=place[:80] or "no connection",
            expected="a connection to Deribit, OKX, Bybit or Binance",
        )
    )  # fmt: skip
