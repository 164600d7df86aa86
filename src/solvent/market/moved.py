"""Another market made of this one: fewer instruments, or prices moved by factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from solvent.instruments import Universe, frozen
from solvent.market.snapshot import Curves, Flag, Int32, Int64, Snapshot


def restricted(snapshot: Snapshot, rows: Sequence[int]) -> Snapshot:
    """The market of some instruments, with the curves and indices that they need."""
    kept = np.unique(np.asarray(rows, dtype=np.int64))
    whole = snapshot.universe
    universe = Universe(whole.instruments[row] for row in kept)
    columns = ("forward", "mark_forward", "mark", "vol", "bid", "ask", "age_ms", "flags")
    index = [snapshot.index[whole.underlyings.index(name)] for name in universe.underlyings]
    curves, curve = _curves(snapshot, universe, kept)
    return replace(
        snapshot,
        universe=universe,
        index=frozen(np.array(index, dtype=np.float64)),
        curves=curves,
        curve=frozen(curve),
        **{name: frozen(getattr(snapshot, name)[kept]) for name in columns},
    )


def _curves(snapshot: Snapshot, universe: Universe, kept: Int64) -> tuple[Curves, Int32]:
    """Curves of the kept instruments, in the codes of their universe, and who lies on which."""
    old = snapshot.curve[kept]
    used, place = np.unique(old[old >= 0], return_index=True)
    first = np.flatnonzero(old >= 0)[place]
    columns = ("expiry_ms", "forward", "rate", "by_parity")
    curves = replace(
        snapshot.curves,
        underlying=frozen(universe.underlying[first]),
        settlement=frozen(universe.settlement[first]),
        **{name: frozen(getattr(snapshot.curves, name)[used]) for name in columns},
    )
    curve = np.where(old >= 0, np.searchsorted(used, old), -1)
    return curves, curve.astype(np.int32)


def moved(snapshot: Snapshot, factors: Mapping[str, float]) -> Snapshot:
    """The market with index, forwards and marks of underlyings times a factor.

    Volatilities stay, as the far moves of a liquidation price are told at today's smile by strike;
    marks of options on what moved are the model's.
    """
    universe = snapshot.universe
    by_code = np.array([factors.get(name, 1.0) for name in universe.underlyings])
    factor = by_code[universe.underlying]
    changed = universe.is_option & (factor != 1.0)
    flags = snapshot.flags.copy()
    flags[changed] |= np.uint16(Flag.MARK_DERIVED)
    return replace(
        snapshot,
        index=frozen(snapshot.index * by_code),
        curves=replace(
            snapshot.curves,
            forward=frozen(snapshot.curves.forward * by_code[snapshot.curves.underlying]),
        ),
        forward=frozen(snapshot.forward * factor),
        mark_forward=frozen(snapshot.mark_forward * factor),
        mark=frozen(np.where(changed, snapshot.mark, snapshot.mark * factor)),
        bid=frozen(snapshot.bid * factor),
        ask=frozen(snapshot.ask * factor),
        flags=frozen(flags),
    )
