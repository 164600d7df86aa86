"""Exposure and cost of every counterparty, from what its accounts hold on an engine and a market.

Markets are drawn once, with the file's seed, for all counterparties: their profiles are of the same
paths. Volatilities of prices are the market's own, at the money near thirty days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from solvent.account.ledger import GENERAL, node
from solvent.credit.agreement import Agreement
from solvent.credit.cva import Cost, cva
from solvent.credit.exposure import Profile, closed_out, profile
from solvent.credit.paths import (
    Paths,
    Portfolio,
    Revalued,
    horizons,
    lognormal,
    revalue,
    values,
)
from solvent.credit.quality import Quality
from solvent.engine.state import Account, State
from solvent.feeds.credit import ExposureText
from solvent.market import Snapshot
from solvent.market.moved import restricted
from solvent.units import Float64

NEAR_DAYS: Final = 30.0
SIGMA_WITHOUT_OPTIONS: Final = 0.8
"""Where a coin has no options to read a volatility from; told in the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A counterparty's exposure: paths [time, path] in dollars, their profile, what they cost."""

    paths: Float64
    profile: Profile
    cost: Cost

    def document(self) -> dict[str, Any]:
        """As plain data."""
        found = self.profile
        return {
            "days": [round(float(one) * 365.0, 4) for one in found.years],
            "expected": [float(one) for one in found.expected],
            "potential": [float(one) for one in found.potential],
            "epe": found.epe, "effective_epe": found.effective_epe, "peak": found.peak,
            "cva": self.cost.plain, "cva_wrong_way": self.cost.wrong_way,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A market's instruments on paths, and what they were drawn with."""

    revalued: Revalued
    paths: Paths
    sigma: Mapping[str, float]


def draw(market: Snapshot, symbols: Sequence[str], told: ExposureText) -> Drawn:
    """Draw paths of a market and revalue some of its instruments on them. The same seed gives the
    same paths to the bit; every draw has its mirror image."""
    sigma = {name: at_the_money(market, name) for name in market.universe.underlyings}
    rows = [row for row in (market.universe.row(one) for one in symbols) if row is not None]
    kept = restricted(market, [row for row in rows if market.usable[row]])
    names = kept.universe.underlyings
    years = horizons(kept, told.days)
    half = -(-told.paths // 2)
    rng = np.random.Generator(np.random.PCG64(told.seed))
    normals = rng.standard_normal((len(years) - 1, half, 2 * len(names)))
    normals = np.concatenate([normals, -normals], axis=1)
    correlation = np.full((len(names), len(names)), told.correlation)
    np.fill_diagonal(correlation, 1.0)
    paths = lognormal(
        years=years, normals=normals, sigma=np.array([sigma[name] for name in names]),
        correlation=correlation, vol_of_vol=told.vol_of_vol, skew=told.skew,
    )  # fmt: skip
    return Drawn(revalued=revalue(kept, paths), paths=paths, sigma=sigma)


def at_the_money(market: Snapshot, coin: str) -> float:
    """Volatility of the option nearest thirty days and the money; a named constant without one."""
    universe = market.universe
    code = universe.underlyings.index(coin)
    rows = np.flatnonzero(
        universe.is_option & (universe.underlying == code) & market.usable & (market.vol > 0.0)
    )
    if not len(rows):
        return SIGMA_WITHOUT_OPTIONS
    away = np.abs(market.years[rows] * 365.0 - NEAR_DAYS)
    near = rows[away == away.min()]
    moneyness = np.abs(np.log(universe.strike[near] / market.forward[near]))
    return float(market.vol[near[int(np.argmin(moneyness))]])


def portfolio(state: State, account: Account, revalued: Revalued) -> Portfolio:
    """What an account holds and owns, as exposure takes it. What the market does not price is left
    out of it only where it is worth nothing; else the account cannot be told (`held_unpriced`)."""
    universe = revalued.universe
    rows, lots, entry = [], [], []
    for number, position in (account.positions or {}).items():
        contract = state.contracts[number]
        row = universe.row(contract.listing.symbol)
        if row is None or not position.lots:
            continue
        deal = contract.deal
        rows.append(row)
        lots.append(float(position.lots))
        if deal.up_front:
            entry.append(0.0)
            continue
        paid = Fraction(position.basis_value * deal.numerator, deal.denominator * deal.asset_scale)
        entry.append(float(paid / position.lots))
    money = {}
    for asset, (name, decimals) in enumerate(state.assets):
        if amount := state.ledger.balance(node(account.number, GENERAL, asset)):
            money[name] = amount / 10**decimals
    return Portfolio(
        row=np.array(rows, dtype=np.int64), lots=np.array(lots), entry=np.array(entry), money=money
    )  # fmt: skip


def held_unpriced(state: State, account: Account, revalued: Revalued) -> list[str]:
    """Contracts that an account holds and that the market of an exposure has no numbers for."""
    symbols = (state.contracts[one].listing.symbol for one in account.positions or ())
    return [symbol for symbol in symbols if revalued.universe.row(symbol) is None]


def exposure_of(
    state: State, agreement: Agreement, quality: Quality, drawn: Drawn, told: ExposureText
) -> Exposure | None:
    """One counterparty's exposure; None where it holds what the market has no numbers for."""
    parts: list[Float64] = []
    money: Float64 | None = None
    for name in agreement.accounts:
        account = state.account(state.account_numbers[name])
        if held_unpriced(state, account, drawn.revalued):
            return None
        worth, own = values(drawn.revalued, portfolio(state, account, drawn.revalued))
        parts.append(worth)
        money = own if money is None else money + own
    if money is None:
        return None
    owed = closed_out(np.concatenate(parts), money, netting=agreement.netting)
    return Exposure(
        paths=owed,
        profile=profile(owed, drawn.paths.years, quantile=told.quantile),
        cost=cva(owed, drawn.paths.years, quality),
    )
