"""What a counterparty on a line must post: the rule of `credit-lines.toml`, exact and readable.

With R the portfolio's risk, A the independent amount, L the line, H the threshold (at most L), E
its own equity and c = stressed PD · LGD:

    drawn   = min(max(R + A − E, 0), L)
    initial = max(R + A + c·drawn − L, −H)
    maintenance = m·R + A + c·drawn − L

As 0 ≤ c ≤ 1, more risk never lowers either, and a larger line or a better quality never raises
either. Without a line both are plain: R + A and m·R + A.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from solvent.errors import check


class Need(NamedTuple):
    """What is asked for; millionths of a dollar, exact."""

    drawn: Fraction
    charge: Fraction
    initial: Fraction
    maintenance: Fraction


def need(
    *, risk: Fraction, held_risk: Fraction, equity: Fraction, independent: Fraction,
    line: Fraction, threshold: Fraction, cost: Fraction, maintenance_factor: Fraction,
) -> Need:  # fmt: skip
    """The requirement. `risk` takes orders as filled, `held_risk` is of positions alone; `cost` is
    stressed PD times loss given default.

    >>> found = need(risk=Fraction(80), held_risk=Fraction(80), equity=Fraction(10),
    ...     independent=Fraction(0), line=Fraction(50), threshold=Fraction(20),
    ...     cost=Fraction(1, 10), maintenance_factor=Fraction(4, 5))
    >>> [str(one) for one in found]
    ['50', '5', '35', '19']
    """
    check(0 <= cost <= 1, "a cost is a share of what is drawn", cost)
    check(min(risk, held_risk, independent, line, threshold) >= 0, "amounts are not negative")
    drawn = min(max(risk + independent - equity, Fraction(0)), line)
    charge = cost * drawn
    return Need(
        drawn, charge,
        max(risk + independent + charge - line, -min(threshold, line)),
        maintenance_factor * held_risk + independent + charge - line,
    )  # fmt: skip
