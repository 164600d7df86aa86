"""Cases of rulebooks of formulas: each is told as rows and computed exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from fractions import Fraction
from functools import cache
from typing import Any

from solvent.conform.case import Row
from solvent.feeds.library import shipped_levels
from solvent.margining.levels.rows import Sheet, Value
from solvent.margining.levels.rulebook import LevelsRulebook, in_force
from solvent.margining.levels.text import SpreadText

_ON = date(2026, 6, 1)
Rows = Sequence[Mapping[str, Any]]


@cache
def rulebook(name: str) -> LevelsRulebook:
    """A shipped rulebook on the day of the cases."""
    return in_force(shipped_levels(name), _ON)


def sheet(
    name: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    tables: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    scenarios: Mapping[str, Mapping[str, Mapping[Any, Sequence[Any]]]] | None = None,
    spreads: Mapping[str, Sequence[SpreadText]] | None = None,
    **sources: Rows,
) -> Sheet:
    """The sheet of a shipped rulebook over told rows; `tables` replace the rulebook's own rows."""
    book = rulebook(name)
    return Sheet(
        book.form,
        sources,
        parameters=parameters,
        tables={**book.tables, **(tables or {})},
        scenarios=scenarios,
        spreads={**book.spreads, **(spreads or {})},
    )


def number(value: Value) -> Fraction:
    """A column's value that is one number."""
    if isinstance(value, tuple):
        raise ValueError(f"one number, not {len(value)}")
    return value


def tiers(rows: Sequence[Sequence[Any]], *, entry: str, bound: str = "above") -> Row:
    """Entries of a tiered table from rows of (lower, upper, entry)."""
    return {bound: [row[0] for row in rows], entry: [row[2] for row in rows]}
