"""A step of volatility, fed to rulebooks through the court itself.

Returns of a calm volatility, then of a high one, in an even order (`procyclicality.step_returns`),
become a price path; the proxy makes option markets of it. What a rulebook asks for the same book
every day, over what it asked before the step, is its answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from solvent.api import RulebookLike
from solvent.errors import BadInput, Problem, Reject
from solvent.lab.court.books import STYLES, Style
from solvent.lab.court.portfolios import Portfolio, linear
from solvent.lab.court.procyclicality import step_returns
from solvent.lab.court.result import Cell
from solvent.lab.court.run import backtest
from solvent.lab.court.sources import prices, series_of
from solvent.scenarios.history.series import Series
from solvent.units import DAY_MS

LOW: Final = 0.02
HIGH: Final = 0.06
"""Daily volatilities: a calm market, and a tripled one."""


def impulse(
    rulebooks: Sequence[RulebookLike],
    *,
    book: Portfolio | None = None,
    low: float = LOW,
    high: float = HIGH,
    before: int = 800,
    after: int = 120,
    shown: int = 30,
    contracts: Sequence[Style] = STYLES,
    assume: Mapping[str, Mapping[str, float]] | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """Curves by rulebook: margin rate over its mean of the `shown` days before the step.

    The book is one BTC perpetual long without another one. A rulebook that cannot margin it on
    every day shown has no curve. Raises BadInput where nothing is shown.
    """
    if not 0 < shown <= before - 70:
        raise BadInput(
            Problem(
                code=Reject.INPUT_INVALID, source="impulse", field="shown",
                expected="days of which the proxy has a market before the step", found=f"{shown}",
            )
        )  # fmt: skip
    one = book or linear("BTC")[0]
    returns = step_returns(low=low, high=high, before=before, after=after)
    price = 50_000.0 * np.exp(np.concatenate([[0.0], np.cumsum(returns)]))
    times = (20_000 * 24 + 9) * 3_600_000 + np.arange(len(price), dtype=np.int64) * DAY_MS
    told = Series(names=(one.underlying,), time_ms=times, price=price[:, None], source="impulse")
    market = prices(told)
    step_ms = int(times[before])
    days = market.between(step_ms - shown * DAY_MS, int(times[-1]) + 1)
    found = backtest(
        rulebooks, days, [one], history=series_of(market, told), contracts=contracts,
        assume=assume, processes=processes,
    )  # fmt: skip
    curves = {}
    for number, name in enumerate(found.rulebooks):
        # The last day has no end; its margin is told all the same on the days before it.
        if not (found.state[number, 0, :-1] == Cell.JUDGED).all():
            continue
        rate = found.initial_micro[number, 0, :-1] / found.gross_micro[number, 0, :-1]
        level = float(rate[: shown + 1].mean())
        if level > 0.0:
            curves[name] = (rate / level).round(6).tolist()
    return {"book": one.name, "step": high / low, "before": shown + 1, "curves": curves}
