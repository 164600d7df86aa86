"""A market with the published indices in it: whoever prices it prices on these, or on nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from solvent.errors import check
from solvent.instruments import frozen
from solvent.market.index import Index
from solvent.market.oracles import NANO
from solvent.market.snapshot import Flag, Snapshot
from solvent.messages.fields import IndexPrice


def indexed(snapshot: Snapshot, indices: Iterable[Index]) -> Snapshot:
    """The snapshot with the indices of some underlyings, the others as they are.

    Where an index is UNKNOWN no instrument on it can be margined: all of them are flagged, so that
    whoever holds one is unknown as well, and is not liquidated. No price stands in for it: not the
    last one, and not the mark of its own perpetual.
    """
    universe = snapshot.universe
    index, flags = snapshot.index.copy(), snapshot.flags.copy()
    for one in indices:
        if one.underlying not in universe.underlyings:
            continue
        code = universe.underlyings.index(one.underlying)
        mine = universe.underlying == code
        missing = np.uint16(Flag.INDEX_MISSING)
        index[code] = 0.0 if one.price_nano is None else one.price_nano / NANO
        flags[mine] = flags[mine] & ~missing if one.known else flags[mine] | missing
    check(bool(np.isfinite(index).all()), "an index is finite")
    return replace(snapshot, index=frozen(index), flags=frozen(flags))


def index_prices(indices: Iterable[Index]) -> tuple[IndexPrice, ...]:
    """Indices as a command publishes them; those that are UNKNOWN are not told."""
    return tuple(
        IndexPrice(one.underlying, one.price_nano, one.age_ms)
        for one in indices
        if one.price_nano is not None
    )
