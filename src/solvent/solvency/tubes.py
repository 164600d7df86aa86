"""What a market can be while prices keep to a width: every number that margins read, between lines.

A *source* is an array of numbers that depend on the market: of instruments, of underlyings or of
assets. For each width of a ladder two lines are drawn round it, from the base to the far price on
either side, apart by what it sags between them and by what time, volatility and basis may do
meanwhile. How they are drawn is a guess; `inside` looks at each new market and says, by instrument
and underlying, which widths' lines hold all of its sources. A proof that starts from the lines of a
width therefore holds on every market that is inside, whatever has happened in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from solvent.margining.compile import AnyPlan
from solvent.solvency.anchors import offset_of, shifted
from solvent.solvency.between import Between
from solvent.units import Float64

Bits = NDArray[np.uint16]
Int64 = NDArray[np.int64]

WIDTHS: Final = (0.0051, 0.0102, 0.0204, 0.0408, 0.0816, 0.1632)
"""Shares by which prices may move either way, a hair more than half a percent, one, two and so on;
each twice the one before."""
ALL: Final = (1 << len(WIDTHS)) - 1
_SAG: Final = 1.5
"""How many times the sag in the middle of a segment its lines are apart from the chord."""
_SPARE: Final = 1e-4
"""A share of the largest change in a row that is left besides: tails do not sag as middles do."""
_HAIR: Final = 1e-11
"""A share of a number and of its change that rounding can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far a market may drift besides its prices, at the width of 1: shares of volatilities and
    of forwards over their index; and the time that may pass at any width."""

    vol: float = 0.5
    basis: float = 0.05
    time_ms: int = 300_000


@dataclass(frozen=True, slots=True)
class Source:
    """An array at the base and at the far ends; lines by width are made from it.

    `key` says what its rows are: instrument, underlying or asset.
    """

    key: str
    read: Callable[[Any], Float64]
    base: Float64
    far: tuple[Float64, ...]
    """[width] → [side, row, …]."""
    apart: tuple[Float64, ...]
    """[width] → [side, row, …] half of what the lines are apart."""

    def between(self, width: int) -> Between:
        """Its lines at a width."""
        base = np.broadcast_to(self.base, self.far[width].shape)
        lines = np.stack([base, self.far[width]], axis=1)
        return Between(lines - self.apart[width][:, None], lines + self.apart[width][:, None])

    def holds(self, now: Float64, moved: Float64, width: int) -> NDArray[np.bool_]:
        """[row] whether a newer array is between the lines, its row's price having `moved`."""
        side = np.where(moved < 0.0, 0, 1)
        rows = np.arange(len(moved))
        along = (np.abs(moved) / WIDTHS[width]).reshape((-1, *(1,) * (self.base.ndim - 1)))
        line = self.base + along * (self.far[width][side, rows] - self.base)
        held = np.abs(now - line) <= self.apart[width][side, rows]
        held |= np.isnan(now) & np.isnan(self.base)
        every = held.all(axis=tuple(range(1, held.ndim)))
        return np.asarray(every & (np.abs(moved) <= WIDTHS[width]))


