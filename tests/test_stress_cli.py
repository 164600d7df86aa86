"""`solvent stress` as a user meets it: every command, its page, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import solvent as sv
from solvent.cli import app
from solvent.errors import BadInput
from solvent.feeds.synthetic_market import generate_market
from solvent.feeds.write import write_market
from solvent.messages import commands as c
from tests.engines import founding, opened
from tests.test_stress import PERPETUAL, head, told

DAY_MS = 86_400_000


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["stress", *map(str, arguments)])


def document(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market, two accounts, and two years of prices, as files."""
    folder = tmp_path_factory.mktemp("desk")
    write_market(generate_market(seed=11, expiries=2, strikes=3), folder / "market.csv")
    (folder / "book.csv").write_text(
        f"account,instrument,size,entry_price\nann,{PERPETUAL},4,64000\n"
        f"bob,{PERPETUAL},-1,64000\nbob,ETH_USDC-PERPETUAL,20,\n"
    )
    (folder / "money.csv").write_text("account,asset,amount\nann,USDC,60000\nbob,USDC,50000\n")
    draw = np.random.default_rng(5)
    moves = draw.normal(0.0, 0.03, 700)
    rows = ["time_ms,name,price"]
    for name, scale in (("BTC", 1.0), ("ETH", 1.4)):
        own = draw.normal(0.0, 0.01, 700)
        prices = 1_000.0 * np.exp(np.cumsum(scale * moves + own))
        rows += [f"{1_700_006_400_000 + k * DAY_MS},{name},{p}" for k, p in enumerate(prices)]
    (folder / "history.csv").write_text("\n".join(rows) + "\n")
    return folder


def who(desk: Path, *, money: bool = True) -> list[object]:
    asked: list[object] = ["--market", desk / "market.csv", "--positions", desk / "book.csv"]
    return [*asked, *(["--collateral", desk / "money.csv"] if money else [])]


def test_list_and_show() -> None:
    listed = document(run("list", "--json"))["scenarios"]
    names = [one["name"] for one in listed]
    assert {"2020-03-12", "2025-10-10", "2026-02-05", "oracle-stuck"} <= set(names)
    assert "2020-03-12" in run("list").output
    shown = document(run("show", "2026-02-05", "--json"))
    assert shown["move"][0]["level"] == 0.3868
    assert "Deribit surfaces" in run("show", "2026-02-05").output


def test_run_writes_a_page_and_its_data(desk: Path, tmp_path: Path) -> None:
    page = tmp_path / "deep" / "stress.html"
    names = ["2020-03-12", "outage-8h", "oracle-stuck", "market-5sd"]
    told_of = ["--history", desk / "history.csv", "--fund", "1000", "--html", page]
    asked = ["run", *names, *who(desk), *told_of, "--accounts-of", "2020-03-12", "--json"]
    done = document(run(*asked))
    assert [row["scenario"] for row in done["scenarios"]] == names
    crash = done["scenarios"][0]
    after = sv.stress(
        str(desk / "book.csv"), desk / "market.csv", ["2020-03-12"],
        collateral=str(desk / "money.csv"), fund=1000.0,
    )  # fmt: skip
    assert crash["shortfall"] == after.to_polars()["shortfall"][0]
    assert crash["fund_after"] == pytest.approx(1000.0 - crash["shortfall"])
    assert [row["account"] for row in done["accounts_of"]["rows"]] == ["ann", "bob"]
    text = page.read_text("utf-8")
    assert "12-13 March 2020" in text
    assert "https://cdn" not in text.split("</script>")[-1]
    assert json.loads(page.with_suffix(".json").read_text("utf-8")) == done
    assert sorted(one.name for one in page.parent.iterdir()) == ["stress.html", "stress.json"]


def test_reverse_ladder_and_cover(desk: Path, tmp_path: Path) -> None:
    near_of = [*who(desk), "--history", desk / "history.csv", "--account", "ann"]
    near = document(run("reverse", "insolvent", *near_of, "--json"))
    assert near["found"] == "move"
    assert near["broken"] == ["ann"]
    assert near["proved"] == pytest.approx(near["distance"], rel=0.02)
    page = tmp_path / "near.html"
    said = run("reverse", "liquidated", *near_of, "--reach", 3, "--html", page).output
    assert "not proved to be the nearest: a requirement decides it" in said
    assert "deviations" in page.read_text("utf-8")
    page = tmp_path / "ladder.html"
    asked = ["ladder", "spot", "time", *who(desk), "--steps=0,0.1", "--html", page]
    rungs = document(run(*asked, "--json"))["ladders"]
    assert [row["step"] for row in rungs] == [0.0, 0.1] * 4
    assert page.with_suffix(".json").exists()
    asked = ["cover", "2020-03-12", "squeeze-25", *who(desk)]
    short = run(*asked, "--json")
    assert short.exit_code == 1, "no fund covers nothing"
    needed = json.loads(short.stdout)["required"]
    assert needed > 0
    assert run(*asked, "--fund", needed + 1).exit_code == 0


def test_a_venue_by_its_journal(tmp_path: Path) -> None:
    url = tmp_path / "venue"
    sv.Engine.create(url).close()
    with opened(url) as engine:
        engine.submit_all(founding())
        trade = c.Trade(
            key="t", actor="venue", symbol=PERPETUAL, buyer="u1", seller="u7", lots=900,
            aggressor=None, price_ticks=_ticks(engine.state),
        )  # fmt: skip
        assert engine.submit_all([trade])[0].accepted
    done = document(run("run", "crash-50", "--venue", url, "--json"))
    assert done["accounts"] == 2
    assert done["scenarios"][0]["liquidated"] == 1


def _ticks(state: Any) -> int:
    contract = next(one for one in state.contracts if one.listing.symbol == PERPETUAL)
    points, each = int(contract.mark_points), int(contract.deal.points_per_tick)
    return points // each


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (told("DOGE", -0.5), "expected an underlying of the market"),
        (head() + 'move = [{underlying = "BTC", spot = nan, source = "s"}]', "finite"),
        (head() + 'move = [{underlying = "BTC", spot = -0.5}]', "move.0.source"),
        ("[scenario]\nname = 3", "scenario.kind"),
    ],
)
def test_a_bad_scenario_stops_before_anything_is_written(
    desk: Path, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "mine.toml").write_text(text, "utf-8")
    page = tmp_path / "page.html"
    done = run("run", tmp_path / "mine.toml", "crash-50", *who(desk), "--html", page)
    assert isinstance(done.exception, BadInput)
    assert any(words in str(one) for one in done.exception.problems)
    assert [one.name for one in tmp_path.iterdir()] == ["mine.toml"]


def test_what_cannot_be_asked(desk: Path, tmp_path: Path) -> None:
    assert "expected --market and --positions, or --venue" in run("run").output
    both = run("run", "--venue", tmp_path, *who(desk))
    assert "not both" in both.output
    blocked = tmp_path / "file"
    blocked.write_text("x")
    done = run("run", "crash-50", *who(desk), "--html", blocked / "page.html")
    assert isinstance(done.exception, BadInput)
    assert done.exception.problems[0].code.name == "TARGET_UNWRITABLE"
