"""One worked case: what was expected, what was computed, and how far apart they may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Case:
    """A case of a file; `expect` holds one number against its tolerance."""

    name: str
    worst: float = 0.0
    """Largest error, in multiples of its tolerance (of 1e-300 where the tolerance is 0)."""
    misses: list[str] = field(default_factory=list)
    known: bool = True
    checked: int = 0

    def expect(self, what: str, found: float, expected: float, tolerance: float) -> None:
        """Hold `found` to `expected` within an absolute tolerance."""
        self.checked += 1
        error = abs(float(found) - float(expected))
        if not math.isfinite(error):
            error = math.inf
        self.worst = max(self.worst, error / max(tolerance, 1e-300) if error else 0.0)
        if error > tolerance:
            self.misses.append(
                f"{self.name}: {what}: expected {expected!r}, found {float(found)!r}, "
                f"off by {error:.3g}, allowed {tolerance:.3g}"
            )

    def expect_text(self, what: str, found: str, expected: str) -> None:
        """Hold a word to the expected one."""
        self.checked += 1
        if found != expected:
            self.misses.append(f"{self.name}: {what}: expected {expected!r}, found {found!r}")

    @property
    def passed(self) -> bool:
        """Known, checked, and nothing missed."""
        return self.known and self.checked > 0 and not self.misses


Row = Mapping[str, Any]
Check = Callable[[Row], Mapping[str, Any]]
"""Inputs of a case to what it asks for, under the names that the case expects."""
Reader = Callable[[Path], Iterator[Case]]
"""A file to its cases. A row that is flagged as wrong upstream yields none."""


def unknown(name: str) -> Case:
    """A case that Solvent has no means to check yet."""
    return Case(name, known=False)
