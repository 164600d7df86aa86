"""A history prepared once, and sets of scenarios cut from it date by date.

Everything that is the same for all dates (the grid, the returns, the volatilities) is computed once
over the whole history, each number from what came before it. A date's set then is a slice: equal,
bit by bit, to the set built from a history that ends on that date.
"""

from __future__ import annotations

from dataclasses import dataclass

from solvent.instruments.contract import moment_of
from solvent.scenarios.history.draft import Draft
from solvent.scenarios.history.grid import Grid, lay
from solvent.scenarios.history.note import Built, refused
from solvent.scenarios.history.series import Series
from solvent.scenarios.history.sigma import Sigma, volatilities
from solvent.scenarios.history.spec import HistorySpec
from solvent.scenarios.history.windows import window_ends
from solvent.units import DAY_MS, TimeMs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """A history laid out for one spec; `at` cuts a date's set from it."""

    spec: HistorySpec
    names: tuple[str, ...]
    source: str
    grid: Grid
    sigma: Sigma

    @classmethod
    def of(
        cls,
        spec: HistorySpec,
        series: Series,
        *,
        until_ms: int | None = None,
        since_ms: int | None = None,
    ) -> Panel:
        """Prepare a history for dates from `since_ms` (all) to `until_ms` (the series' end)."""
        if until_ms is None:
            until_ms = int(series.time_ms.max()) if len(series) else 0
        grid = lay(spec, series, until_ms=until_ms)
        since = 0
        # Tools, today's correlation and stressed periods look back further than the windows.
        further = spec.tools or spec.correlation or spec.windows or spec.stressed_days
        if since_ms is not None and not further:
            first_ms = since_ms - spec.lookback_days * DAY_MS
            since = max(0, grid.index(round(first_ms)) - spec.span_steps)
        return cls(
            spec=spec,
            names=rows_of(spec, series),
            source=series.source,
            grid=grid,
            sigma=volatilities(spec, grid, since=since),
        )

    def at(self, as_of_ms: int) -> Built:
        """The set of a date; nothing after it is looked at. Raises BadInput where history does not
        carry one."""
        spec, grid = self.spec, self.grid
        last = grid.index(as_of_ms)
        day = f"{moment_of(TimeMs(as_of_ms)):%Y-%m-%d %H:%M}"
        if last >= len(grid.time_ms):
            end = f"{moment_of(TimeMs(int(grid.time_ms[-1]))):%Y-%m-%d %H:%M}"
            raise refused(self.source, "", expected=f"history up to {day}", found=f"up to {end}")
        if last < spec.span_steps:
            raise refused(self.source, "", expected=f"history before {day}", found="none")
        ends = window_ends(spec, grid, last)
        draft = Draft.of(
            spec, self.names, grid, self.sigma, source=self.source, last=last, ends=ends
        )
        return draft.finish()


def rows_of(spec: HistorySpec, series: Series) -> tuple[str, ...]:
    """The coins of a set: those that the spec lists, or all of the series and of the proxies."""
    further = (one.name for one in spec.stand_ins if one.name not in series.names)
    return spec.underlyings or (*series.names, *further)
