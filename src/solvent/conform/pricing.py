"""Pricing files: every formula of `solvent.pricing` against books, papers and other libraries."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from solvent.conform.case import Case, Reader, Row, unknown
from solvent.pricing import black, perpetual, svi
from solvent.pricing.greeks import DAYS_PER_YEAR, VOL_POINT, greeks, spot_greeks
from solvent.pricing.implied import implied_vol
from solvent.pricing.jumps import merton
from solvent.pricing.transforms import Characteristic, Heston, Kou, Svcj, transform_price
from solvent.scenarios.volatility import garch11


def _side(row: Row) -> float:
    return 1.0 if row.get("type", "call") == "call" else -1.0


def _spot_terms(row: Row) -> dict[str, float]:
    return {
        "spot": row["S"],
        "strike": row["K"],
        "years": row["T"],
        "vol": row["sigma"],
        "side": _side(row),
        "rate": row["r"],
        "dividend": row["q"],
    }


def _forward(row: Row) -> tuple[float, float]:
    """Forward and discount of a spot row."""
    grown = row["S"] * math.exp((row["r"] - row["q"]) * row["T"])
    return grown, math.exp(-row["r"] * row["T"])


def black76_basic(case: Case, row: Row) -> None:
    """Black-76 from a total standard deviation."""
    price = black.black76(
        forward=row["F"], strike=row["K"], years=1.0, vol=row["stddev"], side=_side(row),
        discount=row["df"],
    )  # fmt: skip
    case.expect("price", float(price), row["price"], row["tol"])


def bs_european_haug(case: Case, row: Row) -> None:
    """Black-Scholes-Merton prices."""
    price = black.black_scholes(**_spot_terms(row))
    case.expect("price", float(price), row["price"], row["tol"])


def bs_greeks_haug(case: Case, row: Row) -> None:
    """Black-Scholes-Merton greeks, one a row."""
    g = spot_greeks(**_spot_terms(row))
    name = row["greek"]
    found = g.theta / DAYS_PER_YEAR if name == "theta_per_day" else getattr(g, name)
    case.expect(name, float(found), row["value"], row["tol"])


def digital_haug(case: Case, row: Row) -> None:
    """Digitals: cash, asset, and the gap option that is made of both."""
    forward, discount = _forward(row)
    terms = {
        "forward": forward,
        "strike": row["K"],
        "years": row["T"],
        "vol": row["sigma"],
        "side": _side(row),
        "discount": discount,
    }
    cash, asset = float(black.digital(**terms)), float(black.asset_or_nothing(**terms))
    price = {
        "cash_or_nothing": row.get("cash", 0.0) * cash,
        "asset_or_nothing": asset,
        "gap": _side(row) * (asset - row.get("second_strike", 0.0) * cash),
    }[row["kind"]]
    case.expect("price", price, row["price"], row["tol"])


def fx_premium_adjusted_delta(case: Case, row: Row) -> None:
    """Spot and forward deltas of currency options, plain and premium-adjusted."""
    forward = row["S"] * row["df_for"] / row["df_dom"]
    g = greeks(forward=forward, strike=row["K"], years=1.0, vol=row["stddev"], side=_side(row))
    adjusted = row["delta_type"].startswith("Pa")
    delta = float(g.premium_adjusted_delta if adjusted else g.delta)
    if row["delta_type"].endswith("Spot"):
        delta *= row["df_for"]
    case.expect(row["delta_type"], delta, row["delta"], row["tol"])


def inverse_black76(case: Case, row: Row) -> None:
    """Inverse options: price in coin, net delta, and dollar greeks."""
    terms = {"forward": row["F"], "strike": row["K"], "years": row["T"], "vol": row["sigma"]}
    side = _side(row)
    g = greeks(**terms, side=side)
    near = 1e-12
    coin = float(black.inverse_black76(**terms, side=side))
    case.expect("price_coin", coin, row["price_coin"], near)
    case.expect("price_usd", float(g.value), row["price_usd"], near * row["F"])
    case.expect("delta_usd", float(g.delta), row["delta_usd"], near)
    case.expect("net_delta", float(g.premium_adjusted_delta), row["net_delta_coin"], near)
    case.expect("gamma", float(g.gamma), row["gamma"], near)
    vega, theta = float(g.vega) * VOL_POINT, float(g.theta) / DAYS_PER_YEAR
    case.expect("vega", vega, row["vega_usd_per_volpt"], near * row["F"])
    case.expect("theta", theta, row["theta_usd_per_day"], near * row["F"])


def merton76_haug(case: Case, row: Row) -> None:
    """Merton jump-diffusion with a share of the variance from jumps."""
    forward, discount = _forward(row)
    jump_vol = row["sigma_total"] * math.sqrt(row["gamma"] / row["lam"])
    price = merton(
        forward=forward,
        strike=row["K"],
        years=row["T"],
        vol=row["sigma_total"] * math.sqrt(1.0 - row["gamma"]),
        side=_side(row),
        jumps_per_year=row["lam"],
        log_jump=-0.5 * jump_vol**2,
        log_jump_sd=jump_vol,
        discount=discount,
    )
    case.expect("price", float(price), row["price"], row["tol"])


def _heston(row: Row) -> Heston:
    return Heston(**{name: row[name] for name in ("kappa", "theta", "sigma", "rho", "v0")})


def heston_reference(case: Case, row: Row) -> None:
    """Heston prices."""
    forward, discount = _forward(row)
    price = transform_price(
        characteristic=_heston(row), forward=forward, strike=row["K"], years=row["T"],
        side=_side(row), discount=discount,
    )  # fmt: skip
    case.expect("price", float(price), row["price"], row["tol"])


def heston_implied_vols_forde(case: Case, row: Row) -> None:
    """Heston implied volatilities."""
    terms = {"forward": row["F"], "strike": row["K"], "years": row["T"]}
    price = transform_price(characteristic=_heston(row), **terms)
    vol = implied_vol(price=price, **terms, side=1.0)
    case.expect("implied_vol", float(vol), row["implied_vol"], row["tol"])


def kou_double_exponential(case: Case, row: Row) -> None:
    """Kou calls."""
    forward, discount = _forward(row)
    model = Kou(
        sigma=row["sigma"], jumps_per_year=row["lam"], up_probability=row["p"],
        up_rate=row["eta1"], down_rate=row["eta2"],
    )  # fmt: skip
    price = transform_price(
        characteristic=model, forward=forward, strike=row["K"], years=row["T"], discount=discount
    )
    case.expect("call", float(price), row["call"], row.get("tol", 1e-8))


def svcj_inverse_options(case: Case, row: Row) -> None:
    """Coin prices under Heston, Bates and SVCJ."""
    p = row["params"]
    model: Characteristic = _heston(p)
    if "lam" in p:
        model = Svcj(
            heston=_heston(p), jumps_per_year=p["lam"], log_jump=p["ly"], log_jump_sd=p["sy"],
            variance_jump=p.get("lv", 0.0), jump_correlation=p.get("rj", 0.0),
        )  # fmt: skip
    sides = {"call_coin": 1.0, "put_coin": -1.0, "price_coin": _side(row)}
    for name, side in sides.items():
        if name in row:
            price = transform_price(
                characteristic=model, forward=row["F"], strike=row["K"], years=row["T"], side=side
            )
            case.expect(name, float(price) / row["F"], row[name], row.get("tol", 1e-8))


def perpetual_futures_ackerer(case: Case, row: Row) -> None:
    """Fair perpetual prices."""
    continuous = row["funding_spot"] == "continuous"
    price = perpetual.perpetual_price(
        spot=row["S"],
        rate=row["r"],
        dividend=row["q"],
        premium=row["kappa"],
        interest=row["iota"],
        inverse=row["payoff"] == "inverse",
        period_years=0.0 if continuous else row["funding_interval_months"] / 12.0,
        funding_spot=perpetual.FundingSpot("previous" if continuous else row["funding_spot"]),
    )
    case.expect("price", price, row["price"], row["rel_tol"] * row["price"])


def svi_quantlib(case: Case, row: Row) -> None:
    """One raw SVI total variance."""
    smile = svi.RawSvi(a=row["a"], b=row["b"], rho=row["rho"], m=row["m"], sigma=row["sigma"])
    case.expect("total_variance", float(smile.w(row["k"])), row["total_variance"], 1e-12)


def deribit_mark_vectors(case: Case, row: Row) -> None:
    """Deribit marks repriced from their own forward and volatility."""
    price = black.inverse_black76(
        forward=float(row["futures_price"]),
        strike=float(row["strike"]),
        years=float(row["T_365"]),
        vol=float(row["implied_volatility"]),
        side=1.0 if row["option_type"] == "call" else -1.0,
    )
    case.expect("mark_price", float(price), float(row["mark_price"]), float(row["tol"]))


def _svi_gatheral_jacquier(path: Path) -> Iterator[Case]:
    """Published smiles: variances, density sign, jump wings, and the arbitrage-free repair."""
    content = json.loads(path.read_text("utf-8"))
    tolerance = float(content.get("tol", 1e-8))
    for number, row in enumerate(content["vectors"]):
        case, smile = Case(f"{row['name']} {number}"), svi.RawSvi(**row["raw"])
        case.expect("w", float(smile.w(row["k"])), row["w"], tolerance)
        case.expect("g", float(smile.g(row["k"])), row["g"], tolerance)
        yield case
    if "computed" in content:
        yield _svi_conversions(content["published"], content["computed"], tolerance)


def _svi_conversions(published: Row, computed: Row, tolerance: float) -> Case:
    case, vogt = Case("vogt conversions"), svi.RawSvi(**published["vogt_raw"])
    wings = svi.to_jump_wings(vogt, 1.0)
    for mine, theirs in (("v", "v"), ("psi", "psi"), ("p", "p"), ("c", "c"), ("v_min", "vtilde")):
        case.expect(f"jump wings {mine}", getattr(wings, mine), computed["jw"][theirs], tolerance)
    sound = svi.without_butterfly(wings)
    case.expect("c of the repair", sound.c, published["guaranteed"]["c"], 1e-7)
    case.expect("v_min of the repair", sound.v_min, published["guaranteed"]["vtilde"], 1e-7)
    for name, value in computed["raw_of_guaranteed"].items():
        case.expect(f"repair {name}", getattr(svi.from_jump_wings(sound), name), value, 1e-6)
    # The check steps 0.0025 in k, so the least g is found to the second order of that.
    case.expect("least g of vogt", vogt.butterfly(), computed["min_g_vogt"][0], 1e-6)
    optimal = svi.RawSvi(**computed["raw_of_optimal"])
    case.expect("least g of the optimum", optimal.butterfly(), computed["min_g_optimal"][0], 1e-6)
    repaired = svi.from_jump_wings(sound)
    case.expect("repair can be arbitraged", float(repaired.butterfly() < 0), 0.0, 0.0)
    return case


def _garch11_recursion(path: Path) -> Iterator[Case]:
    """GARCH(1,1) volatilities of a constant return."""
    content = json.loads(path.read_text("utf-8"))
    # The file's note carries the parameters: alpha 0.2, beta 0.3, long-run variance 0.4, r = 0.1.
    days = 1 + max(row["i"] for row in content["vectors"])
    vols = garch11([0.1] * days, omega=0.4 * (1 - 0.2 - 0.3), alpha=0.2, beta=0.3, first=0.1**2)
    for row in content["vectors"]:
        case = Case(f"day {row['i']}")
        case.expect("vol", math.sqrt(vols[row["i"]]), row["vol"], content["tol"])
        yield case


_ROWS: dict[str, Callable[[Case, Row], None]] = {
    check.__name__: check
    for check in (
        black76_basic, bs_european_haug, bs_greeks_haug, digital_haug, fx_premium_adjusted_delta,
        inverse_black76, merton76_haug, heston_reference, heston_implied_vols_forde,
        kou_double_exponential, svcj_inverse_options, perpetual_futures_ackerer, svi_quantlib,
        deribit_mark_vectors,
    )
}  # fmt: skip


def _row_reader(check: Callable[[Case, Row], None]) -> Reader:
    def read(path: Path) -> Iterator[Case]:
        for number, row in enumerate(_rows(path)):
            if row.get("exclude_exact"):
                continue
            case = Case(str(row.get("instrument_name", row.get("id", f"row {number + 1}"))))
            try:
                check(case, row)
            except (KeyError, TypeError):
                case = unknown(case.name)
            yield case

    return read


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    content = json.loads(path.read_text("utf-8"))
    shared = {"tol": content["tol"]} if "tol" in content else {}
    return [{**shared, **row} for row in content["vectors"]]


READERS: dict[str, Reader] = {
    **{name: _row_reader(check) for name, check in _ROWS.items()},
    "svi_gatheral_jacquier": _svi_gatheral_jacquier,
    "garch11_recursion": _garch11_recursion,
}
"""File stem → reader."""
