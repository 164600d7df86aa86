"""Panels that are kept: sets are to the bit those of laying the history out anew."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvent.errors import BadInput
from solvent.scenarios.anti_procyclical import Chain, Floor
from solvent.scenarios.history import HistorySpec, Series
from solvent.scenarios.history.build import joint_shocks, joint_shocks_anew
from solvent.scenarios.history.kept import KeptPanels, digest
from solvent.scenarios.history.note import Mark
from solvent.units import DAY_MS
from tests.history_made import made, same
from tests.test_history_scenarios import SMALL, SPECS, damaged

HOUR_MS = DAY_MS // 24
GARCH = HistorySpec(filter="garch", lookback_days=60, min_observations=20, refit_days=40)
later = st.sampled_from((0, 0, 1, 1_000, 60_000, HOUR_MS, 5 * HOUR_MS, DAY_MS, 2 * DAY_MS))


@settings(max_examples=25)
@given(st.sampled_from(SPECS), st.integers(0, 50), st.lists(later, min_size=1, max_size=12))
def test_sets_are_those_of_laying_the_history_out_anew(
    spec: HistorySpec, seed: int, steps: list[int]
) -> None:
    series, kept = damaged(seed, spec=spec), KeptPanels()
    at_ms = int(series.time_ms.max()) - 30 * DAY_MS
    for step in steps:
        at_ms += step
        found = kept.panel(spec, series, as_of_ms=at_ms).at(at_ms)
        assert same(found, joint_shocks_anew(spec, series, as_of_ms=at_ms))
        assert same(found, joint_shocks(spec, series, as_of_ms=at_ms))
    assert kept.made <= len({*np.cumsum(steps).tolist()})


def test_of_garch_too() -> None:
    series, kept = made(420, seed=3), KeptPanels()
    for at_ms in (int(series.time_ms[330]) + late for late in (0, HOUR_MS, 11 * DAY_MS)):
        found = kept.panel(GARCH, series, as_of_ms=at_ms).at(at_ms)
        assert same(found, joint_shocks_anew(GARCH, series, as_of_ms=at_ms))
    assert kept.made == 2


def test_a_panel_serves_until_the_next_point_or_row() -> None:
    spec = HistorySpec(**SMALL, tools=Chain((Floor(),)))
    days, hours = made(200), made(200, step_hours=1.0)
    for series, panels in ((days, 2), (hours, 25)):
        kept = KeptPanels()
        first_ms = int(series.time_ms[-1]) // DAY_MS * DAY_MS - 2 * DAY_MS
        for late in range(0, DAY_MS + 1, HOUR_MS // 2):
            kept.panel(spec, series, as_of_ms=first_ms + late)
        assert kept.made == panels


def test_a_history_that_was_changed_is_another() -> None:
    spec, series, kept = SPECS[0], made(200), KeptPanels()
    at_ms = int(series.time_ms[-1])
    before = kept.panel(spec, series, as_of_ms=at_ms).at(at_ms)
    assert kept.panel(spec, replace(series, price=series.price.copy()), as_of_ms=at_ms)
    assert kept.made == 1
    series.price[-1] *= 1.5
    after = kept.panel(spec, series, as_of_ms=at_ms).at(at_ms)
    assert kept.made == 2
    assert not same(before, after)
    assert same(after, joint_shocks_anew(spec, series, as_of_ms=at_ms))


def test_whatever_a_history_tells_is_in_its_digest() -> None:
    series = made(40, surfaces=True)
    mark = Mark(code="sorted", subject="", text="rows", time_ms=np.array([1], dtype=np.int64))
    other: dict[str, Any] = {
        "names": ("BTC", "SOL"), "source": "elsewhere", "time_ms": series.time_ms + 1,
        "repairs": (mark,),
    }  # fmt: skip
    for one in fields(Series):
        changed = other.get(one.name)
        if changed is None:
            changed = getattr(series, one.name) * 1.01
        assert digest(replace(series, **{one.name: changed})) != digest(series), one.name
    nothing: dict[str, Any] = dict.fromkeys(("level", "skew", "term", "curve", "basis"))
    assert digest(replace(series, **nothing)) != digest(series)
    marked = replace(series, repairs=(mark,))
    again = replace(series, repairs=(replace(mark, time_ms=mark.time_ms + 1),))
    assert digest(marked) != digest(again)
    assert digest(replace(series, price=series.price.copy())) == digest(series)


def test_no_more_is_kept_than_there_is_room_for() -> None:
    series = made(200)
    at_ms = int(series.time_ms[-1])
    alone = KeptPanels()
    alone.panel(SPECS[0], series, as_of_ms=at_ms)
    kept = KeptPanels(bytes_max=2 * alone.nbytes)
    for back in (0, 1, 2, 0):
        kept.panel(SPECS[0], series, as_of_ms=at_ms - back * DAY_MS)
        assert 0 < kept.nbytes <= kept.bytes_max
    assert kept.made == 4, "the one that was asked for longest ago made room"
    none = KeptPanels(bytes_max=alone.nbytes - 1)
    for _ in range(2):
        assert same(
            none.panel(SPECS[0], series, as_of_ms=at_ms).at(at_ms),
            joint_shocks_anew(SPECS[0], series, as_of_ms=at_ms),
        )
    assert (none.made, none.nbytes) == (2, 0)


def test_what_cannot_be_laid_out_is_refused_each_time() -> None:
    series, kept = made(40), KeptPanels()
    for _ in range(2):
        with pytest.raises(BadInput):
            kept.panel(SPECS[0], series, as_of_ms=int(series.time_ms[0]) - 1)
    assert kept.made == 0


def test_tools_of_another_kind_need_no_hash() -> None:
    class Doubled:
        """A caller's own tool, which cannot be a key."""

        __hash__ = None  # type: ignore[assignment]

        def follow(self, raw: Any, /) -> list[float]:
            return [2.0 * one for one in raw]

    spec, series = HistorySpec(**SMALL, tools=Doubled()), made(200)
    at_ms, kept = int(series.time_ms[-1]), KeptPanels()
    for _ in range(2):
        found = kept.panel(spec, series, as_of_ms=at_ms).at(at_ms)
        assert same(found, joint_shocks_anew(spec, series, as_of_ms=at_ms))
    assert kept.made == 2
