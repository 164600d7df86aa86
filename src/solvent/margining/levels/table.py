"""Parameter tables as arrays: a number a key, or the tiers of a key side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvent.units import Float64

Int64 = NDArray[np.int64]


def by_key(table: Mapping[str, Mapping[str, Any]], entry: str, keys: Sequence[str]) -> Float64:
    """One number a key, NaN where none is set; the row of `*` serves keys without one.

    >>> by_key({"*": {"rate": 0.1}, "BTC": {"rate": 0.02}}, "rate", ["BTC", "ETH"]).tolist()
    [0.02, 0.1]
    """
    other = table.get("*", {})
    return np.array([float(table.get(key, other).get(entry, np.nan)) for key in keys])


@dataclass(frozen=True, slots=True)
class Tiers:
    """Tiers of every key: [key, tier], a tier that a key does not have beginning at infinity."""

    begin: Float64
    entry: Float64
    closed: NDArray[np.bool_]
    """[key] whether a tier holds its lower bound."""

    @classmethod
    def of(cls, table: Mapping[str, Mapping[str, Any]], entry: str, keys: Sequence[str]) -> Tiers:
        """Tiers of a table's entry for every key."""
        other = table.get("*", {})
        rows = [table.get(key, other) for key in keys]
        closed = np.array(["from" in row for row in rows], dtype=bool)
        begins = [row.get("from", row.get("above", [])) if entry in row else [] for row in rows]
        width = max([1, *map(len, begins)])
        begin = np.full((len(keys), width), np.inf)
        values = np.full((len(keys), width), np.nan)
        for place, (row, bounds) in enumerate(zip(rows, begins, strict=True)):
            begin[place, : len(bounds)] = bounds
            values[place, : len(bounds)] = row[entry] if bounds else []
        return cls(begin, values, closed)

    def lookup(self, key: Int64, x: Float64) -> Float64:
        """The entry of the tier that x lies in; below the first one, the first's."""
        begin = self.begin[key]
        at = x[:, None]
        reached = np.where(self.closed[key][:, None], begin <= at, begin < at)
        tier = np.maximum(reached.sum(axis=1) - 1, 0)
        return np.where(np.isnan(x), np.nan, self.entry[key, tier])

    def marginal(self, key: Int64, x: Float64) -> Float64:
        """Σ over tiers of entry times the part of x in the tier."""
        begin, entry = self.begin[key], self.entry[key]
        finite = np.isfinite(begin)
        end = np.concatenate([begin[:, 1:], np.full((len(begin), 1), np.inf)], axis=1)
        part = np.maximum(np.minimum(x[:, None], end) - np.where(finite, begin, np.inf), 0.0)
        total = np.where(finite, np.where(finite, part, 0.0) * entry, 0.0).sum(axis=1)
        return np.where(finite.any(axis=1) & ~np.isnan(x), total, np.nan)
