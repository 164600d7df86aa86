"""Another market made of this one: fewer instruments, or prices moved by factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from solvent.instruments import Universe, frozen
from solvent.market.snapshot import Flag, Snapshot


def restricted(snapshot: Snapshot, rows: Sequence[int]) -> Snapshot:
    """The market of some instruments; their curves and indices stay."""
    kept = np.unique(np.asarray(rows, dtype=np.int64))
    whole = snapshot.universe
    universe = Universe(whole.instruments[row] for row in kept)
    columns = ("curve", "forward", "mark_forward", "mark", "vol", "bid", "ask", "age_ms", "flags")
    index = [snapshot.index[whole.underlyings.index(name)] for name in universe.underlyings]
    return replace(
        snapshot,
        universe=universe,
        index=frozen(np.array(index, dtype=np.float64)),
        **{name: frozen(getattr(snapshot, name)[kept]) for name in columns},
    )


def moved(snapshot: Snapshot, factors: Mapping[str, float]) -> Snapshot:
    """The market with index, forwards and marks of underlyings times a factor.

    Volatilities stay, as the far moves of a liquidation price are told at today's smile by strike;
    marks of options on what moved are the model's.
    """
    universe = snapshot.universe
    by_code = np.array([factors.get(name, 1.0) for name in universe.underlyings])
    factor = by_code[universe.underlying]
    # A curve's underlying is told by the instruments on it: codes differ between universes.
    curve_factor = np.ones(len(snapshot.curves) + 1)
    curve_factor[snapshot.curve] = factor
    changed = universe.is_option & (factor != 1.0)
    flags = snapshot.flags.copy()
    flags[changed] |= np.uint16(Flag.MARK_DERIVED)
    return replace(
        snapshot,
        index=frozen(snapshot.index * by_code),
        curves=replace(
            snapshot.curves, forward=frozen(snapshot.curves.forward * curve_factor[:-1])
        ),
        forward=frozen(snapshot.forward * factor),
        mark_forward=frozen(snapshot.mark_forward * factor),
        mark=frozen(np.where(changed, snapshot.mark, snapshot.mark * factor)),
        bid=frozen(snapshot.bid * factor),
        ask=frozen(snapshot.ask * factor),
        flags=frozen(flags),
    )
