"""What a scenario is, before any market: spot moves, volatility rules, basis, time, weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from solvent.expressions import Expression, inline, parse
from solvent.scenarios.joint import JointShocks

if TYPE_CHECKING:
    from solvent.scenarios.history.spec import HistorySpec

SAME_VOL = "same"
"""The volatility rule that changes nothing; every rulebook has it."""
JOINT_VOL = "joint"
"""What stands for a volatility rule in scenarios that are told as joint shocks."""
PROBABILITY = "probability"
"""The number that a scenario carries for its share of a set; without it all are alike."""
TIME_MS = "time_ms"
"""The number that a joint scenario carries for the end of the window that it was taken from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolRule:
    """How volatility is shocked: the new σ as an expression of `iv`, `days`, `years` and tables."""

    name: str
    shocked: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One scenario: a relative move, a volatility rule, a basis shift, and a factor on its PnL;
    and numbers by name for a rulebook's own use."""

    move: Expression
    vol: str = SAME_VOL
    basis: float = 0.0
    weight: Expression | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioSet:
    """Every combination of its axes, in the order moves, volatilities, basis; then its points; or
    joint shocks that whoever publishes a market brings along.

    Attributes:
        moves: relative moves of the underlying; expressions, as a venue's ranges differ by coin.
        vols: names of volatility rules.
        basis: parallel shifts of the annualised log basis F/S, per year.
        roll_days: days that pass before the book is valued.
        averaging_minutes: span before expiry over which the settlement price is averaged: what is
            averaged already no longer moves.
        weight: factor on the PnL, an expression of `move` and tables; 1 without one.
        points: scenarios told one by one, each with a weight of its own.
        numbers: what scenarios carry that say no other number of that name.
        joint: name under which joint shocks are brought along; "" without.
        history: how joint shocks are made from a history that is brought along.
        told: the joint shocks themselves, once they are there.
    """

    name: str
    moves: tuple[Expression, ...] = ()
    vols: tuple[str, ...] = (SAME_VOL,)
    basis: tuple[float, ...] = (0.0,)
    roll_days: float = 0.0
    averaging_minutes: float = 0.0
    weight: Expression | None = None
    points: tuple[Point, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    joint: str = ""
    history: HistorySpec | None = None
    told: JointShocks | None = None

    @property
    def is_joint(self) -> bool:
        """Whether its scenarios are joint shocks."""
        return bool(self.joint) or self.history is not None or self.told is not None

    def __len__(self) -> int:
        if self.told is not None:
            return len(self.told)
        return len(self.moves) * len(self.vols) * len(self.basis) + len(self.points)

    def __iter__(self) -> Iterator[Point]:
        """Every scenario of a set that is not joint, in order."""
        for move, vol, basis in product(self.moves, self.vols, self.basis):
            yield Point(move=move, vol=vol, basis=basis, weight=self.weight)
        yield from self.points


def ladder(reach: str, steps: int) -> tuple[Expression, ...]:
    """Evenly spaced moves −reach … reach in `2·steps + 1` steps.

    >>> [move.text for move in ladder("0.16", 1)]
    ['(((-1) / 1) * 0.16)', '0', '((1 / 1) * 0.16)']
    """
    given = {"reach": parse(reach)}
    return tuple(
        inline(parse(f"{step} / {steps} * reach"), given) if step else parse("0")
        for step in range(-steps, steps + 1)
    )
