"""What closing a book costs, as parts of a rulebook: spread, impact, concentration, wrong way.

Per netting node, from tables of depth, volume and spreads:

    spread         Σ |lots| · half-spread of each instrument (of options: in volatility, · vega)
    impact         A · Y·σ · f(max(|Δ| − depth, 0) / A)             f(x) = x^1.5
    vega_impact    s · A_v · f(|V| / A_v) for each expiry's vega V, by wing and body
    concentration  |Δ| · min(k · max(|Δ|/A − free, 0), cap)
    wrong_way      what coins held as collateral lose beyond their haircut when long deltas lose too

Δ is the node's net delta and A the average daily volume, both in dollars, σ the daily deviation, s
half a spread of volatility, A_v the dollars of vega that trade in a day, Y the factor of the
square-root law (near 1: Almgren et al. 2005, Tóth et al. 2011). What rests in the book within the
spread's reach is closed for the spread alone. An account's formulas have no roots (their slope is
not bounded), so f is told by its chords between parts of a day's volume that double: never below f,
at most 4.6 % above it from 1/1024 of a day's volume on, and linear beyond eight days' volume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from solvent.errors import BadInput, Problem, Reject, check
from solvent.margining.evaluate import arrange
from solvent.margining.fragments import Fragment
from solvent.margining.plan import Plan
from solvent.risk import Book
from solvent.units import Float64

NODES: Final = tuple(2.0**k for k in range(-10, 4))
"""Parts of a day's volume at which the chords of f meet it: 1/1024 … 8."""
BUCKETS: Final = ("put_wing", "body", "call_wing")
_WING: Final = 1.0
"""Standard deviations from the forward at which a wing begins."""
_DAYS_MIN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CoinLiquidity:
    """What is known of one coin's market. Coins and parts of price unless a name says otherwise.

    Attributes:
        volume: average daily volume. depth: resting within half a spread's reach, one side.
        half_spread: of futures, part of price. vol_half_spread: of options, per √year.
        daily_sd: deviation of a day's return. impact: Y.
        vega_volume: dollars of vega (per 1.00 of volatility) traded a day, by days to expiry up to
            14, up to 60, beyond.
        wing_factor: how much thinner wings trade than the body.
        free: part of a day's volume that is not concentrated. rate: k. cap: of the rate.
        stress_fall: of the coin when its longs fail together, for wrong-way risk.
        haircut: that its collateral has already.
    """

    underlying: str
    volume: float
    depth: float
    half_spread: float
    vol_half_spread: float
    daily_sd: float
    vega_volume: tuple[float, float, float]
    impact: float = 1.0
    wing_factor: float = 0.25
    free: float = 0.1
    rate: float = 0.05
    cap: float = 0.2
    stress_fall: float = 0.0
    haircut: float = 0.0

    def __post_init__(self) -> None:
        amounts = (self.volume, self.daily_sd, self.wing_factor, *self.vega_volume)
        check(all(np.isfinite(x) and x > 0.0 for x in amounts), "volumes are positive", self)
        rates = (self.depth, self.half_spread, self.vol_half_spread, self.impact, self.free,
                 self.rate, self.cap, self.stress_fall, self.haircut)  # fmt: skip
        check(all(np.isfinite(x) and x >= 0.0 for x in rates), "rates are not negative", self)

    def values(self) -> dict[str, float]:
        """The coin's row of the table `liquidity`."""
        short, medium, long = self.vega_volume
        return {
            "volume": self.volume,
            "depth": self.depth,
            "half_spread": self.half_spread,
            "vol_half_spread": self.vol_half_spread,
            "impact": self.impact * self.daily_sd,
            "vega_short": short,
            "vega_medium": medium,
            "vega_long": long,
            "wing": self.wing_factor,
            "free": self.free,
            "rate": self.rate,
            "cap": self.cap,
            "wrong_way": max(0.0, self.stress_fall - self.haircut),
        }


