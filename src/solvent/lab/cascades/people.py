"""Who holds leveraged positions at the opening, drawn from a seed.

Sizes are from a heavy tail; leverage from a lognormal law, as far as the rulebook lets them. What
holders of a coin are long on balance, dealers are short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Final

from solvent.lab.cascades.settings import Settings

_SIZES: Final = 1.5
"""Deviation of the logarithm of a holder's notional."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """An account at one venue. `held`: coin → dollars of notional, signed. `money`: dollars.
    `shared`: it is at every venue, under the same name. `coins`: half its money is in coins."""

    name: str
    held: dict[str, float]
    money: float
    shared: bool
    coins: bool


def holders_of(settings: Settings, seed: int) -> list[list[Holder]]:
    """Holders by venue: of `accounts` in all, each at one venue, or at all (`shared`).

    Notionals are scaled so that the longs of a coin at a venue are its open interest there.
    """
    told = settings.holders
    if told.leverage == 0.0:
        return [[] for _ in range(settings.venues)]
    random = Random(f"holders {seed}")
    drawn: list[list[Holder]] = [[] for _ in range(settings.venues)]
    shared = settings.venues > 1
    places = list(range(settings.venues))
    room = settings.accounts
    number = 0
    while room > 0:
        both = shared and random.random() < told.shared and room >= settings.venues
        where = places if both else [number % settings.venues]
        for venue in where:
            drawn[venue].append(_holder(random, settings, f"h{number:06d}", both))
        room -= len(where)
        number += 1
    return [_scaled(found, settings) for found in drawn]


def _holder(random: Random, settings: Settings, name: str, shared: bool) -> Holder:
    told = settings.holders
    weights = [settings.market(coin).weight for coin in settings.coins]
    size = math.exp(random.gauss(0.0, _SIZES))
    (coin,) = random.choices(settings.coins, weights)
    side = 1.0 if random.random() < told.longs else -1.0
    held = {coin: side * size}
    if len(settings.coins) > 1 and random.random() < told.several:
        other = random.choice([one for one in settings.coins if one != coin])
        # Half of them are long one against another, as pairs are.
        held[other] = size * random.uniform(0.3, 1.0) * random.choice((side, -side))
    leverage = min(math.exp(random.gauss(math.log(told.leverage), told.spread)), told.highest)
    money = sum(map(abs, held.values())) / max(leverage, 1.0)
    coins = random.random() < told.coins_owned
    return Holder(name=name, held=held, money=money, shared=shared, coins=coins)


def _scaled(found: list[Holder], settings: Settings) -> list[Holder]:
    """So that all longs of a coin are its open interest; money by what a holder has in all."""
    whole = sum(settings.market(coin).weight for coin in settings.coins)
    times = {}
    for coin in settings.coins:
        longs = sum(max(0.0, one.held.get(coin, 0.0)) for one in found)
        wanted = interest_of(settings, coin) if whole else 0.0
        times[coin] = wanted / longs if longs > 0.0 else 0.0
    scaled = []
    for one in found:
        held = {coin: dollars * times[coin] for coin, dollars in one.held.items() if times[coin]}
        before, after = sum(map(abs, one.held.values())), sum(map(abs, held.values()))
        scaled.append(
            Holder(
                name=one.name, held=held, money=one.money * after / before, shared=one.shared,
                coins=one.coins,
            )
        )  # fmt: skip
    return scaled


def interest_of(settings: Settings, coin: str) -> float:
    """Dollars of open interest of a coin at one venue.

    >>> one = Settings(coins=("BTC",), holders={"interest": 1e6}, venues=2)
    >>> interest_of(one, "BTC")
    500000.0
    """
    whole = sum(settings.market(one).weight for one in settings.coins)
    part = settings.market(coin).weight / whole
    return settings.holders.interest * part / settings.venues
