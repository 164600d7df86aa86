"""An expected shortfall before the court: one rulebook tells the quantile, another the mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvent.errors import BadInput, Problem, Reject
from solvent.lab.court.result import Cell, CourtResult, Which
from solvent.lab.court.tail_tests import acerbi_szekely, z1


def shortfall(
    result: CourtResult,
    var: str,
    es: str,
    *,
    level: float = 0.99,
    which: Which = "initial",
    draws: int = 20_000,
) -> list[dict[str, Any]]:
    """Acerbi and Székely's Z1 and Z2 by portfolio, on the days that both rulebooks margined.

    `var` and `es` name rulebooks of the run whose margins are the value at risk and the expected
    shortfall at one level. Days on which the shortfall asks for nothing cannot be judged.

    Raises BadInput for a rulebook that was not run.
    """
    for name in (var, es):
        if name not in result.rulebooks:
            raise BadInput(
                Problem(
                    code=Reject.INPUT_INVALID, source="backtest", field="shortfall",
                    expected=f"one of {', '.join(result.rulebooks)}", found=name,
                )
            )  # fmt: skip
    asked = result.initial_micro if which == "initial" else result.maintenance_micro
    first, second = result.rulebooks.index(var), result.rulebooks.index(es)
    told = []
    for place, portfolio in enumerate(result.portfolios):
        both = (result.state[first, place] == Cell.JUDGED) & (
            result.state[second, place] == Cell.JUDGED
        )
        kept = np.flatnonzero(both & (asked[second, place] > 0))
        if not len(kept):
            continue
        columns = (result.pnl_micro[first, place], asked[first, place], asked[second, place])
        pnl, quantile, mean = (column[kept].astype(np.float64) for column in columns)
        test = acerbi_szekely(pnl, quantile, mean, alpha=1.0 - level, draws=draws)
        told.append(
            {
                "portfolio": portfolio, "var": var, "es": es, "days": len(kept),
                "z1": z1(pnl, quantile, mean), "z2": test.to_dict(),
            }
        )  # fmt: skip
    return told
