"""Books that are judged: rules that pick contracts from the market of a day.

A leg says a tenor and a delta, and takes the listed expiry and strike that are nearest. A book is
therefore re-struck every day, and its margin through time compares; a *static* book names its
contracts instead and is judged while they are listed. Sizes are in coins a leg; a perpetual may
hedge the book's delta, as a market maker would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from solvent.errors import BadInput, Problem, Reject
from solvent.feeds.positions import Positions
from solvent.instruments import Kind, parse_symbol

ATM: Final = 0.5
"""Call delta at the money, near enough to pick a strike by."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A position of a book.

    Attributes:
        coins: signed size in coins of the underlying.
        days: tenor that is wanted; None is the perpetual.
        delta: delta that is wanted, calls positive, puts negative; None is a future of that tenor.
        symbol: the contract itself, of a static book; `days` and `delta` say nothing then.
    """

    coins: float
    days: float | None = None
    delta: float | None = None
    symbol: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """A named book on one coin. `hedged` adds the perpetual that takes its delta to nothing."""

    name: str
    kind: str
    underlying: str
    legs: tuple[Leg, ...]
    hedged: bool = False
    options: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        options = any(leg.delta is not None or leg.symbol is not None for leg in self.legs)
        object.__setattr__(self, "options", options)
        if not self.legs or not all(np.isfinite(leg.coins) and leg.coins for leg in self.legs):
            raise BadInput(
                Problem(
                    code=Reject.SIZE_NOT_WHOLE_LOTS, source=f"portfolio {self.name}", field="legs",
                    expected="one leg or more, each of a size that is not 0", found=str(self.legs),
                )
            )  # fmt: skip


def linear(coin: str, *, size: float = 10.0) -> list[Portfolio]:
    """The perpetual long and short, and a basis position: long a quarter's future against it."""
    return [
        Portfolio(name=f"{coin} long", kind="linear", underlying=coin, legs=(Leg(size),)),
        Portfolio(name=f"{coin} short", kind="linear", underlying=coin, legs=(Leg(-size),)),
        Portfolio(
            name=f"{coin} basis", kind="basis", underlying=coin,
            legs=(Leg(size, days=90.0), Leg(-size)),
        ),
    ]  # fmt: skip


_RECIPES: Final[dict[str, tuple[Leg, ...]]] = {
    "short strangle": (Leg(-1.0, 30, 0.25), Leg(-1.0, 30, -0.25)),
    "short strangle 10d 7d": (Leg(-1.0, 7, 0.10), Leg(-1.0, 7, -0.10)),
    "short straddle": (Leg(-1.0, 30, ATM), Leg(-1.0, 30, -ATM)),
    "long straddle": (Leg(1.0, 30, ATM), Leg(1.0, 30, -ATM)),
    "calendar": (Leg(-1.0, 30, ATM), Leg(1.0, 90, ATM)),
    "call spread": (Leg(1.0, 30, 0.50), Leg(-1.0, 30, 0.25)),
    "put spread": (Leg(-1.0, 30, -0.50), Leg(1.0, 30, -0.25)),
    "butterfly": (Leg(1.0, 30, 0.75), Leg(-2.0, 30, ATM), Leg(1.0, 30, 0.25)),
    "covered call": (Leg(1.0), Leg(-1.0, 30, 0.25)),
    "risk reversal": (Leg(-1.0, 30, -0.25), Leg(1.0, 30, 0.25)),
}


def rolling(coin: str, *, size: float = 10.0) -> list[Portfolio]:
    """Option books that are struck anew every day."""
    return [
        Portfolio(
            name=f"{coin} {name}", kind=name, underlying=coin,
            legs=tuple(Leg(leg.coins * size, leg.days, leg.delta) for leg in legs),
        )
        for name, legs in _RECIPES.items()
    ]  # fmt: skip


