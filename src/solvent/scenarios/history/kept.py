"""Panels that are kept: markets follow each other much faster than a history's points do.

Until the next point of a spec's grid, and until another row of the history is told, every moment's
set is cut from the same panel. Laying out a history again costs seconds where tools look back over
years. A history is known again by its numbers, not by its name: one that was changed is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from hashlib import blake2b
from typing import Final

import numpy as np

from solvent.scenarios.history.panel import Panel
from solvent.scenarios.history.series import Series
from solvent.scenarios.history.spec import HOUR_MS, HistorySpec

BYTES_MAX: Final = 1 << 28
"""Of all panels that are kept; one alone that is larger is not kept."""

_Key = tuple[HistorySpec, int, bytes]


class KeptPanels:
    """Panels by spec, history and point of the grid; those asked for last.

    Attributes:
        made: panels that were laid out so far.
    """

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self.bytes_max, self.made = bytes_max, 0
        # Never changed, but replaced by another: threads that meet here lose a panel at most.
        self._panels: Mapping[_Key, Panel] = {}

    def panel(self, spec: HistorySpec, series: Series, *, as_of_ms: int) -> Panel:
        """`Panel.of` the rows up to a moment, whose `at` gives the set of that moment.

        Raises BadInput where the history cannot be laid out.
        """
        known = series.until(as_of_ms)
        phase_ms = round(spec.phase_hours * HOUR_MS)
        point = (as_of_ms - phase_ms) // spec.step_ms
        if not _hashable(spec):
            self.made += 1
            return Panel.of(spec, known, until_ms=as_of_ms, since_ms=as_of_ms)
        key = (spec, point, digest(known))
        found = self._panels.get(key)
        if found is None:
            # From the point on, as it is not after any moment of its step.
            since_ms = phase_ms + point * spec.step_ms
            found = Panel.of(spec, known, until_ms=as_of_ms, since_ms=since_ms)
            self.made += 1
        self._keep(key, found)
        return found

    def _keep(self, key: _Key, panel: Panel) -> None:
        """As the one that was asked for last; those asked for longest ago make room."""
        panels = {one: kept for one, kept in self._panels.items() if one != key}
        panels[key] = panel
        left = sum(map(_nbytes, panels.values()))
        for one in list(panels):
            if left <= self.bytes_max:
                break
            left -= _nbytes(panels.pop(one))
        self._panels = panels

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        return sum(map(_nbytes, self._panels.values()))


def digest(series: Series) -> bytes:
    """Of all that a history tells: 16 bytes that differ where anything does."""
    words = [(one.code, one.subject, one.text) for one in series.repairs]
    numbers = [one.time_ms for one in series.repairs]
    told = [series.time_ms, series.price, series.level, series.skew, series.term, series.curve,
            series.basis, *numbers]  # fmt: skip
    shapes = [None if one is None else (one.dtype.str, one.shape) for one in told]
    found = blake2b(repr((series.names, series.source, words, shapes)).encode(), digest_size=16)
    for one in told:
        if one is not None:
            found.update(one.tobytes())
    return found.digest()


def _hashable(spec: HistorySpec) -> bool:
    """Whether it can be a key: tools of a caller's own need not be."""
    try:
        hash(spec)
    except TypeError:
        return False
    return True


def _nbytes(panel: Panel) -> int:
    arrays = (getattr(of, one.name) for of in (panel.grid, panel.sigma) for one in fields(of))
    return sum(one.nbytes for one in arrays if isinstance(one, np.ndarray))