def square_root_cost(x: str) -> str:
    """x^1.5 by its chords, as a formula of the name `x`.

    >>> from solvent.expressions import parse
    >>> f = parse(square_root_cost("x"))
    >>> [round(float(f({"x": x})), 6) for x in (0.0, 0.25, 1.0, 4.0)]
    [0.0, 0.125, 1.0, 8.0]
    """
    low = 0.0
    parts: list[str] = []
    for node in NODES:
        slope = (node**1.5 - low**1.5) / (node - low)
        parts.append(f"{slope!r} * {x} - {slope * node - node**1.5!r}")
        low = node
    return f"max({', '.join(parts)}, 0)"


def _slope_max() -> float:
    high, low = NODES[-1], NODES[-2]
    return float((high**1.5 - low**1.5) / (high - low))


def liquidity_parts(
    coins: Sequence[CoinLiquidity], *, node: str, expiry_node: str, effective: date, source: str
) -> Fragment:
    """Tables, sums, charges and the input of the charges above.

    `node` is the requirement's node and groups by underlying, `expiry_node` by expiry besides; both
    count in dollars. The first four of the above are charges, `wrong_way` is a `let` of the
    requirement, as is `liquidity`, the sum of all: that is what the requirement adds.
    """
    rows = [
        {
            "keys": [one.underlying],
            "effective": effective,
            "source": source,
            "evidence": "fitted",
            "values": one.values(),
        }
        for one in coins
    ]
    return {
        "tables": {"liquidity": {"by": "underlying", "rows": rows}},
        "inputs": {
            "coin_collateral": {
                "about": "dollars of the node's own coin that the account holds as collateral"
            }
        },
        "sums": _sums(node, expiry_node),
        "charges": {
            **_delta_charges(node),
            "vega_impact": {"node": expiry_node, "into": node, **_vega_impact()},
        },
        "requirement": {
            "let": {
                "wrong_way": "liquidity.wrong_way * min(coin_collateral, max(net_delta, 0))",
                "liquidity": "spread + impact + vega_impact + concentration + wrong_way",
            }
        },
    }


def _sums(node: str, expiry_node: str) -> Fragment:
    """`vega` of a sum is per point of volatility, here it is per 1.00."""
    cost = (
        "where(is_option, 100 * abs(vega) * where(coin, index, 1) * liquidity.vol_half_spread,"
        " notional * liquidity.half_spread)"
    )
    insides = (f"z < -{_WING}", f"(z >= -{_WING}) * (z <= {_WING})", f"z > {_WING}")
    vegas = {
        f"vega_{bucket}": {
            "node": expiry_node,
            "unit": "dollar",
            "let": {"z": "log(strike / forward) / max(iv * sqrt(years), 0.0001)"},
            "per_lot": f"where(is_option, {inside}, 0) * 100 * vega * where(coin, index, 1)",
        }
        for bucket, inside in zip(BUCKETS, insides, strict=True)
    }
    return {
        "net_delta": {"node": node, "unit": "dollar", "per_lot": "delta * index"},
        # Longs count up and shorts down: both add to what is to be closed.
        "closing": {"node": node, "unit": "dollar", "long": cost, "short": f"-({cost})"},
        **vegas,
    }


def _delta_charges(node: str) -> Fragment:
    here = {"node": node, "into": node}
    return {
        "spread": {**here, "amount": "closing", "slope": "1"},
        "impact": {
            **here,
            "let": {
                "traded": "liquidity.volume * index",
                "x": "max(abs(net_delta) - liquidity.depth * index, 0) / traded",
            },
            "amount": f"traded * liquidity.impact * ({square_root_cost('x')})",
            "slope": f"liquidity.impact * {_slope_max()!r}",
        },
        "concentration": {
            **here,
            "let": {"part": "abs(net_delta) / (liquidity.volume * index)"},
            "amount": "abs(net_delta)"
            " * min(liquidity.rate * max(part - liquidity.free, 0), liquidity.cap)",
            "slope": "2 * liquidity.cap + liquidity.rate * liquidity.free",
        },
    }


def _vega_impact() -> Fragment:
    """A day's volume of a bucket is closed for one half-spread of volatility; more costs more."""
    thin = {bucket: "" if bucket == "body" else "liquidity.wing * " for bucket in BUCKETS}
    parts = (f"{thin[bucket]}({square_root_cost(f'x_{bucket}')})" for bucket in BUCKETS)
    return {
        "let": {
            "traded": "where(days <= 14, liquidity.vega_short,"
            " where(days <= 60, liquidity.vega_medium, liquidity.vega_long))",
            **{f"x_{bucket}": f"abs(vega_{bucket}) / ({thin[bucket]}traded)" for bucket in BUCKETS},
        },
        "amount": f"liquidity.vol_half_spread * traded * ({' + '.join(parts)})",
        "slope": f"liquidity.vol_half_spread * {_slope_max()!r}",
    }


