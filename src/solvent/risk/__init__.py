"""The published risk arrays, whole quanta per lot, and the positions × scenarios product."""

from solvent.risk.arrays import RiskArrays, publish
from solvent.risk.book import Book, book
from solvent.risk.layout import Layout, Level, layout

__all__ = ["Book", "Layout", "Level", "RiskArrays", "book", "layout", "publish"]
