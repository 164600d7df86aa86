"""A venue is down while prices move: nobody trades, pays in or is closed out until it is over.

The same moves are walked in steps. With trading an account is closed out at the first step at which
its rulebook liquidates it, and whatever that step left is what it lost; without, at the end of all
of them. The difference is what the outage costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.lab.stress.shock import Shock
from solvent.lab.stress.subject import Stand, Subject

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What a stop of trading does; axis: account. Money in millionths of a dollar.

    Attributes:
        closed_step: step at which it would have been closed out, −1 for never.
        open_micro: shortfall of those that are closed out, with trading.
        shut_micro: the same where all wait until the end: of those that are below maintenance then.
        fallen_at_end: who is below maintenance at the end.
    """

    steps: int
    closed_step: Int64
    open_micro: Int64
    shut_micro: Int64
    fallen_at_end: NDArray[np.bool_]

    @property
    def cost_micro(self) -> int:
        """What the outage costs whoever covers shortfalls; below 0 where prices came back."""
        return int(self.shut_micro.sum() - self.open_micro.sum())

    @property
    def spared(self) -> int:
        """Accounts that trading would have closed out and that stand at the end."""
        return int(((self.closed_step >= 0) & ~self.fallen_at_end).sum())


def outage(subject: Subject, shock: Shock, *, steps: int) -> tuple[Outage, Stand]:
    """Walk a shock in even steps (in logs, and in time); and where all stand at the end.

    Accounts that are below maintenance before anything moves are closed out at step 0, with
    trading. One step is the whole move at once: then trading changes nothing.
    """
    check(steps >= 1, "a step or more", steps)
    count = len(subject)
    closed = np.full(count, -1, dtype=np.int64)
    paid = np.zeros(count, dtype=np.int64)
    stand = subject.now
    for step in range(steps + 1):
        stand = subject.now if step == 0 else subject.at(shock.part(step / steps))
        new = (closed < 0) & stand.known & stand.liquidate
        closed[new] = step
        paid[new] = stand.shortfall_micro[new]
    fallen = stand.known & stand.liquidate
    return Outage(
        steps=steps, closed_step=closed, open_micro=paid, fallen_at_end=fallen,
        shut_micro=np.where(fallen, stand.shortfall_micro, 0),
    ), stand  # fmt: skip
