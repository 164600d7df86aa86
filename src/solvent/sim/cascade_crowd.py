"""Who is in a crash: accounts of many sizes and leverages, and dealers on the other side.

Everything is drawn from a seed. Accounts are the same under every rulebook: the same positions, and
money that is their notional over their leverage, or what the rulebook asks at the opening where
that is more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

DEALERS: Final = 12
_KINDS: Final = {"long": 0.56, "short": 0.16, "mixed": 0.18, "pair": 0.10}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """An account at the opening.

    Attributes:
        positions: (coin, dollars of notional signed, entry price over the opening price).
        leverage: notional over money. dips: it bids below the market.
    """

    name: str
    kind: str
    positions: tuple[tuple[str, float, float], ...]
    leverage: float
    dips: bool

    @property
    def notional(self) -> float:
        """Dollars without sign."""
        return sum(abs(dollars) for _, dollars, _ in self.positions)

    @property
    def money(self) -> float:
        """Dollars that it has at the opening."""
        return self.notional / self.leverage


def crowd(coins: Sequence[str], accounts: int, seed: int) -> list[Person]:
    """The accounts, in the order of their names."""
    random = Random(seed)
    width = len(str(accounts))
    return [_person(random, coins, f"a{number:0{width}d}") for number in range(accounts)]


def _person(random: Random, coins: Sequence[str], name: str) -> Person:
    (kind,) = random.choices(list(_KINDS), list(_KINDS.values()))
    size = math.exp(random.gauss(math.log(9_000.0), 1.5))
    weights = [1.0 / (place + 1) for place in range(len(coins))]
    if kind == "pair" and len(coins) > 1:
        first, second = _drawn(random, coins, weights, 2)
        held = [(first, size), (second, -size * random.uniform(0.8, 1.2))]
        leverage = math.exp(random.gauss(math.log(6.0), 0.4))
    elif kind == "mixed":
        some = _drawn(random, coins, weights, random.randint(2, max(2, len(coins))))
        held = [(coin, size * random.uniform(0.3, 1.0) * random.choice((1, 1, -1)))
                for coin in some]  # fmt: skip
        leverage = math.exp(random.gauss(math.log(4.0), 0.5))
    else:
        (coin,) = random.choices(coins, weights)
        held = [(coin, size if kind != "short" else -size)]
        leverage = math.exp(random.gauss(math.log(7.0), 0.7))
    return Person(
        name=name, kind=kind, leverage=min(max(leverage, 1.0), 40.0), dips=random.random() < 0.15,
        positions=tuple((coin, dollars, math.exp(random.gauss(0.0, 0.02)))
                        for coin, dollars in held),
    )  # fmt: skip


def _drawn(
    random: Random, coins: Sequence[str], weights: Sequence[float], count: int
) -> list[str]:  # fmt: skip
    """Some coins, each once, the first more often."""
    left = dict(zip(coins, weights, strict=True))
    found: list[str] = []
    while left and len(found) < count:
        (coin,) = random.choices(list(left), list(left.values()))
        del left[coin]
        found.append(coin)
    return found
