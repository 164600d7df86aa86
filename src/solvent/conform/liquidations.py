"""Cases of liquidation and bankruptcy prices, tiers, order cost and ranks: each names its kind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from solvent.conform import onchain, tiered
from solvent.conform.case import Case, Check, unknown
from solvent.margining.levels.rows import Unset

_CHECKS: Final[Mapping[str, Check]] = {**tiered.LIQUIDATION_CHECKS, **onchain.LIQUIDATION_CHECKS}


def cases(path: Path) -> Iterator[Case]:
    """Every case of a `cases.json`; what no module computes yet is unknown."""
    for row in json.loads(path.read_text("utf-8"))["cases"]:
        check = _CHECKS.get(row["kind"])
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
            _compare(case, what, found[what], expected, row["tolerance"])
        yield case


def _compare(case: Case, what: str, found: Any, expected: Any, tolerance: float | str) -> None:
    """A tolerance is absolute, or a text `rel 1e-4`."""
    if isinstance(expected, str):
        case.expect_text(what, str(found), expected)
    elif isinstance(expected, list):
        case.expect(f"{what}: length", len(found), len(expected), 0.0)
        for place, (mine, theirs) in enumerate(zip(found, expected, strict=False)):
            _compare(case, f"{what}[{place}]", mine, theirs, tolerance)
    elif isinstance(expected, dict):
        case.expect_text(f"{what}: keys", str(sorted(found)), str(sorted(expected)))
        for key in found.keys() & expected.keys():
            _compare(case, f"{what}[{key}]", found[key], expected[key], tolerance)
    elif isinstance(tolerance, str):
        case.expect(what, found, expected, float(tolerance.removeprefix("rel ")) * abs(expected))
    else:
        case.expect(what, found, expected, tolerance)
