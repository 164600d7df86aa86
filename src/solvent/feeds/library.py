"""What ships with Solvent as data: rulebooks, and how venues trade their contracts."""

from __future__ import annotations

import tomllib
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import cast

from solvent.errors import RulebookError, check
from solvent.instruments import Contract, Kind, Specification
from solvent.margining import rulebook as scans
from solvent.margining.levels import rulebook as levels
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.margining.levels.text import LevelsText
from solvent.margining.rulebook import read_rulebook
from solvent.margining.schema import RulebookText


def rulebook_names() -> tuple[str, ...]:
    """Names of the rulebooks that ship with Solvent.

    >>> "deribit-pm" in rulebook_names()
    True
    """
    folder = files("solvent") / "rulebooks"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir()
                        if f.name.endswith(".toml")))  # fmt: skip


@cache
def shipped_text(name: str) -> RulebookText | LevelsText:
    """A rulebook by its name. Raises RulebookError for a name that does not exist."""
    return read_rulebook(rulebook_source(name), source=f"{name}.toml")


def rulebook_source(name_or_path: str | Path) -> str:
    """The TOML of a shipped rulebook by name, or of any at a path that ends in .toml."""
    path = Path(name_or_path)
    if path.suffix == ".toml":
        try:
            return path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise RulebookError(f"{path}: cannot be read: {fault}") from fault
    if str(name_or_path) not in rulebook_names():
        there = ", ".join(rulebook_names())
        raise RulebookError(f"no rulebook {str(name_or_path)!r}; there are {there}")
    source = files("solvent") / "rulebooks" / f"{name_or_path}.toml"
    return source.read_text("utf-8")


def shipped_rulebook(name: str) -> RulebookText:
    """A rulebook of scans and charges by its name."""
    text = shipped_text(name)
    check(isinstance(text, RulebookText), "a rulebook of scans and charges", name)
    return cast(RulebookText, text)


def shipped_levels(name: str) -> LevelsText:
    """A rulebook of formulas at levels by its name."""
    text = shipped_text(name)
    check(isinstance(text, LevelsText), "a rulebook of formulas at levels", name)
    return cast(LevelsText, text)


def load_rulebook(name_or_path: str | Path) -> RulebookText | LevelsText:
    """A shipped rulebook by name, or any from a path that ends in .toml."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        return shipped_text(str(name_or_path))
    return read_rulebook(rulebook_source(path), source=str(path))


def day_of(text: str) -> date:
    """The day of `name@day`. Raises RulebookError for what is none."""
    try:
        return date.fromisoformat(text)
    except ValueError as fault:
        raise RulebookError(f"rulebook@{text}: expected a day such as 2026-12-01") from fault


def differences(one: str, other: str) -> list[tuple[str, object, object]]:
    """Key paths in which two rulebooks differ, with both values; None where one lacks the key.

    `name@day` takes the parameters in force on a day, so that one rulebook can be told apart from
    itself.
    """
    left, right = _flat(one), _flat(other)
    return [
        (key, left.get(key), right.get(key))
        for key in dict.fromkeys([*left, *right])
        if left.get(key) != right.get(key)
    ]


def _flat(name: str) -> dict[str, object]:
    bare, _, day = name.rpartition("@") if "@" in name else (name, "", "")
    text = load_rulebook(bare)
    content = text.model_dump(by_alias=True, mode="json")
    if day:
        on = day_of(day)
        book = (
            levels.in_force(text, on) if isinstance(text, LevelsText) else scans.in_force(text, on)
        )
        tables = book.tables if isinstance(book, LevelsRulebook) else {
            table.name: table.rows for table in book.tables.tables
        }  # fmt: skip
        content["tables"] = {
            table: {key: dict(values) for key, values in rows.items()}
            for table, rows in tables.items()
        }
    flat: dict[str, object] = {}

    def walk(path: str, part: object) -> None:
        if isinstance(part, dict):
            for key, inner in part.items():
                walk(f"{path}.{key}" if path else str(key), inner)
        elif isinstance(part, list) and part and isinstance(part[0], dict):
            for place, inner in enumerate(part):
                walk(f"{path}[{place}]", inner)
        else:
            flat[path] = part

    walk("", content)
    return flat


@cache
def _specifications(venue: str) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    source = files("solvent") / "venues" / f"{venue}.toml"
    return tomllib.loads(source.read_text("utf-8"))


_SECTION = {
    Kind.SPOT: "spot",
    Kind.PERPETUAL: "future",
    Kind.FUTURE: "future",
    Kind.OPTION: "option",
}


def specification(contract: Contract, *, venue: str = "deribit") -> Specification:
    """Lot, contract and tick size of a listed contract.

    >>> from solvent.instruments import parse_symbol
    >>> specification(parse_symbol("BTC-27JUN25-60000-C")).lot_size
    Decimal('0.1')
    """
    style = "inverse" if contract.inverse else "linear"
    rows = _specifications(venue)[style][_SECTION[contract.kind]]
    row = rows.get(contract.base, rows["*"])
    return Specification(**{name: Decimal(size) for name, size in row.items()})
