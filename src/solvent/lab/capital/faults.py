"""What is wrong with a question about capital, in one form."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from solvent.errors import BadInput, Problem, Reject


def wrong(source: str, name: str, expected: str, found: str) -> BadInput:
    """A fault of an argument.

    >>> print(wrong("hedge", "budget", "dollars", "none"))
    hedge, field 'budget': expected dollars, found none [INPUT_INVALID]
    """
    return BadInput(
        Problem(
            code=Reject.INPUT_INVALID, source=source, field=name, expected=expected, found=found
        )
    )


def one_of(source: str, name: str, told: str, known: Sequence[str]) -> None:
    """Refuse what is not one of the known words."""
    if told not in known:
        raise wrong(source, name, f"one of {', '.join(known)}", repr(told))


def within(source: str, name: str, told: Any, least: float = 0.0, most: float = np.inf) -> None:
    """Refuse what is no number, not finite or outside its range; None is not told."""
    if told is None:
        return
    kind = type(told)
    if kind is bool or not issubclass(kind, Real):
        raise wrong(source, name, "a number", repr(told))
    if not (least <= told <= most and np.isfinite(told)):
        limit = f"a finite number of {least:g} or more"
        raise wrong(
            source, name, limit if most == np.inf else f"{least:g} to {most:g}", f"{told:g}"
        )
