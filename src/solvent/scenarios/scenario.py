"""What a scenario is, before any market: spot moves, volatility rules, basis, time, weight."""

from __future__ import annotations

from dataclasses import dataclass

from solvent.expressions import Expression, inline, parse

SAME_VOL = "same"
"""The volatility rule that changes nothing; every rulebook has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolRule:
    """How volatility is shocked: the new σ as an expression of `iv`, `days`, `years` and tables."""

    name: str
    shocked: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioSet:
    """Every combination of its axes, in the order moves, volatilities, basis.

    Attributes:
        moves: relative moves of the underlying; expressions, as a venue's ranges differ by coin.
        vols: names of volatility rules.
        basis: parallel shifts of the annualised log basis F/S, per year.
        roll_days: days that pass before the book is valued.
        weight: factor on the PnL, an expression of `move` and tables; 1 without one.
    """

    name: str
    moves: tuple[Expression, ...]
    vols: tuple[str, ...] = (SAME_VOL,)
    basis: tuple[float, ...] = (0.0,)
    roll_days: float = 0.0
    weight: Expression | None = None

    def __len__(self) -> int:
        return len(self.moves) * len(self.vols) * len(self.basis)


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
