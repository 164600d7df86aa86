"""Cases of Derive's portfolio managers, told as portfolios of their rulebooks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from solvent.conform.case import Case, Row
from solvent.conform.derive_portfolio import COIN, DAY, Expiry, Portfolio, Shock, account
from solvent.conform.levels import number
from solvent.margining.levels.rows import Sheet

_AVERAGED: Final = 1_800
"""Seconds before expiry over which the settlement price is averaged."""
_RELATIVE, _ABSOLUTE = 1e-8, 1e-8
"""Allowed error of the second manager: the file's, but for what is all but 0 dollars."""
_ABSOLUTE_FIRST: Final = 1e-10


def portfolio_cases(path: Path) -> Iterator[Case]:
    """`pmrm2_portfolio_cases.json`: margins, contingencies, and the PnL of every scenario."""
    for row in json.loads(path.read_text("utf-8"))["cases"]:
        if not row["upstream_active"]:
            continue
        case = Case(row["id"])
        margined = account(_second(row))
        for what, expected in row["expected"].items():
            if what in _SECOND:
                _expect(case, what, _found(margined, _SECOND[what]), expected)
        values = margined.value("manager", "pnl")
        pnl = values if isinstance(values, tuple) else (values,) * len(row["params"]["scenarios"])
        for place, expected in enumerate(row["expected"]["scenario_pnl"]):
            _expect(case, f"scenario {place}", pnl[place], expected)
        _expect_discounts(case, margined, row)
        yield case


def cases(path: Path) -> Iterator[Case]:
    """`pmrm1_cases.json`: margins and contingencies in dollars."""
    file = json.loads(path.read_text("utf-8"))
    for row in file["cases"]:
        case = Case(row["id"])
        margined = account(_first(row, file["params"]))
        for what, expected in row["expected"].items():
            if what in _FIRST:
                found = _found(margined, _FIRST[what])
                case.expect(what, float(found), float(expected), _ABSOLUTE_FIRST)
        yield case


def whole_dollar_cases(path: Path) -> Iterator[Case]:
    """`pmrm1_portfolio_cases.json`: margins in whole dollars, cut off towards zero."""
    file = json.loads(path.read_text("utf-8"))
    for row in file["cases"]:
        case = Case(row["id"])
        margined = account(_whole_dollars(row, file))
        for what, expected in row["expected"].items():
            found = _found(margined, _FIRST[what.removesuffix("_int")])
            case.expect(what, int(found), expected, 0.0)
        yield case


def first_worth(row: Row, params: Row) -> tuple[Fraction, Fraction]:
    """Mark-to-market and margin of an account by the first manager, in dollars."""
    margined = account(_first(row, params))
    return _found(margined, "equity"), _found(margined, "net_maintenance")


def first_at(action: Row) -> Row:
    """The account and its feeds at an action; an auction's file tells expiries as moments."""
    told = action["portfolio_and_feeds"]
    timed = {
        name: [one | {"sec_to_expiry": one["sec_to_expiry"] - action["time"]} for one in told[name]]
        for name in ("option_feeds", "options")
    }
    return {**told, **timed}


_SHARED: Final = {
    "im": "net_initial",
    "mm": "net_maintenance",
    "portfolio_mtm": "equity",
    "forward_contingency": "-basis_contingency",
    "oracle_cont": "-oracle",
    "oracle_contingency": "-oracle",
    "loss_factor": "initial_factor",
    "im_loss_factor": "initial_factor",
}
"""What a file calls a number → the manager's column, with the file's sign."""
_FIRST: Final = _SHARED | {
    "min_span": "-worst_loss",
    "option_contingency": "-option_contingency",
    "perp_contingency": "-perp_contingency",
    "base_contingency": "-coin_contingency",
}
_SECOND: Final = _SHARED | {
    "option_mtm": "option_value",
    "collateral_mtm": "coin_value",
    "perp_mtm": "perp_value",
    "mm_perp_cont": "-perp_maintenance",
    "im_perp_cont": "-perp_initial",
    "mm_base_cont": "-coin_maintenance",
    "im_base_cont": "-coin_initial",
    "mm_option_cont": "-option_maintenance",
    "im_option_cont": "-option_initial",
}


def _found(margined: Sheet, column: str) -> Fraction:
    value = number(margined.value("manager", column.removeprefix("-")))
    return -value if column.startswith("-") else value


def _expect(case: Case, what: str, found: Fraction, expected: str) -> None:
    allowed = max(abs(float(expected)) * _RELATIVE, _ABSOLUTE)
    case.expect(what, float(found), float(expected), allowed)


def _expect_discounts(case: Case, margined: Sheet, row: Row) -> None:
    held = {one["expiry"]: place for place, one in enumerate(margined.rows("expiry"))}
    for feed, discounts in zip(
        row["option_feeds"], row["expected"]["discount_factors"], strict=False
    ):
        if (place := held.get(feed["sec_to_expiry"])) is not None:
            for name, expected in zip(("long", "short"), discounts, strict=True):
                found = number(margined.value("expiry", f"{name}_discount", place))
                _expect(case, f"{name} discount of {feed['sec_to_expiry']}", found, expected)


