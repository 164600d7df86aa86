"""Pricing kernels: arrays in, arrays out. Nothing here knows an account."""

from solvent.pricing.black import (
    asset_or_nothing,
    black76,
    black_scholes,
    digital,
    inverse_black76,
)
from solvent.pricing.greeks import Greeks, SpotGreeks, greeks, spot_greeks

__all__ = [
    "Greeks",
    "SpotGreeks",
    "asset_or_nothing",
    "black76",
    "black_scholes",
    "digital",
    "greeks",
    "inverse_black76",
    "spot_greeks",
]
