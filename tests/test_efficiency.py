"""How well margin is used, beside other ways and over time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import solvent as sv
from solvent import api
from solvent.cli import app
from solvent.feeds.write import write_market
from solvent.lab.capital.efficiency import efficiency
from solvent.market import Snapshot
from solvent.market.moved import moved
from solvent.market.snapshot import Flag
from solvent.units import TimeMs
from tests import rulebook_histories
from tests.conftest import need_shared

HOUR_MS = 3_600_000


def market() -> Snapshot:
    return rulebook_histories.market()


def rows() -> list[dict[str, Any]]:
    universe = market().universe
    (option,) = [
        symbol for n, symbol in enumerate(universe.symbols)
        if universe.is_option[n] and universe.inverse[n] and symbol.startswith("BTC")
        and universe.is_call[n]
    ][-1:]  # fmt: skip
    return [
        {"account": "a", "instrument": "BTC-PERPETUAL", "size": 50_000.0},
        {"account": "a", "instrument": option, "size": -1.0},
        {"account": "b", "instrument": "ETH-PERPETUAL", "size": -20_000.0},
    ]


MONEY = [
    {"account": "a", "asset": "BTC", "amount": 1.0},
    {"account": "b", "asset": "USDC", "amount": 500.0},
]


def test_figures_are_what_they_say() -> None:
    found = efficiency(rows(), market(), "deribit-pm", rulebooks=["deribit-sm"], collateral=MONEY)
    table = found.table().filter(rulebook="deribit-pm")
    answer = api.margin(rows(), market(), "deribit-pm", collateral=MONEY).to_polars()
    assert table["initial"].to_list() == answer["initial_margin"].to_list()
    assert table["equity"].to_list() == answer["equity"].to_list()
    first, second = table.to_dicts()
    index = float(market().index[market().universe.underlyings.index("BTC")])
    # An inverse perpetual is told in dollars; at the index its notional is that times index / mark.
    assert first["gross_notional"] == pytest.approx(50_000.0 + index, rel=0.01)
    assert first["over_gross"] == pytest.approx(first["initial"] / first["gross_notional"])
    alone = sum(
        float(api.margin([row], market(), "deribit-pm").to_polars()["initial_margin"][0])
        for row in rows()[:2]
    )
    assert first["isolated"] == pytest.approx(alone, abs=1e-6)
    assert first["over_isolated"] == pytest.approx(first["initial"] / alone)
    assert first["locked"] + first["idle"] == pytest.approx(first["equity"])
    assert second["shortfall"] == pytest.approx(max(second["initial"] - 500.0, 0.0))
    assert second["idle"] == pytest.approx(max(500.0 - second["initial"], 0.0))
    assert second["leverage_gross"] == pytest.approx(second["gross_notional"] / second["equity"])
    assert second["over_isolated"] == pytest.approx(1.0)
    delta = second["net_notional"]
    assert delta == pytest.approx(20_000.0, rel=0.01)


def test_what_has_no_base_is_not_told() -> None:
    found = efficiency(rows(), market(), "deribit-pm")
    assert found.table()["equity"].to_list() == [None, None]
    assert found.table()["leverage_gross"].to_list() == [None, None]
    beside = efficiency(rows(), market(), rulebooks=["paradex-pm"], accounts=["b"]).table()
    assert beside["initial"].to_list()[1] is None
    assert "inverse" in beside["reason"][1]


def test_gain_over_time_is_that_of_the_marks() -> None:
    """A perpetual of 20,000 dollars short while ether rises by a tenth, then falls back."""
    start = market()
    markets = [
        replace(moved(start, {"ETH": factor}), as_of_ms=TimeMs(start.as_of_ms + n * HOUR_MS))
        for n, factor in enumerate((1.0, 1.1, 1.0))
    ]
    found = efficiency(rows()[2:], start, over=markets)
    series = found.series()
    mark = float(start.mark[start.universe.row("ETH-PERPETUAL") or 0])
    index = float(start.index[start.universe.underlyings.index("ETH")])
    # Short −20,000 / mark coins bought back at 1.1 mark: 20,000 (1/mark − 1/1.1 mark) coin lost.
    lost = 20_000.0 * (1.0 / mark - 1.0 / (1.1 * mark)) * 1.1 * index
    assert series["pnl"][0] == 0.0
    assert series["pnl"][1] == pytest.approx(-lost, rel=1e-5)
    assert series["pnl"][2] == pytest.approx(lost / 1.1, rel=1e-5)
    (over,) = found.returns().to_dicts()
    mean = float(np.mean(series["initial"].to_numpy()))
    assert over["pnl"] == pytest.approx(series["pnl"].sum())
    assert over["return_on_margin"] == pytest.approx(over["pnl"] / mean)
    assert over["a_year"] == pytest.approx(over["return_on_margin"] * 365 * 24 / 2)
    assert len(found.plot().data) == 1
    with pytest.raises(sv.BadInput, match="order of their time"):
        efficiency(rows(), start, over=[markets[1], markets[0]])


def test_series_is_asked_with_orders_and_inputs() -> None:
    """A series asks what the table asks: open orders and modes are not dropped on the way."""
    start, held = market(), linear()
    orders = [{"account": "a", "instrument": held[0]["instrument"], "side": "buy",
               "size": 30.0, "price": 1_000.0}]  # fmt: skip
    plain = efficiency(held, start, "binance-usdm", over=[start]).table()["initial"][0]
    found = efficiency(
        held, start, "binance-usdm", over=[start], orders=orders, rulebooks=["deribit-pm"]
    )
    table = found.table()
    assert table["initial"][0] > plain
    assert found.series()["initial"][0] == table["initial"][0]
    assert table["note"].to_list() == ["", "asked without orders"]
    with pytest.raises(sv.BadInput, match="orders"):
        efficiency(held, start, "deribit-pm", orders=orders)


def test_the_command_says_what_a_rulebook_was_not_asked_with(tmp_path: Path) -> None:
    """Beside the first rulebook stand others, without its inputs: told in the table and in JSON."""
    write_market(market(), tmp_path / "market.csv")
    held = rows()[0]
    (tmp_path / "book.csv").write_text(
        f"account,instrument,size\na,{held['instrument']},{held['size']}\n", "utf-8"
    )
    (tmp_path / "inputs.csv").write_text(
        "account,set,input,amount\na,BTC,spot_margin,100\n", "utf-8"
    )
    command = ["efficiency", "--market", tmp_path / "market.csv", "--positions",
               tmp_path / "book.csv", "--inputs", tmp_path / "inputs.csv", "--beside",
               "deribit-sm"]  # fmt: skip
    shown = CliRunner().invoke(app, list(map(str, command)), env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    words = " ".join(shown.output.split())
    assert "deribit-sm" in words
    assert "(asked without inputs)" in words
    told = CliRunner().invoke(app, [*map(str, command), "--json"])
    first, second = json.loads(told.output)["rows"]
    assert (first["note"], second["note"]) == ("", "asked without inputs")
    plain = efficiency([held], market(), "deribit-sm").table()["initial"][0]
    assert second["initial"] == pytest.approx(plain)


def linear() -> list[dict[str, Any]]:
    universe = market().universe
    symbols = [universe.symbols[row] for row in rulebook_histories.fitting("binance-usdm")]
    return [{"account": "a", "instrument": symbols[0], "size": 2.0}]


def test_a_market_without_a_margin_does_not_change_the_gain() -> None:
    """The gain over a market where the margin is not known is told at the next that is."""
    start = market()
    markets = [
        replace(moved(start, {"ETH": factor}), as_of_ms=TimeMs(start.as_of_ms + n * HOUR_MS))
        for n, factor in enumerate((1.0, 1.1, 1.2))
    ]
    row = start.universe.row("ETH-PERPETUAL") or 0

    def unpriced(one: Snapshot) -> Snapshot:
        flags = one.flags.copy()
        flags[row] |= Flag.INDEX_MISSING
        return replace(one, flags=flags)

    plain = efficiency(rows()[2:], start, over=[markets[0], markets[2]])
    gap = efficiency(rows()[2:], start, over=[markets[0], unpriced(markets[1]), markets[2]])
    series = gap.series()
    assert series["reason"][1]
    assert series["pnl"].to_list() == [0.0, None, plain.series()["pnl"][1]]
    assert gap.returns()["pnl"].to_list() == plain.returns()["pnl"].to_list()
    late = efficiency(rows()[2:], start, over=[unpriced(markets[0]), *markets[1:]]).series()
    assert late["pnl"].to_list()[:2] == [None, 0.0]
    assert late["pnl"][2] < 0.0


def test_real_chains_in_a_row() -> None:
    """A real short call over two days, its margin at each; what has expired is left out."""
    folder = need_shared("data", "deribit_chains")
    chains = [folder / f"deribit_options_snapshot_{one}.csv.gz"
              for one in ("20260204T042403Z", "20260205T212937Z")]  # fmt: skip
    held = [{"account": "a", "instrument": "BTC-27MAR26-80000-C", "size": -10.0},
            {"account": "a", "instrument": "BTC-4FEB26-76000-C", "size": -1.0}]  # fmt: skip
    found = efficiency(held, chains[0], over=chains).series()
    assert found["settled"].to_list() == [0, 1]
    assert found["initial"].min() is not None
    assert found["pnl"][1] > 0
