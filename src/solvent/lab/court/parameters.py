"""The numbers of a rulebook: to assume what is not published, to ask what each one is worth.

A number is found by its path in the rulebook's text, such as `parameters.mm_factor` or
`tables.pair.rows.0.values.price_range`. What the text uses is in force on the rulebook's own day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from solvent.errors import RulebookError
from solvent.margining import rulebook as scans
from solvent.margining.compile import AnyRulebook
from solvent.margining.levels import rulebook as levels
from solvent.margining.levels.rulebook import LevelsRulebook
from solvent.margining.rulebook import check_levels, check_rulebook

_PARTS: Final = ("parameters", "tables", "scenarios", "scans", "charges", "requirement")
"""Where a rulebook keeps what moves its margin; liquidation and engine rules do not."""


def assumed(rulebook: AnyRulebook, numbers: Mapping[str, float]) -> AnyRulebook:
    """The rulebook with numbers that its text does not set: `table.column` → number, in every row.

    Raises RulebookError for a table that does not exist, and for a number that the text has.
    """
    content = _content(rulebook)
    for name, number in numbers.items():
        table, _, column = name.rpartition(".")
        rows = content.get("tables", {}).get(table, {}).get("rows")
        if not rows:
            raise RulebookError(f"{rulebook.name}: assume {name}: no table {table!r}")
        for row in rows:
            if column in row["values"]:
                raise RulebookError(f"{rulebook.name}: assume {name}: its text tells it")
            row["values"][column] = float(number)
    return _made(rulebook, content)


def numbers_of(rulebook: AnyRulebook) -> dict[str, float]:
    """Path → number, of every number above 0 in the parts that move a margin.

    Of a table's rows for one key, only the newest that is in force is listed.
    """
    content = _content(rulebook)
    found: dict[str, float] = {}
    for part in _PARTS:
        if part in content:
            kept = _in_force_rows(content[part], rulebook) if part == "tables" else content[part]
            found.update(_walk(part, kept))
    return found


def with_number(rulebook: AnyRulebook, path: str, number: float) -> AnyRulebook:
    """The rulebook with another number at a path. Raises RulebookError where it then is none."""
    content = _content(rulebook)
    place: Any = content
    *way, last = path.split(".")
    try:
        for key in way:
            place = place[int(key)] if isinstance(place, list) else place[key]
        at: Any = int(last) if isinstance(place, list) else last
        # What was a whole number stays one where it can: a count of days is no float.
        whole = isinstance(place[at], int) and float(number).is_integer()
        place[at] = int(number) if whole else number
    except (KeyError, IndexError, ValueError) as fault:
        raise RulebookError(f"{rulebook.name}: no number at {path}") from fault
    return _made(rulebook, content)


def without_item(rulebook: AnyRulebook, path: str, place: int) -> AnyRulebook:
    """The rulebook without one item of the list at a path; without the list, where it was the last.

    Raises RulebookError where there is none, or the rulebook cannot be without it.
    """
    content = _content(rulebook)
    *way, last = path.split(".")
    holder: Any = content
    try:
        for key in way:
            holder = holder[key]
        del holder[last][place]
        if not holder[last]:
            del holder[last]
    except (KeyError, IndexError, TypeError) as fault:
        raise RulebookError(f"{rulebook.name}: no item {place} at {path}") from fault
    return _made(rulebook, content)


def _content(rulebook: AnyRulebook) -> dict[str, Any]:
    content: dict[str, Any] = rulebook.text.model_dump(by_alias=True, exclude_unset=True)
    return content


def _made(rulebook: AnyRulebook, content: dict[str, Any]) -> AnyRulebook:
    source = f"{rulebook.name}, changed"
    if isinstance(rulebook, LevelsRulebook):
        return levels.in_force(check_levels(content, source=source), rulebook.on)
    return scans.in_force(check_rulebook(content, source=source), rulebook.on)


def _in_force_rows(tables: dict[str, Any], rulebook: AnyRulebook) -> dict[str, Any]:
    """Tables whose other rows are emptied, so that paths keep their numbers."""
    kept: dict[str, Any] = {}
    for name, table in tables.items():
        newest: dict[tuple[str, str], int] = {}
        rows = table.get("rows", [])
        for at, row in enumerate(rows):
            for key in row.get("keys", []):
                for column in row.get("values", {}):
                    before = newest.get((key, column))
                    if before is None or _rank(row, rulebook) > _rank(rows[before], rulebook):
                        newest[key, column] = at
        used = {(at, column) for (_, column), at in newest.items()}
        kept[name] = {
            "rows": [
                {"values": {c: v for c, v in row.get("values", {}).items() if (at, c) in used}}
                for at, row in enumerate(rows)
            ]
        }
    return kept


def _rank(row: Mapping[str, Any], rulebook: AnyRulebook) -> tuple[bool, float]:
    """In force before not, then newest; of those not yet in force, the oldest."""
    effective = row["effective"]
    known = effective <= rulebook.on
    return known, effective.toordinal() if known else -effective.toordinal()


def _walk(path: str, part: Any) -> Iterator[tuple[str, float]]:
    if isinstance(part, bool):
        return
    if isinstance(part, int | float):
        if part > 0:
            yield path, float(part)
    elif isinstance(part, dict):
        for key, inner in part.items():
            yield from _walk(f"{path}.{key}", inner)
    elif isinstance(part, list):
        for place, inner in enumerate(part):
            yield from _walk(f"{path}.{place}", inner)
