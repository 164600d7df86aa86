"""What a market is: sources to an index or UNKNOWN, marks, funding; and one frozen snapshot of it.

A snapshot holds index, forwards, marks and volatilities, with their quality.
"""

from solvent.market.assemble import Quotes, assemble
from solvent.market.index import Index, IndexRule
from solvent.market.indexed import indexed
from solvent.market.snapshot import BLOCKING, Curves, Flag, Snapshot

__all__ = [
    "BLOCKING",
    "Curves",
    "Flag",
    "Index",
    "IndexRule",
    "Quotes",
    "Snapshot",
    "assemble",
    "indexed",
]
