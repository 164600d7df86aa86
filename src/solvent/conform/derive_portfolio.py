"""An account under a portfolio manager of Derive, as a sheet of its rulebook.

Shocked values of options are the package's own; which shocks there are, a case tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from solvent.conform.case import Row
from solvent.conform.levels import rulebook, sheet
from solvent.margining.levels.market import shocking
from solvent.margining.levels.rows import Sheet
from solvent.pricing.black import black76
from solvent.scenarios.expand import evaluate
from solvent.scenarios.scenario import SAME_VOL
from solvent.units import Float64

DAY: Final = 86_400
_YEAR: Final = 365 * DAY
COIN: Final = "coin"
_PERP: Final = "coin-perpetual"
_CASH: Final = {"cash": {"is_cash": 1, "hedges": 0, "maintenance": 0, "initial": 0}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """Feeds of one expiry: the forward in the part that is averaged already, and the rest."""

    fixed: Fraction
    variable: Fraction
    rate: Fraction
    forward_confidence: Fraction
    rate_confidence: Fraction
    vol_confidence: Fraction


@dataclass(frozen=True, slots=True)
class Shock:
    """A scenario: relative move, volatility rule, share that counts, whether of the skew."""

    move: Fraction
    vol: str
    dampening: Fraction = Fraction(1)
    is_skew: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """An account and its feeds under a rulebook; options have `seconds strike is_call amount vol`.

    `told` are columns of the account, the underlying and the perpetual's position, `assets` rows.
    """

    rulebook: str
    tables: Mapping[str, Mapping[str, Any]]
    shocks: Sequence[Shock]
    spot: Fraction
    perp_price: Fraction
    perp_position: Fraction
    expiries: Mapping[int, Expiry]
    options: Sequence[Row]
    assets: Sequence[Row]
    account: Row
    underlying: Row
    perp: Row


def account(portfolio: Portfolio) -> Sheet:
    """The rulebook's sheet of a portfolio, with shocked values by the package's own pricing."""
    options = _merged(portfolio.options)
    market = _Market.of(portfolio, options)
    basis = portfolio.tables["risk"]["*"]
    moves = [Shock(Fraction(basis[name]) - 1, SAME_VOL) for name in ("basis_up", "basis_down")]
    numbers = {
        "move": [shock.move for shock in portfolio.shocks],
        "dampening": [shock.dampening for shock in portfolio.shocks],
        "is_skew": [Fraction(shock.is_skew) for shock in portfolio.shocks],
    }
    return sheet(
        portfolio.rulebook,
        tables={**portfolio.tables, "token": {**portfolio.tables["token"], **_CASH}},
        scenarios={
            "shock": {
                "value": market.values(portfolio.shocks),
                **{name: {COIN: column} for name, column in numbers.items()},
            },
            "basis": {"value": market.values(moves)},
        },
        account=[{"account": "", "stable_price": portfolio.account["stable_price"]}],
        underlying=[{"underlying": COIN, "index": portfolio.spot, **portfolio.underlying}],
        instrument=[*market.instruments(), _perpetual(portfolio)],
        position=[
            *({"instrument": name, "size": option["amount"]} for name, option in options.items()),
            {"instrument": _PERP, "size": portfolio.perp_position, **portfolio.perp},
        ],
        asset=[
            {"underlying": COIN, **asset}
            for asset in (*portfolio.assets, {"asset": "cash", "amount": portfolio.account["cash"]})
        ],
    )


def _merged(options: Sequence[Row]) -> dict[str, Row]:
    """One row a series: an account holds one amount of each."""
    merged: dict[str, Row] = {}
    for option in options:
        right = "C" if option["is_call"] else "P"
        name = f"{option['sec_to_expiry']}-{option['strike']}-{right}"
        amount = Fraction(merged[name]["amount"] if name in merged else 0)
        merged[name] = {**option, "amount": amount + Fraction(option["amount"])}
    return merged


def _perpetual(portfolio: Portfolio) -> Row:
    return {
        "instrument": _PERP,
        "underlying": COIN,
        "expiry": 0,
        "strike": 0,
        "inverse": 0,
        "is_option": 0,
        "is_perpetual": 1,
        "index": portfolio.spot,
        "mark": portfolio.perp_price,
        "rate": 0,
        "years": 0,
    }


@dataclass(frozen=True, slots=True)
class _Market:
    """Options of a case as columns, priced as `risk.publish` prices a snapshot's."""

    portfolio: Portfolio
    options: Mapping[str, Row]
    columns: Mapping[str, Float64]

    @classmethod
    def of(cls, portfolio: Portfolio, options: Mapping[str, Row]) -> _Market:
        rows = list(options.values())
        feeds = [portfolio.expiries[row["sec_to_expiry"]] for row in rows]
        years = np.array([row["sec_to_expiry"] / _YEAR for row in rows])
        columns = {
            "iv": np.array([float(row["vol"]) for row in rows]),
            "strike": np.array([float(row["strike"]) for row in rows]),
            "side": np.array([1.0 if row["is_call"] else -1.0 for row in rows]),
            "fixed": np.array([float(feed.fixed) for feed in feeds]),
            "variable": np.array([float(feed.variable) for feed in feeds]),
            "forward": np.array([float(feed.fixed + feed.variable) for feed in feeds]),
            "years": years,
            "days": np.array([row["sec_to_expiry"] / DAY for row in rows]),
            "discount": np.exp(-np.array([float(feed.rate) for feed in feeds]) * years),
        }
        for name, table in portfolio.tables.items():
            for entry, told in table.get("*", {}).items():
                columns[f"{name}.{entry}"] = np.array(float(Fraction(told)))
        return cls(portfolio, options, columns)

    def values(self, shocks: Sequence[Shock]) -> dict[str, list[float]]:
        """Option → its worth under every shock."""
        table = np.array([self._worth(shock) for shock in shocks])
        return dict(zip(self.options, table.T.tolist(), strict=True)) if self.options else {}

    def _worth(self, shock: Shock) -> Float64:
        columns = self.columns
        rules = shocking(rulebook(self.portfolio.rulebook)).rules
        vol = columns["iv"]
        if shock.vol != SAME_VOL:
            vol = evaluate(rules[shock.vol].shocked, columns, what=shock.vol)
        return black76(
            forward=columns["fixed"] + columns["variable"] * float(1 + shock.move),
            strike=columns["strike"],
            years=columns["years"],
            vol=vol,
            side=columns["side"],
            discount=columns["discount"],
        )

    def instruments(self) -> Iterator[Row]:
        """Every option with its keys and facts."""
        unmoved = self.values([Shock(Fraction(0), SAME_VOL)])
        for name, option in self.options.items():
            feed = self.portfolio.expiries[option["sec_to_expiry"]]
            yield {
                "instrument": name,
                "underlying": COIN,
                "expiry": option["sec_to_expiry"],
                "strike": Fraction(option["strike"]),
                "inverse": 0,
                "is_option": 1,
                "is_perpetual": 0,
                "index": self.portfolio.spot,
                "model": unmoved[name][0],
                "rate": feed.rate,
                "years": Fraction(option["sec_to_expiry"], _YEAR),
                "forward_confidence": feed.forward_confidence,
                "rate_confidence": feed.rate_confidence,
                "vol_confidence": feed.vol_confidence,
            }
