"""A rulebook as in force on a day: parsed, cross-checked, ready to be compiled against a market."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any, TypeVar

from pydantic import ValidationError

from solvent.errors import RulebookError
from solvent.expressions import Expression
from solvent.margining.grammar import check_names, check_references, formulas, levels
from solvent.margining.levels.form import resolve
from solvent.margining.levels.text import LevelsText
from solvent.margining.schema import (
    CollateralText,
    RowText,
    RulebookText,
    TableText,
    Text,
)
from solvent.margining.sets import scenario_set
from solvent.scenarios import ScenarioSet, Table, Tables, VolRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Rulebook:
    """A rulebook on a day.

    Attributes:
        text: everything that was written. digest: SHA-256 of the text's content.
        tables: the parameters in force. applied: table row → note on a row applied before the day
            it is known from.
        sets, rules: scenarios and volatility rules, parsed.
        formulas: key path (`charges.roll.amount`) → parsed expression.
        levels: node names, finest first.
        collateral: asset → its terms in force.
    """

    text: RulebookText
    digest: str
    on: date
    tables: Tables
    applied: tuple[str, ...]
    sets: tuple[ScenarioSet, ...]
    rules: Mapping[str, VolRule]
    formulas: Mapping[str, Expression]
    levels: tuple[str, ...]
    collateral: Mapping[str, CollateralText]

    @property
    def name(self) -> str:
        """The rulebook's name."""
        return self.text.name

    def __repr__(self) -> str:
        return f"Rulebook({self.name!r}, in force on {self.on}, {self.digest[:12]})"


def read_rulebook(toml: str, *, source: str) -> RulebookText | LevelsText:
    """Check a rulebook's text, of either schema. Raises RulebookError naming source and key.

    >>> read_rulebook("name = 3", source="mine.toml")
    Traceback (most recent call last):
    ...
    solvent.errors.RulebookError: mine.toml: schema: Field required (and ... more)
    """
    try:
        content = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as fault:
        raise RulebookError(f"{source}: not TOML: {fault}") from fault
    try:
        if content.get("schema") == 2:
            return check_levels(content, source=source)
        return check_rulebook(content, source=source)
    except RulebookError as fault:
        raise RulebookError(_with_line(str(fault), toml, source)) from fault


_HEADER = re.compile(r"\s*\[\[?\s*([\w.\-\s]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*([\w.\-]+)\s*=")


def _with_line(message: str, toml: str, source: str) -> str:
    """The message with the line of the key that it names, where the text has it."""
    path = message.removeprefix(f"{source}: ").split(":")[0]
    line = line_of(toml, path)
    return message if line is None else f"{source}:{line}: {message.removeprefix(f'{source}: ')}"


def line_of(toml: str, path: str) -> int | None:
    """The line, from 1, of a key path in a TOML text, or of the longest beginning of it.

    >>> line_of("a = 1\\n[at.pool]\\nequity = 2", "at.pool.equity")
    3
    """
    wanted = path.split(".")
    best: tuple[int, int] | None = None
    place: dict[str, int] = {}
    table: list[str] = []
    for number, text in enumerate(toml.splitlines(), start=1):
        if header := _HEADER.match(text):
            table = header[1].replace(" ", "").split(".")
            if text.lstrip().startswith("[["):
                name = ".".join(table)
                place[name] = place.get(name, -1) + 1
                table = [*table, str(place[name])]
            here = table
        elif key := _KEY.match(text):
            here = [*table, *key[1].split(".")]
        else:
            continue
        shared = 0
        while shared < min(len(here), len(wanted)) and here[shared] == wanted[shared]:
            shared += 1
        if shared and shared == min(len(here), len(wanted)) and (best is None or shared > best[0]):
            best = shared, number
    return best and best[1]


def check_levels(content: Mapping[str, Any], *, source: str) -> LevelsText:
    """Check a rulebook of formulas at levels, given as plain tables."""
    text = _validated(LevelsText, content, source)
    resolve(text, source=source)
    return text


_AnyText = TypeVar("_AnyText", bound=Text)


def _validated(model: type[_AnyText], content: Mapping[str, Any], source: str) -> _AnyText:
    try:
        return model.model_validate(content)
    except ValidationError as fault:
        first, *others = fault.errors()
        where = ".".join(str(part) for part in first["loc"])
        more = f" (and {len(others)} more)" if others else ""
        raise RulebookError(f"{source}: {where}: {first['msg']}{more}") from fault


def check_rulebook(content: Mapping[str, Any], *, source: str) -> RulebookText:
    """Check a rulebook of scans and charges, given as plain tables."""
    text = _validated(RulebookText, content, source)
    check_references(text, source)
    check_names(text, formulas(text, source), source)
    return text


def in_force(text: RulebookText, on: date) -> Rulebook:
    """The rulebook with the parameters of a day.

    A key's row is the newest that is not after the day. Where every row is newer, the oldest is
    taken and the result says so: a venue's published number usually held before it was seen.
    """
    applied: list[str] = []
    tables = tuple(_table(name, table, on, applied) for name, table in text.tables.items())
    collateral = _collateral(text, on, applied)
    parsed = formulas(text, text.name)
    digest = sha256(text.model_dump_json(by_alias=True).encode()).hexdigest()
    return Rulebook(
        text=text,
        digest=digest,
        on=on,
        tables=Tables(tables, text.parameters),
        applied=tuple(applied),
        sets=tuple(
            scenario_set(name, scenario, parsed.get(f"scenarios.{name}.weight"))
            for name, scenario in text.scenarios.items()
        ),
        rules={
            name: VolRule(name=name, shocked=parsed[f"vols.{name}.shocked"]) for name in text.vols
        },
        formulas=parsed,
        levels=levels(text.nodes, text.name),
        collateral=collateral,
    )


def _collateral(text: RulebookText, on: date, applied: list[str]) -> dict[str, CollateralText]:
    by_asset: dict[str, list[CollateralText]] = {}
    for row in text.collateral:
        by_asset.setdefault(row.asset, []).append(row)
    chosen: dict[str, CollateralText] = {}
    for asset, rows in by_asset.items():
        rows = sorted(rows, key=lambda row: row.effective or date.min)
        past = [row for row in rows if (row.effective or date.min) <= on]
        chosen[asset] = past[-1] if past else rows[0]
        if not past:
            applied.append(f"collateral {asset}: first seen {rows[0].effective}, applied to {on}")
    return chosen


def _table(name: str, table: TableText, on: date, applied: list[str]) -> Table:
    by_key: dict[str, list[RowText]] = {}
    for row in table.rows:
        for key in row.keys:
            by_key.setdefault(key, []).append(row)
    chosen: dict[str, Mapping[str, float]] = {}
    for key, rows in by_key.items():
        rows = sorted(rows, key=lambda row: row.effective)
        past = [row for row in rows if row.effective <= on]
        row = past[-1] if past else rows[0]
        if not past:
            applied.append(f"{name} of {key}: first seen {row.effective}, applied to {on}")
        chosen[key] = row.values
    return Table(name=name, by=table.by, rows=chosen)
