"""One frozen snapshot of a market: index, forwards, marks and volatilities, with their quality."""

from solvent.market.assemble import Quotes, assemble
from solvent.market.snapshot import BLOCKING, Curves, Flag, Snapshot

__all__ = ["BLOCKING", "Curves", "Flag", "Quotes", "Snapshot", "assemble"]
