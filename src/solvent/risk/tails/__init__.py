"""Tails: what a set's totals over many scenarios come to beyond a level, exactly and always alike.

Of a set's totals x (PnL, losses negative), ordered from the least, equal ones by their place:

| reduction at level α | value |
|---|---|
| expected shortfall | (Σ pᵢ·xᵢ over the worst T parts) ÷ T, of the last scenario the rest of T |
| value at risk | the first xᵢ where p₁ + … + pᵢ > T: of n alike the ⌈αn⌉-th smallest loss |
| Harrell-Davis | Σ wᵢ·xᵢ, wᵢ the step over p₁ + … + pᵢ of the Beta law of that order statistic |

Scenarios weigh whole parts p (`parts_of`); T = (1 − α)·Σp, rounded once. All are monotone, and move
by c where every total moves by c, so that none changes by more than the largest change of a total.

Sums run over the order above, one by one, so a result has the same bits alone and in a crowd, on
any number of threads, in numpy and compiled. Where all p are 1 and T is whole, an expected
shortfall is a sum of integers divided once: the true value, rounded to nearest.
"""

from solvent.risk.tails.scan import scan_tail, shares_of, tails_of
from solvent.risk.tails.tail import KINDS, Tail, parts_of, tail_of
from solvent.risk.tails.tiles import Tiles

__all__ = ["KINDS", "Tail", "Tiles", "parts_of", "scan_tail", "shares_of", "tail_of", "tails_of"]
