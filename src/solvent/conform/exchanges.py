"""Cases of centralised exchanges: each names a function; a venue's module computes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from solvent.conform import deribit, portfolio, tiered
from solvent.conform.case import Case, Check, Row
from solvent.conform.dispatch import dispatched

_CHECKS: Final[Mapping[str, Check]] = {**deribit.CHECKS, **portfolio.CHECKS, **tiered.CHECKS}


def cases(path: Path) -> Iterator[Case]:
    """Every case of a `cases.json`; what no module computes yet is unknown."""
    return dispatched(path, by="fn", checks=_CHECKS, allowance=_allowance)


def _allowance(row: Row, expected: float) -> float:
    scale = abs(expected) if row.get("tol_is_relative") else 1.0
    return float(row["tol"]) * scale
