"""Cases of Vega: margin levels, isolated mode, marks, funding, capped futures, fees, factors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from solvent.conform.case import Case, Row, unknown
from solvent.conform.disposals import disposed
from solvent.conform.levels import number, sheet
from solvent.conform.marks import found_in_market
from solvent.conform.vega_engine import WAYS
from solvent.margining.levels.rows import Sheet

_MARKET: Final = {"account": "", "pool": "", "instrument": "market", "underlying": "coin"}
_TERMS: Final = {"contract_size": 1, "asset_decimals": 0, "settlement_price": 1, "inverse": 0,
                 "is_option": 0}  # fmt: skip
"""A linear future whose amounts are whole numbers of the smallest unit."""

_MILLIONTHS: Final = 10**6
_ORDER: Final = re.compile(r"(?P<side>buy|sell) (?P<size>\d+) orders?")


def cases(path: Path) -> Iterator[Case]:
    """Every case of `cases.json`, by the rulebook's formulas, by functions of the market and of
    liquidation, and through the engine: where several can tell, all must. One that tells or asks
    what its kind does not know is unknown."""
    for row in json.loads(path.read_text("utf-8"))["cases"]:
        case = Case(row["id"])
        kind, way = _KINDS.get(row["kind"]), WAYS.get(row["kind"])
        known = kind is not None and kind.knows(row)
        if kind is not None and known:
            told = kind.told(row["inputs"])
            columns = {what: number(told.value(*kind.found[what])) for what in row["expected"]}
            _hold(case, "", columns, row["expected"])
        priced = found_in_market(row) or disposed(row)
        if priced is not None:
            _hold(case, " by function", priced, row["expected"])
        elif not known and (kind is not None or way is None or not way.knows(row)):
            yield unknown(row["id"])
            continue
        found = None if way is None or not way.knows(row) else way.run(row["inputs"])
        if found is not None:
            _hold(case, " in the engine", found.values, row["expected"])
            case.misses.extend(f"{case.name} in the engine: {fault}" for fault in found.faults)
        yield case if case.checked else unknown(row["id"])


def _hold(case: Case, where: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Hold what was found to what was expected; a number in text is exact."""
    for what, wanted in expected.items():
        if what not in found:
            case.expect_text(f"{what}{where}", "nothing", str(wanted))
        elif isinstance(wanted, Mapping):
            case.expect_text(f"{what}{where}", str(sorted(found[what])), str(sorted(wanted)))
            _hold(case, f" of {what}{where}", found[what], wanted)
        elif isinstance(wanted, Sequence) and not isinstance(wanted, str):
            case.expect_text(f"{what}{where}", str(found[what]), str(wanted))
        else:
            case.expect(f"{what}{where}", float(found[what]), float(wanted), _printed(wanted))


def risk_factors(path: Path) -> Iterator[Case]:
    """Every row of `vega_lognormal_risk_factors.json`.

    The inputs are printed to so many digits that the factors are known to 1e-7. Figures that the
    file's own check tells not to use are left out.
    """
    file = json.loads(path.read_text("utf-8"))
    withdrawn = set(re.findall(r"vs comment ([\d.]+)", file.get("check", "")))
    for n, row in enumerate(file["vectors"], 1):
        case = Case(f"row {n}")
        told = _lognormal({**row, "risk_aversion": row["lam"], "mu": 0})
        for side in ("long", "short"):
            expected = row[f"rf_{side}"]
            if repr(expected) not in withdrawn:
                found = number(told.value("instrument", f"risk_factor_{side}"))
                case.expect(f"rf_{side}", float(found), expected, 1e-7)
        yield case
    if "example" in file:
        yield _example(file["example"])


def _example(given: Row) -> Case:
    """A margin in whole units of the asset.

    It is of an older rounding, which did not round maintenance up before it went on to initial.
    So it is worked out in millionths of the unit, as an asset of six decimals has it, and only
    then brought to whole units.
    """
    case = Case("example")
    told = _ORDER.fullmatch(given["position"])
    if told is None:
        return unknown("example")
    asked_of = _told(
        {"risk_factor_long": 0, **given, "mark": given["mark"] * _MILLIONTHS,
         "scaling": {"initial": given["initial_factor"]}},
        orders=[{"size": int(told["size"]), "buy": told["side"] == "buy"}],
    )  # fmt: skip
    asked = number(asked_of.value("contract", "initial"))
    case.expect("margin_initial", round(asked / _MILLIONTHS), given["margin_initial"], 0.0)
    return case


