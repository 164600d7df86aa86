"""Venues' live data: adapters without I/O, the connection round them, and what becomes of it."""

from solvent.feeds.live.adapter import Adapter, Fetch, Taken
from solvent.feeds.live.connection import Connection
from solvent.feeds.live.generator import GeneratedVenue, Moment, generated
from solvent.feeds.live.market import LiveMarket, contract_of, quote_of, word_of
from solvent.feeds.live.messages import (
    BookDelta,
    BookSnapshot,
    Channel,
    Fault,
    FaultKind,
    Funding,
    Message,
    Ticker,
    Trade,
    Want,
)
from solvent.feeds.live.published import (
    Correction,
    Published,
    Publisher,
    Why,
    index_rules,
    sources_of,
)
from solvent.feeds.live.venues import ADAPTERS, adapter_for, make_adapter, make_adapters

__all__ = [
    "ADAPTERS",
    "Adapter",
    "BookDelta",
    "BookSnapshot",
    "Channel",
    "Connection",
    "Correction",
    "Fault",
    "FaultKind",
    "Fetch",
    "Funding",
    "GeneratedVenue",
    "LiveMarket",
    "Message",
    "Moment",
    "Published",
    "Publisher",
    "Taken",
    "Ticker",
    "Trade",
    "Want",
    "Why",
    "adapter_for",
    "contract_of",
    "generated",
    "index_rules",
    "make_adapter",
    "make_adapters",
    "quote_of",
    "sources_of",
    "word_of",
]
