"""Which rules keep a crash inside the fund at least margin: policies, and those not beaten.

Every policy goes through the same crashes with a fund that takes whatever comes, so what it loses
is what a fund would have needed. The shortfall of a real fund is what is above that: all sizes of
fund are read off one set of runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from solvent.errors import SolventError
from solvent.lab.cascades.many import Done
from solvent.lab.cascades.run import Outcome
from solvent.lab.cascades.settings import Family, Pace, Settings
from solvent.lab.cascades.sweep import sweep

FAMILIES: Final[tuple[str, ...]] = get_args(Family)
PACES: Final[tuple[str, ...]] = get_args(Pace)
MARGINS: Final = (0.02, 0.035, 0.05, 0.08, 0.12)
FUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02)
ENOUGH: Final = 1.0
"""A fund as large as open interest is never empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy and what its runs came to, shares of open interest.

    Attributes:
        margin: of a small position in calm. average: initial margin that was asked of all holders,
            over the run and all runs.
        needed: what a fund lost at most, [run]. overshoot, liquidated: averages.
    """

    family: str
    margin: float
    pace: str
    average: float
    needed: tuple[float, ...]
    overshoot: float
    liquidated: float

    def shortfall(self, fund: float, level: float = 1.0) -> float:
        """What a fund of that size lacks, at a quantile of the runs; 1 is the worst of them."""
        need = float(np.quantile(np.array(self.needed), level, method="higher"))
        return max(0.0, need - fund)


def search(
    settings: Settings, seeds: Sequence[int], *, families: Sequence[str] = FAMILIES,
    margins: Sequence[float] = MARGINS, paces: Sequence[str] = PACES,
    funds: Sequence[float] = FUNDS, folder: Path | None = None,
    processes: int | None = None, done: Done | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All policies and, for each size of fund, those that no other beats, as a document.

    `folder` keeps runs, one file a policy: what was stopped goes on. Raises SolventError for an
    empty choice, a fund that is no share, or settings without a shock or holders; BadInput for a
    margin that cannot be.
    """
    if not (families and margins and paces and funds and seeds):
        raise SolventError("a policy search: expected one family, margin, pace, fund and run at "
                           "least, found an empty choice")  # fmt: skip
    for fund in funds:
        if not 0.0 <= fund <= 1.0:
            raise SolventError(f"a policy search: expected funds from 0 to 1, shares of open "
                               f"interest, found {fund:g}")  # fmt: skip
    if not settings.shock.move or not settings.holders.leverage:
        raise SolventError("a policy search: expected a shock and leveraged holders, found none")
    wanted = {
        key: settings.but(rules__family=key[0], rules__margin=key[1], rules__pace=key[2],
                          rules__fund=ENOUGH, rules__rulebook=None)
        for key in product(families, margins, paces)
    }  # fmt: skip
    found = sweep(wanted, seeds, folder=folder, name="policy", processes=processes, done=done)
    policies = [_policy(key, found[key]) for key in wanted]
    tail = {
        f"{fund:g}": [_row(one, fund) for one in frontier(policies, fund)] for fund in funds
    }  # fmt: skip
    return {
        "policies": [asdict(one) for one in policies], "funds": list(funds), "frontier": tail,
        "by_family": {
            f"{fund:g}": {
                family: [_row(one, fund) for one in frontier(
                    [each for each in policies if each.family == family], fund)]
                for family in families
            }
            for fund in funds
        },
        "runs": len(seeds), "move": settings.shock.move, "accounts": settings.accounts,
        "settings": settings.model_dump(mode="json"),
        "cheapest": {key: _cheapest(policies, float(key)) for key in tail},
    }  # fmt: skip


Key = tuple[str, float, str]


def _policy(key: Key, runs: Sequence[Outcome]) -> Policy:
    family, margin, pace = key
    return Policy(
        family=family, margin=margin, pace=pace,
        average=float(np.mean([one.margin for one in runs])),
        needed=tuple(one.fund_drawn / one.interest for one in runs),
        overshoot=float(np.mean([one.overshoot for one in runs])),
        liquidated=float(np.mean([one.liquidated() / one.interest for one in runs])),
    )  # fmt: skip


def frontier(policies: Sequence[Policy], fund: float) -> list[Policy]:
    """Policies that no other beats in average margin and worst shortfall both, by margin.

    >>> one = dict(family="grid", pace="whole", margin=0.1, overshoot=0.0, liquidated=0.0)
    >>> few = [Policy(average=a, needed=(n,), **one) for a, n in ((1, 3), (2, 1), (3, 2))]
    >>> [each.average for each in frontier(few, 0.0)]
    [1, 2]
    """
    found: list[Policy] = []
    for one in sorted(policies, key=lambda each: (each.average, each.shortfall(fund))):
        if not found or one.shortfall(fund) < found[-1].shortfall(fund):
            found.append(one)
    return found


def _cheapest(policies: Sequence[Policy], fund: float) -> dict[str, Any] | None:
    """The least average margin with which no run goes beyond the fund; None where all do."""
    inside = [one for one in policies if not one.shortfall(fund)]
    return _row(min(inside, key=lambda one: one.average), fund) if inside else None


def _row(one: Policy, fund: float) -> dict[str, Any]:
    return {
        "family": one.family, "margin": one.margin, "pace": one.pace, "average": one.average,
        "shortfall": one.shortfall(fund), "mean_needed": float(np.mean(one.needed)),
        "overshoot": one.overshoot, "liquidated": one.liquidated,
    }  # fmt: skip
