"""The lab's commands as somebody meets them who has read nothing but their help."""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from solvent.cli import _skips_bad, app
from solvent.errors import BadInput, RulebookError, SolventError
from solvent.feeds.synthetic_market import generate_market
from solvent.feeds.write import write_market
from solvent.lab.capital.allocation import places_of
from solvent.lab.cascades.contagion import by_leverage, contagion
from solvent.lab.cascades.many import distribution, run_many
from solvent.lab.cascades.measured import side_by_side
from solvent.lab.cascades.search import search
from solvent.lab.cascades.settings import Settings, read_settings, settings_of
from solvent.lab.cascades.settings_text import settings_toml
from solvent.lab.stress.scenario import load_scenario, parse_scenario, scenario_names
from tests.test_stress import PERPETUAL

TINY = Settings().but(
    accounts=16, steps=6, shock__at=0, shock__over=4, holders__leverage=10.0, shock__move=-0.1
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def refused(*arguments: object) -> str:
    """What is said of bad input: in a line, or as an error that becomes one."""
    done = run(*arguments)
    assert done.exit_code != 0
    return done.output if isinstance(done.exception, SystemExit) else str(done.exception)


def example(*command: str) -> str:
    """The file that a command's help shows: its lines that are further in than its prose."""
    lines = run(*command, "--help").output.rsplit("such as", 1)[1].splitlines()[1:]
    shown = [line for line in lines if not line.strip() or line.startswith("     ")]
    return textwrap.dedent("\n".join(shown))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market and an account."""
    folder = tmp_path_factory.mktemp("desk")
    write_market(generate_market(seed=11, expiries=2, strikes=3), folder / "market.csv")
    (folder / "book.csv").write_text(
        f"account,instrument,size\nann,{PERPETUAL},4\nann,ETH_USDC-PERPETUAL,-20\n"
    )
    return folder


def book(desk: Path) -> list[object]:
    return ["--market", desk / "market.csv", "--positions", desk / "book.csv"]


# ── files that the help shows ────────────────────────────────────────────────────────────────────


def test_the_scenario_of_the_help_is_one() -> None:
    for command in ("run", "show"):
        found = parse_scenario(example("stress", command), source="help", own=True)
        assert found.name == "my-crash"
        assert found.told.of("BTC").spot == -0.3
        assert found.told.worth == {"USDT": -0.05}


def test_the_places_of_the_help_are_places() -> None:
    places = places_of(tomllib.loads(example("allocate", "book"))["places"])
    assert [one.mode for one in places] == ["cross", "isolated"]
    assert places[1].margin_max == 500_000


def test_the_collateral_of_the_help_can_be_delivered(tmp_path: Path) -> None:
    file = tmp_path / "collateral.toml"
    file.write_text(example("allocate", "collateral"))
    done = json.loads(run("allocate", "collateral", file, "--json").stdout)
    assert done["ending"] == "optimal"
    # A cap of 100,000 with a haircut of 5 % is 95,000.
    file.write_text(file.read_text().replace("80_000 ", "95_001 "))
    assert "95,000.00 dollars after haircuts" in refused("allocate", "collateral", file)


def test_the_trades_of_the_help_are_trades(tmp_path: Path) -> None:
    file = tmp_path / "trades.csv"
    file.write_text(example("allocate", "compress").strip() + "\n")
    assert "800 lots gross to 800" in run("allocate", "compress", file).output


# ── settings of cascades ─────────────────────────────────────────────────────────────────────────


@given(
    leverage=st.floats(0.0, 200.0), margin=st.floats(0.002, 0.9), venues=st.integers(1, 5),
    price=st.floats(1e-9, 1e9), rulebook=st.sampled_from([None, "hyperliquid", 'a"b\\c.toml']),
    coin=st.sampled_from([None, "BTC", "ABC"]),
)  # fmt: skip
def test_settings_read_again_are_the_same(
    leverage: float, margin: float, venues: int, price: float, rulebook: str | None,
    coin: str | None,
) -> None:  # fmt: skip
    told = Settings().but(
        coins=("BTC", "ABC"), markets={"ABC": {"price": price, "day_vol": 0.1}}, venues=venues,
        holders__leverage=leverage, rules__margin=margin, rules__rulebook=rulebook,
        shock__coin=coin,
    )  # fmt: skip
    assert settings_of(tomllib.loads(settings_toml(told)), source="text") == told


def test_every_setting_is_explained(tmp_path: Path) -> None:
    text = run("cascade", "settings", "--set", "holders.leverage=9").output
    file = tmp_path / "mine.toml"
    file.write_text(text)
    assert read_settings(file) == Settings().but(holders__leverage=9)
    words = " ".join(line for line in text.splitlines() if line.startswith("#"))
    parts = ("agents", "holders", "rules", "shock")
    for name in set(Settings.model_fields) - set(parts):
        assert name in words, name
    for part in parts:
        assert f"[{part}]" in text
        for name in type(getattr(Settings(), part)).model_fields:
            assert name in words, name


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("holders.nonsense=3", "'holders.nonsense': expected one of leverage, spread, highest"),
        ("holders=3", "'holders': expected a table"),
        ("holders.leverage=abc", "expected a number, found 'abc'"),
        ("holders.leverage=-3", "expected 0 or more, found '-3'"),
        ("holders.leverage=nan", "expected a finite number"),
        ("rules.family=foo", "one of 'tiers', 'grid' or 'dynamic'"),
        ("accounts=1000000", "expected 100000 or less"),
        ("coins=", "expected text that fits"),
        ("nonsense=1", "expected one of coins, markets"),
    ],
)
def test_settings_that_cannot_be(told: str, said: str) -> None:
    assert said in refused("cascade", "settings", "--set", told)


def test_what_was_stopped_goes_on(tmp_path: Path) -> None:
    asked: list[int] = []
    made: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: by_leverage(TINY, [1, 2], (0.0, 15.0), folder=tmp_path / "l", processes=1,
                            done=lambda *_: asked.append(1)),
        lambda: contagion(TINY, [1], folder=tmp_path / "c", processes=1,
                          done=lambda *_: asked.append(1)),
    )  # fmt: skip
    for of in made:
        first = of()
        assert asked
        asked.clear()
        assert of() == first
        assert asked == []
    # One run of those that were kept is lost: it alone is made again, and is the same.
    kept = sorted((tmp_path / "l").iterdir())
    lines = kept[0].read_text().splitlines(keepends=True)
    kept[0].write_text("".join(lines[:-1]))
    ready: list[tuple[int, int]] = []
    again = by_leverage(TINY, [1, 2], (0.0, 15.0), folder=tmp_path / "l", processes=1,
                        done=lambda done, count: ready.append((done, count)))  # fmt: skip
    assert ready == [(3, 4), (4, 4)]
    assert again == by_leverage(TINY, [1, 2], (0.0, 15.0), processes=1)
    assert kept[0].read_text() == "".join(lines)


def test_a_folder_of_other_settings_says_which(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    outcomes = run_many(TINY, [1, 2], out=file, processes=1)
    before = file.read_bytes()
    with pytest.raises(BadInput, match=r"holders\.leverage is 10\.0 there, 11\.0 here; take"):
        run_many(TINY.but(holders__leverage=11), [1], out=file, processes=1)
    assert file.read_bytes() == before
    overshoot = sorted(one.overshoot for one in outcomes)
    row = next(row for row in distribution(outcomes) if row["name"] == "overshoot")
    assert (row["q5"], row["q95"]) == (overshoot[0], overshoot[1])
    assert row["q5"] <= row["mean"] <= row["q95"]


def test_show_writes_the_report_again(tmp_path: Path) -> None:
    run_many(TINY, [3], out=tmp_path / "runs.jsonl", processes=1)
    done = run("cascade", "show", tmp_path)
    assert f"written: {tmp_path / 'report.html'}" in done.output.replace("\n", "")
    assert "BTC, seed 3" in (tmp_path / "report.html").read_text()
    assert "found no such file" in refused("cascade", "show", tmp_path / "nope")


def test_bad_files_and_funds_are_told_before_any_run(tmp_path: Path) -> None:
    def never(*_: int) -> None:
        raise AssertionError("a run was made")

    bars = tmp_path / "BTC_15m.csv"
    bars.write_text("datetime,open,high,low,close\n0,1,1,1,1\n")
    with pytest.raises(BadInput, match="found no volume"):
        side_by_side([bars], seeds=[1], settings=TINY, processes=1, done=never)
    bars.write_text("open,high,low,close,volume\n1,1,1,1,1\n1,1,1,1,1\n")
    with pytest.raises(BadInput, match="1,501 bars or more, found 2"):
        side_by_side([bars], seeds=[1], settings=TINY, processes=1, done=never)
    with pytest.raises(BadInput, match="no such file"):
        side_by_side([tmp_path / "nope"], seeds=[1], settings=TINY, processes=1, done=never)
    for fund in (-1.0, 2.0, float("nan")):
        with pytest.raises(SolventError, match="funds from 0 to 1"):
            search(TINY, [1], funds=(fund,), done=never)


# ── stress ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", scenario_names())
def test_a_shipped_scenario_is_a_file_to_begin_with(name: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(run("stress", "show", name, "--toml").stdout, "utf-8")
    assert load_scenario(mine).told == load_scenario(name).told
    assert run("stress", "show", mine, "--toml").stdout == mine.read_text("utf-8")


def test_a_venue_has_its_own_books(desk: Path) -> None:
    for more in (["--rulebook", "tims"], ["--collateral", desk / "book.csv"], book(desk)):
        said = refused("stress", "ladder", "spot", "--venue", desk, *more)
        assert "not both" in said
        assert str(more[0]) in said


def test_scenarios_that_cannot_be_say_what_was_expected(desk: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[scenario]\nname = "x"\nkind = "hypothetical"\n'
                    '[[move]]\nunderlying = "BTC"\nsorce = "me"\nspot = -2\n')  # fmt: skip
    with pytest.raises(BadInput) as fault:
        load_scenario(mine)
    said = {one.field: (one.expected, one.found) for one in fault.value.problems}
    assert said["move.0.source"] == ("a value", "nothing")
    assert said["move.0.spot"][0] == "-0.999 or more"
    assert said["move.0.sorce"][0].startswith("one of source, evidence, date, underlying")
    assert "found no such file" in refused("stress", "show", tmp_path / "nope.toml")
    history = tmp_path / "short.csv"
    days = [f"{1_700_006_400_000 + day * 86_400_000},BTC,{100 + day % 7}" for day in range(40)]
    history.write_text("\n".join(["time_ms,name,price", *days]) + "\n")
    said_of = refused("stress", "run", "btc-jump", "--history", history, *book(desk))
    assert "short.csv, for btc-jump: expected at least 60 times, found 40 [" in said_of


def test_members_of_nobody_are_told(desk: Path, tmp_path: Path) -> None:
    members = tmp_path / "members.csv"
    members.write_text("account,member\nann,A\nzoe,A\n")
    done = run("stress", "cover", "crash-50", *book(desk), "--members", members, "--json")
    assert "1 accounts have a member and no position: zoe" in json.loads(done.stdout)["notes"]


# ── capital ──────────────────────────────────────────────────────────────────────────────────────


def test_a_picture_has_its_data_beside_it(desk: Path, tmp_path: Path) -> None:
    page = tmp_path / "deep" / "shares.html"
    done = run("attribute", *book(desk), "--html", page, "--json")
    assert json.loads(page.with_suffix(".json").read_text()) == json.loads(done.stdout)
    assert "plotly" in page.read_text()
    assert sorted(one.name for one in page.parent.iterdir()) == ["shares.html", "shares.json"]
    assert f"written: {page}" in run("attribute", *book(desk), "--html", page).output.replace(
        "\n", ""
    )
    assert "the data goes beside it" in refused(
        "efficiency", *book(desk), "--html", tmp_path / "e.json"
    )
    assert not (tmp_path / "e.json").exists()


def test_a_rulebook_that_is_misspelt_is_refused(desk: Path) -> None:
    done = run("efficiency", *book(desk), "--beside", "tims,nonsense")
    assert isinstance(done.exception, RulebookError)
    cannot = run("efficiency", *book(desk), "--beside", "hyperliquid").output
    assert "hyperliquid: hyperliquid" not in cannot


def test_a_hint_is_given_where_it_helps() -> None:
    assert _skips_bad(["margin"])
    assert not _skips_bad(["cascade"])
    assert not _skips_bad([])