# ── cases to portfolios ──────────────────────────────────────────────────────────────────────

_RULES: Final = {"Up": "up", "None": "same", "Down": "down", "Linear": "linear_skew",
                 "Abs": "absolute_skew"}  # fmt: skip


def _second(row: Row) -> Portfolio:
    shocks = [
        Shock(Fraction(spot) - 1, _RULES[rule], Fraction(share), rule in ("Linear", "Abs"))
        for spot, rule, share in row["params"]["scenarios"]
    ]
    tokens = {
        coin["Name"]: {
            "is_cash": 0,
            "hedges": int(coin["IsRiskCancelling"]),
            "maintenance": coin["MMHaircut"],
            "initial": coin["IMHaircut"],
        }
        for coin in row["collaterals"]
    }
    coins = [
        {
            "asset": coin["Name"],
            "amount": coin["Amount"],
            "price": coin["Price"],
            "feed_confidence": coin["Confidence"],
        }
        for coin in row["collaterals"]
    ]
    vols = [option | {"vol": option["mark_vol"]} for option in row["options"]]
    return Portfolio(
        rulebook="derive-pmrm2",
        tables={**_second_tables(row["params"]), "token": tokens},
        shocks=shocks,
        expiries={feed["sec_to_expiry"]: _averaged(feed) for feed in row["option_feeds"]},
        options=vols,
        assets=coins,
        **_shared(row),
    )


def _second_tables(params: Row) -> dict[str, Any]:
    """The contract's parameters under the rulebook's names."""
    vol, margin, basis = params["vol"], params["margin"], params["basis"]
    other, skew = params["other"], params["skew"]
    risk = {
        "vol_up": vol["VOLRANGEUP"],
        "vol_down": vol["VOLRANGEDOWN"],
        "short_power": vol["SHORTTERMPOWER"],
        "long_power": vol["LONGTERMPOWER"],
        "days_floor": vol["DTE_FLOOR"],
        "vol_floor": vol["MIN_VOL_EVAL_SHOCKED"],
        "basis_up": basis["SCENARIO_SPOT_UP"],
        "basis_down": basis["SCENARIO_SPOT_DOWN"],
        "basis_add": basis["BASIS_CONT_ADD_FACTOR"],
        "basis_slope": basis["BASIS_CONT_MULT_FACTOR"],
        "initial_factor": margin["IM_LOSS_FACTOR"],
        "maintenance_factor": margin["MM_LOSS_FACTOR"],
        "peg_threshold": other["PEG_LOSS_THRESHOLD"],
        "peg_factor": other["PEG_LOSS_FACTOR"],
        "confidence_threshold": other["CONF_THRESHOLD"],
        "confidence_margin": other["CONF_MARGIN"],
        "perp_maintenance": other["MM_PERP_PERCENT"],
        "perp_initial": other["IM_PERP_PERCENT"],
        "option_maintenance": other["MM_OPTION_PERCENT"],
        "option_initial": other["IM_OPTION_PERCENT"],
    }
    discount = {
        "long": margin["BASE_STATIC_DISCOUNT"],
        "short": margin["BASE_STATIC_DISCOUNT_NEG"],
        "long_rate": margin["LONG_RATE_MULTSCALE"],
        "short_rate": margin["SHORT_RATE_MULTSCALE"],
        "long_add": margin["LONG_RATE_ADDSCALE"],
        "short_add": margin["SHORT_RATE_ADDSCALE"],
    }
    smile = {
        "linear_cap": skew["LINEAR_SCALE_CAP"],
        "linear_slope": skew["LINEAR_CBASE"],
        "absolute_cap": skew["ABS_SCALE_CAP"],
        "absolute_slope": skew["ABS_CBASE"],
        "k_floor": skew["MIN_K_STAR"],
        "width": skew["MIN_WIDTH_SCALE"],
        "static": skew["VOL_PARAM_STATIC"],
        "scale": skew["VOL_PARAM_SCALE"],
    }
    return {"risk": {"*": risk}, "discount": {"*": discount}, "skew": {"*": smile}}


def _averaged(feed: Row) -> Expiry:
    """Feeds that tell the whole forward: near expiry a part of it is averaged already."""
    left = min(Fraction(feed["sec_to_expiry"], _AVERAGED), Fraction(1))
    forward = Fraction(feed["forward"])
    return Expiry(
        fixed=forward * (1 - left),
        variable=forward * left,
        rate=Fraction(feed["rate"]),
        forward_confidence=Fraction(feed["forward_conf"]),
        rate_confidence=Fraction(feed["rate_conf"]),
        vol_confidence=Fraction(feed["vol_conf"]),
    )


def _shared(row: Row) -> dict[str, Any]:
    """What both managers' cases tell of the account, the spot and the perpetual."""
    return {
        "spot": Fraction(row["spot"]),
        "perp_price": Fraction(row["perp_price"]),
        "perp_position": Fraction(row["perp_position"]),
        "account": {"stable_price": row["stable"], "cash": row["cash"]},
        "underlying": {"spot_confidence": row["spot_conf"], "perp_confidence": row["perp_conf"]},
        "perp": {
            "unrealised": row["perp_unrealised_pnl"],
            "funding": row["perp_unrealised_funding"],
        },
    }


