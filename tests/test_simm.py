"""SIMM and the schedule: small books by hand with made-up parameters, files, published margins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvent.conform.levels import number, sheet
from solvent.conform.run import conform
from solvent.errors import BadInput
from solvent.feeds.crif import read_calibration, read_crif
from solvent.feeds.simm_tables import shipped_calibration
from solvent.margining.sensitivity import (
    Calibration,
    CalibrationMissing,
    ClassCalibration,
    Sensitivity,
)
from solvent.margining.simm import ALL, Margins, simm
from tests.conftest import need_shared

TAIL = 2.5758293035489**2
VOL = 2.3263478740408
"""Deviations of the 99.5 % and the 99 % quantile."""


def made_up(**more: Any) -> ClassCalibration:
    """Parameters that are nobody's: every test says what it needs."""
    empty: dict[str, Any] = {
        "delta": {}, "vega": {}, "scalars": {}, "inside": {}, "across": {},
        "delta_threshold": {"": 1e9}, "vega_threshold": {"": 1e9},
    }  # fmt: skip
    return ClassCalibration(**{**empty, **more})


RATES = made_up(
    delta={("1", "1y"): 50.0, ("1", "5y"): 60.0},
    vega={"": 0.2},
    scalars={
        "historical_volatility_ratio": 0.5, "sub_curves": 0.9, "inflation_weight": 40.0,
        "inflation": 0.3, "basis_weight": 20.0, "basis": 0.1, "outer": 0.25,
    },
    inside={("", "1y", "5y"): 0.8, ("", "5y", "1y"): 0.8},
    weight_groups={"Other": "1"},
    threshold_groups={"Other": "1"},
    delta_threshold={"1": 1e9},
    vega_threshold={"1": 1e9},
)  # fmt: skip
EQUITY = made_up(
    delta={(b, ""): w for b, w in (("1", 30.0), ("2", 20.0), ("12", 15.0), ("Residual", 50.0))},
    vega={"1": 0.4, "12": 0.4},
    scalars={"historical_volatility_ratio": 0.6},
    inside={("1", "", ""): 0.2, ("2", "", ""): 0.3, ("Residual", "", ""): 0.0},
    across={("1", "2"): 0.15, ("2", "1"): 0.15},
)
FX = made_up(
    delta={(a, b): 10.0 if a == b else 15.0 for a in "12" for b in "12"},
    vega={"": 0.5},
    scalars={"historical_volatility_ratio": 0.6, "volatility": 0.5},
    inside={("2", a, b): 0.5 if a == b else 0.25 for a in "12" for b in "12"},
    weight_groups={"BRL": "1", "Other": "2"},
    threshold_groups={"EUR": "1", "USD": "1", "Other": "3"},
    delta_threshold={"1": 1e9, "3": 1e9},
    vega_threshold={str(n): 1e9 for n in range(1, 7)},
)
CREDIT = made_up(
    delta={("1", ""): 70.0, ("2", ""): 80.0},
    vega={"": 0.7},
    scalars={"base_correlation_weight": 10.0, "base_correlation": 0.3},
    inside={("", "aggregate", "same"): 0.9, ("", "aggregate", "different"): 0.4},
    across={("1", "2"): 0.4, ("2", "1"): 0.4},
)
CLASSES = {"InterestRate": RATES, "Equity": EQUITY, "FX": FX, "CreditQualifying": CREDIT}


def calibration(days: int = 10, **classes: ClassCalibration) -> Calibration:
    names = ("InterestRate", "FX", "Equity", "CreditQualifying")
    psi = {(a, b): 0.3 for a in names for b in names if a != b}
    return Calibration(
        versions=("made up",), days=days, classes={**CLASSES, **classes}, psi=psi
    )  # fmt: skip


def row(risk_type: str, amount: float, qualifier: str, *more: str, product: str = "P") -> \
        Sensitivity:  # fmt: skip
    bucket, label1, label2 = (*more, "", "", "")[:3]
    return Sensitivity(
        product_class=product, risk_type=f"Risk_{risk_type}", qualifier=qualifier,
        bucket=bucket, label1=label1, label2=label2, amount=amount,
    )  # fmt: skip


def margin(found: Margins, risk_class: str, kind: str, bucket: str = ALL) -> float:
    return found["P", risk_class, kind, bucket]


# ── by hand ──────────────────────────────────────────────────────────────────────────────────────


