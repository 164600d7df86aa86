"""Vega's cases of what the network disposes of: by `liquidation.reduce`, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from solvent.conform.case import Row
from solvent.conform.vega_venue import exact
from solvent.liquidation.reduce import Disposal, disposal

INPUTS: Final = frozenset(
    {"network_position", "disposal_fraction", "full_disposal_size", "max_fraction_consumed",
     "available_volume"}
)  # fmt: skip


def disposed(row: Row) -> Mapping[str, Any] | None:
    """Lots of each step until nothing is left, where the same volume stands in the book at each;
    None for another kind of case, or one that tells something else."""
    given = row["inputs"]
    if row["kind"] != "network_disposal" or set(given) != INPUTS:
        return None
    rule = Disposal(
        fraction=exact(given["disposal_fraction"]), full_lots=given["full_disposal_size"],
        book_share=exact(given["max_fraction_consumed"]), slippage=Fraction(0), step_ms=0,
    )  # fmt: skip
    left, steps = abs(given["network_position"]), list[int]()
    while left and (lots := disposal(left, given["available_volume"], rule)):
        steps.append(lots)
        left -= lots
    return {"disposals": steps}
