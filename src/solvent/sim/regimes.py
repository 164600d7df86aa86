"""How accounts are margined in a crash: regimes that a history goes through side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """How accounts are margined: a shipped rulebook, and whether positions are isolated."""

    name: str
    title: str
    rulebook: str
    isolated: bool = False


REGIMES: Final = (
    Regime(name="isolated", title="isolated", rulebook="binance-usdm", isolated=True),
    Regime(name="cross", title="cross", rulebook="binance-usdm"),
    Regime(name="portfolio", title="portfolio", rulebook="okx-pm"),
)
STUDIED: Final = (
    *REGIMES,
    Regime(name="hyperliquid", title="Hyperliquid", rulebook="hyperliquid"),
    Regime(name="grvt", title="GRVT", rulebook="grvt"),
)
"""Five rulebooks that know bitcoin, ether, SOL, XRP and DOGE in dollars."""
