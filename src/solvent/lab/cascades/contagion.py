"""How far a blow to one market reaches the others, and from which leverage on it feeds itself.

Runs are paired by seed: the same agents and holders with and without the blow, so that what differs
is its doing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from solvent.errors import SolventError
from solvent.lab.cascades.many import Done
from solvent.lab.cascades.settings import Settings
from solvent.lab.cascades.sweep import sweep

CRITICAL_SHARE: Final = 0.1
"""A leverage is critical where this much of open interest is liquidated on average."""
LEVERAGES: Final = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)


def contagion(
    settings: Settings, seeds: Sequence[int], *, folder: Path | None = None,
    processes: int | None = None, done: Done | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Matrices [market that is struck, market that feels it], as a document.

    `liquidated` is the open interest that is liquidated there because of the blow, as a share;
    `overshoot` how much further the price falls below its fair one. With several venues a market is
    a venue's coin, and a blow is one venue's wrong index; with one, a coin, and a blow is news.
    `folder` keeps runs: what was stopped goes on.

    Raises SolventError where there are fewer than two markets, or no blow.
    """
    shock = settings.shock
    markets = [(venue, coin) for venue in range(settings.venues) for coin in settings.coins]
    if len(markets) < 2:
        raise SolventError("contagion: expected two coins or venues at least, found one market")
    if not shock.move:
        raise SolventError("contagion: expected a shock whose move is not 0, found none")
    calm = settings.but(shock__move=0.0)
    struck = [
        settings.but(shock__coin=coin, shock__venue=venue if settings.venues > 1 else None)
        for venue, coin in markets
    ]
    wanted = dict([(-1, calm), *enumerate(struck)])
    found = sweep(wanted, seeds, folder=folder, name="blow", processes=processes, done=done)
    size = len(markets)
    liquidated, overshoot = np.zeros((2, size, size))
    for row in range(size):
        for place in range(size):
            pairs = [
                (hit.markets[place], quiet.markets[place])
                for hit, quiet in zip(found[row], found[-1], strict=True)
            ]
            liquidated[row, place] = np.mean(
                [(sum(a.liquidated.values()) - sum(b.liquidated.values())) / a.interest
                 for a, b in pairs]
            )  # fmt: skip
            overshoot[row, place] = np.mean([a.overshoot - b.overshoot for a, b in pairs])
    names = [coin if settings.venues == 1 else f"{coin} at {venue}" for venue, coin in markets]
    return {
        "markets": names, "liquidated": liquidated.tolist(), "overshoot": overshoot.tolist(),
        "runs": len(seeds), "move": shock.move,
    }  # fmt: skip


def by_leverage(
    settings: Settings, seeds: Sequence[int], leverages: Sequence[float] = LEVERAGES, *,
    folder: Path | None = None, processes: int | None = None, done: Done | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Averages over runs by the holders' median leverage, and the critical one, as a document.

    `critical` is where a tenth of open interest is liquidated on average, between two leverages on
    a straight line; None where it never comes to that. `folder` keeps runs: what was stopped goes
    on. Raises SolventError for fewer than two leverages.
    """
    asked = sorted(set(leverages))
    if len(asked) < 2:
        raise SolventError(f"leverages: expected two or more, found {list(leverages)}")
    wanted = {one: settings.but(holders__leverage=one) for one in asked}
    found = sweep(wanted, seeds, folder=folder, name="leverage", processes=processes, done=done)
    rows = []
    for leverage, runs in found.items():
        rows.append(
            {
                "leverage": leverage,
                "overshoot": float(np.mean([one.overshoot for one in runs])),
                "liquidated": float(np.mean([one.liquidated() / one.interest for one in runs])),
                "adl": float(np.mean([one.liquidated("adl") / one.interest for one in runs])),
                "fund_drawn": float(np.mean([one.fund_drawn / one.interest for one in runs])),
            }
        )
    return {
        "rows": rows, "critical": critical(rows), "runs": len(seeds), "share": CRITICAL_SHARE,
    }  # fmt: skip


def critical(rows: Sequence[dict[str, float]]) -> float | None:
    """The leverage at which `CRITICAL_SHARE` of open interest is liquidated, on straight lines.

    >>> critical([{"leverage": 2.0, "liquidated": 0.0}, {"leverage": 4.0, "liquidated": 0.2}])
    3.0
    """
    for one, other in pairwise(rows):
        low, high = one["liquidated"], other["liquidated"]
        if low < CRITICAL_SHARE <= high:
            part = (CRITICAL_SHARE - low) / (high - low)
            return one["leverage"] + part * (other["leverage"] - one["leverage"])
    return rows[0]["leverage"] if rows and rows[0]["liquidated"] >= CRITICAL_SHARE else None
