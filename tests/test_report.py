"""The HTML report of a margined book: grids as heat maps, joint scenarios by their days."""

from __future__ import annotations

from pathlib import Path

import pytest

import solvent as sv
from solvent import api
from solvent.lab.report import write_report
from solvent.margining.explain import standing_for
from tests.rulebook_histories import book_of, fitting, plan


def written(name: str, path: Path) -> tuple[sv.Margin, str]:
    pytest.importorskip("plotly")
    held = book_of([dict.fromkeys(fitting(name)[:4], -30.0)])
    answer = api.margin(held, plan(name))
    assert isinstance(answer, sv.Margin)
    write_report(answer, path / "report.html")
    return answer, (path / "report.html").read_text("utf-8")


def test_a_grid_is_a_heat_map(tmp_path: Path) -> None:
    _, page = written("deribit-pm", tmp_path)
    assert "PnL of scenario set" in page
    assert "scenarios count" not in page


def test_joint_scenarios_are_told_by_their_days_and_losses(tmp_path: Path) -> None:
    answer, page = written("fhs", tmp_path)
    assert "PnL of scenario set" not in page
    shocks = answer.plan.arrays.shocks
    seen = 0
    for one in answer.explain("a0").sets:
        for scan in one.scans:
            assert standing_for(scan) == "worst of expected shortfall 0.99"
            assert f"{len(scan.tail)} of {len(scan.scenarios):,} scenarios count" in page
            for rank, place in enumerate(scan.tail.tolist(), 1):
                assert f"{rank}. {shocks.moment(int(scan.scenarios[place]))}" in page
                assert f"{scan.total[place]:,.0f} " in page
                seen += 1
    assert seen > 1
