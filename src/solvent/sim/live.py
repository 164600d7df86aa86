"""A made-up venue whose market never stops: calm, a crash, a recovery, and calm again.

Prices are told as an engine that is served takes them: whoever runs this submits `publication`s
and calls `business` and `wind_up` on the engine's thread. Everything follows from the seed but the
moments, which are the caller's clock's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Final

import numpy as np

from solvent import publishing
from solvent.account.ledger import FIRST_ACCOUNT, GENERAL, node
from solvent.engine.state import CLOSED, LIQUIDATION, Account
from solvent.feeds.synthetic_market import generate_market
from solvent.host import Engine
from solvent.margining.compile import AnyRulebook
from solvent.market import Snapshot
from solvent.market.moved import restricted
from solvent.messages.commands import (
    BeginLiquidation,
    CoverDebt,
    Deposit,
    EndLiquidation,
    OpenAccount,
    ReviewMargin,
    Trade,
)
from solvent.messages.fields import AccountKind, Command, CoverFrom, Side
from solvent.sim.crash import ACTOR, Stage, act, open_venue, take_overs
from solvent.sim.weather import shaken, weather

TRADER: Final = "alice"
"""An account that a person who looks can act for: long, and called before the worst."""
_TRADER_DOLLARS: Final = 60_000
_TRADER_LEVERAGE: Final = 2.9
_DEALER: Final = "dealer00"
_BETA: Final = {"ETH": 1.15}
"""How far others fall when bitcoin does: powers of its factor."""
_BACK: Final = 0.5
"""The way back, as a share of a crash's length."""


def endless(rng: np.random.Generator, steps: int) -> Iterator[tuple[float, float]]:
    """Factors on the opening prices and volatilities, for ever: a crash of so many steps, then back
    to where it began, then again.

    >>> rng = np.random.Generator(np.random.PCG64(1))
    >>> story = endless(rng, 60)
    >>> told = [next(story)[0] for _ in range(90)]
    >>> min(told) < 0.65, round(told[-1], 1)
    (True, 1.0)
    """
    while True:
        spot = vol = 1.0
        for spot, vol in weather(rng, steps):
            yield spot, vol
        calm = max(1, round(steps * _BACK))
        for step in range(1, calm + 1):
            left = 1.0 - step / calm
            noise = float(rng.normal(0.0, 0.0008))
            yield math.exp(math.log(spot) * left + noise), 1.0 + (vol - 1.0) * left


