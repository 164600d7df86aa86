"""Parameter tables: a venue's numbers by underlying or by settlement asset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from solvent.instruments import Universe
from solvent.units import Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Parameters by key. `by` says what the keys are: "underlying" or "settlement"."""

    name: str
    by: str
    rows: Mapping[str, Mapping[str, float]]

    def columns(self, keys: Sequence[str]) -> dict[str, Float64]:
        """`table.parameter` → one value a key, NaN where the table has none.

        The row of `*`, where there is one, stands for every key without a row of its own.

        >>> fees = Table(name="fee", by="underlying", rows={"BTC": {"taker": 0.0005}})
        >>> fees.columns(["BTC", "DOGE"])["fee.taker"].tolist()
        [0.0005, nan]
        """
        names = sorted({parameter for row in self.rows.values() for parameter in row})
        other: Mapping[str, float] = self.rows.get("*", {})
        return {
            f"{self.name}.{name}": np.array(
                [self.rows.get(key, other).get(name, np.nan) for key in keys], dtype=np.float64
            )
            for name in names
        }


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables of a rulebook, as in force at one moment, and its constants."""

    tables: tuple[Table, ...] = ()
    constants: Mapping[str, float] = field(default_factory=dict)

    def by_underlying(self, universe: Universe) -> dict[str, Float64]:
        """Columns of the tables that are keyed by underlying; axis: underlying."""
        return self._columns("underlying", universe.underlyings)

    def by_settlement(self, universe: Universe) -> dict[str, Float64]:
        """Columns of the tables that are keyed by settlement asset; axis: settlement."""
        return self._columns("settlement", universe.settlements)

    def by_instrument(self, universe: Universe) -> dict[str, Float64]:
        """Every column, gathered to instruments."""
        return {
            **{k: v[universe.underlying] for k, v in self.by_underlying(universe).items()},
            **{k: v[universe.settlement] for k, v in self.by_settlement(universe).items()},
        }

    @property
    def names(self) -> frozenset[str]:
        """Every constant, and every `table.parameter` that some row sets."""
        return frozenset(self.constants) | frozenset(
            f"{table.name}.{name}"
            for table in self.tables
            for row in table.rows.values()
            for name in row
        )

    def _columns(self, by: str, keys: Sequence[str]) -> dict[str, Float64]:
        columns = {name: np.full(len(keys), number) for name, number in self.constants.items()}
        for table in self.tables:
            if table.by == by:
                columns.update(table.columns(keys))
        return columns
