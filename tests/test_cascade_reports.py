"""Policies, contagion and rules on trial: small ones, whole."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from solvent.errors import BadInput, InvariantBroken, SolventError
from solvent.host import Engine
from solvent.lab import trial
from solvent.lab.cascades.contagion import by_leverage, contagion, critical
from solvent.lab.cascades.report import write_contagion, write_leverage, write_search
from solvent.lab.cascades.search import search
from solvent.lab.cascades.settings import Settings
from solvent.lab.page import Block, Series, write_page
from solvent.lab.svg import bars_svg, lines_svg, nice
from solvent.sim.crash import rehearse
from solvent.sim.february import february_2026
from tests.conftest import ROOT, SHARED
from tests.test_engine_cli import Run, run

__all__ = ["run"]
TINY = Settings().but(
    accounts=24, steps=8, shock__at=0, shock__over=5, holders__leverage=10.0, shock__move=-0.1
)


def test_a_search_has_a_frontier_and_goes_on(tmp_path: Path) -> None:
    told = search(
        TINY, [1], families=("grid", "dynamic"), margins=(0.02, 0.3), paces=("whole",),
        funds=(0.0, 0.5), folder=tmp_path, processes=1,
    )  # fmt: skip
    assert len(told["policies"]) == 4
    rows = told["frontier"]["0"]
    margins = [one["average"] for one in rows]
    shortfalls = [one["shortfall"] for one in rows]
    assert margins == sorted(margins)
    assert shortfalls == sorted(shortfalls, reverse=True)
    assert set(told["by_family"]["0"]) == {"grid", "dynamic"}
    assert all(found for found in told["by_family"]["0"].values())
    assert min(max(one["needed"]) for one in told["policies"]) == shortfalls[-1]
    # A fund of half of open interest bears anything: then the least margin is best.
    assert told["cheapest"]["0.5"]["average"] == min(one["average"] for one in told["policies"])
    asked: list[int] = []
    again = search(
        TINY, [1], families=("grid", "dynamic"), margins=(0.02, 0.3), paces=("whole",),
        funds=(0.0, 0.5), folder=tmp_path, processes=1, done=lambda *_: asked.append(1),
    )  # fmt: skip
    assert again == told
    assert asked == []
    write_search(told, tmp_path / "r.html")
    assert "worst shortfall" in (tmp_path / "r.html").read_text("utf-8")


def test_searches_that_cannot_be() -> None:
    with pytest.raises(SolventError, match="empty choice"):
        search(TINY, [1], families=())
    with pytest.raises(SolventError, match="found none"):
        search(TINY.but(shock__move=0.0), [1])
    with pytest.raises(BadInput, match="margin"):
        search(TINY, [1], margins=(2.0,))


def test_contagion_is_worst_at_home(tmp_path: Path) -> None:
    told = contagion(TINY, [1, 2], processes=1)
    assert told["markets"] == ["BTC", "ETH"]
    for row, one in enumerate(told["liquidated"]):
        assert one[row] == max(one) > 0.0
    write_contagion(told, tmp_path / "c.html")
    with pytest.raises(SolventError, match="one market"):
        contagion(TINY.but(coins=("BTC",)), [1])
    with pytest.raises(SolventError, match="shock"):
        contagion(TINY.but(shock__move=0.0), [1])


def test_leverage_has_a_critical_point(tmp_path: Path) -> None:
    told = by_leverage(TINY, [1], (0.0, 15.0), processes=1)
    assert told["rows"][0]["liquidated"] == 0.0
    assert told["critical"] == pytest.approx(15.0 * 0.1 / told["rows"][1]["liquidated"])
    write_leverage(told, tmp_path / "l.html")
    assert critical([{"leverage": 1.0, "liquidated": 0.0}]) is None
    with pytest.raises(SolventError, match="two or more"):
        by_leverage(TINY, [1], (3.0,))


# ── rules on trial ───────────────────────────────────────────────────────────────────────────────


def bars(folder: Path) -> Path:
    """Twenty bars that fall by a quarter, and come back a little."""
    path = folder / "BTC_bars.csv"
    lines = ["datetime,open,high,low,close,volume"]
    price = 100_000.0
    for number in range(20):
        after = price * (0.975 if number < 12 else 1.01)
        low = min(price, after) * 0.995
        lines.append(f"{number},{price},{max(price, after)},{low},{after},10")
        price = after
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_a_history_on_trial(tmp_path: Path) -> None:
    path = bars(tmp_path)
    told = trial.of_history(path, ("binance-usdm", "grvt"), accounts=20, bars=8, processes=1)
    first, second = told["rows"]
    assert first["begun"] > 0
    # What asks for more at the opening locks more and takes fewer over.
    assert second["deposited"] > first["deposited"]
    assert second["mean"] > first["mean"] > 0.0
    for row, one in zip(told["rows"], told["for_whom"], strict=True):
        assert one["accounts"] == row["begun"]
    json.dumps(told, allow_nan=False)
    trial.write_trial(told, tmp_path / "t.html")
    assert "Side by side" in (tmp_path / "t.html").read_text("utf-8")


def test_histories_that_cannot_be_tried(tmp_path: Path) -> None:
    path = bars(tmp_path)
    with pytest.raises(SolventError, match="each once"):
        trial.of_history(path, ("okx-pm", "okx-pm"))
    with pytest.raises(SolventError, match="nope"):
        trial.of_history(path, ("nope",))
    with pytest.raises(BadInput, match="20 bars"):
        trial.prices_of(path, start=15, bars=10)


def test_a_trial_by_command(tmp_path: Path, run: Run) -> None:
    path, out = bars(tmp_path), tmp_path / "t.html"
    words = ("replay", path, "--rulebooks", "hyperliquid", "--accounts", 20, "--bars", 3)
    code, printed, err = run(*words, "--out", out, "--json")
    assert (code, err) == (0, "")
    assert json.loads(printed)["rulebooks"] == ["hyperliquid"]
    assert out.is_file()
    assert "For whom" in out.read_text("utf-8")
    code, _, err = run(*words, "--only", "x")
    assert code == 2
    assert "--only of a journal" in err


def test_a_journal_on_trial(tmp_path: Path) -> None:
    with Engine.create(tmp_path / "v") as engine:
        rehearse(engine, accounts=20, steps=4, rulebook="paradex-pm")
    told = trial.of_journal(str(tmp_path / "v"), ("paradex-pm",), processes=1)
    recorded, same = told["rows"]
    # The same rules again call and wind up the same accounts.
    assert {k: v for k, v in same.items() if k != "name"} == {
        k: v for k, v in recorded.items() if k != "name"
    }
    assert len(told["series"]["paradex-pm"]["initial"]) == len(told["times_ms"])


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="reference data is not here")
def test_february() -> None:
    prices = february_2026(SHARED / "data")
    assert prices is not None
    assert min(prices.price["BTC"]) / prices.price["BTC"][0] == pytest.approx(0.8335, abs=0.01)
    assert february_2026(Path("nowhere")) is None


# ── pages, pictures, commands ────────────────────────────────────────────────────────────────────


def test_pages_have_their_data(tmp_path: Path) -> None:
    line = Series(name="a<b", x=[0.0, 1.0], y=[1.0, 3.5])
    block = Block(title="T", series=(line,), columns=("x", "y"), rows=((0.0, 1.0), (1.0, 3.5)))
    path = tmp_path / "p.html"
    write_page(path, title="Page", notes=["N & M"], blocks=[block])
    text = path.read_text("utf-8")
    assert "<td>3.5</td>" in text
    assert "N &amp; M" in text
    assert list(tmp_path.iterdir()) == [path]


def test_pictures_are_drawn_to_scale() -> None:
    line = Series(name="a<b", x=[0.0, 1.0, 2.0], y=[0.0, 10.0, 5.0])
    root = ElementTree.fromstring(lines_svg([line], title="T"))
    (path,) = [one for one in root.iter() if one.tag.endswith("polyline")]
    heights = [float(point.split(",")[1]) for point in path.attrib["points"].split()]
    assert heights[0] - heights[1] == pytest.approx(2 * (heights[0] - heights[2]))
    root = ElementTree.fromstring(
        bars_svg([Series(name="b", x=["p", "q"], y=[2.0, 4.0])], title="T")
    )
    tall = [float(one.attrib["height"]) for one in root.iter() if one.tag.endswith("rect")][-2:]
    assert tall[1] == pytest.approx(2 * tall[0], abs=0.2)
    assert nice(-1.0, 1.0) == [-1.0, -0.5, 0.0, 0.5, 1.0]
    with pytest.raises(InvariantBroken):
        lines_svg([Series(name="n", x=[0.0], y=[float("nan")])], title="T")


def test_the_notebook_runs() -> None:
    """Its cells, in order, in one namespace."""
    told = json.loads((ROOT / "examples" / "cascades.ipynb").read_text("utf-8"))
    space: dict[str, object] = {}
    for cell in told["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), space)  # it is our own example
    assert "leveraged" in space


def test_cascades_by_command(run: Run, tmp_path: Path) -> None:
    words: list[object] = ["cascade", "run", "--runs", 2, "--accounts", 12, "--processes", 1]
    for one in ("steps=4", "shock.at=0", "shock.over=2"):
        words += ["--set", one]
    words += ["--out", tmp_path]
    code, _, err = run(*words)
    assert (code, err) == (0, "")
    code, printed, _ = run("cascade", "show", tmp_path, "--json")
    told = json.loads(printed)
    assert (code, told["runs"], told["settings"]["steps"]) == (0, 2, 4)
    assert (tmp_path / "report.html").is_file()
    for wrong, why in (("steps", "NAME=VALUE"), ("x.y=1", "one of coins"), ("coins=A1", "A1")):
        code, _, err = run("cascade", "run", "--set", wrong, "--runs", 1)
        assert code == 2
        assert why in err
    assert run("cascade", "show", tmp_path / "nothing")[0] == 2
