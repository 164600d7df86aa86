"""One run: venues, their market and a shock, from a seed; and what it came to."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Final

import numpy as np

from solvent.lab.cascades.people import holders_of, interest_of
from solvent.lab.cascades.prices import Believed, Quoted, wants
from solvent.lab.cascades.settings import Settings
from solvent.lab.cascades.tally import STAGES
from solvent.lab.cascades.venue import Venue
from solvent.messages.fields import Command
from solvent.recovery import uncollected
from solvent.units import Float64

AUDIT_EVERY: Final = 20
MARGIN_EVERY: Final = 30
_DYNAMIC_MOST: Final = 4.0
"""A dynamic grid's range, over its calm one, at most."""
_UP, _DOWN = 0.5, 0.02
"""By how much of itself that range may rise and fall in an hour."""
_GAP: Final = 0.0005
"""Prices at two venues that differ by less are left alone."""
Progress = Callable[[int, int], None]


@dataclass(slots=True, kw_only=True)
class Coined:
    """What one coin at one venue went through. Shares of a price, or dollars.

    Attributes:
        low, fell: the lowest reference over the first, and the largest fall from a high.
        overshoot: how far the reference was below the fair price at most, a share of that.
        liquidated: stage → dollars. interest: dollars at the opening. peak_vol: daily.
    """

    venue: int
    coin: str
    low: float
    fell: float
    overshoot: float
    interest: float
    peak_vol: float
    liquidated: dict[str, float]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run came to. Dollars, but for shares and counts.

    Attributes:
        taken_over: accounts. fund, fund_drawn: at the opening, and the most that it lost by then.
        beyond: losses that the fund did not bear: what deleveraged winners gave up, what was
            socialised, what others paid, and what nobody paid. initial: of all holders at the
            opening; margin: its average over the run, over their open interest then.
        refused: commands after the opening that were refused, by kind.
        hash: of all venues' states and chains. returns: log returns of the first coin at the first
            venue, where they were asked for.
    """

    seed: int
    settings: str
    accounts: int
    commands: int
    taken_over: int
    calls: int
    adl_accounts: int
    fund: float
    fund_drawn: float
    beyond: float
    paid: dict[str, float]
    given_up: float
    initial: float
    margin: float
    interest: float
    markets: list[Coined]
    refused: dict[str, int]
    hash: str
    paths: dict[str, list[float]] = field(default_factory=dict)

    def liquidated(self, stage: str | None = None) -> float:
        """Dollars of all markets, of a stage or of all."""
        return sum(
            sum(one.liquidated.values()) if stage is None else one.liquidated.get(stage, 0.0)
            for one in self.markets
        )

    @property
    def overshoot(self) -> float:
        """The deepest of all markets."""
        return max(one.overshoot for one in self.markets)

    def to_dict(self) -> dict[str, Any]:
        """As a document."""
        return asdict(self)

    @classmethod
    def of_dict(cls, told: dict[str, Any]) -> Outcome:
        """From `to_dict`."""
        return cls(**{**told, "markets": [Coined(**one) for one in told["markets"]]})


def simulate(
    settings: Settings, seed: int, *, paths: bool = False, sparing: bool = True,
    progress: Progress | None = None,
) -> Outcome:  # fmt: skip
    """One run, the same to the byte for the same settings and seed.

    Args:
        paths: keep prices, fair prices, volatilities and liquidations of each step.
        sparing: do not ask accounts that are proved far from every call; the outcome is the same.

    Raises SolventError for rules that cannot margin these coins, InvariantBroken where the books
    do not add up.
    """
    with uncollected():
        world = _World(settings, seed)
        world.open()
        for step in range(settings.steps):
            world.step(step, sparing=sparing)
            if progress is not None:
                progress(step + 1, settings.steps)
        return world.outcome(paths=paths)


class _World:
    """Venues and what goes on between them."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        held = holders_of(settings, seed)
        self.venues = [Venue(settings, one, number=place) for place, one in enumerate(held)]
        self.shared = {one.name for one in held[0] if one.shared}
        self.rng = np.random.Generator(np.random.PCG64([seed, 1]))
        self.random = Random(f"agents {seed}")
        coins = settings.coins
        self.believed = {
            coin: Believed.of(settings.market(coin), settings.step_s) for coin in coins
        }
        self.quoted = [
            {
                coin: Quoted(
                    reference=settings.market(coin).price,
                    volume=interest_of(settings, coin) * settings.market(coin).turnover,
                    past=math.log(settings.market(coin).price),
                )
                for coin in coins
            }
            for _ in self.venues
        ]
        self.called: list[set[str]] = [set() for _ in self.venues]
        self.kept: dict[str, list[float]] = {}
        self.margins: list[float] = []
        self.noise = self._noise()

    def open(self) -> None:
        """All venues at the first prices."""
        for venue, quoted in zip(self.venues, self.quoted, strict=True):
            venue.open({coin: one.reference for coin, one in quoted.items()})
        self.margins.append(sum(one.initial_micro for one in self.venues) / 1e6)

    def step(self, step: int, *, sparing: bool) -> None:
        """News, quotes, trades, liquidations, money, and what makers learn from it."""
        settings = self.settings
        self._news(step)
        for venue, quoted in zip(self.venues, self.quoted, strict=True):
            venue.time_ms += 1_000 * settings.step_s
            self._follow_volatility(venue)
            venue.publish({coin: one.reference for coin, one in quoted.items()})
            self._trade(step, venue, quoted)
            venue.tend(sparing=sparing)
        for venue in self.venues:
            self._money(venue)
        self._learn()
        if (step + 1) % AUDIT_EVERY == 0 or step + 1 == settings.steps:
            for venue in self.venues:
                venue.audit()
        if (step + 1) % MARGIN_EVERY == 0:
            self.margins.append(self._margin())

    def _noise(self) -> Float64:
        """[step, coin] draws of deviation 1: a common and an own part, fat tails in common."""
        settings, tail = self.settings, self.settings.agents.tail
        shape = settings.steps, len(settings.coins)
        share = np.array([settings.market(coin).common for coin in settings.coins])
        common = self.rng.normal(size=(shape[0], 1))
        own = self.rng.normal(size=shape)
        size = np.sqrt((tail - 2.0) / self.rng.chisquare(tail, size=(shape[0], 1)))
        return np.asarray((np.sqrt(share) * common + np.sqrt(1.0 - share) * own) * size)

    def _news(self, step: int) -> None:
        """The shock, and what noise traders believe."""
        settings, shock = self.settings, self.settings.shock
        falls = shock.move and shock.at <= step < shock.at + shock.over
        for place, (coin, one) in enumerate(self.believed.items()):
            believed = settings.agents.noise * self.noise[step, place]
            moved = believed * one.volatility(settings.agents)
            if falls and shock.venue is None and shock.coin in (None, coin):
                beta = one.coin.day_vol / self.believed[settings.coins[0]].coin.day_vol
                beta = 1.0 if shock.coin is not None else beta
                # News needs no trade: makers move their quotes.
                news = beta * math.log1p(shock.move) / shock.over
                one.fair *= math.exp(news)
                for quoted in self.quoted:
                    quoted[coin].reference *= math.exp(news)
            elif falls and shock.venue is not None and shock.coin in (None, coin):
                self.quoted[shock.venue][coin].reference *= math.exp(
                    math.log1p(shock.move) / shock.over
                )
            one.fair *= math.exp(moved)

    def _follow_volatility(self, venue: Venue) -> None:
        """A dynamic grid's range: its calm one times how far volatility is above its usual size, up
        to four times, at most so much up or down an hour, in steps of a twentieth."""
        settings = self.settings
        if settings.rules.family != "dynamic" or settings.rules.rulebook is not None:
            return
        calm = settings.rules.margin
        over = max(one.volatility(settings.agents) / one.usual for one in self.believed.values())
        wanted = calm * min(max(over, 1.0), _DYNAMIC_MOST)
        hours = settings.step_s / 3_600
        wanted = min(max(wanted, venue.smooth * (1 - _DOWN * hours)),
                     venue.smooth * (1 + _UP * hours))  # fmt: skip
        venue.smooth = wanted
        tick = calm / 20.0
        shown = round(round(wanted / tick) * tick, 9)
        if shown != venue.range:
            venue.adopt_range(shown)

    def _trade(self, step: int, venue: Venue, quoted: dict[str, Quoted]) -> None:
        settings, agents = self.settings, self.settings.agents
        told: list[Command] = []
        for place, (coin, one) in enumerate(quoted.items()):
            believed = self.believed[coin]
            depth = one.depth(agents, believed.volatility(agents), believed.usual)
            told += venue.quotes(coin, reference=one.reference, bids=depth * one.bids,
                                 offers=depth * one.offers)  # fmt: skip
            found = wants(one, believed, float(self.noise[step, place]), settings)
            flows = {
                name: one.flow_for(size, agents, settings.step_s) for name, size in found.items()
            }
            if len(self.venues) > 1:
                flows["arbitrage"] = self._arbitrage(coin, one, believed)
            names = list(flows)
            self.random.shuffle(names)
            told += venue.takes(coin, {name: flows[name] for name in names}, one.reference)
        # Told together, so that the margin of all is worked out together.
        venue.tell(told)

    def _arbitrage(self, coin: str, one: Quoted, believed: Believed) -> float:
        """Dollars that close a part of the gap to the other venues' average."""
        agents, step_s = self.settings.agents, self.settings.step_s
        mean = math.fsum(math.log(each[coin].reference) for each in self.quoted) / len(self.quoted)
        gap = math.log(one.reference) - mean
        if abs(gap) < _GAP or not agents.arbitrage:
            return 0.0
        deviations = -agents.arbitrage * gap / believed.volatility(agents)
        return one.flow_for(deviations, agents, step_s)

    def _money(self, venue: Venue) -> None:
        """Who is called pays in, or brings money from another venue; each call is asked once."""
        seen = self.called[venue.number]
        calls = venue.called()
        for name, amount in calls:
            if name in seen:
                continue
            seen.add(name)
            if name in self.shared and self._moved(venue, name, amount):
                continue
            if self.random.random() < self.settings.holders.deposits:
                venue.deposit(name, amount)
        seen &= {name for name, _ in calls}

    def _moved(self, venue: Venue, name: str, amount: int) -> bool:
        for other in self.venues:
            if other is venue:
                continue
            for part in (amount, amount // 2):
                if part and other.withdraw(name, part):
                    venue.deposit(name, part)
                    return True
        return False

    def _learn(self) -> None:
        """References after what was traded; volatilities after that."""
        settings, agents = self.settings, self.settings.agents
        for place, (coin, believed) in enumerate(self.believed.items()):
            volatility = believed.volatility(agents)
            for venue, quoted in zip(self.venues, self.quoted, strict=True):
                one = quoted[coin]
                lot = float(venue.contract(coin).deal.lot_size) * one.reference
                bought, sold = venue.tally.flows(place)
                depth = one.depth(agents, volatility, believed.usual)
                full = depth * (agents.reach / 0.01) ** agents.shape
                one.traded(bought=bought * lot, sold=sold * lot, quoted=full, fair=believed.fair,
                           volatility=volatility, settings=settings)  # fmt: skip
            moved = math.fsum(each[coin].moved for each in self.quoted) / len(self.quoted)
            believed.learn(moved, agents, settings.step_s)
            self._keep(coin, believed)

    def _keep(self, coin: str, believed: Believed) -> None:
        for number, quoted in enumerate(self.quoted):
            self.kept.setdefault(f"price {number} {coin}", []).append(quoted[coin].reference)
        self.kept.setdefault(f"fair {coin}", []).append(believed.fair)
        volatility = believed.volatility(self.settings.agents)
        self.kept.setdefault(f"vol {coin}", []).append(
            volatility * math.sqrt(86_400 / self.settings.step_s)
        )
        if coin == self.settings.coins[-1]:
            done = sum(
                amount for one in self.venues for (_, stage), amount in one.tally.reduced.items()
                if stage in STAGES
            )  # fmt: skip
            self.kept.setdefault("liquidated", []).append(done / 1e6)

    def _margin(self) -> float:
        """Initial margin over the open interest of holders, now."""
        initial = sum(one.margin_now() for one in self.venues)
        return initial / 1e6

    # ── what it came to ──────────────────────────────────────────────────────────────────────────

    def outcome(self, *, paths: bool) -> Outcome:
        settings = self.settings
        markets = [
            self._coined(venue, coin) for venue in self.venues for coin in settings.coins
        ]  # fmt: skip
        paid = {
            name: sum(one.tally.paid[name] for one in self.venues) / 1e6
            for name in ("fund", "others", "socialised")
        }
        given_up = sum(one.tally.given_up for one in self.venues) / 1e6
        owed = sum(one.owed() for one in self.venues) / 1e6
        interest = sum(one.interest for one in markets)
        return Outcome(
            seed=self.seed, settings=settings.digest,
            accounts=sum(len(one.holders) for one in self.venues),
            commands=sum(one.tally.commands for one in self.venues),
            taken_over=sum(len(one.tally.begun) for one in self.venues),
            calls=sum(one.tally.called for one in self.venues),
            adl_accounts=sum(len(one.tally.adl) for one in self.venues),
            fund=sum(one.fund_micro for one in self.venues) / 1e6,
            fund_drawn=sum(one.fund_micro - one.fund_least_micro for one in self.venues) / 1e6,
            beyond=given_up + paid["others"] + paid["socialised"] + owed,
            paid={**paid, "nobody": owed}, given_up=given_up,
            initial=self.margins[0], margin=float(np.mean(self.margins)) / interest,
            interest=interest, markets=markets, refused=self._refused(), hash=self._hash(),
            paths=self.kept if paths else {},
        )  # fmt: skip

    def _refused(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for one in self.venues:
            found.update(one.tally.rejected)
        return dict(sorted(found.items()))

    def _coined(self, venue: Venue, coin: str) -> Coined:
        first = self.settings.market(coin).price
        path = np.array([first, *self.kept[f"price {venue.number} {coin}"]])
        fair = np.array([first, *self.kept[f"fair {coin}"]])
        place = self.settings.coins.index(coin)
        return Coined(
            venue=venue.number, coin=coin, low=float(path.min() / first),
            fell=float((1.0 - path / np.maximum.accumulate(path)).max()),
            overshoot=float(max(0.0, (1.0 - path / fair).max())),
            interest=interest_of(self.settings, coin), peak_vol=max(self.kept[f"vol {coin}"]),
            liquidated={
                stage: venue.tally.reduced[place, stage] / 1e6 for stage in STAGES
                if venue.tally.reduced[place, stage]
            },
        )  # fmt: skip

    def _hash(self) -> str:
        told = [[one.engine.hash(), one.state.log.chain.hex()] for one in self.venues]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
