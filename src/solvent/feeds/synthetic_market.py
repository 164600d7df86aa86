"""Realistic markets from a seed: the same seed gives the same market on every machine.

Each coin has an SSVI surface (Gatheral, Jacquier 2014) inside its no-arbitrage conditions, a
volatility term structure that reverts to a long-run level, a forward curve with its own basis, an
inverse and a linear book where the venue has both, and a perpetual near the index. Marks are
Black-76 on that surface, quotes stand round them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from solvent.errors import BadInput, Problem, Reject, check
from solvent.feeds.library import specification
from solvent.instruments import Contract, Instrument, Kind, OptionType, term_sheet
from solvent.instruments.contract import expiry_at, moment_of
from solvent.market import Quotes, Snapshot, assemble
from solvent.pricing.black import black76
from solvent.pricing.svi import Ssvi
from solvent.units import YEAR_MS, TimeMs

DEFAULT_MOMENT = datetime(2026, 6, 30, 10, 0, tzinfo=UTC)
_STRIKE_REACH = 2.0
"""Strikes are listed up to so many standard deviations from the forward."""
_OPTION_COINS_INVERSE = ("BTC", "ETH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coin:
    """What a coin's generated market looks like. Vols are at the money, per √year."""

    name: str
    price: float
    vol_now: float
    vol_long_run: float
    reversion_years: float
    skew: float
    smile: float
    basis: float
    strike_step: float


COINS = {
    coin.name: coin
    for coin in (
        Coin(name="BTC", price=64_000.0, vol_now=0.52, vol_long_run=0.60, reversion_years=0.4,
             skew=-0.18, smile=0.95, basis=0.045, strike_step=500.0),
        Coin(name="ETH", price=1_900.0, vol_now=0.71, vol_long_run=0.75, reversion_years=0.4,
             skew=-0.12, smile=0.90, basis=0.035, strike_step=25.0),
        Coin(name="SOL", price=85.0, vol_now=0.95, vol_long_run=0.98, reversion_years=0.3,
             skew=-0.05, smile=0.85, basis=0.02, strike_step=1.0),
        Coin(name="XRP", price=1.25, vol_now=0.90, vol_long_run=0.95, reversion_years=0.3,
             skew=0.05, smile=0.85, basis=0.02, strike_step=0.02),
    )
}  # fmt: skip


def generate_market(
    *,
    seed: int = 1,
    coins: tuple[str, ...] = ("BTC", "ETH"),
    expiries: int = 12,
    strikes: int = 40,
    linear: bool = True,
    moment: datetime = DEFAULT_MOMENT,
) -> Snapshot:
    """A market of perpetuals, dated futures and options.

    Args:
        seed: moves prices, vols and quotes; the listing depends on the other arguments and prices.
        coins: names from `COINS`.
        expiries: daily, weekly, monthly and quarterly dates from the next day on.
        strikes: at most so many per expiry.
        linear: also list USDC-settled contracts (the only ones of coins without inverse books).
        moment: time of the snapshot, UTC.

    >>> generate_market(seed=1, coins=("BTC",), expiries=2, strikes=5, linear=False)
    Snapshot(2026-06-30 10:00:00 UTC, 17 of 17 instruments usable, 2 curves)
    """
    unknown = sorted(set(coins) - set(COINS))
    if unknown or not coins:
        raise BadInput(
            Problem(
                code=Reject.SYMBOL_UNKNOWN,
                source="generated market",
                field="coins",
                expected=f"names of {', '.join(COINS)}",
                found=", ".join(unknown) or "none",
            )
        )
    check(1 <= expiries <= 64 and 1 <= strikes <= 400, "a listing of sane size", expiries, strikes)
    rng = np.random.Generator(np.random.PCG64(seed))
    as_of = TimeMs(round(moment.timestamp() * 1_000))
    rows: list[_Row] = []
    for name in coins:
        rows += _coin_rows(COINS[name], rng, as_of, expiries, strikes, linear=linear)
    return assemble(_quoted(rows, as_of, rng), as_of_ms=as_of)


_Row = tuple[Instrument, float, float, float]
"""instrument, index, forward or mark, vol (NaN for futures)"""


def _quoted(rows: list[_Row], as_of: TimeMs, rng: np.random.Generator) -> Quotes:
    """Marks from the surface and quotes round them; a bid below one tick is none."""
    instruments = [row[0] for row in rows]
    index, forward, vol = (np.array([row[i] for row in rows]) for i in (1, 2, 3))
    option = np.isfinite(vol)
    contracts = [one.contract for one in instruments]
    years = np.array([((c.expiry_ms or as_of) - as_of) / YEAR_MS for c in contracts])
    price = black76(
        forward=forward,
        strike=np.array([float(c.strike or 0) for c in contracts]),
        years=years,
        vol=np.nan_to_num(vol),
        side=np.array([-1.0 if c.option_type is OptionType.PUT else 1.0 for c in contracts]),
    )
    inverse = np.array([one.inverse for one in instruments])
    mark = np.where(option & inverse, price / forward, np.where(option, price, forward))
    tick = np.array([float(one.specification.tick_size) for one in instruments])
    spread = np.where(option, np.maximum(tick, 0.02 * mark), tick)
    half = spread * (0.5 + rng.random(len(rows)))
    return Quotes(
        instruments=instruments,
        index=index,
        forward=forward,
        mark=mark,
        vol=vol,
        bid=np.where(mark - half >= tick, mark - half, np.nan),
        ask=mark + half,
        rate=np.zeros(len(rows)),
        time_ms=as_of - rng.integers(0, 5_000, size=len(rows)),
    )