class LiveVenue:
    """A venue of so many accounts, from a seed.

    Args:
        steps: publications of one crash. inverse: with coin-margined contracts too.
    """

    def __init__(
        self, *, accounts: int, seed: int = 1, rulebook: str = "deribit-pm", steps: int = 240
    ) -> None:
        self.accounts, self.rulebook, self.seed = accounts, rulebook, seed
        self._story = endless(np.random.Generator(np.random.PCG64(seed)), steps)
        self._random = Random(seed)
        self._opening: Snapshot | None = None
        self._stage: Stage | None = None
        self._told = 0

    def open(self, engine: Engine) -> None:
        """List, adopt, publish, open accounts, fund them and give them positions, on a new and
        empty engine; and the trader."""
        now_ms = engine.now_ms
        moment = datetime.fromtimestamp(now_ms / 1e3, UTC)
        market = generate_market(seed=self.seed, expiries=6, strikes=12, moment=moment)
        linear = np.flatnonzero(~market.universe.inverse).tolist()
        self._opening = restricted(market, linear)
        stage = Stage(engine, self._random, self.rulebook)
        open_venue(stage, self._opening, self.accounts, self.seed)
        self._stage = stage
        stage.must(self._trader(stage))

    def _trader(self, stage: Stage) -> Iterator[Command]:
        """Money, and perpetuals for some times as much."""
        yield OpenAccount(
            key="trader", actor=ACTOR, account=TRADER, kind=AccountKind.USER,
            rulebook=self.rulebook,
        )  # fmt: skip
        yield Deposit(
            key="trader money", actor=ACTOR, account=TRADER, asset="USDC",
            amount=stage.units("USDC", _TRADER_DOLLARS),
        )  # fmt: skip
        for coin, share in (("BTC", 0.6), ("ETH", 0.4)):
            symbol = f"{coin}_USDC-PERPETUAL"
            contract = stage.state.contracts[stage.state.contract_numbers[symbol]]
            price = stage.state.underlyings[coin].price_nano / 1e9
            lots = _TRADER_DOLLARS * _TRADER_LEVERAGE * share / price
            yield Trade(
                key=f"trader {coin}", actor=ACTOR, buyer=TRADER, seller=_DEALER, symbol=symbol,
                lots=max(1, round(lots / float(contract.deal.lot_size))),
                price_ticks=max(
                    1, round((contract.mark_points or 0) / contract.deal.points_per_tick)
                ),
                aggressor=Side.BUY,
            )  # fmt: skip

    def market(self, now_ms: int) -> Snapshot:
        """The next market of the story, as of now."""
        assert self._opening is not None, "the venue is open"
        spot, vol = next(self._story)
        universe = self._opening.universe
        powers = np.array([_BETA.get(name, 1.0) for name in universe.underlyings])
        return shaken(
            self._opening, spot=spot ** powers[universe.underlying], vol=vol, time_ms=now_ms
        )

    def publication(
        self, market: Snapshot, rulebooks: Mapping[str, AnyRulebook]
    ) -> list[Command]:  # fmt: skip
        """Prices, and the risk arrays that follow from them under every rulebook in force, by the
        name under which it is; priced here, not by the engine."""
        self._told += 1
        key = f"live {int(market.as_of_ms)} {self._told}"
        return [
            publishing.market(market, key=f"market {key}", actor=ACTOR),
            *(
                publishing.arrays(market, one, name=name, key=f"arrays {name} {key}", actor=ACTOR)
                for name, one in rulebooks.items()
            ),
        ]

    # ── on the engine's thread ───────────────────────────────────────────────────────────────────

    def business(self, engine: Engine, *, count: int) -> int:
        """What some accounts want: trades, orders, withdrawals; how many were done."""
        stage = self._at(engine)
        accounts = self._some(stage, count)
        if not accounts:
            return 0
        answers = stage.tell([act(stage, one, accounts) for one in accounts])
        return sum(answer.accepted for answer in answers)

    def review(self, engine: Engine, names: Sequence[str]) -> None:
        """Warn and call accounts that are near."""
        stage = self._at(engine)
        open_ones = [name for name in names if self._status(stage, name) not in
                     (LIQUIDATION, CLOSED)]  # fmt: skip
        stage.tell(ReviewMargin(key=stage.key(), actor=ACTOR, account=one) for one in open_ones)

    def wind_up(self, engine: Engine, names: Sequence[str]) -> int:
        """Take over what accounts below maintenance hold, as far as the insurance fund reaches;
        how many liquidations began."""
        stage = self._at(engine)
        begin = [BeginLiquidation(key=stage.key(), actor=ACTOR, account=name) for name in names]
        begun = sum(answer.accepted for answer in stage.tell(begin))
        state = stage.state
        bad = [state.account(number) for number in state.cases]
        stage.tell(list(take_overs(stage, bad)))
        stage.tell(list(self._debts(stage, bad)))
        stage.tell(EndLiquidation(key=stage.key(), actor=ACTOR, account=one.name) for one in bad)
        return begun

    def _debts(self, stage: Stage, bad: Sequence[Account]) -> Iterator[CoverDebt]:
        for account in bad:
            for asset, (name, _) in enumerate(stage.state.assets):
                debt = -stage.state.ledger.balance(node(account.number, GENERAL, asset))
                if debt > 0:
                    yield CoverDebt(
                        key=stage.key(), actor=ACTOR, account=account.name, asset=name,
                        amount=debt, source=CoverFrom.INSURANCE,
                    )  # fmt: skip

    def _at(self, engine: Engine) -> Stage:
        assert self._stage is not None, "the venue is open"
        self._stage.engine = engine
        self._stage.time_ms = engine.now_ms
        return self._stage

    def _some(self, stage: Stage, count: int) -> list[Account]:
        accounts, found = stage.state.accounts, []
        for _ in range(4 * count):
            one = accounts[self._random.randrange(FIRST_ACCOUNT, len(accounts))]
            if one is not None and one.positions and one.name != TRADER and one.status == "open":
                found.append(one)
            if len(found) == count:
                break
        return found

    def _status(self, stage: Stage, name: str) -> str:
        return stage.state.account(stage.state.account_numbers[name]).status
