"""What rulebooks that learn from a history learn on each day of a backtest.

A rulebook's set of scenarios is built anew every day, of what was known then. Filters run once over
the whole history, and each day takes its part of them: a `Panel` does that, and gives what the
builder of one date gives. A coin is taken alone, since a book here is of one coin, and a coin whose
history has a hole must not silence the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from solvent.api import prepare
from solvent.errors import RulebookError, SolventError
from solvent.lab.court.markets import MarketHistory
from solvent.lab.court.result import Note
from solvent.margining.compile import AnyPlan, AnyRulebook
from solvent.margining.rulebook import Rulebook
from solvent.market import Snapshot
from solvent.scenarios.history.panel import Panel
from solvent.scenarios.history.series import Series
from solvent.scenarios.history.spec import HistorySpec
from solvent.scenarios.joint import JointShocks

PANELS_MAX: Final = 64


@dataclass(kw_only=True)
class Pasts:
    """The rulebooks of a run that learn, and what they learn from."""

    rulebooks: tuple[AnyRulebook, ...]
    series: Series | None
    specs: dict[int, dict[str, HistorySpec]]

    @classmethod
    def of(
        cls,
        rulebooks: Sequence[AnyRulebook],
        series: Series | None,
        history: MarketHistory,
        notes: list[Note],
    ) -> Pasts | None:
        """The rulebooks' specs, by number; None where no rulebook learns.

        Raises RulebookError for a rulebook that needs a history where none is told.
        """
        specs = {
            number: found
            for number, one in enumerate(rulebooks)
            if isinstance(one, Rulebook) and (found := _specs(one))
        }
        if not specs:
            return None
        if series is None:
            name = rulebooks[next(iter(specs))].name
            raise RulebookError(f"{name} learns from a history: bring one (history=, --history)")
        made = cls(rulebooks=tuple(rulebooks), series=series, specs=specs)
        made._tell(history, notes)
        return made

    def needs(self, number: int) -> bool:
        """Whether a rulebook learns from the history."""
        return number in self.specs

    def prepare(self, number: int, market: Snapshot, coin: str, rulebook: AnyRulebook) -> AnyPlan:
        """The rulebook of the day compiled on a market of one coin, with the shocks of its day."""
        joint = self.shocks(number, coin, int(market.as_of_ms))
        return prepare(market, rulebook, joint=joint)

    def shocks(self, number: int, coin: str, as_of_ms: int) -> dict[str, JointShocks]:
        """Set name → the shocks that a rulebook has learned by a moment, of one coin."""
        return {
            name: self.panel(spec, coin).at(as_of_ms).shocks
            for name, spec in self.specs[number].items()
        }

    def panel(self, spec: HistorySpec, coin: str) -> Panel:
        """The history laid out for a spec, of one coin alone."""
        assert self.series is not None
        return panel_of(replace(spec, underlyings=(coin,)), self.series)

    def _tell(self, history: MarketHistory, notes: list[Note]) -> None:
        """What was repaired or assumed in the history, as the last day's sets say."""
        last, told = int(history.time_ms[-1]), set()
        for number, specs in self.specs.items():
            for spec in specs.values():
                for coin in history.coins:
                    try:
                        built = self.panel(spec, coin).at(last)
                    except SolventError as fault:
                        told.add(
                            (f"{self.rulebooks[number].name}: {coin}: {fault}", "no-history", 1)
                        )
                        continue
                    for note in built.notes:
                        told.add((str(note), note.code, note.count))
        notes += [Note(code=code, text=text, count=count) for text, code, count in sorted(told)]


_RECENT: dict[tuple[int, str], tuple[Series, Panel]] = {}
"""Panels by history and spec, of this process; the history is kept so that its id stays its own."""


def panel_of(spec: HistorySpec, series: Series) -> Panel:
    """The panel of a spec, prepared once for all rulebooks and calls that share it."""
    # A spec may hold a chain of tools and is not hashable: what it says is the key.
    key = (id(series), repr(spec))
    if key not in _RECENT:
        while len(_RECENT) >= PANELS_MAX:
            del _RECENT[next(iter(_RECENT))]
        _RECENT[key] = (series, Panel.of(spec, series))
    return _RECENT[key][1]


def _specs(rulebook: Rulebook) -> dict[str, HistorySpec]:
    return {
        name: scenario.history.spec()
        for name, scenario in rulebook.text.scenarios.items()
        if scenario.history is not None
    }
