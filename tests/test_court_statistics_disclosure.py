"""The disclosure's fields, by hand, of a small backtest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from solvent.errors import BadInput
from solvent.lab.court.disclosure import disclosure
from solvent.lab.court.result import Cell, CourtResult
from solvent.units import DAY_MS

MICRO = 1_000_000
START = 1_700_006_400_000


@pytest.fixture
def result() -> CourtResult:
    """Two rulebooks, two portfolios, four days; the second portfolio is not listed on the last."""
    initial = np.array([[[10, 12, 15, 11], [5, 5, 9, 0]], [[1, 1, 1, 1], [1, 1, 1, 0]]]) * MICRO
    pnl = np.array([[[3, -14, 2, -20], [-4, -5, -9, 0]]] * 2) * MICRO
    state = np.full(initial.shape, Cell.JUDGED, dtype=np.int8)
    state[:, 1, 3] = Cell.NO_BOOK
    times = START + np.arange(4) * DAY_MS
    return CourtResult(
        history="made by hand", rulebooks=("core", "other"), digests=("a", "b"),
        portfolios=("long", "short"), kinds=("linear", "linear"), underlyings=("BTC", "BTC"),
        contracts=(("usdc", "usdc"),) * 2, time_ms=times, until_ms=times + DAY_MS, mpor_ms=DAY_MS,
        index_names=("BTC",), index=np.ones((1, 4)), initial_micro=initial,
        maintenance_micro=initial // 2, pnl_micro=pnl, gross_micro=np.ones_like(initial),
        state=state, reasons={}, notes=(),
    )  # fmt: skip


def test_fields_by_hand(result: CourtResult) -> None:
    found = disclosure(result, "core")
    values = {one.number: one.value for one in found.fields}
    assert values["6.1.1"] == 11 * MICRO
    assert values["6.1.2"] == round((15 + 17 + 24 + 11) * MICRO / 4)
    assert values["6.2"] is None
    assert values["6.4.3"] == "99 %"
    assert values["6.4.6"] == "24 hours"
    # Losses of 14 over 12 and of 20 over 11; 5 over 5 and 9 over 9 are covered.
    assert values["6.5.1"] == 2
    assert values["6.5.2"] == "every 24 hours"
    assert values["6.5.3"] == 7
    assert values["6.5.4"] == pytest.approx(5 / 7)
    assert values["6.5.5.1"] == 9 * MICRO
    assert values["6.5.5.2"] == 11 * MICRO // 2
    assert values["6.6"] == (4 + 19 + 9 + 20) * MICRO // 4
    assert values["6.7"] == 20 * MICRO
    # Calls: 2, then 3 and 4, then none; the portfolio that vanished has none either.
    assert values["6.8"] == 7 * MICRO
    assert found["6.5.3"].note == "1 of 8 could not be judged"
    assert found["6.5.4"].note == "below the target of 99 %"
    assert found["6.5.2"].note == ""
    with pytest.raises(KeyError):
        _ = found["9.9"]


def test_the_window_is_the_last_year(result: CourtResult) -> None:
    found = disclosure(result, "core", days=2)
    assert (found.from_ms, found.to_ms) == (START + 2 * DAY_MS, START + 3 * DAY_MS)
    assert (found["6.5.1"].value, found["6.5.3"].value) == (1, 3)


def test_maintenance_and_words_on_the_model(result: CourtResult) -> None:
    found = disclosure(
        result, "other", which="maintenance", level=0.6, model={"6.4.4": "750 days", "6.4.9": "x"}
    )
    assert found["6.1.1"].value == MICRO // 2
    assert found["6.4.4"].value == "750 days"
    assert found["6.4.9"].value == "x"
    assert found["6.4.2"].note == "not told by who ran the backtest"
    assert found["6.4.8"].value == "other"


def test_nothing_judged_is_told(result: CourtResult) -> None:
    none = np.full_like(result.state, Cell.REFUSED)
    found = disclosure(replace(result, state=none), "core")
    assert (found["6.5.4"].value, found["6.5.4"].note) == (None, "no observation")
    assert (found["6.5.1"].value, found["6.5.5.2"].value) == (0, 0)
    assert {found[number].value for number in ("6.1.1", "6.1.2", "6.6", "6.7")} == {None}
    assert found["6.1.1"].note == "no day was judged"


def test_a_last_day_without_an_end_is_left_out(result: CourtResult) -> None:
    """Its margin is not told: the day before it stands for the end of the period."""
    state = result.state.copy()
    state[:, :, 3] = Cell.NO_END
    found = disclosure(replace(result, state=state), "core")
    assert found["6.1.1"].value == (15 + 9) * MICRO
    assert found["6.1.1"].note.endswith("the last day judged, 2023-11-17")
    assert found["6.1.2"].value == round((15 + 17 + 24) * MICRO / 3)
    assert found["6.6"].value == round((4 + 19 + 9) * MICRO / 3)


def test_a_portfolio_that_comes_back_has_no_call(result: CourtResult) -> None:
    """Its margin was asked for before, only not judged."""
    state = result.state.copy()
    state[:, 0, 1] = Cell.NO_END
    state[:, 1, 3] = Cell.NO_BOOK
    assert disclosure(replace(result, state=state), "core")["6.8"].value == 4 * MICRO


def test_overlap_is_told(result: CourtResult) -> None:
    later = replace(result, until_ms=result.time_ms + 2 * DAY_MS)
    assert "overlap" in disclosure(later, "core")["6.5.2"].note


def test_it_is_of_a_rulebook_that_is_there(result: CourtResult) -> None:
    with pytest.raises(BadInput, match="one of core, other, found nothing"):
        disclosure(result, "nothing")


def test_as_rows_of_a_report(result: CourtResult) -> None:
    rows = {one["field"]: one for one in disclosure(result, "core").rows()}
    assert rows["6.8"]["value"] == "7.00 USD"
    assert rows["6.5.4"]["value"] == "71.43 %"
    assert rows["6.2"]["value"] == "not known"
    assert rows["6.5.3"]["text"].endswith("(1 of 8 could not be judged)")
    assert {one["rulebook"] for one in rows.values()} == {"core"}
    assert len(disclosure(result, "core").to_dict()["fields"]) == len(rows)
