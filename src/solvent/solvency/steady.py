"""Whether a verdict is the same wherever an amount may be: what a proof has to show.

A verdict is made of signs: equity less requirements, and equity's share above maintenance. Each
must be surely below 0 or surely not, with room for all that rounding can do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.solvency.classes import State
from solvent.units import Float64

Bool = NDArray[np.bool_]

SHARES = ((4.0, 5.0), (9.0, 10.0))
"""Equity times the one against maintenance times the other: where `warning` and `close` begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The least urgent state from which on verdicts are proved: LIQUIDATE, CALL or WARNING.

    Of accounts that stay short of it, states may be those of when their figures were computed.
    """

    state: State = State.CALL

    @property
    def calls(self) -> bool:
        """Whether `call` is proved too."""
        return self.state <= State.CALL

    @property
    def warnings(self) -> bool:
        """Whether all states are, and closeness."""
        return self.state <= State.WARNING


def surely(least: Float64, most: Float64, room: Float64) -> Bool:
    """[row] whether an amount is below 0 wherever it may be, or nowhere, with room to spare."""
    return np.asarray((least > room) | (most < -room))