def test_rates_delta() -> None:
    """WS: 1y 50 × 10 = 500, 5y 60 × −5 = −300 on another curve; ρ = 0.8 × 0.9 = 0.72."""
    rows = [
        row("IRCurve", 4.0, "USD", "1", "1y", "OIS"),
        row("IRCurve", 6.0, "USD", "1", "1y", "OIS"),
        row("IRCurve", -5.0, "USD", "1", "5y", "Libor3m"),
    ]
    k = math.sqrt(500**2 + 300**2 - 2 * 0.72 * 500 * 300)
    found = simm(rows, calibration())
    assert margin(found, "InterestRate", "Delta") == pytest.approx(k)
    assert margin(found, "InterestRate", "Delta", "USD") == pytest.approx(k)
    # Inflation (40 × 3 = 120, ρ 0.3) and basis (20 × 2 = 40, ρ 0.1) come in.
    rows += [row("Inflation", 3.0, "USD"), row("XCcyBasis", 2.0, "USD")]
    square = k**2 + 120**2 + 2 * 0.3 * 120 * 200 + 40**2 + 2 * 0.1 * 40 * (200 + 120)
    assert margin(simm(rows, calibration()), "InterestRate", "Delta") == pytest.approx(
        math.sqrt(square)
    )


def test_rates_across_currencies() -> None:
    """USD is crowded: √(40 M / 10 M) = 2. Between currencies γ = 0.25 × 1 / 2."""
    numbers = replace(RATES, delta_threshold={"1": 10.0})
    rows = [row("IRCurve", 4e7, "USD", "1", "1y", "OIS"), row("IRCurve", 1e6, "EUR", "1", "1y")]
    a, b = 50 * 4e7 * 2, 50 * 1e6
    found = simm(rows, calibration(InterestRate=numbers))
    assert margin(found, "InterestRate", "Delta") == pytest.approx(
        math.sqrt(a**2 + b**2 + 2 * 0.125 * a * b)
    )


def test_rates_vega_and_curvature() -> None:
    """Vega 0.2 × 1000 = 200. A 1y vega of 1000 curves by 0.5 × 14 / 365; net of one sign: θ = 0."""
    found = simm([row("IRVol", 1_000.0, "USD", "", "1y")], calibration())
    assert margin(found, "InterestRate", "Vega") == pytest.approx(200)
    share = 1_000 * 0.5 * 14 / 365
    curved = (share + (TAIL - 1) * share) / 0.5**2
    assert margin(found, "InterestRate", "Curvature") == pytest.approx(curved)
    assert margin(found, "InterestRate", "Curvature", "USD") == pytest.approx(share)
    # A short vega: θ = −1, λ = 1, so −CVR + K is nothing.
    short = simm([row("IRVol", -1_000.0, "USD", "", "1y")], calibration())
    assert margin(short, "InterestRate", "Vega") == pytest.approx(200)
    assert margin(short, "InterestRate", "Curvature") == pytest.approx(0, abs=1e-9)
    # One day instead of ten: a tenth of the share.
    day = simm([row("IRVol", 1_000.0, "USD", "", "1y")], calibration(days=1))
    assert margin(day, "InterestRate", "Curvature") == pytest.approx(curved / 10)


def test_equity_buckets_and_residual() -> None:
    """Bucket 1: 300 and −600, ρ 0.2; bucket 2: 400; the residual 500 is added on top."""
    rows = [
        row("Equity", 10.0, "A", "1"),
        row("Equity", -20.0, "B", "1"),
        row("Equity", 20.0, "C", "2"),
        row("Equity", 10.0, "D", "Residual"),
    ]
    one = math.sqrt(300**2 + 600**2 - 2 * 0.2 * 300 * 600)
    total = math.sqrt(one**2 + 400**2 + 2 * 0.15 * -300 * 400) + 500
    assert margin(simm(rows, calibration()), "Equity", "Delta") == pytest.approx(total)


def test_equity_concentration_of_one_name() -> None:
    """A is crowded at √(9 M / 1 M) = 3; against B its correlation is a third."""
    numbers = replace(EQUITY, delta_threshold={"1": 1.0})
    rows = [row("Equity", 9e6, "A", "1"), row("Equity", 1e6, "B", "1")]
    a, b = 30 * 9e6 * 3, 30 * 1e6
    assert margin(
        simm(rows, calibration(Equity=numbers)), "Equity", "Delta"
    ) == pytest.approx(math.sqrt(a**2 + b**2 + 2 * 0.2 / 3 * a * b))  # fmt: skip


