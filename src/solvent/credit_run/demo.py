"""A made-up clearing member with fifty counterparties, as the text of a credit file.

Portfolios are of eight kinds, sized so that their risk on the opening market is a chosen share of
the line that the policy gives their quality; some have little money elsewhere, and some are
downgraded on the way. A seed decides all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from random import Random
from typing import Final

import numpy as np

from solvent.api import margin, prepare
from solvent.credit.lines import Policy, line_of
from solvent.credit.quality import RATINGS, rated, worse
from solvent.errors import BadInput, Problem, Reject
from solvent.levels_answer import LevelsMargin
from solvent.market import Snapshot
from solvent.units import DAY_MS, MICRO, MINUTE_MS, Micro

MIX: Final = (("AA", 4), ("A", 10), ("BBB", 16), ("BB", 12), ("B", 6), ("CCC", 2))
"""Ratings and how many of fifty have each."""
APPETITE, CAP, STEP = 250_000, 25_000_000, 10_000
LGD: Final = Fraction(3, 5)
_THRESHOLDS: Final = {"AA": 1_000_000, "A": 500_000, "BBB": 250_000, "BB": 50_000}
_POLICY: Final = Policy(
    appetite_micro=Micro(APPETITE * MICRO), cap_micro=Micro(CAP * MICRO),
    assets_share=Fraction(1, 5), step_micro=Micro(STEP * MICRO), notice_ms=0, over_ms=0, steps=1,
)  # fmt: skip
_NOTIONAL: Final = 1_000_000.0
_GROSS_MAX: Final = 150_000_000.0
_WEAK: Final = 0.14
"""Share of counterparties that have next to nothing elsewhere."""
Book = dict[str, float]


@dataclass(frozen=True, slots=True)
class Shelf:
    """What can be held: symbols of a coin by expiry, with strikes."""

    market: Snapshot
    symbols: frozenset[str]

    def perpetual(self, coin: str) -> str:
        """The coin's inverse perpetual."""
        return f"{coin}-PERPETUAL"

    def option(self, coin: str, days: float, moneyness: float, *, call: bool) -> str:
        """The inverse option nearest to an expiry and a strike over the index."""
        universe = self.market.universe
        code = universe.underlyings.index(coin)
        rows = np.flatnonzero(
            universe.is_option & universe.inverse & (universe.underlying == code)
            & (universe.is_call == call)
            & np.array([symbol in self.symbols for symbol in universe.symbols])
        )  # fmt: skip
        if not len(rows):
            raise BadInput(
                Problem(code=Reject.SOURCE_EMPTY, source="market",
                        expected=f"inverse options on {coin} in every step", found="none")
            )  # fmt: skip
        away = np.abs(self.market.years[rows] * 365.0 - days)
        near = rows[away == away.min()]
        strike = self.market.index[code] * moneyness
        return str(universe.symbols[near[int(np.argmin(np.abs(universe.strike[near] - strike)))]])

    def coins(self, coin: str) -> float:
        """Coins for the notional that portfolios are made in."""
        return _NOTIONAL / float(self.market.index[self.market.universe.underlyings.index(coin)])


