"""Who falls if prices gap, and how much money is then missing: a ladder of −50 % … +50 %.

A rung is exact: accounts are judged on rows revalued at the gapped price, with the vols of now. An
account that a band proves safe at that price is not looked at, so small gaps cost little; a large
one is a pass over all. A ladder is kept live by making its oldest rung new, one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import check
from solvent.solvency.classes import Figures, State
from solvent.solvency.rows import exact_rows
from solvent.solvency.watch import Watch

Int32 = NDArray[np.int32]

_DOWN: Final = (-0.5, -0.4, -0.3, -0.2, -0.15, -0.1, -0.07, -0.05, -0.03, -0.02, -0.01)
GAPS: Final = (*_DOWN, *(-gap for gap in reversed(_DOWN)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One gap; money in quanta.

    Attributes:
        fallen: accounts below maintenance. unknown: accounts that no number can be given of.
        shortfall: Σ of what equity is below 0: what somebody else must pay.
        missing: Σ of what equity is below maintenance, of those who have fallen.
        recomputed: accounts that were looked at. as_of_ms: the market that it rests on.
    """

    gap: float
    fallen: int
    unknown: int
    shortfall: int
    missing: int
    recomputed: int
    as_of_ms: int


def rung(watch: Watch, gap: float, *, node: int | None = None) -> Rung:
    """Judge a gap of one underlying, or of all at once. The watch itself is not changed."""
    check(gap > -1.0, "a gap leaves a price", gap)
    price = watch.market.price.copy()
    nodes = range(watch.held.nodes) if node is None else [node]
    price[list(nodes)] *= 1.0 + gap
    market = replace(watch.market, price=price)
    matrix, largest = watch.matrix, watch.largest
    if gap != 0.0:
        every = np.arange(len(watch.terms), dtype=np.int64)
        which = every if node is None else watch.of_node[node]
        rows, most = exact_rows(watch.terms, market, watch.scenes, which)
        matrix, largest = rows, most
        if node is not None:
            matrix, largest = watch.matrix.copy(), watch.largest.copy()
            matrix[which], largest[which] = rows, most
    who = np.arange(watch.held.accounts, dtype=np.int32)
    if watch.bands is not None:
        rows_out = [watch.bands.unproved(watch.held, one, market) for one in range(len(price))]
        inside = np.ones(watch.held.accounts, dtype=bool)
        inside[watch.owners(np.concatenate(rows_out))] = False
        # Who holds nothing has no row: such an account is in its state whatever prices do.
        inside[watch.figures.state >= State.LIQUIDATE] = False
        who = np.flatnonzero(~inside).astype(np.int32)
    figures = Figures(accounts=watch.held.accounts, nodes=watch.held.nodes)
    figures.judge(
        watch.held, matrix, watch.scenes, watch.ratios, watch.cash, who,
        at_ms=market.as_of_ms, largest=largest, threads=watch.threads,
    )  # fmt: skip
    state = figures.state[who]
    fallen = who[state == State.LIQUIDATE]
    equity, maintenance = figures.equity[fallen], figures.maintenance[fallen]
    return Rung(
        gap=gap, fallen=len(fallen), unknown=int((state == State.UNKNOWN).sum()),
        shortfall=sum(np.maximum(-equity, 0).tolist()),
        missing=sum((maintenance - equity).tolist()), recomputed=len(who),
        as_of_ms=market.as_of_ms,
    )  # fmt: skip


class Ladder:
    """Rungs of one underlying, or of all at once, kept live."""

    def __init__(
        self, watch: Watch, *, gaps: Sequence[float] = GAPS, node: int | None = None
    ) -> None:
        check(len(gaps) > 0, "a ladder has a rung")
        self.node = node
        self.rungs = [rung(watch, gap, node=node) for gap in sorted(gaps)]
        self._next = 0

    def step(self, watch: Watch) -> Rung:
        """Make the oldest rung new."""
        made = rung(watch, self.rungs[self._next].gap, node=self.node)
        self.rungs[self._next] = made
        self._next = (self._next + 1) % len(self.rungs)
        return made
