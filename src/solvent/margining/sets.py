"""Scenario sets of a rulebook's text, parsed."""

from __future__ import annotations

from solvent.expressions import Expression, parse
from solvent.margining.schema import LadderText, ScenarioText
from solvent.scenarios import ScenarioSet
from solvent.scenarios.scenario import ladder


def scenario_set(name: str, text: ScenarioText, weight: Expression | None) -> ScenarioSet:
    """A scenario set as `scenarios.expand` takes it."""
    if isinstance(text.moves, LadderText):
        moves = ladder(text.moves.reach, text.moves.steps)
    else:
        moves = tuple(parse(repr(move)) for move in text.moves)
    return ScenarioSet(
        name=name,
        moves=moves,
        vols=tuple(text.vols),
        basis=tuple(text.basis),
        roll_days=text.roll_days,
        weight=weight,
    )
