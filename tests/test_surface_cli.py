"""`solvent surface` as a user meets it."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from solvent.cli import app
from solvent.errors import MissingExtra
from solvent.feeds.open_interest import read_open_interest
from solvent.feeds.write import write_market
from solvent.instruments import Kind
from solvent.lab.surface_report import draw_png, write_surface_html
from solvent.market import Snapshot
from solvent.pricing.option_quotes import quotes_of
from solvent.pricing.surface_fit import fit_surface
from tests.conftest import need_shared
from tests.surfaces import CHAINS, FOLDER

pytest.importorskip("plotly")
pytest.importorskip("matplotlib")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["surface", *map(str, arguments)])


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, snapshot: Snapshot) -> Path:
    path = tmp_path_factory.mktemp("surface") / "market.csv"
    write_market(snapshot, path)
    return path


def test_table_page_and_picture(market: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    page, picture = tmp_path / "out" / "surface.html", tmp_path / "out" / "surface.png"
    done = run(market, "--html", page, "--png", picture)
    assert done.exit_code == 0, done.stderr
    for word in ("ATM vol", "skew", "rate/yr", "butterfly", "the surface has none", "written:"):
        assert word in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.stat().st_size > 50_000
    text = page.read_text("utf-8")
    assert "<h2>Expiries</h2>" in text
    assert '<script src="http' not in text  # it opens without a network
    assert text.count('class="plot"') == 3 * len(set(quotes_of(snapshot).books))


def test_json_of_one_underlying(market: Path, snapshot: Snapshot) -> None:
    done = run(market, "--underlying", "eth", "--json")
    assert done.exit_code == 0, done.stderr
    document: Any = json.loads(done.stdout, parse_constant=pytest.fail)
    universe = snapshot.universe
    mine = (universe.kind == Kind.OPTION) & (
        universe.underlying == universe.underlyings.index("ETH")
    )
    pairs = {(int(s), int(e)) for s, e in zip(universe.settlement[mine], universe.expiry_ms[mine],
                                              strict=True)}  # fmt: skip
    assert {one["underlying"] for one in document["expiries"]} == {"ETH"}
    assert len(document["expiries"]) == len(pairs)
    assert document["overall"]["residual_median"] < 0.003
    first = document["expiries"][0]
    assert first["kind"] == "svi"
    assert first["forward_from"] == "parity"
    assert set(first["smile"]) == {"a", "b", "rho", "m", "sigma"}
    assert document["problems"] == []
    assert document["filled"] == document["outside_bands"] == []


def test_ssvi_and_wrong_names(market: Path) -> None:
    done = run(market, "--model", "ssvi", "--json")
    assert done.exit_code == 0, done.stderr
    assert {one["kind"] for one in json.loads(done.stdout)["expiries"]} == {"ssvi"}
    assert run(market, "--underlying", "DOGE").exit_code == 2
    assert run(market, "--model", "sabr").exit_code == 2


def test_a_broken_chain_is_fitted_and_told(market: Path, tmp_path: Path) -> None:
    """NaN, zero, negative, crossed and double rows are skipped; an emptied expiry is unknown."""
    with market.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0])
    options = [row for row in rows if row["instrument"].startswith("BTC") and row["implied_vol"]]
    for row, column, text in (
        (options[0], "implied_vol", "NaN"), (options[1], "implied_vol", "-0.5"),
        (options[2], "implied_vol", "0"), (options[3], "mark_price", "-1"),
        (options[4], "index_price", "inf"),
    ):  # fmt: skip
        row[column] = text
    last = options[-1]["instrument"].split("-")[1]
    gone = [r for r in options if r["instrument"].split("-")[1] == last][4:]
    gone = [r for r in gone if not r["instrument"].startswith("BTC_")]
    kept = [r for r in rows if r not in gone]
    broken = tmp_path / "broken.csv"
    with broken.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows([*kept, options[6]])
    done = run(broken, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout, parse_constant=pytest.fail)
    assert len(document["problems"]) >= 5
    assert document["overall"]["residual_p95"] < 0.02


def test_nothing_to_fit_is_exit_1(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text(
        "instrument,timestamp,index_price,mark_price,implied_vol\n"
        "BTC-25DEC26-60000-C,2026-11-01T00:00:00Z,60000,0.05,0.6\n"
    )
    done = run(path, "--json")
    assert done.exit_code == 1, done.stderr
    (expiry,) = json.loads(done.stdout)["expiries"]
    assert expiry["kind"] == "unknown"
    assert expiry["reason"] == "no usable quote: no forward"
    assert expiry["atm_vol"] is None
    assert run(path).exit_code == 1


def test_missing_extras_are_named(
    snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = fit_surface(quotes_of(snapshot))
    for name in ("plotly", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match="plot"):
        write_surface_html(snapshot, fit, tmp_path / "page.html")
    with pytest.raises(MissingExtra, match="plot"):
        draw_png(fit, tmp_path / "picture.png")


def test_open_interest_is_read() -> None:
    need_shared("data", "deribit_chains")
    path = FOLDER / CHAINS[0]
    found = read_open_interest([path])
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        told = {row["instrument_name"]: float(row["open_interest"] or 0.0)
                for row in csv.DictReader(file)}  # fmt: skip
    assert found == {name: amount for name, amount in told.items() if amount > 0.0}


def test_a_file_without_open_interest_tells_none(market: Path) -> None:
    assert read_open_interest([market]) == {}