def test_equity_vega_and_volatility_indices() -> None:
    """σ = RW √(365 / 14) / 2.326; vega 0.4 × 0.6 σ v over all tenors. Indices have no curvature."""
    sigma = 30 * math.sqrt(365 / 14) / VOL
    rows = [row("EquityVol", 6.0, "A", "1", "1y"), row("EquityVol", 4.0, "A", "1", "2w")]
    found = simm(rows, calibration())
    assert margin(found, "Equity", "Vega") == pytest.approx(0.4 * 0.6 * sigma * 10)
    share = sigma * 0.5 * (6 * 14 / 365 + 4)
    assert margin(found, "Equity", "Curvature") == pytest.approx(TAIL * share)
    index = simm([row("EquityVol", 6.0, "VIX", "12", "1y")], calibration())
    assert margin(index, "Equity", "Curvature") == 0.0


def test_fx() -> None:
    """Calculation currency: no risk. EUR 150 × 10, BRL −50 × 15, ρ 0.25. A pair has no side."""
    rows = [row("FX", 150.0, "EUR"), row("FX", -50.0, "BRL"), row("FX", 1e9, "USD")]
    a, b = 1_500.0, -750.0
    found = simm(rows, calibration())
    assert margin(found, "FX", "Delta") == pytest.approx(math.sqrt(a * a + b * b + 0.5 * a * b))
    pair = [row("FXVol", 5.0, "EURUSD", "", "1y"), row("FXVol", -5.0, "USDEUR", "", "1y")]
    assert margin(simm(pair, calibration()), "FX", "Vega") == 0.0


def test_credit_and_base_correlation() -> None:
    rows = [row("CreditQ", 2.0, "X", "1", "1y"), row("CreditQ", 1.0, "X", "1", "5y"),
            row("CreditQ", -3.0, "Y", "1", "5y")]  # fmt: skip
    a, b, c = 140.0, 70.0, -210.0
    square = a * a + b * b + c * c + 2 * (0.9 * a * b + 0.4 * (a + b) * c)
    found = simm([*rows, row("BaseCorr", 5.0, "CDX")], calibration())
    assert margin(found, "CreditQualifying", "Delta") == pytest.approx(math.sqrt(square))
    assert margin(found, "CreditQualifying", "BaseCorr") == pytest.approx(50)
    assert margin(found, "CreditQualifying", ALL) == pytest.approx(math.sqrt(square) + 50)


def test_risk_classes_join_and_product_classes_add() -> None:
    """500 of rates and 300 of equity join by ψ = 0.3 in one product class; 300 of another adds."""
    rates, equity = row("IRCurve", 10.0, "USD", "1", "1y"), row("Equity", 10.0, "A", "1")
    together = math.sqrt(500**2 + 300**2 + 2 * 0.3 * 500 * 300)
    found = simm([rates, equity, replace(equity, product_class="Q")], calibration())
    assert found["P", ALL, ALL, ALL] == pytest.approx(together)
    assert found[ALL, "Equity", "Delta", ALL] == pytest.approx(600)
    assert found[ALL, ALL, ALL, ALL] == pytest.approx(together + 300)


def test_additional_margin() -> None:
    """A fixed 7, 2 % of a notional of 500, and half as much again of product class P: 250."""

    def plain(risk_type: str, amount: float, qualifier: str = "") -> Sensitivity:
        return Sensitivity(
            product_class="", risk_type=risk_type, qualifier=qualifier, amount=amount
        )  # fmt: skip

    rows = [
        row("IRCurve", 10.0, "USD", "1", "1y"),
        plain("Param_AddOnFixedAmount", 7.0),
        plain("Notional", 500.0, "swaps"),
        plain("Param_AddOnNotionalFactor", 2.0, "swaps"),
        plain("Param_ProductClassMultiplier", 1.5, "P"),
    ]
    found = simm(rows, calibration())
    assert found[ALL, ALL, "AdditionalIM", ALL] == pytest.approx(7 + 10 + 250)
    assert found[ALL, ALL, ALL, ALL] == pytest.approx(500 + 267)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(CalibrationMissing, match="risk weight of"):
        simm([row("IRCurve", 1.0, "USD", "1", "7y")], calibration())
    with pytest.raises(CalibrationMissing, match="no tenor"):
        simm([row("IRVol", 1.0, "USD", "", "soon")], calibration())
    with pytest.raises(CalibrationMissing, match="no Commodity"):
        simm([row("Commodity", 1.0, "Oil", "1")], calibration())
    with pytest.raises(CalibrationMissing, match="not of SIMM"):
        simm([row("Weather", 1.0, "Rain")], calibration())


