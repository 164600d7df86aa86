"""What margining answers: requirements of sets and accounts, as arrays, with their reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from solvent.risk.layout import Layout
from solvent.units import Float64

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


class Standing(StrEnum):
    """Where an account stands."""

    HEALTHY = "healthy"
    CALL = "call"
    """Below initial margin: no new risk."""
    LIQUIDATE = "liquidate"
    """Below maintenance margin."""
    UNKNOWN = "unknown"
    """Not computable: frozen, never liquidated."""
    UNFUNDED = "unfunded"
    """The requirement is computed; no collateral was told, so nothing is said of the account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sets:
    """Netting sets (an account's positions in one node of the requirement); axis: set.

    Attributes:
        account, node: codes. components: name → amount in the node's numeraire.
        initial, maintenance: in the numeraire, the allowance for rounding included.
        initial_micro, maintenance_micro: in millionths of a dollar, rounded up.
        binding: scan → scenario that gave its worst.
        undefined: set → the part of its margin that is no finite number; `initial` and
            `maintenance` are NaN there, and their whole amounts 0.
    """

    account: Int32
    node: Int32
    components: Mapping[str, Float64]
    initial: Float64
    maintenance: Float64
    initial_micro: Int64
    maintenance_micro: Int64
    binding: Mapping[str, Int32]
    undefined: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.account)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """Every account's requirement; axis: account. Money in millionths of a dollar.

    Attributes:
        initial, maintenance: requirements, never negative.
        option_value, unrealised: what positions add to equity, rounded down.
        worst_set: the set with the largest initial margin, −1 for none.
        refused: first position that cannot be margined, −1 for none.
        undefined: account → why its formulas give no number.
    """

    sets: Sets
    layout: Layout
    initial: Int64
    maintenance: Int64
    option_value: Int64
    unrealised: Int64
    worst_set: Int64
    refused: Int64
    undefined: Mapping[int, str]