def market_maker(coin: str, *, seed: int, options: int = 16, size: float = 10.0) -> Portfolio:
    """A book of many strikes and expiries, near delta-hedged with the perpetual; from a seed.

    >>> book = market_maker("BTC", seed=1)
    >>> len(book.legs), book.hedged, book == market_maker("BTC", seed=1)
    (16, True, True)
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    return Portfolio(
        name=f"{coin} market maker {seed}", kind="market maker", underlying=coin, hedged=True,
        legs=tuple(_drawn_option(rng, size) for _ in range(options)),
    )  # fmt: skip


def _drawn_option(rng: np.random.Generator, size: float) -> Leg:
    days = float(np.exp(rng.uniform(np.log(2.0), np.log(270.0))))
    delta = float(rng.uniform(0.05, 0.95))
    coins = size * float(rng.integers(1, 11)) * float(rng.choice([-1.0, 1.0]))
    # Out of the money, as market makers hold them.
    return Leg(coins, days, delta if delta <= ATM else delta - 1.0)


def generated(coins: Sequence[str], *, count: int, seed: int = 1) -> list[Portfolio]:
    """So many books of every kind: 1 to 12 legs, options mostly, some hedged; from a seed."""
    rng = np.random.Generator(np.random.PCG64(seed))
    made = []
    for number in range(count):
        coin = coins[number % len(coins)]
        legs = [_drawn_option(rng, 10.0) for _ in range(int(rng.integers(1, 13)))]
        if rng.random() < 0.4:
            legs.append(Leg(float(rng.normal(0.0, 50.0)) or 1.0))
        made.append(
            Portfolio(
                name=f"generated {number}", kind="generated", underlying=coin, legs=tuple(legs),
                hedged=bool(rng.random() < 0.3),
            )
        )  # fmt: skip
    return made


def targets(coin: str) -> list[Portfolio]:
    """The books that decision 0023 asks targets of: linear, strangle, calendar, market maker."""
    wanted = ("short strangle", "calendar")
    return [
        *(one for one in linear(coin) if one.kind == "linear"),
        *(one for one in rolling(coin) if one.kind in wanted),
        market_maker(coin, seed=1),
    ]


def static(name: str, underlying: str, positions: Sequence[tuple[str, float]]) -> Portfolio:
    """A book of named contracts with sizes in coins, held while they are listed."""
    legs = tuple(Leg(coins, symbol=symbol) for symbol, coins in positions)
    return Portfolio(name=name, kind="static", underlying=underlying, legs=legs)


def static_books(told: Positions) -> list[Portfolio]:
    """Books of named contracts from positions: a book an account and coin, sizes as they are told.

    A size of an inverse future is in dollars there and in coins here: such rows are refused.

    Raises BadInput for a symbol of no known notation.
    """
    held: dict[tuple[str, str], list[tuple[str, float]]] = {}
    names = told.accounts.names
    for number, at, size in zip(told.account, told.symbol, told.size.tolist(), strict=True):
        account, symbol = names[number], told.symbols[at]
        try:
            contract = parse_symbol(symbol)
        except ValueError as fault:
            raise BadInput(_strange(symbol, "a symbol", str(fault))) from fault
        if contract.inverse and contract.kind is not Kind.OPTION:
            raise BadInput(_strange(symbol, "sizes in coins", "an inverse future, in dollars"))
        held.setdefault((account, contract.base), []).append((symbol, size))
    return [static(f"{account} {coin}", coin, rows) for (account, coin), rows in held.items()]


def _strange(symbol: str, expected: str, found: str) -> Problem:
    return Problem(
        code=Reject.SYMBOL_UNKNOWN, source=f"portfolio, {symbol}", field="instrument",
        expected=expected, found=found,
    )  # fmt: skip


def named(names: Sequence[str], coins: Sequence[str]) -> list[Portfolio]:
    """Books by the names of their sorts: `target`, `linear`, `rolling`, `maker:N`, `generated:N`.

    >>> [len(named([sort], ["BTC"])) for sort in ("target", "linear", "maker:3", "generated:5")]
    [5, 3, 3, 5]

    Raises BadInput for a sort that does not exist.
    """
    made: list[Portfolio] = []
    for name in names:
        sort, _, number = name.partition(":")
        if number and not number.isdecimal():
            raise BadInput(_unknown(name))
        count = int(number or 1)
        if sort == "generated":
            made += generated(coins, count=count)
            continue
        for coin in coins:
            match sort:
                case "target":
                    made += targets(coin)
                case "linear":
                    made += linear(coin)
                case "rolling":
                    made += rolling(coin)
                case "maker":
                    made += [market_maker(coin, seed=seed + 1) for seed in range(count)]
                case _:
                    raise BadInput(_unknown(name))
    return list({one.name: one for one in made}.values())


def _unknown(name: str) -> Problem:
    return Problem(
        code=Reject.INPUT_INVALID, source="portfolios", field="sort",
        expected="target, linear, rolling, maker:N or generated:N", found=name,
    )  # fmt: skip
