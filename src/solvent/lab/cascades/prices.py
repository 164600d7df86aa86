"""How prices come about: makers who quote around a reference, and what trades do to it.

A *fair* price moves by news and by what noise traders believe. The *reference* around which makers
quote moves by the square-root law with what was traded on balance, Y·σ·√(|Q| / V), the more the
less has come back of what rested, and leans back to the fair price as books recover. σ is what
makers think volatility is: a part of the usual one, and two averages of squared returns. So calm
and storm come in clusters, and depth goes when it is needed. Forced sales say nothing about the
fair price: how far the reference falls below it is the *overshoot*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from solvent.lab.cascades.settings import Agents, Coin, Settings

DAY_S: Final = 86_400
_AVAILABLE_LEAST: Final = 0.05
"""Of a book that was swept, makers keep this much to come back with."""
_IMPACT_MOST: Final = 0.25
"""A step moves the reference by no more than this, in logs."""


def decay(step_s: float, half_life_min: float) -> float:
    """What is left of an average after a step.

    >>> decay(60, 1.0)
    0.5
    """
    return float(0.5 ** (step_s / (60.0 * half_life_min)))


@dataclass(slots=True, kw_only=True)
class Believed:
    """A coin at all venues: its fair price and what makers think its volatility is, a step's."""

    coin: Coin
    fair: float
    usual: float
    fast: float
    slow: float

    @classmethod
    def of(cls, coin: Coin, step_s: int) -> Believed:
        """At the opening: as usual."""
        usual = coin.day_vol * math.sqrt(step_s / DAY_S)
        return cls(coin=coin, fair=coin.price, usual=usual, fast=usual**2, slow=usual**2)

    def volatility(self, agents: Agents) -> float:
        """Deviation of a step's log return, as makers see it now."""
        rest = 1.0 - agents.fast - agents.slow
        return math.sqrt(rest * self.usual**2 + agents.fast * self.fast + agents.slow * self.slow)

    def learn(self, moved: float, agents: Agents, step_s: int) -> None:
        """A step's log return has been seen."""
        for name, half in (("fast", agents.fast_min), ("slow", agents.slow_min)):
            kept = decay(step_s, half)
            setattr(self, name, kept * getattr(self, name) + (1.0 - kept) * moved**2)


@dataclass(slots=True, kw_only=True)
class Quoted:
    """A coin at one venue: the reference, and how much of each side of its book is there.

    `volume`: dollars a day. `past`: average of the log reference over about an hour. `moved`: the
    last step's log return.
    """

    reference: float
    volume: float
    past: float
    bids: float = 1.0
    offers: float = 1.0
    moved: float = 0.0

    def depth(self, agents: Agents, volatility: float, usual: float) -> float:
        """Dollars within 1 % of the mark on a full side, at a volatility."""
        thin = float((usual / max(usual, volatility)) ** agents.withdraw)
        return agents.depth * self.volume * thin

    def flow_for(self, deviations: float, agents: Agents, step_s: int) -> float:
        """Dollars, signed, that move the reference by so many deviations of a step.

        The square-root law turned round: Q = V · (x / Y)² · the step's share of a day.

        >>> one = Quoted(reference=100.0, volume=1e6, past=0.0)
        >>> round(one.flow_for(-2.0, Agents(impact=2.0), 864))
        -10000
        """
        size = self.volume * (deviations / agents.impact) ** 2 * step_s / DAY_S
        return math.copysign(size, deviations)

    def impact(self, dollars: float, agents: Agents, volatility: float, step_s: int) -> float:
        """By how much the log reference moves when so much was bought on balance."""
        there = self.offers if dollars > 0 else self.bids
        day = volatility * math.sqrt(DAY_S / step_s)
        share = abs(dollars) / (self.volume * max(there, _AVAILABLE_LEAST))
        return math.copysign(min(agents.impact * day * math.sqrt(share), _IMPACT_MOST), dollars)

    def traded(
        self, *, bought: float, sold: float, quoted: float, fair: float, volatility: float,
        settings: Settings,
    ) -> None:  # fmt: skip
        """The books after a step: `bought` and `sold` dollars by takers, of `quoted` a side."""
        agents, step_s = settings.agents, settings.step_s
        moved = self.impact(bought - sold, agents, volatility, step_s)
        if quoted > 0.0:
            # What is left of a side that was there in part.
            self.offers *= max(0.0, 1.0 - bought / (quoted * self.offers))
            self.bids *= max(0.0, 1.0 - sold / (quoted * self.bids))
        kept = decay(step_s, agents.recovery_min)
        self.offers = max(1.0 - kept * (1.0 - self.offers), _AVAILABLE_LEAST)
        self.bids = max(1.0 - kept * (1.0 - self.bids), _AVAILABLE_LEAST)
        before = self.reference
        after = before * math.exp(moved)
        self.reference = after * (fair / after) ** (1.0 - kept)
        self.moved = math.log(self.reference / before)
        kept = decay(step_s, 60.0)
        self.past = kept * self.past + (1.0 - kept) * math.log(self.reference)


def rungs(agents: Agents) -> list[tuple[float, float]]:
    """(distance from the mark, dollars at it over those within 1 %) of one side of a full book.

    Distances grow evenly in logs from the spread to the reach; what rests up to a distance x is
    (x / 1 %) to the power of `shape`.

    >>> [(round(x, 4), round(size, 2)) for x, size in rungs(Agents(ladder=3, shape=1.0))]
    [(0.0002, 0.02), (0.0028, 0.26), (0.04, 3.72)]
    """
    count = agents.ladder
    ratio = (agents.reach / agents.spread) ** (1.0 / max(1, count - 1))
    places = [agents.spread * ratio**place for place in range(count)]
    below = 0.0
    found = []
    for place in places:
        total = (place / 0.01) ** agents.shape
        found.append((place, total - below))
        below = total
    return found


def wants(
    quoted: Quoted, believed: Believed, news: float, settings: Settings
) -> dict[str, float]:  # fmt: skip
    """What each crowd wants to buy (below 0: sell), in deviations of a step.

    `news` is the noise traders' draw, of deviation 1.
    """
    agents, step_s = settings.agents, settings.step_s
    volatility = believed.volatility(agents)
    gone = (math.log(quoted.reference) - quoted.past) / (volatility * math.sqrt(3_600 / step_s))
    cheap = math.log(believed.fair / quoted.reference) / volatility
    return {
        "noise": agents.noise * news,
        "trend": agents.trend * math.tanh(gone),
        "hedge": agents.hedge * min(max(quoted.moved / volatility, -3.0), 3.0),
        "value": agents.value * min(max(cheap, -5.0), 5.0),
    }
