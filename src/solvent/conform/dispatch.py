"""Files of cases that each name what computes them, and hold several expected values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from solvent.conform.case import Case, Check, Row, unknown
from solvent.margining.levels.rows import Unset

Allowance = Callable[[Row, float], float]
"""A case and an expected number to how far off a found one may be."""


def dispatched(
    path: Path, *, by: str, checks: Mapping[str, Check], allowance: Allowance
) -> Iterator[Case]:
    """Every case of a file; unknown is what no module computes, or lacks a parameter for."""
    for row in json.loads(path.read_text("utf-8"))["cases"]:
        check = checks.get(row[by])
        case = Case(row["id"])
        try:
            found = None if check is None else check(row["inputs"])
        except Unset:
            found = None
        if found is None:
            yield unknown(row["id"])
            continue
        for what, expected in row["expected"].items():
            _compare(case, what, found[what], expected, row, allowance)
        yield case


def _compare(
    case: Case, what: str, found: Any, expected: Any, row: Row, allowance: Allowance
) -> None:
    if isinstance(expected, str):
        case.expect_text(what, str(found), expected)
    elif isinstance(expected, list):
        case.expect(f"{what}: length", len(found), len(expected), 0.0)
        for place, (mine, theirs) in enumerate(zip(found, expected, strict=False)):
            _compare(case, f"{what}[{place}]", mine, theirs, row, allowance)
    elif isinstance(expected, dict):
        case.expect_text(f"{what}: keys", str(sorted(found)), str(sorted(expected)))
        for key in found.keys() & expected.keys():
            _compare(case, f"{what}[{key}]", found[key], expected[key], row, allowance)
    else:
        case.expect(what, found, expected, allowance(row, expected))