def _printed(expected: Any) -> float:
    """Half a unit of the last digit that is printed; a whole number is exact."""
    if not isinstance(expected, float):
        return 0.0
    return 0.5 * 10.0 ** int(Decimal(repr(expected)).as_tuple().exponent)


# ── how a case is told ───────────────────────────────────────────────────────────────────────────


def _told(
    given: Row,
    *,
    size: Any = 0,
    orders: Sequence[Row] = (),
    **contract: Any,
) -> Sheet:
    """One market, one position, its orders; amounts are whole numbers of the smallest unit."""
    names = {
        "mark": ("mark_price", "mark"),
        "risk_factor_long": ("risk_factor_long", "risk_factor"),
        "risk_factor_short": ("risk_factor_short", "risk_factor"),
        "linear_slippage": ("linear_slippage_factor",),
        "quadratic_slippage": ("quadratic_slippage_factor",),
        **{name: (name,) for name in _OF_MARKET},
    }
    market = {
        name: given[theirs]
        for name, all_theirs in names.items()
        for theirs in all_theirs
        if theirs in given
    }
    scaling = {f"{level}_factor": factor for level, factor in given.get("scaling", {}).items()}
    return sheet(
        "vega",
        parameters=scaling,
        instrument=[{**_MARKET, **_TERMS, **market}],
        position=[{**_MARKET, "size": size, "entry_price": given.get("average_entry_price", 0)}],
        order=[{**_MARKET, "size": 0, "price": 0, **order} for order in orders],
        contract=[{**_MARKET, **contract, **{k: given[k] for k in _OF_CONTRACT if k in given}}],
        account=[{"account": "", "general_balance": given.get("general_balance", 0)}],
    )


_OF_MARKET: Final = (
    "previous_mark", "funding_per_unit", "margin_funding_factor", "max_price", "insurance_pool",
    "fully_collateralised", "auction", "indicative_price",
)  # fmt: skip
_OF_CONTRACT: Final = ("margin_factor", "margin_balance", "order_margin_balance")


def _cross(given: Row) -> Sheet:
    sides = {1: given["buy_orders"], 0: given["sell_orders"]}
    orders = [{"size": size, "buy": buy} for buy, size in sides.items()]
    return _told(given, size=given["open_volume"], orders=orders)


def _isolated(given: Row) -> Sheet:
    orders = [
        {"size": one["size"], "price": one["price"], "buy": one["side"] == "buy"}
        for one in given.get("orders", [])
    ]
    return _told(given, size=given["open_volume"], orders=orders)


def _filled(given: Row) -> Sheet:
    """Fills out of the general account where no order margin is told."""
    fills = given["fills"] if "fills" in given else [given["fill"]]
    orders = [
        {
            "buy": one["side"] == "buy",
            "filled": one["size"],
            "fill_price": one["price"],
            "trade": place,
            "aggressive": "order_margin_balance" not in given,
        }
        for place, one in enumerate(fills)
    ]
    return _told(given, size=given["open_volume"], orders=orders)


def _settled(given: Row) -> Sheet:
    """Trades are (signed size, price)."""
    orders = [
        {"buy": Fraction(size) > 0, "filled": abs(Fraction(size)), "fill_price": price}
        for size, price in given.get("trades", [])
    ]
    size = given["prev_open_volume"] if "prev_open_volume" in given else given["open_volume"]
    # The rule of isolated mode: any factor above 0 says that it holds.
    told = {"margin_factor": 1, **given, "previous_mark": given["prev_mark"]}
    return _told(told, size=size, orders=orders)


def _collateralised(given: Row) -> Sheet:
    """Orders are (price, size)."""
    sides = {1: given["buys"], 0: given["sells"]}
    orders = [
        {"price": price, "size": size, "buy": buy}
        for buy, side in sides.items()
        for price, size in side
    ]
    told = {**given, "fully_collateralised": 1}
    return _told(told, size=given["open_volume"], orders=orders)


def _trade(given: Row, **market: Any) -> Sheet:
    rates = {f"{name}_fee": given[name] for name in ("maker", "infrastructure", "liquidity")
             if name in given}  # fmt: skip
    market = {**_MARKET, **_TERMS, **rates, **market}
    order = {"buy": 1, "filled": given["size"], "fill_price": given["price"], "aggressive": 1}
    return sheet("vega", instrument=[market], order=[{**_MARKET, "size": 0, "price": 0, **order}])