AMOUNTS = st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=5)


@given(AMOUNTS, st.floats(0.1, 10.0))
def test_properties(amounts: list[float], times: float) -> None:
    """Not negative, in proportion, and the same in any order; delta and vega ignore the side."""
    shapes = [("IRCurve", "USD", "1", "1y", "OIS"), ("IRCurve", "EUR", "1", "5y", "OIS"),
              ("IRVol", "USD", "", "1y"), ("Equity", "A", "1"), ("Equity", "B", "2")]  # fmt: skip
    rows = [row(name, x, *more) for x, (name, *more) in zip(amounts, shapes, strict=True)]
    found = simm(rows, calibration())
    total = found[ALL, ALL, ALL, ALL]
    assert total >= 0
    assert simm(rows[::-1], calibration())[ALL, ALL, ALL, ALL] == pytest.approx(total)
    scaled = simm([replace(one, amount=one.amount * times) for one in rows], calibration())
    assert scaled[ALL, ALL, ALL, ALL] == pytest.approx(times * total, rel=1e-9, abs=1e-6)
    turned = simm([replace(one, amount=-one.amount) for one in rows], calibration())
    for kind in ("Delta", "Vega"):
        assert turned["P", "InterestRate", kind, ALL] == pytest.approx(
            found["P", "InterestRate", kind, ALL]
        )


# ── the schedule ─────────────────────────────────────────────────────────────────────────────────


def trade(name: str, kind: str, notional: float, years: float, owed: float) -> Mapping[str, Any]:
    return {"instrument": name, "kind": kind, "notional": notional, "maturity": years,
            "collected": owed}  # fmt: skip


def test_schedule() -> None:
    """1 % of 1000 and 4 % of 500 in rates, 15 % of 100 in equity: 45. NGR (30 − 10) / 30."""
    rows = [
        trade("a", "Rates", 1_000, 1.99, 30),
        trade("b", "Rates", 500, 5, -10),
        trade("c", "Equity", 100, 1, 0),
    ]
    asked = sheet("im-schedule", position=rows)
    assert number(asked.value("pool", "gross_margin")) == 45
    assert float(number(asked.value("pool", "initial"))) == pytest.approx(
        45 * (0.4 + 0.6 * 20 / 30)
    )
    owing = [{**one, "collected": -abs(one["collected"])} for one in rows]
    assert number(sheet("im-schedule", position=owing).value("pool", "net_to_gross")) == 1


# ── files ────────────────────────────────────────────────────────────────────────────────────────

HEAD = (
    "TradeID,PortfolioID,ProductClass,RiskType,Qualifier,Bucket,Label1,Label2,AmountCurrency,"
    "Amount,AmountUSD"
)


