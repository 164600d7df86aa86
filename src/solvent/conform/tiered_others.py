"""Cases of OKX, BitMEX, Hyperliquid and Kraken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from solvent.conform.case import Check

CHECKS: Final[Mapping[str, Check]] = {}
LIQUIDATION_CHECKS: Final[Mapping[str, Check]] = {}
