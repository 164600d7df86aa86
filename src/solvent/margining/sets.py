"""Scenario sets of a rulebook's text, parsed."""

from __future__ import annotations

from solvent.expressions import Expression, parse
from solvent.margining.schema import LadderText, ScenarioText
from solvent.scenarios import Point, ScenarioSet
from solvent.scenarios.scenario import ladder


def scenario_set(name: str, text: ScenarioText, weight: Expression | None) -> ScenarioSet:
    """A scenario set as `scenarios.expand` takes it."""
    if isinstance(text.moves, LadderText):
        moves = ladder(text.moves.reach, text.moves.steps)
    else:
        moves = tuple(_number(move) for move in text.moves or [])
    return ScenarioSet(
        name=name,
        moves=moves,
        vols=tuple(text.vols),
        basis=tuple(text.basis),
        roll_days=text.roll_days,
        averaging_minutes=text.averaging_minutes,
        numbers=text.numbers,
        joint=text.joint or "",
        history=None if text.history is None else text.history.spec(),
        weight=weight,
        points=tuple(
            Point(
                move=_number(point.move),
                vol=point.vol,
                basis=point.basis,
                weight=None if point.weight is None else _number(point.weight),
                numbers=point.numbers,
            )
            for point in text.points or []
        ),
    )


def _number(said: float | str) -> Expression:
    return parse(said if isinstance(said, str) else repr(said))