class Tubes:
    """Lines round every source of a compiled market, for each width.

    Args:
        view: what sources are read from, made of a plan. assets: asset → the place of the
            underlying that prices it; past the market's own for what has a price of its own.
        nodes: other keys → the underlying of each row, and each instrument's row.
    """

    def __init__(
        self, plan: AnyPlan, view: Callable[[AnyPlan], Any], *, assets: Int64, underlyings: int,
        drift: Drift, nodes: Mapping[str, tuple[Int64, Int64]] | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.drift = plan, drift
        self._view, self._sources = view, dict[object, Source]()
        self._lines: dict[tuple[object, int], Between] = {}
        universe = plan.arrays.universe
        self._of = {
            "instrument": universe.underlying.astype(np.int64),
            "underlying": np.arange(underlyings),
            "asset": assets,
            **{key: of for key, (of, _) in (nodes or {}).items()},
        }
        self._row_of = {key: code for key, (_, code) in (nodes or {}).items()}
        self._base = view(plan)
        self._views: list[tuple[Any, Any]] | None = None
        self._drifted: list[Any] = []

    def between(
        self, name: object, width: int, key: str, read: Callable[[Any], Float64], *,
        grain: float = 0.0,
    ) -> Between:  # fmt: skip
        """A source's lines at a width; it is watched from now on. `grain` is what its numbers are
        rounded to."""
        if name not in self._sources:
            self._sources[name] = self._made(key, read, grain)
        if (name, width) not in self._lines:
            self._lines[name, width] = self._sources[name].between(width)
        return self._lines[name, width]

    def inside(self, plan: AnyPlan) -> dict[str, Bits]:
        """Key → bits of the widths whose lines hold all that is read of a row, on a newer market.

        None hold for anybody where the rulebook or the instruments are others.
        """
        arrays, base = plan.arrays, self.plan.arrays
        found = {key: np.zeros(len(of), dtype=np.uint16) for key, of in self._of.items()}
        same = arrays.universe is base.universe or _alike(arrays.universe, base.universe)
        if not same or not same_rules(plan, self.plan) or arrays.as_of_ms < base.as_of_ms:
            return found
        with np.errstate(all="ignore"):
            moved = np.append(arrays.index / base.index - 1.0, np.zeros(1))
        moved = np.where(np.isfinite(moved), moved, np.inf)
        view = self._view(plan)
        read = {
            name: (one, np.asarray(one.read(view), dtype=np.float64))
            for name, one in self._sources.items()
        }
        for width in range(len(WIDTHS)):
            held = self._held(read, moved, width)
            for key, mask in held.items():
                found[key] |= np.where(mask, 1 << width, 0).astype(np.uint16)
        found["instrument"][arrays.usable != base.usable] = 0
        return found

    def _held(
        self, read: dict[object, tuple[Source, Float64]], moved: Float64, width: int
    ) -> dict[str, NDArray[np.bool_]]:
        last = len(moved) - 1
        place = {key: np.where((of >= 0) & (of < last), of, last) for key, of in self._of.items()}
        held = {key: np.abs(moved[of]) <= WIDTHS[width] for key, of in place.items()}
        for source, now in read.values():
            if now.shape != source.base.shape:
                held[source.key][:] = False
                continue
            held[source.key] &= source.holds(now, moved[place[source.key]], width)
        for key, code in self._row_of.items():
            held["instrument"] &= held[key][code]
        # What an underlying's numbers are counts for all that is of it.
        for key in ("instrument", "asset"):
            of = self._of[key]
            known = (of >= 0) & (of < len(held["underlying"]))
            held[key] &= np.where(known, held["underlying"][np.where(known, of, 0)], True)
        return held

    def _made(self, key: str, read: Callable[[Any], Float64], grain: float) -> Source:
        views, base = self._shifted(), np.asarray(read(self._base), dtype=np.float64)
        ends = [np.stack([read(down), read(up)]).astype(np.float64) for down, up in views]
        later, vol, basis = (np.abs(read(one) - base) for one in self._drifted)
        far, apart = ends[1:], []
        for width, share in enumerate(WIDTHS):
            sag = np.abs(ends[width] - (base + far[width]) / 2.0)
            loose = later + share * (vol * self.drift.vol + basis * self.drift.basis) / _PROBE
            hair = _HAIR * (np.abs(base) + np.abs(far[width])) + grain
            spare = _SPARE * _widest(np.abs(far[width] - base))
            apart.append(_SAG * sag + loose + hair + spare)
        return Source(key, read, base, tuple(far), tuple(apart))

    def _shifted(self) -> list[tuple[Any, Any]]:
        """Views at half of the least width and at each width; and drifted ones, once."""
        if self._views is None:
            offset = offset_of(self.plan)

            def at(share: float) -> Any:
                return self._view(shifted(self.plan, price=share, offset=offset))

            steps = (WIDTHS[0] / 2.0, *WIDTHS)
            self._views = [(at(-step), at(step)) for step in steps]
            self._drifted = [
                self._view(shifted(self.plan, time_ms=self.drift.time_ms, offset=offset)),
                self._view(shifted(self.plan, vol=_PROBE, offset=offset)),
                self._view(shifted(self.plan, basis=_PROBE, offset=offset)),
            ]
        return self._views


_PROBE: Final = 0.01
"""Share by which volatilities and forwards are moved to see what they do."""


def _widest(change: Float64) -> Float64:
    """[side, row, …] the largest change of each row."""
    if change.ndim == _PLAIN:
        return change
    most = np.nan_to_num(change).max(axis=tuple(range(_PLAIN, change.ndim)), initial=0.0)
    return np.asarray(most.reshape((*most.shape, *(1,) * (change.ndim - _PLAIN))))


_PLAIN: Final = 2
"""Axes of one number a row: side and row."""


def same_rules(one: AnyPlan, other: AnyPlan) -> bool:
    """Whether two plans are of one rulebook with the parameters of one day."""
    mine, theirs = one.rulebook, other.rulebook
    return mine is theirs or (mine.digest, mine.on) == (theirs.digest, theirs.on)


def _alike(one: Any, other: Any) -> bool:
    """Whether two universes list the same contracts."""
    columns = ("strike", "expiry_ms", "lot_size", "tick_size", "inverse", "quanto_rate")
    same = one.symbols == other.symbols and one.settlements == other.settlements
    return same and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in columns
    )