def _funding(given: Row) -> Sheet:
    told = {name: given[theirs] for name, theirs in _OF_FUNDING.items()
            if given.get(theirs) is not None}  # fmt: skip
    return sheet("vega", instrument=[{**_MARKET, **_TERMS, **told}])


_OF_FUNDING: Final = {
    "future_twap": "f_twap",
    "spot_twap": "s_twap",
    "funding_years": "delta_t",
    "funding_scaling": "scaling_factor",
    "funding_rate_lower": "rate_lower",
    "funding_rate_upper": "rate_upper",
    "auction_share": "auction_fraction",
    **{name: name for name in ("interest_rate", "clamp_lower", "clamp_upper")},
}


def _lognormal(given: Row) -> Sheet:
    model = {name: given[name] for name in ("risk_aversion", "tau", "mu", "sigma")}
    return sheet("vega", tables={"market_model": {"*": model}}, instrument=[_MARKET])


# ── kinds of cases ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a kind of case tells, how it becomes a sheet, and which column it asks for."""

    inputs: frozenset[str]
    told: Callable[[Row], Sheet]
    found: Mapping[str, tuple[str, str]]

    def knows(self, row: Row) -> bool:
        """Whether nothing is told or asked that would be passed over."""
        told, asked = set(row["inputs"]), set(row["expected"])
        return told <= self.inputs and asked <= self.found.keys()


def _kind(inputs: str, told: Callable[[Row], Sheet], level: str, /, **found: str) -> _Kind:
    columns = {what: (level, column) for what, column in found.items()}
    return _Kind(frozenset(inputs.split()), told, columns)


_RISK = (
    "mark_price risk_factor_long risk_factor_short linear_slippage_factor "
    "quadratic_slippage_factor funding_per_unit margin_funding_factor scaling "
)
_BALANCES = "margin_balance general_balance order_margin_balance "
_LEVELS = {name: name for name in ("maintenance", "search", "initial", "release")}
_FILL = _kind(
    _RISK + _BALANCES + "open_volume fill fills margin_factor",
    _filled,
    "contract",
    **_LEVELS,
    accepted="fill_accepted",
    margin_balance="filled_margin",
    order_margin_balance="filled_orders",
    general_balance="filled_general",
)
_FEES = {"maker": "maker_paid", "infrastructure": "infrastructure_paid",
         "liquidity": "liquidity_paid", "total": "fees_paid"}  # fmt: skip
_KINDS: Final[Mapping[str, _Kind]] = {
    "cross_margin_levels": _kind(
        _RISK + "open_volume buy_orders sell_orders", _cross, "contract", **_LEVELS
    ),
    "isolated_switch": _kind(
        _RISK + _BALANCES + "open_volume average_entry_price margin_factor orders",
        _isolated,
        "contract",
        **_LEVELS,
        accepted="switch_accepted",
        margin_balance="switched_margin",
        general_balance="switched_general",
        order_margin="switched_orders",
    ),
    "isolated_order_margin": _kind(
        _RISK + _BALANCES + "open_volume margin_factor orders auction indicative_price",
        _isolated,
        "contract",
        order_margin="order_margin",
        accepted="order_accepted",
    ),
    "isolated_increase": _FILL,
    "isolated_reduce": _FILL,
    "isolated_flip": _FILL,
    "isolated_mtm": _kind(
        _BALANCES + "open_volume prev_mark mark insurance_pool risk_factor linear_slippage_factor",
        _settled,
        "contract",
        closed_out="closed_out",
        margin_balance="margin_after",
        general_balance="general_after",
        insurance_pool="insurance_after",
        maintenance="maintenance",
    ),
    "mtm_settlement": _kind(
        "prev_open_volume prev_mark trades mark", _settled, "contract", settlement="settlement"
    ),
    "fully_collateralised": _kind(
        "max_price open_volume average_entry_price buys sells",
        _collateralised,
        "contract",
        **_LEVELS,
        margin="maintenance",
    ),
    "fees_continuous": _kind("price size maker infrastructure liquidity", _trade, "order", **_FEES),
    "fees_auction": _kind(
        "price size maker infrastructure liquidity",
        lambda given: _trade(given, auction=1),
        "order",
        **_FEES,
    ),
    "funding_payment": _kind(
        " ".join(_OF_FUNDING.values()),
        _funding,
        "instrument",
        funding_payment="funding_payment",
        funding_rate="funding_rate",
    ),
    "lognormal_risk_factors": _kind(
        "risk_aversion tau mu r sigma",
        _lognormal,
        "instrument",
        long="risk_factor_long",
        short="risk_factor_short",
    ),
}
