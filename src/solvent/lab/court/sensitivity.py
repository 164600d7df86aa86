"""What each number of a rulebook is worth: margins again, with one number grown by a tenth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np

from solvent.api import RulebookLike, rulebook_in_force
from solvent.errors import SolventError
from solvent.instruments.contract import moment_of
from solvent.lab.court.books import STYLES, Style
from solvent.lab.court.markets import MarketHistory
from solvent.lab.court.parameters import assumed, numbers_of, with_number
from solvent.lab.court.portfolios import Portfolio
from solvent.lab.court.run import backtest
from solvent.scenarios.history.series import Series

BUMP: Final = 0.1
DATES: Final = 5
NUMBERS_MAX: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """A number of a rulebook, and the relative change of all margins when it grows by a tenth.

    `change` is None where the rulebook with that number is none, and `why`.
    """

    path: str
    number: float
    change: float | None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "path": self.path, "number": self.number, "change": self.change, "why": self.why
        }  # fmt: skip


def sensitivities(
    rulebook: RulebookLike,
    market_history: MarketHistory,
    portfolios: Sequence[Portfolio],
    *,
    history: Series | None = None,
    contracts: Sequence[Style] = STYLES,
    assume: Mapping[str, Mapping[str, float]] | None = None,
    rules_on: date | None = None,
    dates: int = DATES,
) -> list[Sensitivity]:
    """Every number above 0 that may move a margin, the strongest first.

    Margins are summed over the portfolios and over `dates` days spread through the history.
    """
    day = rules_on or moment_of(int(market_history.time_ms[-1])).date()
    base = rulebook_in_force(rulebook, day)
    base = assumed(base, (assume or {}).get(base.name, {}))
    step = max(1, len(market_history) // dates)
    days = market_history.every(step)

    def total(one: Any) -> float:
        found = backtest([one], days, portfolios, history=history, contracts=contracts, processes=1)
        return float(np.sum(found.initial_micro, dtype=np.float64))

    whole = total(base)
    found: list[Sensitivity] = []
    for path, number in list(numbers_of(base).items())[:NUMBERS_MAX]:
        try:
            changed = total(with_number(base, path, _grown(number)))
        except SolventError as fault:
            found.append(Sensitivity(path=path, number=number, change=None, why=str(fault)))
            continue
        change = changed / whole - 1.0 if whole else 0.0
        found.append(Sensitivity(path=path, number=number, change=change))
    return sorted(found, key=lambda one: -abs(one.change or 0.0))


def _grown(number: float) -> float:
    """A tenth more; of a share below 1 (a level, a decay), a tenth of what is left to 1."""
    if 0.9 <= number < 1.0:
        return number + BUMP * (1.0 - number)
    return number * (1.0 + BUMP) if number != int(number) or number < 10 else float(
        round(number * (1.0 + BUMP))
    )  # fmt: skip