def test_crif_reads_dollars_and_sides(tmp_path: Path) -> None:
    path = tmp_path / "crif.csv"
    path.write_text(
        f"{HEAD},collect_regulations,post_regulations\n"
        'T,N,RatesFX,Risk_IRCurve,EUR,1,5y,OIS,EUR,10,11.5,"ESA,USPR",SEC\n,,,,,,,,,,,,\n',
        "utf-8",
    )
    (found,) = read_crif(path)
    assert found.sensitivity.amount == 11.5
    assert sorted(found.collect) == ["ESA", "USPR"]
    assert sorted(found.post) == ["SEC"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("T,N,RatesFX,Risk_IRCurve,EUR,1,5y,OIS,EUR,10,", "AmountUSD"),
        ("T,N,RatesFX,Risk_IRCurve,EUR,1,5y,OIS,USD,ten,", "a number"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "crif.csv"
    path.write_text(f"{HEAD}\n{line}\n", "utf-8")
    with pytest.raises(BadInput, match=message) as caught:
        read_crif(path)
    assert caught.value.problems[0].row == 1


def test_a_calibration_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.xml"
    path.write_text(
        "<Calibrations><SIMMCalibration><VersionNames><Name>mine</Name></VersionNames><Equity>"
        "<RiskWeights><Delta mporDays='10'><Weight bucket='1'>25</Weight></Delta></RiskWeights>"
        "<Correlations><IntraBucket><Correlation bucket='1'>0.2</Correlation></IntraBucket>"
        "</Correlations><ConcentrationThresholds><Delta><Threshold bucket='1'>1000</Threshold>"
        "</Delta></ConcentrationThresholds></Equity></SIMMCalibration></Calibrations>",
        "utf-8",
    )
    own = read_calibration(path)
    assert own.versions == ("mine",)
    assert margin(simm([row("Equity", 4.0, "A", "1")], own), "Equity", "Delta") == 100.0
    with pytest.raises(BadInput, match="margin period of 1 days"):
        read_calibration(path, days=1)
    path.write_text("<Calibrations/>", "utf-8")
    with pytest.raises(BadInput, match="a SIMMCalibration"):
        read_calibration(path)


@pytest.mark.parametrize("version", ["2.4", "2.5A"])
@pytest.mark.parametrize("days", [10, 1])
def test_shipped_tables_are_whole(version: str, days: int) -> None:
    """The same parameters as a file of another version has, and correlations that can be."""
    shipped = shipped_calibration(version, days=days)
    assert shipped is not None
    assert version in shipped.versions
    other = read_calibration(
        need_shared("vectors", "tradfi", "ore_simm", "simmcalibration_2.6.xml"), days=days
    )
    assert shipped.psi.keys() == other.psi.keys()
    assert shipped.classes.keys() == other.classes.keys()
    for name, mine in shipped.classes.items():
        theirs = other.classes[name]
        for part in ("delta", "vega", "scalars", "inside", "across", "delta_threshold",
                     "vega_threshold"):  # fmt: skip
            assert getattr(mine, part).keys() == getattr(theirs, part).keys(), (name, part)
        groups = mine.threshold_groups.values(), theirs.threshold_groups.values()
        assert set(groups[0]) == set(groups[1])
        if mine.across:
            least_eigenvalue(mine.across)
    least_eigenvalue(shipped.psi)
    rates = {key[1:]: rho for key, rho in shipped.classes["InterestRate"].inside.items()}
    least_eigenvalue(rates)


def least_eigenvalue(rhos: Mapping[tuple[str, str], float]) -> None:
    """Published to two decimals, a matrix may miss being one of correlations by so much."""
    names = sorted({name for pair in rhos for name in pair})
    matrix = [[1.0 if a == b else rhos[a, b] for b in names] for a in names]
    assert np.linalg.eigvalsh(np.array(matrix)).min() > -0.02


def test_a_calibration_from_a_table(tmp_path: Path) -> None:
    text = (resources.files("solvent") / "rulebooks" / "simm" / "simm-2.4.toml").read_text("utf-8")
    path = tmp_path / "own.toml"
    path.write_text(text, "utf-8")
    assert read_calibration(path) == shipped_calibration("2.4")
    for old, new, message in (
        ("sub_curves = 0.986\n", "sub_curves = nan\n", "not a finite number"),
        ("[0.75, 0.63, ", "[0.75, ", "above a diagonal of 12"),
        ('versions = ["2.4"', "versions = [", "tables of numbers"),
        ("delta = [280, 1200, 1200]", "delta = [280, 1200]", "2 values for 3 names"),
        ("delta = [9.5, 0.5, 0.5]", "delta = [9.5, 0, 0.5]", "not above 0"),
        ("[FX.thresholds]", "[FX.other]", "no 'thresholds'"),
    ):
        path.write_text(text.replace(old, new), "utf-8")
        with pytest.raises(BadInput, match=message):
            read_calibration(path)
    with pytest.raises(BadInput, match="at 3 days, found no 'days-3'"):
        shipped_calibration("2.4", days=3)
    with pytest.raises(BadInput, match=r"none\.toml"):
        read_calibration(tmp_path / "none.toml")


# ── published margins ────────────────────────────────────────────────────────────────────────────


def test_conforms() -> None:
    """Every row of the versions whose calibration is there, and of the schedule."""
    found = conform([need_shared("vectors", "tradfi", "ore_simm")])
    assert found.failed == 0, [file.misses for file in found.files]
    assert found.unknown == 0
    passed = {file.kind.split("/")[1]: file.passed for file in found.files}
    assert passed["expected_SIMM2.6_10D"] == passed["expected_SIMM2.6_1D"] == 36
    assert (passed["im_schedule"], passed["im_schedule_trade"]) == (6, 9)
    unknown = {file.kind.split("/")[1] for file in found.files if file.unknown}
    assert all(name.startswith(("expected_SIMM2.4", "expected_SIMM2.5A")) for name in unknown)
