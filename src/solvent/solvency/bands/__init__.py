"""Safe price bands: whom a tick need not look at, and the proof."""

from solvent.solvency.bands.safe import Bands, Guard, check_lines_are_exact

__all__ = ["Bands", "Guard", "check_lines_are_exact"]
