"""Joint shocks of one date from a history."""

from __future__ import annotations

from typing import Final

from solvent.scenarios.history.kept import KeptPanels
from solvent.scenarios.history.note import Built
from solvent.scenarios.history.panel import Panel
from solvent.scenarios.history.series import Series
from solvent.scenarios.history.spec import HistorySpec

_KEPT: Final = KeptPanels()


def joint_shocks(spec: HistorySpec, series: Series, *, as_of_ms: int) -> Built:
    """The set of a date, from what was known then: later rows are cut off before anything else.

    Moments between two points of the history share what was prepared (`kept`): sets are those of
    `joint_shocks_anew`. For many dates prepare a `Panel` once: its sets are the same too.

    Raises BadInput where the history cannot carry the set: too short, constant, stale, a coin
    without prices or proxy; everything that was repaired instead is a `Note`.
    """
    return _KEPT.panel(spec, series, as_of_ms=as_of_ms).at(as_of_ms)


def joint_shocks_anew(spec: HistorySpec, series: Series, *, as_of_ms: int) -> Built:
    """`joint_shocks` with nothing kept: the history is laid out for this moment alone."""
    known = series.until(as_of_ms)
    return Panel.of(spec, known, until_ms=as_of_ms, since_ms=as_of_ms).at(as_of_ms)
