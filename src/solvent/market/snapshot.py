"""The frozen state of a market that everything downstream reads.

No NaN is inside: what the source did not say, or said wrongly, is a flag, and the number is 0.
A row with a blocking flag cannot be margined; an account that holds it is UNKNOWN.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.instruments import Universe
from solvent.instruments.contract import moment_of
from solvent.units import Float64, TimeMs

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


class Flag(IntFlag):
    """What is to be known about one instrument's numbers. The first eight block margining."""

    FINE = 0
    INDEX_MISSING = 1
    FORWARD_MISSING = 2
    VOL_MISSING = 4
    EXPIRED = 8
    OUT_OF_RANGE = 16
    STALE = 256
    QUOTE_CROSSED = 512
    QUOTE_ONE_SIDED = 1024
    MARK_DERIVED = 2048
    """The source gave no mark: it is the index, the forward or the model's value."""
    VOL_FITTED = 4096
    """The source gave no volatility, or none to be believed: it is a fitted surface's."""
    MARK_HELD = 8192
    """The source's mark was old or beyond its band: it is another one, by rule."""


BLOCKING: Final = Flag(255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """One forward per (underlying, settlement asset, expiry); axis: curve."""

    underlying: Int32
    settlement: Int32
    expiry_ms: Int64
    forward: Float64
    """Quote currency per coin; 0 where none could be had."""
    rate: Float64
    """Continuous rate that discounts the settlement asset; Deribit's is 0."""
    by_parity: Bool
    """The forward was implied from call and put marks, not quoted."""

    def __len__(self) -> int:
        return len(self.forward)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A market at one moment.

    Attributes:
        as_of_ms: the moment, UTC.
        universe: the instruments; every column below without another axis is by instrument.
        index: [underlying], quote currency per coin.
        curves: forwards by expiry. curve: row into `curves`, −1 for spot and perpetuals.
        forward: price on which the instrument's worth rests: its curve's, or its own mark.
        mark_forward: the forward that its mark was made with; differs from `forward` where the
            source was not read at one instant.
        mark: in the instrument's own quoting unit: coin per coin for an inverse option.
        vol: implied volatility, 0 where none applies.
        bid, ask: in the unit of `mark`; 0 for none.
        age_ms: since the source last confirmed the row.
        flags: `Flag` bits.
    """

    as_of_ms: TimeMs
    universe: Universe
    index: Float64
    curves: Curves
    curve: Int32
    forward: Float64
    mark_forward: Float64
    mark: Float64
    vol: Float64
    bid: Float64
    ask: Float64
    age_ms: Int64
    flags: NDArray[np.uint16]

    @property
    def usable(self) -> Bool:
        """Instruments that can be margined."""
        return np.asarray((self.flags & BLOCKING) == 0)

    @property
    def years(self) -> Float64:
        """Time to expiry by instrument; 0 without expiry and after it."""
        return self.universe.years(self.as_of_ms)

    @property
    def rate(self) -> Float64:
        """Discount rate by instrument."""
        return np.append(self.curves.rate, 0.0)[self.curve]

    @property
    def index_by_instrument(self) -> Float64:
        """Index of each instrument's underlying."""
        return self.index[self.universe.underlying]

    def price_of(self, asset: str) -> float | None:
        """Dollars per unit of an asset, by its index; None when this market does not say."""
        if asset not in self.universe.underlyings:
            return None
        price = float(self.index[self.universe.underlyings.index(asset)])
        return price if price > 0.0 else None

    def __repr__(self) -> str:
        usable = int(self.usable.sum())
        return (
            f"Snapshot({moment_of(self.as_of_ms):%Y-%m-%d %H:%M:%S} UTC, {usable} of "
            f"{len(self.universe)} instruments usable, {len(self.curves)} curves)"
        )
