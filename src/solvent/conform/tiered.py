"""Cases of tiered leverage on centralised exchanges, told as rows of the venues' rulebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from solvent.conform import tiered_binance, tiered_bybit, tiered_others
from solvent.conform.case import Check

CHECKS: Final[Mapping[str, Check]] = {
    **tiered_binance.CHECKS,
    **tiered_bybit.CHECKS,
    **tiered_others.CHECKS,
}
LIQUIDATION_CHECKS: Final[Mapping[str, Check]] = {
    **tiered_binance.LIQUIDATION_CHECKS,
    **tiered_bybit.LIQUIDATION_CHECKS,
    **tiered_others.LIQUIDATION_CHECKS,
}
