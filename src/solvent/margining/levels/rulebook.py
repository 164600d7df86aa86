"""A rulebook of formulas as in force on a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any

from solvent.margining.levels.form import Form, resolve
from solvent.margining.levels.text import (
    LevelsText,
    SpreadList,
    SpreadTable,
    SpreadText,
    TierRow,
    TierTable,
)

_KEYS_SHOWN = 3
Tables = Mapping[str, Mapping[str, Mapping[str, float | list[float]]]]
"""table → key → entry → number, or one number a tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelsRulebook:
    """A rulebook on a day.

    Attributes:
        form: every formula with its names resolved. digest: SHA-256 of the text's content.
        tables: the parameters in force. spreads: table of spreads → its list in force, where it has
            one. applied: table row → note on a row applied before the day
            it is known from.
    """

    form: Form
    digest: str
    on: date
    tables: Tables
    spreads: Mapping[str, Sequence[SpreadText]]
    applied: tuple[str, ...]

    @property
    def text(self) -> LevelsText:
        """Everything that was written."""
        return self.form.text

    @property
    def name(self) -> str:
        """The rulebook's name."""
        return self.text.name

    def __repr__(self) -> str:
        return f"LevelsRulebook({self.name!r}, in force on {self.on}, {self.digest[:12]})"


def in_force(text: LevelsText, on: date) -> LevelsRulebook:
    """The rulebook with the parameters of a day.

    A key's row is the newest that is not after the day. Where every row is newer, the oldest is
    taken and `applied` says so: a venue's published number usually held before it was seen.
    """
    applied: list[str] = []
    return LevelsRulebook(
        form=resolve(text, source=text.name),
        digest=sha256(text.model_dump_json(by_alias=True).encode()).hexdigest(),
        on=on,
        tables={name: _in_force(name, table, on, applied) for name, table in text.tables.items()},
        spreads={
            name: _list_in_force(name, table, on, applied).spreads
            for name, table in text.spreads.items()
            if table.lists
        },
        applied=tuple(applied),
    )


def _in_force(
    name: str, table: TierTable, on: date, applied: list[str]
) -> dict[str, Mapping[str, Any]]:
    by_key: dict[str, list[TierRow]] = {}
    for row in table.rows:
        for key in row.keys:
            by_key.setdefault(key, []).append(row)
    chosen: dict[str, Mapping[str, Any]] = {}
    early: dict[date, list[str]] = {}
    for key, rows in by_key.items():
        rows = sorted(rows, key=lambda row: row.effective)
        past = [row for row in rows if row.effective <= on]
        if not past:
            early.setdefault(rows[0].effective, []).append(key)
        chosen[key] = (past[-1] if past else rows[0]).values
    for first, keys in sorted(early.items()):
        shown = ", ".join(keys[:_KEYS_SHOWN])
        more = f" and {len(keys) - _KEYS_SHOWN} more" if len(keys) > _KEYS_SHOWN else ""
        applied.append(f"{name} of {shown}{more}: first seen {first}, applied to {on}")
    return chosen


def _list_in_force(name: str, table: SpreadTable, on: date, applied: list[str]) -> SpreadList:
    lists = sorted(table.lists, key=lambda one: one.effective)
    past = [one for one in lists if one.effective <= on]
    if not past:
        applied.append(f"spreads {name}: first seen {lists[0].effective}, applied to {on}")
    return past[-1] if past else lists[0]