def _first(row: Row, params: Row) -> Portfolio:
    return Portfolio(
        rulebook="derive-pmrm1",
        tables=_first_tables(params),
        shocks=[Shock(Fraction(spot) - 1, _RULES[rule]) for spot, rule in params["scenarios"]],
        expiries={
            feed["sec_to_expiry"]: Expiry(
                fixed=Fraction(feed["forward_fixed"]),
                variable=Fraction(feed["forward_variable"]),
                rate=Fraction(feed["rate"]),
                forward_confidence=Fraction(feed["forward_conf"]),
                rate_confidence=Fraction(feed["rate_conf"]),
                vol_confidence=_last_confidence(row["options"], feed["sec_to_expiry"]),
            )
            for feed in row["option_feeds"]
        },
        options=row["options"],
        assets=[{"asset": COIN, "amount": row["base_position"], "price": row["spot"]}],
        **_shared(row),
    )


def _last_confidence(options: Sequence[Row], seconds: int) -> Fraction:
    """The source's feed has one confidence an expiry: that of the strike set last."""
    mine = [option["vol_conf"] for option in options if option["sec_to_expiry"] == seconds]
    return Fraction(mine[-1]) if mine else Fraction(1)


def _first_tables(params: Row) -> dict[str, Any]:
    vol, margin, basis, other = (params[name] for name in ("vol", "margin", "basis", "other"))
    risk = {
        "vol_up": vol["up"],
        "vol_down": vol["down"],
        "short_power": vol["short_power"],
        "long_power": vol["long_power"],
        "days_floor": Fraction(vol["dte_floor_sec"], DAY),
        "discount": margin["base_static_discount"],
        "rate_scale": margin["rate_mult"],
        "rate_add": margin["rate_add"],
        "basis_up": basis["spot_up"],
        "basis_down": basis["spot_down"],
        "basis_add": basis["add"],
        "basis_slope": basis["mult"],
        "initial_factor": margin["im_factor"],
        "peg_threshold": other["peg_loss_threshold"],
        "peg_factor": other["peg_loss_factor"],
        "confidence_threshold": other["conf_threshold"],
        "confidence_margin": other["conf_margin"],
        "perp": other["perp_percent"],
        "coin": other["base_percent"],
        "option": other["option_percent"],
    }
    return {"risk": {"*": risk}, "token": {COIN: {"is_cash": 0}}}


_VOL: Final = "0.5"
"""Volatility of every strike that a case in whole dollars does not tell."""


def _whole_dollars(row: Row, file: Row) -> Portfolio:
    market = row["env"]["eth"]
    vols = {(told, Fraction(strike)): vol for told, strike, vol, _ in market["vol_overrides"]}
    options = [
        option | {"vol": vols.get((option["expiry"], Fraction(option["strike"])), _VOL)}
        for option in row["options"]
    ]
    expiries = {}
    for option in options:
        forward, confidence = market["forwards"][option["expiry"]]
        expiries[option["sec_to_expiry"]] = Expiry(
            fixed=Fraction(0),
            variable=Fraction(forward),
            rate=Fraction(file["rate"]),
            forward_confidence=Fraction(confidence),
            rate_confidence=Fraction(1),
            vol_confidence=_told_confidence(options, option["expiry"], market),
        )
    price = Fraction(market["perp_price"])
    position = sum((Fraction(perp["amount"]) for perp in row["perps"]), Fraction(0))
    gains = [
        Fraction(one["amount"]) * (price - Fraction(one["entry_price"])) for one in row["perps"]
    ]
    coins = sum((Fraction(base["amount"]) for base in row["bases"]), Fraction(0))
    return Portfolio(
        rulebook="derive-pmrm1",
        tables=_first_tables(file["params"]),
        shocks=[Shock(Fraction(s) - 1, _RULES[rule]) for s, rule in file["params"]["scenarios"]],
        expiries=expiries,
        options=options,
        assets=[{"asset": COIN, "amount": coins, "price": market["spot"]}],
        **_shared(
            {
                **market,
                "stable": row["env"]["stable"],
                "cash": row["cash"],
                "perp_position": position,
                "perp_unrealised_pnl": sum(gains, Fraction(0)),
                "perp_unrealised_funding": 0,
            }
        ),
    )


def _told_confidence(options: Sequence[Row], expiry: str, market: Row) -> Fraction:
    """Confidence of an expiry's vols. The source's feed keeps that of the strike set last, and a
    strike that the case does not tell is set after those that it does, with confidence 1."""
    told = [override for override in market["vol_overrides"] if override[0] == expiry]
    strikes = {Fraction(override[1]) for override in told}
    held = {Fraction(option["strike"]) for option in options if option["expiry"] == expiry}
    return Fraction(told[-1][3]) if told and held <= strikes else Fraction(1)