def demo_text(
    market: Snapshot, symbols: Sequence[str], *, counterparties: int = 50, seed: int = 1
) -> str:
    """A credit file on a market; `symbols` are those that every later market has too."""
    shelf, rng = Shelf(market, frozenset(symbols)), Random(seed)
    ratings = [rating for rating, count in MIX for _ in range(count)]
    chosen = [ratings[place * len(ratings) // counterparties] for place in range(counterparties)]
    kinds = list(_KINDS)
    books = [_KINDS[kinds[place % len(kinds)]](shelf, rng) for place in range(counterparties)]
    risks, worths = _measured(market, books)
    parts = [_head(market)]
    for place, rating in enumerate(chosen):
        kind = kinds[place % len(kinds)]
        parts.append(_one(place, rating, kind, books[place], risks[place], worths[place],
                          market, rng))  # fmt: skip
    parts.append(_downgrades(market, chosen, rng))
    return "\n".join(parts)


# ── portfolios of a million dollars ──────────────────────────────────────────────────────────────


def _coin(rng: Random) -> str:
    return rng.choice(("BTC", "BTC", "ETH"))


def _strangle(shelf: Shelf, rng: Random) -> Book:
    coin, days = _coin(rng), rng.choice((16, 23, 51))
    lots = -shelf.coins(coin)
    return {shelf.option(coin, days, 0.85, call=False): lots,
            shelf.option(coin, days, 1.15, call=True): lots}  # fmt: skip


def _put_writer(shelf: Shelf, rng: Random) -> Book:
    coin = _coin(rng)
    return {shelf.option(coin, rng.choice((16, 23, 51)), rng.choice((0.85, 0.92)), call=False):
            -shelf.coins(coin)}  # fmt: skip


def _covered(shelf: Shelf, rng: Random) -> Book:
    coin = _coin(rng)
    return {shelf.perpetual(coin): _NOTIONAL,
            shelf.option(coin, 23, 1.1, call=True): -shelf.coins(coin)}  # fmt: skip


def _long(shelf: Shelf, rng: Random) -> Book:
    return {shelf.perpetual(_coin(rng)): _NOTIONAL}


def _short(shelf: Shelf, rng: Random) -> Book:
    return {shelf.perpetual(_coin(rng)): -_NOTIONAL}


def _pair(shelf: Shelf, rng: Random) -> Book:
    side = rng.choice((1.0, -1.0))
    return {shelf.perpetual("BTC"): side * _NOTIONAL, shelf.perpetual("ETH"): -side * _NOTIONAL}


def _calendar(shelf: Shelf, rng: Random) -> Book:
    coin = _coin(rng)
    lots = shelf.coins(coin)
    return {shelf.option(coin, 16, 1.0, call=False): -lots,
            shelf.option(coin, 51, 1.0, call=False): lots}  # fmt: skip


def _maker(shelf: Shelf, rng: Random) -> Book:
    """Options on both sides of both coins, and perpetuals against their deltas."""
    found: Book = {}
    for coin in ("BTC", "ETH"):
        for moneyness in (0.85, 0.95, 1.05, 1.15):
            symbol = shelf.option(coin, rng.choice((16, 23, 51)), moneyness, call=moneyness > 1.0)
            found[symbol] = shelf.coins(coin) * rng.choice((-1.0, -0.6, 0.5))
        found[shelf.perpetual(coin)] = _NOTIONAL * rng.uniform(-0.5, 0.5)
    return found


_KINDS: Final[dict[str, Callable[[Shelf, Random], Book]]] = {
    "short strangles": _strangle, "put writer": _put_writer, "covered calls": _covered,
    "long": _long, "short": _short, "pair": _pair, "calendar": _calendar, "market maker": _maker,
}  # fmt: skip


def _measured(market: Snapshot, books: Sequence[Book]) -> tuple[list[float], list[float]]:
    """Dollars of plain risk and of worth at the marks of each portfolio as made."""
    rows = [
        {"account": f"{place}", "instrument": symbol, "size": _sized(market, symbol, size)}
        for place, book in enumerate(books) for symbol, size in book.items()
    ]  # fmt: skip
    money = [{"account": f"{place}", "asset": "USDC", "amount": 0.0} for place in range(len(books))]
    inputs = {"account.netted": 1.0}
    answer = margin(rows, prepare(market, "credit-lines"), collateral=money, inputs=inputs)
    assert isinstance(answer, LevelsMargin)
    found = {row["account"]: row for row in answer.to_polars().to_dicts()}
    here = [found[f"{place}"] for place in range(len(books))]
    return [float(one["risk"]) for one in here], [float(one["equity"]) for one in here]


def _sized(market: Snapshot, symbol: str, size: float) -> float:
    """A size in whole lots."""
    row = market.universe.row(symbol)
    lot = float(market.universe.lot_size[row or 0])
    return round(round(size / lot) * lot, 10)


# ── text ─────────────────────────────────────────────────────────────────────────────────────────


def _head(market: Snapshot) -> str:
    del market
    thresholds = ", ".join(f"{rating} = {amount}" for rating, amount in _THRESHOLDS.items())
    return f"""# A clearing member and its counterparties, made up.
[member]
name  = "member"
money = {{ USDC = 900_000_000, BTC = 500, ETH = 8_000 }}
fund  = {{ USDC = 60_000_000, BTC = 300, ETH = 6_000 }}

[policy]
appetite     = {APPETITE}
cap          = {CAP}
assets_share = 0.2
step         = {STEP}
notice_hours = 12
over_hours   = 24
steps        = 4

[terms]
netting          = true
thresholds       = {{ {thresholds} }}
minimum_transfer = 50_000
rounding         = 10_000
warn_at          = 0.8
due_hours        = 12
cure_hours       = 12

[limits]
tenor_days    = 200
concentration = 0.95
utilisation   = 0.9

[exposure]
seed  = 1
paths = 400
days  = [1.0, 3.0, 7.0, 14.0, 30.0]
"""


def _one(
    place: int, rating: str, kind: str, book: Book, risk: float, worth: float, market: Snapshot,
    rng: Random,
) -> str:  # fmt: skip
    name = f"cp{place + 1:02d}"
    wrong_way = kind in ("long", "put writer", "covered calls")
    correlation = Fraction(3, 10) if wrong_way else Fraction(1, 10)
    quality = rated(rating, lgd=LGD, correlation=correlation)
    assets = 150_000_000
    line = line_of(_POLICY, quality, assets * MICRO) / MICRO
    used = rng.uniform(0.45, 0.98) if rng.random() < 0.8 else rng.uniform(1.0, 1.4)
    scale = min(used * max(line, 500_000.0) / max(risk, 1.0), _GROSS_MAX / _NOTIONAL)
    asked = risk * scale
    # At the opening everybody has its margin: what the line does not cover, and the charge on it.
    charge = quality.stressed_pd() * float(LGD) * min(asked, line)
    own = max(asked + charge - line, 0.0) * rng.uniform(1.05, 1.3) + asked * rng.uniform(0.02, 0.1)
    own -= worth * scale  # what it was paid for options it has
    weak = rng.random() < _WEAK
    outside = asked * (rng.uniform(0.0, 0.05) if weak else rng.uniform(0.5, 3.0))
    sizes = {symbol: _sized(market, symbol, size * scale) for symbol, size in book.items()}
    held = ", ".join(f'"{symbol}" = {size:.10g}' for symbol, size in sizes.items() if size)
    money = max(round(own), 0)
    gross = round(_gross(market, sizes) * rng.uniform(0.95, 1.6))
    return f"""# {kind}
[[counterparty]]
name             = "{name}"
rating           = "{rating}"
lgd              = {float(LGD)}
correlation      = {float(correlation)}
net_assets       = {assets}
outside          = {round(outside)}
pays_after_hours = {rng.choice((0, 6, 6, 12))}

[[agreement]]
name         = "CSA {name}"
counterparty = "{name}"
accounts     = ["{name}"]
limits       = {{ gross = {gross}, tenor_days = 200, utilisation = 0.9 }}

[[account]]
name      = "{name}"
money     = {{ USDC = {money} }}
positions = {{ {held} }}
""".replace("CSA cp", "CSA-cp")


def _gross(market: Snapshot, sizes: Book) -> float:
    """Notional at the index, dollars."""
    universe = market.universe
    total = 0.0
    for symbol, size in sizes.items():
        row = universe.row(symbol) or 0
        coin = bool(universe.is_option[row]) or not bool(universe.inverse[row])
        total += abs(size) * (float(market.index[universe.underlying[row]]) if coin else 1.0)
    return total


def _downgrades(market: Snapshot, ratings: Sequence[str], rng: Random) -> str:
    """One in ten is downgraded in the first day and a half, by one notch or two."""
    found = []
    able = [place for place, rating in enumerate(ratings) if rating in RATINGS[1:5]]
    for place in sorted(rng.sample(able, max(1, len(ratings) // 10))):
        at_ms = int(market.as_of_ms) + rng.randint(0, 3 * DAY_MS // 2 // MINUTE_MS) * MINUTE_MS
        at = datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:00Z")
        found.append(
            f'[[downgrade]]\ncounterparty = "cp{place + 1:02d}"\nat           = {at}\n'
            f'rating       = "{worse(ratings[place], rng.choice((1, 1, 2)))}"\n'
        )
    return "\n".join(found)