def _coin_rows(
    coin: Coin,
    rng: np.random.Generator,
    as_of: TimeMs,
    expiries: int,
    strikes: int,
    *,
    linear: bool,
) -> list[_Row]:
    index = coin.price * float(np.exp(rng.normal(0.0, 0.02)))
    surface = Ssvi(rho=coin.skew, eta=coin.smile, gamma=0.5)
    inverse = coin.name in _OPTION_COINS_INVERSE
    styles = [True] * inverse + [False] * (linear or not inverse)
    rows: list[_Row] = []
    for is_inverse in styles:
        quote, settlement = ("USD", coin.name) if is_inverse else ("USDC", "USDC")
        perpetual = Contract(
            base=coin.name, quote=quote, settlement=settlement, kind=Kind.PERPETUAL
        )
        mark = index * (1.0 + float(rng.normal(0.0, 2e-4)))
        rows.append((_sheet(perpetual), index, mark, np.nan))
        for expiry in listed_expiries(as_of, expiries):
            rows += _expiry_rows(
                coin, surface, expiry, as_of, index, strikes, rng, quote, settlement
            )
    return rows


def _expiry_rows(
    coin: Coin,
    surface: Ssvi,
    expiry: TimeMs,
    as_of: TimeMs,
    index: float,
    strikes: int,
    rng: np.random.Generator,
    quote: str,
    settlement: str,
) -> list[_Row]:
    years = (expiry - as_of) / YEAR_MS
    forward = index * float(np.exp(coin.basis * years + rng.normal(0.0, 1e-4)))
    theta = _atm_variance(coin, years)
    check(surface.free_of_butterfly(theta), "the surface has no butterfly arbitrage", theta)
    future = Contract(
        base=coin.name, quote=quote, settlement=settlement, kind=Kind.FUTURE, expiry_ms=expiry
    )
    rows: list[_Row] = [(_sheet(future), index, forward, np.nan)]
    for strike in _strikes(coin, forward, float(np.sqrt(theta)), strikes):
        k = float(np.log(float(strike) / forward))
        vol = float(np.sqrt(surface.w(k, theta) / years))
        for option_type in OptionType:
            contract = Contract(
                base=coin.name,
                quote=quote,
                settlement=settlement,
                kind=Kind.OPTION,
                expiry_ms=expiry,
                strike=strike,
                option_type=option_type,
            )
            rows.append((_sheet(contract), index, forward, vol))
    return rows


def _atm_variance(coin: Coin, years: float) -> float:
    """σ²T of a volatility that reverts: the integral of its variance, so it only rises in T."""
    decay = coin.reversion_years * -float(np.expm1(-years / coin.reversion_years))
    long_run, now = coin.vol_long_run**2, coin.vol_now**2
    return long_run * years + (now - long_run) * decay


def _strikes(coin: Coin, forward: float, deviation: float, count: int) -> list[Decimal]:
    """Strikes on a step of the venue's kind, as many as asked, nearest the forward first."""
    reach = _STRIKE_REACH * max(deviation, 0.03)
    low, high = forward * float(np.exp(-reach)), forward * float(np.exp(reach))
    step = coin.strike_step
    while (high - low) / step > count:
        step *= 2.0 if (high - low) / step <= 2 * count else 5.0
    first = int(np.ceil(low / step))
    listed = [Decimal(repr(round(step * n, 6))) for n in range(first, int(high / step) + 1)]
    listed = [strike for strike in listed if strike > 0]
    nearest = sorted(listed, key=lambda strike: abs(float(strike) - forward))[:count]
    return sorted(nearest)


def listed_expiries(as_of: TimeMs, count: int) -> list[TimeMs]:
    """Next days, then Fridays, then last Fridays of months, then of quarters; at 08:00 UTC.

    >>> from solvent.instruments.contract import day_of_expiry
    >>> [day_of_expiry(one) for one in listed_expiries(TimeMs(1_782_813_600_000), 4)]
    ['1JUL26', '2JUL26', '3JUL26', '10JUL26']
    """
    today = moment_of(as_of).date()
    days = [today + timedelta(days=n) for n in range(1, 400)]
    fridays = [day for day in days if day.weekday() == 4]
    monthly = [d for d in fridays if (d + timedelta(days=7)).month != d.month]
    quarterly = [d for d in monthly if d.month % 3 == 0]
    chosen = sorted({*days[:3], *fridays[:4], *monthly[:3], *quarterly[:4]})
    extra = [day for day in fridays if day not in chosen]
    dates = sorted([*chosen, *extra[: max(0, count - len(chosen))]])[:count]
    return [expiry_at(year=d.year, month=d.month, day=d.day) for d in dates]


def _sheet(contract: Contract) -> Instrument:
    return term_sheet(contract, specification(contract))
