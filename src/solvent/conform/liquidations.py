"""Cases of liquidation and bankruptcy prices, tiers, order cost and ranks: each names its kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from solvent.conform import onchain, tiered
from solvent.conform.case import Case, Check, Row
from solvent.conform.dispatch import dispatched

_CHECKS: Final[Mapping[str, Check]] = {**tiered.LIQUIDATION_CHECKS, **onchain.LIQUIDATION_CHECKS}


def cases(path: Path) -> Iterator[Case]:
    """Every case of a `cases.json`; what no module computes yet is unknown."""
    return dispatched(path, by="kind", checks=_CHECKS, allowance=_allowance)


def _allowance(row: Row, expected: float) -> float:
    """A tolerance is absolute, or a text `rel 1e-4`."""
    tolerance = row["tolerance"]
    if isinstance(tolerance, str):
        return float(tolerance.removeprefix("rel ")) * abs(expected)
    return float(tolerance)
