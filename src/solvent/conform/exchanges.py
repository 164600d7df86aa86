"""Cases of centralised exchanges: each names a function; a venue's module computes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from solvent.conform import deribit, portfolio, tiered
from solvent.conform.case import Case, Check, Row, unknown
from solvent.margining.levels.rows import Unset

_CHECKS: Mapping[str, Check] = {**deribit.CHECKS, **portfolio.CHECKS, **tiered.CHECKS}


def cases(path: Path) -> Iterator[Case]:
    """Every case of a `cases.json`; what no module computes yet is unknown."""
    for row in json.loads(path.read_text("utf-8"))["cases"]:
        check = _CHECKS.get(row["fn"])
        if check is None:
            yield unknown(row["id"])
            continue
        case = Case(row["id"])
        try:
            found = check(row["inputs"])
        except Unset:  # a parameter that no source was found for
            yield unknown(row["id"])
            continue
        for what, expected in row["expected"].items():
            _compare(case, what, found[what], expected, row)
        yield case


def _compare(case: Case, what: str, found: Any, expected: Any, row: Row) -> None:
    if isinstance(expected, str):
        case.expect_text(what, str(found), expected)
        return
    if isinstance(expected, list):
        case.expect(f"{what}: length", len(found), len(expected), 0.0)
        for place, (mine, theirs) in enumerate(zip(found, expected, strict=False)):
            _compare(case, f"{what}[{place}]", mine, theirs, row)
        return
    scale = abs(expected) if row.get("tol_is_relative") else 1.0
    case.expect(what, found, expected, row["tol"] * scale)