def coin_collateral(
    plan: Plan, book: Book, held: Mapping[tuple[str, str], float]
) -> dict[tuple[str, str], float]:
    """The input `coin_collateral` of a book: (account, node) → dollars of the node's own coin.

    `held` is (account, asset) → amount in coins. Nodes that an account has no position in are left
    out: without positions there is nothing that could go wrong with the collateral.
    """
    level = plan.levels.index(plan.top.name)
    arranged = arrange(plan, book)
    account = arranged.account_of(level)
    rows = arranged.levels[level]
    told: dict[tuple[str, str], float] = {}
    for one, (owner, node) in enumerate(zip(account.tolist(), rows.node.tolist(), strict=True)):
        instrument = arranged.instrument[int(rows.first[one])]
        coin = plan.arrays.universe.underlyings[plan.arrays.universe.underlying[instrument]]
        amount = held.get((book.accounts[owner], coin), 0.0)
        if amount > 0.0:
            told[book.accounts[owner], plan.top.names[node]] = amount * plan.arrays.price_of(coin)
    return told


def average_volume(
    day: NDArray[np.int64], volume: Float64, *, days: int = 30, stressed: float = 0.25
) -> float:
    """Average daily volume, careful: the smaller of the mean of the last `days` days and the
    `stressed` quantile of such means over the whole history.

    `day` numbers the rows (several rows of a day are added). Raises BadInput for fewer than twenty
    days, and for volumes that are none or all nothing.

    >>> import numpy as np
    >>> day = np.arange(40)
    >>> round(average_volume(day, np.where(day < 20, 10.0, 100.0), days=5), 1)
    10.0
    """
    if not (np.isfinite(volume).all() and (volume >= 0.0).all()):
        raise BadInput(_problem("volume", "amounts of 0 or more", "others"))
    distinct, place = np.unique(day, return_inverse=True)
    if len(distinct) < _DAYS_MIN:
        raise BadInput(_problem("volume", f"at least {_DAYS_MIN} days", f"{len(distinct)}"))
    daily = np.bincount(place, weights=volume)
    width = min(days, len(daily))
    means = np.convolve(daily, np.full(width, 1.0 / width), mode="valid")
    found = float(min(means[-1], np.quantile(means, stressed)))
    if not found > 0.0:
        raise BadInput(_problem("volume", "a market that trades", "no volume"))
    return found


def half_spread_of_range(high: Float64, low: Float64, close: Float64) -> float:
    """Half a spread (part of price) from bars of high, low and close, by Corwin and Schultz (2012).

    Two bars' own ranges hold the spread twice, their common range once. Estimates below 0 count as
    0. Raises BadInput for fewer than twenty bars or bars that are none.
    """
    bars = np.stack([high, low, close])
    if bars.shape[1] < _DAYS_MIN or not (np.isfinite(bars).all() and (bars > 0.0).all()):
        raise BadInput(_problem("bars", f"at least {_DAYS_MIN} of positive prices", "others"))
    # Gaps between bars are taken out: both bars are moved to touch.
    up = np.maximum(low[1:] - close[:-1], 0.0) - np.maximum(close[:-1] - high[1:], 0.0)
    top, bottom = high[1:] - up, low[1:] - up
    beta = np.log(high[:-1] / low[:-1]) ** 2 + np.log(top / bottom) ** 2
    gamma = np.log(np.maximum(high[:-1], top) / np.minimum(low[:-1], bottom)) ** 2
    root = 3.0 - 2.0 * np.sqrt(2.0)
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / root - np.sqrt(gamma / root)
    spread = 2.0 * np.expm1(alpha) / (2.0 + np.expm1(alpha))
    return 0.5 * float(np.maximum(spread, 0.0).mean())


def _problem(source: str, expected: str, found: str) -> Problem:
    return Problem(code=Reject.INPUT_INVALID, source=source, expected=expected, found=found)
