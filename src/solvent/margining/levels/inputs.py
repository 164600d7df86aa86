"""Numbers that a rulebook of formulas takes from outside: whether they are what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from solvent.errors import RulebookError
from solvent.margining.levels.text import LevelsText


def check_numbers(text: LevelsText, path: str, value: Any) -> None:
    """Refuse an input (`level.column`) that the rulebook does not have, and a value (or one of
    several by name) that is no finite number, or not one that it allows."""
    columns = {
        f"{level}.{name}": told
        for level, inputs in text.inputs.items()
        for name, told in inputs.items()
    }
    if path not in columns:
        raise RulebookError(f"{text.name} has no input {path!r}; there are {sorted(columns)}")
    for number in value.values() if isinstance(value, Mapping) else [value]:
        if not isinstance(number, int | float | np.number) or not np.isfinite(number):
            raise RulebookError(f"{text.name}: input {path}: {number!r} is no finite number")
        if fault := columns[path].fault(float(number)):
            raise RulebookError(f"{text.name}: input {path}: expected {fault}, found {number!r}")
