"""What is no number is never a margin: unknown accounts, refused rulebooks, refused inputs."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import solvent as sv
from solvent import api
from solvent.answer import Margin
from solvent.errors import BadInput, RulebookError
from solvent.feeds.library import shipped_rulebook
from solvent.feeds.synthetic_market import generate_market
from solvent.margining.exact import exact_sets
from solvent.margining.plan import Plan
from solvent.margining.rulebook import check_rulebook, in_force, read_rulebook
from solvent.margining.schema import RulebookText
from solvent.market import Snapshot

RULEBOOK = """
schema = 1
name = "mine"
title = "t"
venue = "v"
sources = ["s"]
[scenarios.moves]
moves = [-0.1, 0.1]
weight = "{weight}"
[nodes.group]
by = ["underlying", "settlement"]
numeraire = "settlement"
[nodes.currency]
by = ["underlying"]
numeraire = "coin"
[scans.matrix]
scenarios = ["moves"]
node = "group"
into = "currency"
[scans.matrix.map]
losses = "{losses}"
gains_cap = "{cap}"
[sums.net_delta]
node = "currency"
per_lot = "{per_lot}"
[charges.net]
node = "currency"
into = "currency"
amount = "{amount}"
slope = "{slope}"
[requirement]
node = "currency"
initial = "{initial}"
maintenance = "0.5 * net"
[[collateral]]
asset = "USDC"
haircut = 0.0
price = "par"
"""
PLAIN = {
    "weight": "1", "losses": "1", "cap": "1e9", "per_lot": "delta",
    "amount": "0.1 * abs(net_delta)", "slope": "0.1", "initial": "net + matrix",
}  # fmt: skip
ROWS: list[dict[str, Any]] = [
    {"account": "a", "instrument": "BTC-PERPETUAL", "size": 100},
    {"account": "b", "instrument": "ETH-PERPETUAL", "size": 100},
]


@pytest.fixture(scope="module")
def market() -> Snapshot:
    return generate_market(seed=2, expiries=1, strikes=2)


def margined(market: Snapshot, **parts: str) -> list[dict[str, Any]]:
    rulebook = read_rulebook(RULEBOOK.format(**{**PLAIN, **parts}), source="mine")
    return sv.margin(ROWS, market, rulebook=rulebook).to_polars().to_dicts()


def test_plain_formulas_give_numbers(market: Snapshot) -> None:
    assert [row["status"] for row in margined(market)] == ["unfunded", "unfunded"]


@pytest.mark.parametrize(
    ("part", "formula", "reason"),
    [
        ("initial", "net / (net - net) * 0 + net", "requirement.initial has no finite number"),
        ("initial", "1 / (net - net) + net", "requirement.initial has no finite number"),
        ("initial", "1e300 * net", "requirement.initial has no finite number"),
        ("amount", "0.1 * net_delta / (net_delta - net_delta) * 0", "net has no finite number"),
        ("per_lot", "delta * log(strike - forward)", "sums.net_delta.long has no finite number"),
        ("losses", "sqrt(move)", "scans.matrix.map.losses has no finite number for"),
        ("cap", "sqrt(0 - 1)", "scans.matrix.map.gains_cap has no finite number for"),
        ("weight", "log(move)", "the weight of scenarios moves has no finite number for"),
    ],
)
def test_a_formula_without_a_number_makes_accounts_unknown(
    market: Snapshot, part: str, formula: str, reason: str
) -> None:
    for row in margined(market, **{part: formula}):
        assert (row["status"], row["initial_margin"], row["maintenance_margin"]) == (
            "unknown", None, None,
        )  # fmt: skip
        assert row["reason"].startswith(f"mine: {reason}")


def test_other_accounts_go_on(market: Snapshot) -> None:
    """100 dollars are less than a hundredth of a bitcoin, and more of an ether."""
    rich, poor = margined(market, initial="net / where(abs(net_delta) < 0.01, 0, 1)")
    assert (rich["status"], poor["status"]) == ("unknown", "unfunded")
    assert poor["initial_margin"] > 0


@pytest.mark.parametrize(
    ("part", "formula", "message"),
    [
        ("initial", "net * log(0 - index)", "requirement: no finite amount at BTC"),
        ("amount", "abs(net_delta) * log(0 - index)", "charges.net: no finite amount at BTC"),
        ("slope", "log(0 - index)", "charges.net.slope: no finite amount at BTC"),
        ("slope", "1 / 0", "charges.net.slope: no finite amount at BTC"),
        ("slope", "0 - 1", "charges.net.slope: no finite amount at BTC"),
    ],
)
def test_a_formula_without_a_number_for_the_market_is_refused(
    market: Snapshot, part: str, formula: str, message: str
) -> None:
    with pytest.raises(RulebookError, match=message):
        margined(market, **{part: formula})


def test_a_scan_does_not_add_up_coins_as_dollars(market: Snapshot) -> None:
    """Nor dollars as coins: both ways refuse by name, and what is paid alike goes on."""
    rows = [{"account": name, "instrument": name, "size": 10}
            for name in ("BTC-PERPETUAL", "BTC_USDC-PERPETUAL")]  # fmt: skip
    for numeraire, ways in {
        "dollar": ("counts in USD, BTC-PERPETUAL pays in BTC", ""),
        "coin": ("", "counts in BTC, BTC_USDC-PERPETUAL pays in USDC"),
        "settlement": ("", ""),
    }.items():
        text = RULEBOOK.replace('"settlement"\n[', f'"{numeraire}"\n[').format(**PLAIN)
        rulebook = read_rulebook(text, source="mine")
        plan = sv.prepare(market, rulebook)
        assert isinstance(plan, Plan)
        told = sv.margin(rows, plan).to_polars().to_dicts()
        for row, why in zip(told, ways, strict=True):
            assert row["status"] == ("unknown" if why else "unfunded")
            assert why in row["reason"]
            held = {market.universe.symbols.index(row["account"]): 10.0}
            with pytest.raises(BadInput, match=why) if why else nullcontext():
                exact_sets(plan, held)


OPEN = "open_orders_margin"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {OPEN: np.nan},
            r"expected a finite amount of 0 or more, found nan \(set BTC of account a",
        ),
        ({OPEN: np.inf}, r"inputs, field 'open_orders_margin': .*found inf \(set BTC"),
        ({OPEN: np.array([0.0, -1.0])}, r"found -1 \(set ETH of account b\)"),
        ({OPEN: np.ones(3)}, r"expected one number, or 2 .*shape \(3,\)"),
        ({OPEN: "much"}, "expected numbers, found could not convert"),
        (
            {"open_order": 1.0},
            r"field 'open_order': expected an input of deribit-pm \(corr.*, open",
        ),
    ],
)
def test_inputs_are_finite_amounts(market: Snapshot, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        sv.margin(ROWS, market, inputs=inputs)


def test_one_input_for_all_sets_or_one_each(market: Snapshot) -> None:
    plan = api.prepare(market, shipped_rulebook("deribit-pm"))
    plain, one, each = (
        sv.margin(ROWS, plan, inputs=inputs).sets()["initial"].to_numpy()
        for inputs in (None, {"mmp_margin": 0.5}, {"mmp_margin": np.array([0.0, 0.5])})
    )
    assert one - plain == pytest.approx([0.5, 0.5], abs=1e-8)
    assert each - plain == pytest.approx([0.0, 0.5], abs=1e-8)


def test_explain_and_sets_of_an_unknown_account(market: Snapshot) -> None:
    rulebook = read_rulebook(
        RULEBOOK.format(**{**PLAIN, "initial": "net / where(abs(net_delta) < 0.01, 0, 1)"}),
        source="mine",
    )
    answer = sv.margin(ROWS, market, rulebook=rulebook)
    assert isinstance(answer, Margin)
    view = answer.explain("a")
    assert (view.status, view.initial, view.maintenance, view.sets) == ("unknown", None, None, ())
    assert view.reason == "mine: requirement.initial has no finite number here"
    assert answer.explain("b").status == "unfunded"
    sets = answer.sets()
    assert sets["status"].to_list() == ["unknown", "unfunded"]
    assert sets["initial"].null_count() == sets["net"].null_count() == 1


def test_haircuts_are_a_part_of_initial_margin(market: Snapshot) -> None:
    text = sv.load_rulebook("deribit-pm").model_dump(by_alias=True)
    for one in text["collateral"]:
        one["haircut"] = 0.1
    plan = api.prepare(market, check_rulebook(text, source="mine"))
    balances = [{"account": "a", "asset": "USDC", "amount": 1_000}]
    answer = sv.margin(ROWS, plan, collateral=balances)
    row = answer.to_polars().to_dicts()[0]
    view = answer.explain("a")
    assert row["collateral_haircut"] == view.haircut == 100.0
    assert view.initial == row["initial_margin"]
    assert view.initial == pytest.approx(sum(one.initial for one in view.sets) + 100.0)
    charges = ("risk_matrix", "roll_shock", "delta_shock", "rounding", "collateral_haircut")
    assert row["initial_margin"] == pytest.approx(sum(row[one] for one in charges), abs=1e-4)


def test_collateral_has_a_history_and_may_be_priced_by_another_asset(market: Snapshot) -> None:
    """Deribit took 15 % off stETH before 13 January 2026, 7.5 % since."""
    text = sv.load_rulebook("deribit-pm")
    assert isinstance(text, RulebookText)
    for day, haircut in ((date(2026, 1, 12), 0.15), (date(2026, 1, 13), 0.075)):
        plan = api.prepare(market, in_force(text, day))
        balances = [{"account": "a", "asset": "stETH", "amount": 10}]
        answer = sv.margin(ROWS, plan, collateral=balances)
        ether = float(market.index[market.universe.underlyings.index("ETH")])
        assert answer.to_polars()["collateral_haircut"][0] == pytest.approx(10 * ether * haircut)
    late = text.model_copy(update={"collateral": text.collateral[-1:]})
    early = in_force(late, date(2026, 1, 1))
    assert "collateral STETH: first seen 2026-01-13, applied to 2026-01-01" in early.applied


def test_deribit_margin_decays_in_the_last_half_hour(tmp_path: Path) -> None:
    """At 07:45 half of the delivery price is known: half the delta, half the move."""
    text = "instrument,timestamp,index_price,mark_price\n"
    text += "".join(
        f"BTC-{kind},2026-03-27T07:45:00Z,60000,60000\n" for kind in ("PERPETUAL", "27MAR26")
    )
    (tmp_path / "m.csv").write_text(text, "utf-8")
    plan = api.prepare(sv.read_market(tmp_path / "m.csv"), shipped_rulebook("deribit-pm"))
    rows = [{"account": one, "instrument": f"BTC-{one}", "size": -60_000}
            for one in ("PERPETUAL", "27MAR26")]  # fmt: skip
    charges = sv.margin(rows, plan).to_polars()
    whole, half = charges["risk_matrix"].to_list()
    assert whole == pytest.approx(60_000 * (1 - 1 / 1.16), rel=1e-4)
    assert half == pytest.approx(60_000 * (1 - 1 / 1.08), rel=1e-4)
    perpetual, dated = charges["roll_shock"].to_list()
    assert dated == pytest.approx(perpetual / 2, rel=1e-4)


def test_a_reason_names_the_flags(tmp_path: Path) -> None:
    text = "instrument,timestamp,index_price,mark_price\n"
    names = ("PERPETUAL", "26MAR26", "27MAR26-60000-C")
    text += "".join(f"BTC-{one},2026-03-27T07:45:00Z,60000,0.1\n" for one in names)
    (tmp_path / "m.csv").write_text(text, "utf-8")
    market = sv.read_market(tmp_path / "m.csv")
    row = {"account": "a", "instrument": "BTC-27MAR26-60000-C", "size": 1}
    (reason,) = sv.margin([row], market).to_polars()["reason"].to_list()
    start = "the market has no usable numbers for BTC-27MAR26-60000-C: "
    assert reason == f"{start}FORWARD_MISSING, VOL_MISSING"


def test_inputs_by_account_and_set(tmp_path: Path, market: Snapshot) -> None:
    plan = api.prepare(market, shipped_rulebook("deribit-pm"))
    plain = sv.margin(ROWS, plan).sets()["initial"].to_numpy()
    rows = [{"account": "b", "set": "ETH", "input": "mmp_margin", "amount": 0.5}]
    pl.DataFrame(rows).write_csv(tmp_path / "i.csv")
    for inputs in ({"mmp_margin": {("b", "ETH"): 0.5}}, rows, tmp_path / "i.csv"):
        more = sv.margin(ROWS, plan, inputs=inputs).sets()["initial"].to_numpy()
        assert more - plain == pytest.approx([0.0, 0.5], abs=1e-8)
    for wrong in (("b", "BTC"), ("x", "ETH"), ("b", ""), "b"):
        with pytest.raises(BadInput, match=r"field 'mmp_margin': expected an account and one of"):
            sv.margin(ROWS, plan, inputs={"mmp_margin": {wrong: 0.5}})
    with pytest.raises(BadInput, match=r"inputs, row 2, field 'input': expected it told once"):
        sv.margin(ROWS, plan, inputs=rows * 2)
    with pytest.raises(BadInput, match=r"inputs, row 1, field 'amount': expected a number"):
        sv.margin(ROWS, plan, inputs=[{**rows[0], "amount": "much"}])


def test_a_prepared_market_has_one_rulebook(market: Snapshot) -> None:
    for name in ("deribit-pm", "derive-srm"):
        plan = api.prepare(market, name)
        assert len(sv.margin(ROWS, plan, name)) == len(sv.margin(ROWS, plan)) == 2
        with pytest.raises(BadInput, match=f"rulebook: expected none, or {name}, for which the"):
            sv.margin(ROWS, plan, "deribit-sm")


@pytest.mark.parametrize("what", [None, {"x": 1}, 5])
def test_what_is_no_market(what: Any) -> None:
    with pytest.raises(BadInput, match="market: expected a snapshot, a path, or what `prepare`"):
        sv.margin(ROWS, what)


def test_what_is_no_rulebook(market: Snapshot) -> None:
    assert len(sv.margin(ROWS, market, None)) == 2
    with pytest.raises(BadInput, match=r"rulebook: expected a rulebook's name"):
        sv.margin(ROWS, market, 5)  # type: ignore[call-overload]
