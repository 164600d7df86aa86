"""Open interest of a chain, where its file tells it: how much a quote is lived in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from solvent.feeds.columns import names, numbers
from solvent.feeds.library import specification
from solvent.feeds.table import Faults, read_table
from solvent.instruments import parse_symbol, term_sheet

_SYMBOL = ("instrument_name", "instrument")
_COLUMN = "open_interest"


def read_open_interest(paths: Sequence[str | Path]) -> dict[str, float]:
    """Symbol → open interest, in the file's own unit, for rows that tell a positive one.

    What cannot be read is as if it were not there: weights are all that this is for.
    """
    found: dict[str, float] = {}
    for path in paths:
        faults = Faults.of(path, skip=True)
        frame = read_table(path, faults)
        column = next((name for name in _SYMBOL if name in frame.columns), None)
        if column is None or _COLUMN not in frame.columns:
            continue
        interest = numbers(frame, _COLUMN, faults, required=False)
        for name, amount in zip(names(frame, column, faults).to_list(), interest, strict=True):
            if np.isfinite(amount) and amount > 0.0 and (symbol := _canonical(name)):
                found[symbol] = float(amount)
    return found


def _canonical(name: str) -> str | None:
    try:
        contract = parse_symbol(name)
    except ValueError:
        return None
    return term_sheet(contract, specification(contract)).symbol
