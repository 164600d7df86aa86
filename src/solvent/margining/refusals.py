"""Which instruments a rulebook cannot margin on a market, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from solvent.margining.rulebook import Rulebook
from solvent.risk.arrays import RiskArrays
from solvent.scenarios import Table
from solvent.units import DOLLARS

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]


class Coded(Protocol):
    """A node: [instrument] → node, and how many there are."""

    @property
    def code(self) -> Int32:
        """[instrument] → node."""
        ...

    @property
    def assets(self) -> tuple[str, ...]:
        """[node] what its amounts are counted in."""
        ...

    def __len__(self) -> int: ...


class Refusals:
    """Why an instrument cannot be margined: the market lacks it, or the rulebook has no number.

    A missing number would else pass unseen through a comparison, which takes it for *not less*.
    """

    def __init__(self, rulebook: Rulebook, arrays: RiskArrays) -> None:
        universe = arrays.universe
        self.symbols = universe.symbols
        self.pays = [universe.settlements[code] for code in universe.settlement]
        self.reasons = [""] * len(universe)
        used = frozenset[str]().union(*(formula.names for formula in rulebook.formulas.values()))
        for table in rulebook.tables.tables:
            by_underlying = table.by == "underlying"
            names = universe.underlyings if by_underlying else universe.settlements
            codes = universe.underlying if by_underlying else universe.settlement
            for code, reason in _missing(table, names, used, rulebook.name):
                for row in np.flatnonzero(codes == code):
                    self.reasons[row] = reason
        for blocked, why in arrays.blocked.items():
            symbol = universe.symbols[blocked]
            self.add(blocked, f"the market has no usable numbers for {symbol}: {why}")

    def add(self, row: int, reason: str) -> None:
        """Refuse an instrument; the first reason stays."""
        self.reasons[row] = self.reasons[row] or reason

    def without_number(self, defined: Bool, what: str) -> None:
        """Refuse the instruments for which a part of the rulebook is no number."""
        for row in np.flatnonzero(~defined):
            self.add(int(row), f"{what} has no finite number for {self.symbols[row]}")

    def in_another_currency(self, node: Coded, what: str) -> None:
        """Refuse the instruments whose PnL is paid in something else than a scan's node counts in.

        Their quanta would be added up as if they were its own: coins as dollars.
        """
        for row, code in enumerate(node.code.tolist()):
            pays, counts = self.pays[row], node.assets[code]
            if pays != counts and not {pays, counts} <= DOLLARS:
                self.add(
                    row,
                    f"{what} counts in {counts}, {self.symbols[row]} pays in {pays}: "
                    'expected numeraire = "settlement"',
                )

    @property
    def known(self) -> Bool:
        """[instrument] whether it can be margined, as far as is known by now."""
        return np.array([not reason for reason in self.reasons], dtype=bool)

    def known_nodes(self, node: Coded) -> Bool:
        """[node] whether it holds an instrument that can be margined."""
        held = np.zeros(len(node), dtype=bool)
        held[node.code[self.known]] = True
        return held


def _missing(
    table: Table, names: Sequence[str], used: frozenset[str], rulebook: str
) -> Iterator[tuple[int, str]]:
    """Keys (by code) that lack a number that some formula uses, and the reason in words."""
    for code, name in enumerate(names):
        if name not in table.rows:
            yield code, f"{rulebook} has no {table.name} parameters for {name}"
            continue
        entries = {f"{table.name}.{entry}" for row in table.rows.values() for entry in row}
        own = {f"{table.name}.{entry}" for entry in table.rows[name]}
        lacking = sorted((entries & used) - own)
        if lacking:
            yield code, f"{rulebook} has no {lacking[0]} for {name}"
